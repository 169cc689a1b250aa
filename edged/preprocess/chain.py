"""Compile the operations of a release into one call, and say what does not fit together.

`compile_chain` follows the shape of a window from operation to operation, makes every
constant once, and fuses neighbours that are one multiply-add. Nothing here knows where
windows come from: a ring, one message, or a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edged.errors import PublisherError
from edged.preprocess import arithmetic, features, mel, ops, series, shape, spectrum
from edged.preprocess.arithmetic import Affine
from edged.preprocess.form import MAX_VALUES, Array, Form, Refusal, Step, written

MAX_OPERATIONS = 64

_BUILDERS: dict[type, Callable[[Any, Form], tuple[Step, Form]]] = {
    ops.Scale: arithmetic.scale,
    ops.Offset: arithmetic.offset,
    ops.Zscore: arithmetic.zscore,
    ops.Minmax: arithmetic.minmax,
    ops.Clip: arithmetic.clip,
    ops.Detrend: series.detrend,
    ops.Diff: series.diff,
    ops.Magnitude: series.magnitude,
    ops.Taper: spectrum.taper,
    ops.Rfft: spectrum.rfft,
    ops.Bands: spectrum.bands,
    ops.LogMel: mel.log_mel,
    ops.Mfcc: mel.mfcc,
    ops.Stats: features.stats,
    ops.Select: shape.select,
    ops.Reshape: shape.reshape,
    ops.Flatten: shape.flatten,
}


@dataclass(frozen=True)
class ChainFault:
    """One operation that does not fit: its index, or None for the window itself; what is wrong, and what to write."""

    index: int | None
    text: str
    hint: str


class ChainFaults(PublisherError):
    """A chain with faults; all that could be found are in `faults`. Code `bad-preprocess`."""

    def __init__(self, faults: list[ChainFault]) -> None:
        first = faults[0]
        where = "the window" if first.index is None else f"preprocess[{first.index}]"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__("bad-preprocess", f"{where}: {first.text}{more}", first.hint)
        self.faults = faults


class Chain:
    """A compiled chain; it has no state and may be called from any thread.

    `output_shape` is what comes out for one window, without the batch.
    """

    def __init__(self, steps: list[Step], output_shape: tuple[int, ...]) -> None:
        self._steps = steps
        self.output_shape = output_shape

    def __call__(self, windows: Array) -> Array:
        """Run float32 [n, samples, channels], n >= 0; gives float32 [n, *output_shape].

        `windows` may be a view and is never written to; it is given back itself where the
        chain changes nothing. Each window's result is the same in any batch. What float32
        cannot hold becomes inf or nan, with numpy's RuntimeWarning where that is not turned
        off: np.errstate around every call would cost more than the cheap operations do.
        """
        for step in self._steps:
            windows = step(windows)
        return windows


def compile_chain(chain: Sequence[ops.Op], samples: int, channels: int, rate_hz: float = 0.0, channel_names: Sequence[str] = ()) -> Chain:
    """Check and compile operations for windows of `samples` >= 1 readings of `channels` >= 1 channels.

    `rate_hz` is the readings' nominal rate, 0 where not known; `channel_names` are for `select`.
    Raises ChainFaults with every fault that can be told: after an operation whose result is not
    clear, the rest is not looked at.
    """
    names = tuple(channel_names) if len(channel_names) == channels else ()
    form = Form((samples, channels), names, rate_hz, is_time=True)
    faults: list[ChainFault] = []
    steps: list[Step] = []
    index = None
    try:
        _bound(form)
        for index, op in enumerate(chain):
            form = _add(op, form, steps, index, faults)
    except Refusal as refusal:  # nothing is known of what would come after it
        faults.append(ChainFault(index, refusal.text, refusal.hint))
    if faults:
        raise ChainFaults(faults)
    return Chain(steps, form.shape)


def _add(op: ops.Op, form: Form, steps: list[Step], index: int, faults: list[ChainFault]) -> Form:
    """Add the step of one operation; give the form after it, or raise Refusal where that is not clear."""
    if index >= MAX_OPERATIONS:
        raise Refusal(f"is one operation too many; {MAX_OPERATIONS} are the most", "leave some out")
    try:
        with np.errstate(all="ignore"):  # builders refuse constants that did not come out finite
            step, after = _BUILDERS[type(op)](op, form)
            _append(steps, step)
    except Refusal as refusal:
        if refusal.after is None:
            raise
        faults.append(ChainFault(index, refusal.text, refusal.hint))
        after = refusal.after
        steps.clear()  # nothing will run any more, and what follows must not fuse with what came before
    _bound(after)
    return after


def _bound(form: Form) -> None:
    if form.size > MAX_VALUES:
        raise Refusal(f"{written(form.shape)} are {form.size} values; {MAX_VALUES} are the most", "make the window smaller")


def _append(steps: list[Step], step: Step) -> None:
    """Add a step, fused with the one before it where both are a multiply-add."""
    if steps and isinstance(step, Affine) and isinstance(steps[-1], Affine):
        fused = steps[-1].then(step)
        if fused is not None:
            steps[-1] = fused
            return
    steps.append(step)
