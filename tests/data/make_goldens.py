"""Make the goldens of the releases beside this file, from seeded random inputs: `python tests/data/make_goldens.py`.

Outputs are computed with the builtin resolver, whose int8 results are the same bits in both
runtimes; the tolerances in each model.toml cover the default resolvers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edged.engines.choose import open_engine
from edged.models.manifest import Variant, examine

HERE = Path(__file__).parent
ROWS = 8


def log_mel(random: np.random.Generator) -> np.ndarray:
    """Make frames like a machine's log-mel spectrum in dB: loud below, quiet above. Gives float32 [n, 640]."""
    slope = np.interp(np.arange(128), [0, 16, 64, 127], [-45.0, -10.0, -28.0, -60.0])
    return (slope + random.normal(0, 4, (ROWS, 5, 128))).reshape(ROWS, 640).astype(np.float32)


def mfcc(random: np.random.Generator) -> np.ndarray:
    """Make coefficients like those of speech as the int8 graph takes them, as float32. Gives float32 [n, 49, 10, 1]."""
    steps = np.clip(np.round(83 + random.normal(0, 12, (ROWS, 49, 10, 1))), -128, 127)
    return ((steps - 83) * np.float32(0.584702909)).astype(np.float32)


def make(folder: Path, variant: Variant, values: np.ndarray) -> None:
    """Write one variant's goldens."""
    assert variant.golden is not None
    engine = open_engine(folder / variant.file, variant.engine, resolver="builtin", batching=False)
    inputs = values.reshape(ROWS, *engine.input.shape)
    if engine.input.dtype == "int8":
        steps = np.round(inputs / np.float32(engine.input.scale)) + engine.input.zero_point
        inputs = np.clip(steps, -128, 127).astype(np.int8)
    np.savez_compressed(folder / variant.golden.file, inputs=inputs, outputs=engine.infer_raw(inputs))
    print(f"{folder.name} {variant.name}: {engine.build}")


def main() -> None:
    """Make all of them."""
    for name, values in (("ad01", log_mel(np.random.default_rng(1))), ("kws", mfcc(np.random.default_rng(2)))):
        manifest = examine(HERE / name).manifest
        assert manifest is not None
        for variant in manifest.variants:
            make(HERE / name, variant, values)


if __name__ == "__main__":
    main()
