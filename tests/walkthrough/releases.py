"""Four releases of one model: two are good, one has wrong goldens, one takes the daemon down on live readings.

`release-1` and `release-2` have three variants each and are to be packed. The goldens of `release-3` are not what its graphs
compute, and it is packed all the same. `release-4` is packed; it passes goldens and trial, and fails above 2.1 m/s².
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
from tflite import BuiltinOperator as Builtin

from edged.engines.choose import open_engine
from edged.models.packed import PACKED, parse_packed, seal_file
from edged.packing.pack import pack
from scripts.calibration_graphs import Net
from tests.graphs import FLOAT32, INT32, T
from tests.hostile import Sub, build, cast, ints, op

SAMPLES = 1024
MANIFEST = """name = "vibration"
version = "{version}"
release = {release}
task = "regress"
description = "An example: nothing is learnt in it"

[quality]
metric = "r2"

[input]
kind = "window"
channels = ["a"]                # acceleration in m/s²
samples = 1024                  # 1 s
hop = 1024
rate_hz = 1024.0
preprocess = [ {preprocess} ]
"""
VARIANT = """
[[variants]]
name = "{name}"
engine = "tflite"
file = "{name}.tflite"
quality = {quality}
golden = {{ file = "golden-{name}.npz", atol = 1e-2 }}
"""
SQUARE = '{ op = "reshape", shape = [32, 32, 1] }'
NETS = (("large", 208, 6, 0.95), ("medium", 144, 5, 0.9), ("small", 48, 7, 0.8))  # channels, layers, quality: 2,024, 786, 135 million MACs


class RandomNet(Net):
    """A net whose weights are noise, another for each seed, that neither grows nor dies out over its layers."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        super().__init__("float32", (1, 32, 32, 1))

    def _weights(self, shape: tuple[int, ...], axis: int | None) -> int:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        weights = self._rng.normal(0, spread, shape)
        if shape[0] == 1:  # the last layer: its one value is not to be cut off at 0
            weights = np.abs(weights)
        return self._constant(shape, "float32", (), weights.astype(np.float32))


def write_all(folder: Path) -> None:
    """Write the releases into a folder, which is made; what was there of them is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    _good(folder / "release-1", 1, "1.0.0")
    _good(folder / "release-2", 2, "1.1.0")
    _good(folder / "release-3", 3, "1.2.0")
    pack(folder / "release-3", lambda _: None)
    _spoil_goldens(folder / "release-3")
    _fragile(folder / "release-4", 4, "1.3.0")
    pack(folder / "release-4", lambda _: None)


def _good(folder: Path, release: int, version: str) -> None:
    """Write a release of three variants with goldens."""
    graphs = {name: (_net(width, layers, release), quality, [1, 32, 32, 1]) for name, width, layers, quality in NETS}
    _write(folder, MANIFEST.format(version=version, release=release, preprocess=SQUARE), graphs)


def _net(channels: int, layers: int, seed: int) -> bytes:
    net: Net = RandomNet(seed).conv(16, 3)
    for _ in range(layers):
        net = net.conv(channels, 3)
    return net.conv(8, 1, stride=32).conv(1, 1).write()


def _fragile(folder: Path, release: int, version: str) -> None:
    """Write a release that computes with whole numbers and has no room in them for more than 2.1 m/s²."""
    manifest = MANIFEST.format(version=version, release=release, preprocess='{ op = "flatten" }')
    _write(folder, manifest, {"integer": (_overflowing(), 0.97, [1, SAMPLES])})


def _overflowing() -> bytes:
    """Give a graph that counts nm/s² in 32 bits. The least of these numbers modulo -1 ends the process on x86 (SIGFPE), in both runtimes.

    Elsewhere the quotient, which is 0 else, is an index that is not there, which runtimes refuse or crash over.
    """
    row, whole = T((1, SAMPLES)), T((1, SAMPLES), INT32)
    tensors = [row, _number(1e9, FLOAT32), row, whole, _number(-1, INT32), whole, _number(2_100_000_000, INT32), whole, whole]
    tensors += [ints(SAMPLES), T((SAMPLES,), INT32), T((1,), FLOAT32, np.ones(1, np.float32).tobytes()), T((SAMPLES,))]
    tensors += [ints(0), ints(1), T((1,)), ints(1, 1), T((1, 1))]
    steps = [op(Builtin.MUL, [0, 1], [2]), cast(2, 3), op(Builtin.FLOOR_MOD, [3, 4], [5]), op(Builtin.DIV, [3, 6], [7])]
    steps += [op(Builtin.ADD, [5, 7], [8]), op(Builtin.RESHAPE, [8, 9], [10]), op(Builtin.GATHER, [11, 10], [12])]
    steps += [op(Builtin.SLICE, [12, 13, 14], [15]), op(Builtin.RESHAPE, [15, 16], [17])]
    return build(Sub(tensors, steps, [0], [17]))


def _number(value: float, kind: int) -> T:
    return T((1, 1), kind, np.array([value], np.float32 if kind == FLOAT32 else np.int32).tobytes())


def _write(folder: Path, manifest: str, graphs: dict[str, tuple[bytes, float, list[int]]]) -> None:
    """Write a release of these variants, each a graph with its quality and the shape of its input, and compute their goldens."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, (graph, quality, shape) in graphs.items():
        manifest += VARIANT.format(name=name, quality=quality)
        path = folder / f"{name}.tflite"
        path.write_bytes(graph)
        inputs = np.random.default_rng(7).uniform(-2, 2, (3, *shape[1:])).astype(np.float32)
        np.savez(folder / f"golden-{name}.npz", inputs=inputs, outputs=open_engine(path, "tflite").infer_raw(inputs))
    (folder / "model.toml").write_text(manifest, encoding="utf-8")


def _spoil_goldens(folder: Path) -> None:
    """Change the golden outputs of a packed release, and seal it again without the check that `edged pack` makes."""
    packed = parse_packed((folder / PACKED).read_bytes(), PACKED)
    files = dict(packed.files)
    for path in folder.glob("golden-*.npz"):
        arrays = dict(np.load(path))
        np.savez(path, inputs=arrays["inputs"], outputs=arrays["outputs"] + 1)
        files[path.name] = seal_file(path)
    (folder / PACKED).write_bytes(msgspec.structs.replace(packed, files=files).encode())
