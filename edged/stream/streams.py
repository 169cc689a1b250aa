"""Which streams there are: a bounded table from topic and labels to a slot.

A stream's key is made of the named levels of its topic and the labels in its messages, such
as `line=a/pump=7`. At most `limit` streams are held; a new one then takes the slot of the one
that was silent longest, whose unfinished window is lost and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
Name = bytes | tuple[bytes, Labels]

NOT_OURS = -1
_UNKNOWN = -2


@dataclass(slots=True)
class Stream:
    """One stream: its key, its labels, and what its postprocessing remembers."""

    key: str
    labels: dict[str, str]
    name: Name
    state: Any
    results: int = 0


class StreamTable:
    """The streams of one pipeline. Used by one thread."""

    def __init__(
        self, limit: int, labels_of: Callable[[bytes], Labels | None], new_state: Callable[[], Any], begin: Callable[[int], None]
    ) -> None:
        """`labels_of` gives a topic's labels, None for a topic that is not ours; `begin` clears a slot for a new stream."""
        self.limit = limit
        self.evicted = 0
        self.streams: list[Stream] = []
        self._labels_of = labels_of
        self._new_state = new_state
        self._begin = begin
        self._slots: dict[Name, int] = {}
        self._used = np.zeros(limit, np.int64)  # the turn in which a slot was used last
        self._turn = 0

    def slots_of(self, topics: list[bytes], labels: list[Labels] | None, rejected: Container[int] = ()) -> NDArray[np.intp]:
        """Give the slot of each message of a batch of at most `limit`; a negative one where there is none.

        A message in `rejected` begins no stream. A stream of the same batch is never let go
        for another: a batch cannot name more of them than there are slots.
        """
        self._turn += 1
        names: list[Name] = topics if labels is None else list(zip(topics, labels))  # type: ignore[assignment]
        get = self._slots.get
        slots = np.array([get(name, _UNKNOWN) for name in names], np.intp)
        self._used[slots[slots >= 0]] = self._turn
        for i in np.flatnonzero(slots == _UNKNOWN).tolist():
            if i in rejected:
                continue
            slot = get(names[i], _UNKNOWN)
            slots[i] = slot if slot >= 0 else self._new(names[i], topics[i], labels[i] if labels is not None else ())
        return slots

    def one_slot(self, topic: bytes) -> int:
        """Give the slot of a batch that has one topic and no labels; negative as in `slots_of`."""
        self._turn += 1
        slot = self._slots.get(topic, _UNKNOWN)
        if slot < 0:
            return self._new(topic, topic, ())
        self._used[slot] = self._turn
        return slot

    def turns(self) -> list[int]:
        """Give the turn in which each stream was used last, by slot: the least is the next to be let go."""
        return self._used[: len(self.streams)].tolist()

    def restore(self, names: Sequence[Name], turns: Sequence[int]) -> None:
        """Hold streams again, at most `limit`, in a table that has none; ValueError for names that are not ours or there twice."""
        for name in names:
            topic, labels = (name, ()) if isinstance(name, bytes) else name
            if name in self._slots or self._new(name, topic, labels) == NOT_OURS:
                raise ValueError("a stream that this pipeline cannot have")
        if names:
            # Only the order of turns counts; beginning with them anew keeps it whatever the numbers are.
            self._used[: len(names)] = np.unique(np.array(turns, np.int64), return_inverse=True)[1]
            self._turn = len(names)

    def take_over(self, other: StreamTable, with_states: bool) -> list[int]:
        """Hold the streams of another table, in a table that has none; give the slot each had there.

        Where there is room for fewer, those come that were used last. `other` stays as it is.
        """
        turns = other.turns()
        latest = sorted(range(len(turns)), key=turns.__getitem__)[max(0, len(turns) - self.limit) :]
        slots = sorted(latest)
        for stream in (other.streams[slot] for slot in slots):
            state = stream.state if with_states else self._new_state()
            self.streams.append(replace(stream, state=state))
        self._slots = {stream.name: slot for slot, stream in enumerate(self.streams)}
        self._used[: len(slots)] = [turns[slot] for slot in slots]
        self._turn = other._turn
        self.evicted = other.evicted + len(turns) - len(slots)
        return slots

    def clear(self) -> None:
        """Hold no stream any more."""
        self.streams.clear()
        self._slots.clear()

    def _new(self, name: Name, topic: bytes, labels: Labels) -> int:
        levels = self._labels_of(topic)
        if levels is None:
            return NOT_OURS
        pairs = levels + labels
        stream = Stream("/".join(f"{label}={value}" for label, value in pairs), dict(pairs), name, self._new_state())
        slot = len(self.streams)
        if slot < self.limit:
            self.streams.append(stream)
        else:
            slot = int(self._used.argmin())
            del self._slots[self.streams[slot].name]
            self.streams[slot] = stream
            self.evicted += 1
        self._used[slot] = self._turn
        self._slots[name] = slot
        self._begin(slot)
        return slot
