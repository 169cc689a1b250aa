"""What a serial line gives to readings: blocks that say what they hold, or lines as sketches print them.

A block's channels are found by their names, or taken in their order (`edged.stream.channels`); its
readings are views until they are scaled. A batch with a block is one of a framed line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.models.manifest import Input
from edged.records import MALFORMED, WRONG_LENGTH, Readings, Rejected
from edged.stream.blocks import MAGIC, read_head
from edged.stream.channels import firmware_columns, rate_fits
from edged.stream.decoders.sketch import DEBUG_PRINT, Sketch
from edged.stream.decoders.sound import Refused, nothing, sound, take_each
from firmware_bridge.messages import BadMessage, Hello

NO_CHANNELS = "channels-do-not-match"
OTHER_RATE = "rate-does-not-match"

MAX_HELLOS = 16  # remembered; a firmware has one, and says another one after an update
_TYPES: dict[str, np.dtype[Any]] = {"int16": np.dtype("<i2"), "int32": np.dtype("<i4"), "float32": np.dtype("<f4")}


@dataclass(frozen=True)
class _Plan:
    """How samples after one HELLO are read; `refused` are reason and detail where the model cannot take them."""

    kind: np.dtype[Any]
    channels: int
    columns: NDArray[np.intp] | None
    scale: NDArray[np.float32]
    refused: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Block:
    plan: _Plan
    samples: memoryview
    count: int
    first_ns: int
    last_ns: int


class Bridge:
    """Decodes what the serial lines of one pipeline bring, for one release; used by one thread."""

    def __init__(self, given: Input, before: Bridge | None = None) -> None:
        """`before` is the decoder for the release before: what it knows of a sketch's columns holds still."""
        self._given = given
        self._sketch: Sketch = Sketch(given, before._sketch if before else None)
        self._plans: dict[bytes, _Plan] = {}

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of blocks, with their times, or else of lines, without; what gives none is in `rejected`. Raises nothing."""
        if not any(payload and payload.startswith(MAGIC) for payload in payloads):
            return self._sketch.decode(payloads, topics)
        rejected: list[Rejected] = []
        taken = take_each(enumerate(payloads), self._block, rejected)
        parts = [nothing(len(self._given.channels), True, None, rejected)]
        for run in _runs(taken):
            parts.append(self._together(run, parts[-1].rejected))
        if len(parts) <= 2:
            return parts[-1]
        values, message = (np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "message"))
        times = np.concatenate([part.times for part in parts if part.times is not None])
        return Readings(values, times, message, None, parts[-1].rejected)

    def _block(self, _: int, payload: bytes) -> _Block:
        head = read_head(payload)
        if head is None:
            raise Refused(MALFORMED, "a damaged block") if payload.startswith(MAGIC) else Refused(DEBUG_PRINT)
        hello, begin, first_ns, last_ns = head
        plan = self._plans.get(hello) or self._learn(hello)
        if plan.refused:
            raise Refused(*plan.refused)
        count, rest = divmod(len(payload) - begin, plan.kind.itemsize * plan.channels)
        if rest or not count:
            raise Refused(WRONG_LENGTH, f"{len(payload) - begin} bytes of samples")
        if not first_ns <= last_ns:
            raise Refused(MALFORMED, "its last reading is before its first")
        return _Block(plan, memoryview(payload)[begin:], count, first_ns, last_ns)

    def _learn(self, body: bytes) -> _Plan:
        if len(self._plans) >= MAX_HELLOS:
            self._plans.clear()
        plan = self._plans[body] = self._plan(body)
        return plan

    def _plan(self, body: bytes) -> _Plan:
        wanted = self._given.channels
        try:
            hello = Hello.decode(body)
        except BadMessage as error:
            return _refusing(MALFORMED, str(error))
        names = [channel.name for channel in hello.channels]
        columns = firmware_columns(names, wanted)
        if columns is None:
            return _refusing(NO_CHANNELS, f"{', '.join(names)} instead of {', '.join(wanted)}")
        if not rate_fits(hello, self._given):
            return _refusing(OTHER_RATE, f"{hello.rate_hz:g} readings a second instead of {self._given.rate_hz:g}")
        in_order = np.array_equal(columns, np.arange(len(names)))
        scale = np.array([hello.channels[i].scale for i in columns], np.float32)
        return _Plan(_TYPES[hello.kind], len(names), None if in_order else columns, scale)

    def _together(self, run: list[tuple[int, _Block]], rejected: list[Rejected]) -> Readings:
        """Give the readings of blocks of one plan; `rejected` is what was refused before."""
        plan, blocks = run[0][1].plan, [block for _, block in run]
        counts = [block.count for block in blocks]
        raw = np.frombuffer(b"".join([block.samples for block in blocks]), plan.kind).reshape(-1, plan.channels)
        with np.errstate(all="ignore"):  # a firmware's NaN or overflow is refused below, not warned of
            values = np.multiply(raw if plan.columns is None else raw[:, plan.columns], plan.scale, dtype=np.float32)
        message = np.repeat(np.array([i for i, _ in run], np.intp), counts)
        return sound(values, _times(blocks, counts), message, None, rejected, self._given.channels)


def _refusing(reason: str, detail: str) -> _Plan:
    return _Plan(_TYPES["int16"], 1, None, np.ones(1, np.float32), (reason, detail))


def _runs(taken: Sequence[tuple[int, _Block]]) -> list[list[tuple[int, _Block]]]:
    """Part blocks where the plan changes."""
    runs: list[list[tuple[int, _Block]]] = []
    for each in taken:
        if not runs or runs[-1][0][1].plan is not each[1].plan:
            runs.append([])
        runs[-1].append(each)
    return runs


def _times(blocks: list[_Block], counts: list[int]) -> NDArray[np.int64]:
    """Spread each block's readings evenly from its first time to its last."""
    first = np.array([block.first_ns for block in blocks], np.int64)
    step = np.array([(block.last_ns - block.first_ns) / max(1, block.count - 1) for block in blocks])
    starts = np.cumsum(counts) - counts
    place = np.arange(sum(counts)) - np.repeat(starts, counts)
    return np.repeat(first, counts) + np.rint(place * np.repeat(step, counts)).astype(np.int64)
