"""Write `docs/releases.md` from the schema: `python -m edged.models.describe > docs/releases.md`."""

from __future__ import annotations

import sys

from edged.config.describe import tables
from edged.models.schema import Manifest

EXAMPLE = """\
name = "har"
version = "1.0.0"
release = 1
task = "classify"

[input]
kind = "window"
channels = ["x", "y", "z"]
samples = 260
hop = 130
rate_hz = 26.0
preprocess = [ { op = "scale", factor = 0.00025 } ]

[output]
labels = ["stationary", "walking", "running"]
smooth = { op = "mean", windows = 3 }
alarm = { label = "running", on = 0.9, off = 0.7 }

[[variants]]
name = "fp32"
engine = "tflite"
file = "har_float.tflite"
golden = { file = "golden-fp32.npz", atol = 1e-4 }
"""

_INTRO = """\
# Releases

A release is one version of a model: a folder with a `model.toml` and the files it names.
Everything that must change together with the weights is in it: window, channels, preprocessing, labels, thresholds.

```toml
"""

_STEPS = """\
```

1. `edged pack DIR` checks the whole folder and says every fault with its place. It compares what the
   preprocessing gives with what each tensor wants, runs the goldens on each runtime that is installed,
   counts what each variant costs, and writes `release.json` with the size and SHA-256 of every file.
2. `edged models install DIR` brings a packed release into service: it is tried in a process of its own, swapped in
   and watched; see [models.md](models.md). `release` must rise. `edged pack DIR --into FILE.edgedpack` makes one
   file of it, see [packs.md](packs.md).
3. A pipeline with `model = "har"` runs the active release. `model_dir = "DIR"` runs a folder in place,
   for development; `edged status` marks it.

## How windows become inputs

`kind = "window"`: the last `samples` readings of a stream, every `hop` readings.
`kind = "tensor"`: one message is one input of `samples` readings, and there is no window.

The operations of `preprocess` are applied in the order written. The result must have the shape of the
model's input tensor; the batch and sizes of 1 do not count. The engine then quantizes to the tensor's own
scale and zero point.

## Goldens

An `.npz` with `inputs` and `outputs`: raw tensors of this variant, in the tensors' own types.
int8 results of two runtimes, and of two builds of one, differ by some steps: give an `atol` in units of the
output tensor that allows for it, or `agree`, the least part of inputs with the same largest output.

Of texts the `.npz` has `texts` and `outputs`: for `classify` log-odds float64 `[n, labels]`, before `temperature`; for `embed` vectors
float32 `[n, values]`; for `extract` and `generate` the answers themselves. These are the same to the letter or they are not, so
they take `agree` alone. `edged pack` runs them on each runtime for texts that is installed, and so does the trial on a board.
[text.md](text.md) shows whole releases for texts.

## Reference

A key that is needed has no default.
"""


def describe() -> str:
    """Give the whole page."""
    return "\n".join([_INTRO + EXAMPLE + _STEPS, *tables("### `model.toml`", Manifest)])


if __name__ == "__main__":
    sys.stdout.write(describe())
