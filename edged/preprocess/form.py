"""What flows between two operations of a chain, and how an operation refuses it.

An operation is compiled once: a builder takes the operation and the form of what comes in,
and gives a step and the form of what goes out. Steps are called for every window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
MAX_VALUES = 1 << 22  # in one window at any place of a chain: 16 MiB in float32

Step = Callable[[Array], Array]  # float32 [n, *shape] in and out, n >= 0; never writes into what it is given


@dataclass(frozen=True)
class Form:
    """The shape of one window at one place of a chain, without the batch.

    `names` are the channels on the last axis, empty where they are no longer channels.
    `is_time` says that the first axis still runs over samples, `rate_hz` of them a second (0: not known).
    """

    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    rate_hz: float = 0.0
    is_time: bool = False

    @property
    def size(self) -> int:
        """Count the values of one window."""
        count = 1
        for length in self.shape:  # Python's integers, for they cannot overflow
            count *= length
        return count


class Refusal(Exception):
    """An operation does not fit what comes before it.

    `after` is the form it would have given, where that is clear all the same, so that the
    rest of the chain can be checked too.
    """

    def __init__(self, text: str, hint: str, after: Form | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.after = after


def rows_and_columns(form: Form) -> tuple[int, int]:
    """Give both lengths of a form with two axes; refuse any other."""
    if len(form.shape) != 2:
        raise Refusal(f"needs [samples, channels], and gets {written(form.shape)}", "put it before the operation that changes the axes")
    return form.shape[0], form.shape[1]


def samples_and_columns(form: Form) -> tuple[int, int]:
    """Give both lengths of a form whose first axis is time; refuse any other."""
    rows, columns = rows_and_columns(form)
    if not form.is_time:
        raise Refusal("needs samples over time, and gets a spectrum or features", "put it before the operation that leaves time")
    return rows, columns


def written(shape: tuple[int, ...]) -> str:
    """Write a shape as a person would: `[260, 3]`."""
    return "[" + ", ".join(map(str, shape)) + "]"
