"""Model releases for tests: copies of real ones with changes, and a tiny one whose results are plain."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import tflite

from tests.graphs import Op, T, build


def changed(source: Path, folder: Path, *changes: tuple[str, str]) -> Path:
    """Copy a release into `folder`, with each first text in its model.toml replaced by the second."""
    shutil.copytree(source, folder, copy_function=shutil.copyfile)
    path = folder / "model.toml"
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return folder


def only(source: Path, folder: Path, variant: str) -> Path:
    """Copy a release into `folder` with only one of its variants."""
    changed(source, folder)
    path = folder / "model.toml"
    head, *variants = re.split(r"(?m)^(?=\[\[variants\]\])", path.read_text())
    kept = [each for each in variants if f'name = "{variant}"' in each]
    assert len(kept) == 1, variant
    path.write_text(head + kept[0])
    return folder


def twice(folder: Path, channels: int, samples: int, hop: int = 0, rate_hz: float = 10.0, gap: str = "void") -> Path:
    """Make a release whose values are those of its window, times two; without `hop` one message is one input."""
    size = channels * samples
    shapes = [T((1, size)), T((1, size))]
    folder.mkdir(parents=True)
    (folder / "twice.tflite").write_bytes(build(shapes, [Op(tflite.BuiltinOperator.ADD, [0, 0], [1])], [0], [1]))
    names = [f"c{i}" for i in range(channels)]
    window = f'kind = "window"\nhop = {hop}\nrate_hz = {rate_hz}\ngap = "{gap}"' if hop else 'kind = "tensor"'
    (folder / "model.toml").write_text(
        f'name = "twice"\nversion = "1"\nrelease = 1\ntask = "regress"\n'
        f'[input]\n{window}\nchannels = {names}\nsamples = {samples}\npreprocess = [ {{ op = "flatten" }} ]\n'
        f'[[variants]]\nname = "fp32"\nengine = "tflite"\nfile = "twice.tflite"\n'
    )
    return folder
