"""The values that flow along the data path: messages in, readings, results out.

A batch holds many messages as parallel lists, readings are arrays: nothing on the hot path
is one Python object per reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

# Why a message or reading was refused. Stable: shown in status, metrics and `evt/rejected`.
MALFORMED = "malformed"
WRONG_TYPE = "wrong-type"
WRONG_LENGTH = "wrong-length"
NOT_FINITE = "not-finite"
OUT_OF_RANGE = "out-of-range"
BAD_TIME = "bad-time"
TOO_LARGE = "too-large"
LATE = "late"
DUPLICATE = "duplicate"
# One payload holds readings of several label sets; a payload belongs to one stream.
MIXED_LABELS = "mixed-labels"
# A text with nothing in it but space.
EMPTY_TEXT = "empty-text"
# These carry what is missing, such as `missing-channel acc.z`, so that a person sees which.
MISSING = "missing-channel"
MISSING_FIELD = "missing-field"


@dataclass(slots=True)
class Batch:
    """Messages that arrived together, oldest first.

    `topics[i]` belongs to `payloads[i]`; a payload of None was longer than the source takes.
    `arrival` and `arrival_mono` are clock readings in nanoseconds. `done` is called once,
    when every message has been worked off and its results are safe; None where nobody waits for it.

    Of a broker: `again` where some of them may have come before, `connection` where all of them
    come again on a later one (0: they do not), `size` the bytes of the payloads.
    """

    topics: list[bytes]
    payloads: list[bytes | None]
    arrival: int
    arrival_mono: int
    done: Callable[[], None] | None = None
    again: bool = False
    connection: int = 0
    size: int = 0

    def parts(self, most: int) -> list[Batch]:
        """Give the same messages in batches of at most `most`, without what waits for them."""
        count = len(self.topics)
        if count <= most:
            return [self]
        cut = (slice(start, start + most) for start in range(0, count, most))
        return [Batch(self.topics[each], self.payloads[each], self.arrival, self.arrival_mono, again=self.again) for each in cut]


@dataclass(slots=True)
class Rejected:
    """One refused message: its index in the batch, the stable reason, a word for people."""

    message: int
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Readings:
    """What a decoder makes of a list of payloads.

    values      float32 [n, channels], finite
    times       int64 [n], nanoseconds since 1970 UTC, or None: no event time in this format
    message     intp [n], rising: the index of the payload each reading came from
    labels      one tuple of (name, text) pairs a payload (empty for rejected ones), or None: no labels
    rejected    payloads that gave nothing, each with its reason
    """

    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    message: NDArray[np.intp]
    labels: list[tuple[tuple[str, str], ...]] | None
    rejected: list[Rejected]

    def __len__(self) -> int:
        """Count the readings."""
        return len(self.values)


@dataclass(slots=True)
class Texts:
    """What a text decoder makes of a list of payloads: one text each, None for the rejected."""

    texts: list[str | None]
    rejected: list[Rejected]

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.texts) - len(self.rejected)


class Window(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a stream that a result speaks of; times as ISO 8601."""

    start: str
    end: str
    samples: int


class ModelRef(msgspec.Struct, frozen=True):
    """What computed a result."""

    name: str
    version: str
    release: int
    variant: str
    engine: str


class Timing(msgspec.Struct, frozen=True):
    """Where the time went, in milliseconds; `total_ms` is message in to result out."""

    queue_ms: float
    infer_ms: float
    total_ms: float


class Result(msgspec.Struct, omit_defaults=True):
    """One result, as the JSON format writes it (design: "A result").

    `clock` is `"arrival"` where `time` is not from the readings themselves.
    """

    v: int
    id: str
    time: str
    device: str
    pipeline: str
    key: str
    labels: dict[str, str]
    window: Window
    model: ModelRef
    output: dict[str, Any]
    timing: Timing
    clock: str = ""
    alarm: bool | None = None


@dataclass(slots=True)
class Outgoing:
    """A result on its way to the outputs, with what their `when` asks for."""

    result: Result
    end_ns: int
    changed: bool
    alarm: bool
