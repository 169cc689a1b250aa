"""From raw output tensors to scores, for many windows at once: what a model's task means.

    classify        activation of the output            [n, labels]
    anomaly         difference of output and input      [n]
                    (or the output itself)
    regress, embed  the output                          [n, values]

Scores are float64. A value that is not finite stays so, without a warning: the caller judges it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edged.errors import PublisherError
from edged.models.schema import Manifest, Output

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]
Scorer = Callable[[Floats, Floats], Scores]


def make_scorer(manifest: Manifest) -> Scorer:
    """Give the function from inputs [n, …] after preprocessing and raw outputs [n, …] to scores.

    It raises PublisherError(`output-mismatch`) where an output has another number of values
    than the manifest needs. Raises PublisherError(`task-unsupported`) for tasks on text.
    """
    output = manifest.output
    if manifest.task == "classify":
        return _classify(output)
    if manifest.task == "anomaly":
        return _output_itself if output.score == "output" else _difference(output)
    if manifest.task in ("regress", "embed"):
        return lambda inputs, raw: _flat(raw)
    raise PublisherError("task-unsupported", f"task `{manifest.task}` is not supported by this version", "use a newer edged")


def _classify(output: Output) -> Scorer:
    activate = _ACTIVATIONS[output.activation]
    labels = len(output.labels)

    def score(inputs: Floats, raw: Floats) -> Scores:
        flat = _flat(raw)
        if flat.shape[1] != labels:
            raise _mismatch(flat, f"{labels} labels need as many")
        with np.errstate(all="ignore"):
            return activate(flat)

    return score


def _difference(output: Output) -> Scorer:
    reduce = _REDUCTIONS[output.score]

    def score(inputs: Floats, raw: Floats) -> Scores:
        before, after = _flat(inputs), _flat(raw)
        if after.shape[1] != before.shape[1]:
            raise _mismatch(after, f"score `{output.score}` needs the {before.shape[1]} of the input")
        with np.errstate(all="ignore"):
            return reduce(after - before)

    return score


def _output_itself(inputs: Floats, raw: Floats) -> Scores:
    flat = _flat(raw)
    if flat.shape[1] != 1:
        raise _mismatch(flat, "score `output` needs one")
    return flat[:, 0]


def softmax(values: Scores) -> Scores:
    """Make scores [n, k] that sum up to 1 of log-odds [n, k]."""
    # The largest is taken off first: exp would overflow at 710.
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _sigmoid(values: Scores) -> Scores:
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # 1 / (1 + exp(-x)), without its overflow


_ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {"none": lambda values: values, "softmax": softmax, "sigmoid": _sigmoid}
_REDUCTIONS: dict[str, Callable[[Scores], Scores]] = {
    "mse": lambda difference: np.mean(np.square(difference), axis=1),
    "mae": lambda difference: np.mean(np.abs(difference), axis=1),
    "max": lambda difference: np.max(np.abs(difference), axis=1),
}


def _flat(values: Floats) -> Scores:
    return values.reshape(len(values), -1).astype(np.float64)


def _mismatch(flat: Scores, need: str) -> PublisherError:
    return PublisherError("output-mismatch", f"the model gives {flat.shape[1]} values; {need}", "mend [output] of model.toml, or the model")
