"""Which messages wait for a broker, where, and in which order they go: in memory, on disk, read back from it.

    put → live ─────────────→ take
            ╲ spill   feed ╱
             → on disk → backlog

Messages of a stream keep their order: while older ones of it are on disk or in the backlog,
new ones go to disk, too. What is read back leaves LIVE_TURNS of LIVE_TURNS + 1 turns to what is
new, as long as something new waits. No locks, no clock, no I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from edged.mqtt.message import Message

LIMIT = 10_000  # messages in memory; beyond it they go to disk, or the oldest are dropped where there is none
LIVE_TURNS = 3
BACKLOG_LOW = 256  # below it more is read back from disk


class Disk(Protocol):
    """Where messages wait that the broker does not take. Its calls return at once and call nobody back meanwhile."""

    @property
    def crowded(self) -> bool:
        """Say whether more is put in than the disk takes."""

    def keep(self, message: Message) -> int:
        """Have a message written; give its row. Rows rise. The outbox's `kept` or `refused` follows."""

    def gone(self, row: int) -> None:
        """Have a row deleted."""

    def fetch(self, after: int) -> None:
        """Have rows behind `after` read; the outbox's `feed` follows."""


class Waiting:
    """The messages of one link that are not in flight. `reading` allows to read back from disk."""

    def __init__(self) -> None:
        self.disk: Disk | None = None
        self.away = False  # messages of streams go to disk
        self.reading = False
        self.behind: dict[int, int] = {}  # by stream: how many messages are on disk or in the backlog
        self._live: deque[Message] = deque()
        self._backlog: deque[Message] = deque()
        self.drained = 0  # messages that were read back and sent, since the start
        self._turn = 0
        self._in_memory: dict[int, Message] = {}  # by row: what is on disk, and here or in flight as well
        self._cursor = 0  # rows up to here were read back
        self._last_row = 0  # nothing is to be read back behind it
        self._fetching = False
        self._finished = False
        self._ended: set[int] = set()  # rows that ended while a read was under way, and may be in what it gives

    def found(self, left: dict[int, int], last_row: int) -> None:
        """Note that an earlier run left so many messages of each stream on disk, up to `last_row`."""
        for stream, count in left.items():
            self.behind[stream] = self.behind.get(stream, 0) + count
        self._last_row = max(self._last_row, last_row)
        self._cursor = 0
        self.want_more()

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog)

    @property
    def live(self) -> int:
        """Count the messages that wait and were never on disk only."""
        return len(self._live)

    @property
    def results(self) -> int:
        """Count the messages of streams that wait, in memory or on disk."""
        return sum(self.behind.values()) + sum(1 for message in self._live if message.stream)

    @property
    def at_risk(self) -> int:
        """Count the messages of streams that wait in memory and are not on disk."""
        return sum(1 for message in (*self._live, *self._backlog) if message.stream and not message.row)

    def put(self, message: Message) -> Message | None:
        """Take a message; give the one that has to be dropped for it."""
        if self.disk and len(self._live) >= LIMIT:
            self._spill_live()  # all of them: one that stays would pass an older one of its stream
        if self.disk and message.stream and (self.away or message.stream in self.behind):
            self.spill(message)
            self.want_more()
            return None
        self._live.append(message)
        if message.durable:
            self.keep(message)
        return self._live.popleft() if len(self._live) > LIMIT else None

    def take(self) -> Message | None:
        """Give the next message to send."""
        self._turn = (self._turn + 1) % (LIVE_TURNS + 1)
        if self._live and (self._turn or not self._backlog):
            return self._live.popleft()
        if not self._backlog:
            return None
        message = self._backlog.popleft()
        self.drained += 1
        self._no_longer_behind(message.stream)
        self._settle()
        self.want_more()
        return message

    def go_away(self, flying: Iterable[Message]) -> None:
        """Bring everything that may wait on disk there; what is in flight first, for it is older."""
        if self.disk is None:
            return
        self.away = True
        for message in flying:
            self.keep(message)
        self.forget_backlog()
        self._spill_live()

    def finish(self) -> None:
        """Read nothing more back."""
        self._finished = True
        self.forget_backlog()

    def forget_backlog(self) -> None:
        """Let go of what was read back: it is on disk, and will be read again. What is not any more stays: it is older than the rest."""
        for message in self._backlog:
            self._in_memory.pop(message.row, None)
        self._backlog = deque(message for message in self._backlog if not message.row)
        self._cursor = 0

    def keep(self, message: Message) -> None:
        """Have a message on disk as well as in memory, where it may be."""
        if self.disk and message.stream and not message.row:
            message.row = self.disk.keep(message)
            self._in_memory[message.row] = message

    def spill(self, message: Message) -> None:
        """Have a message on disk only."""
        assert self.disk is not None
        if message.row:
            self._in_memory.pop(message.row, None)
        else:
            message.row = self.disk.keep(message)
        self._last_row = max(self._last_row, message.row)
        self._cursor = min(self._cursor, message.row - 1)
        self.behind[message.stream] = self.behind.get(message.stream, 0) + 1

    def end(self, message: Message) -> None:
        """Let a message go that the broker has, or that is dropped."""
        if message.row and self.disk:
            self._in_memory.pop(message.row, None)
            self.disk.gone(message.row)
            if self._fetching:
                self._ended.add(message.row)
            message.row = 0

    def off_disk(self, row: int, stream: int) -> bool:
        """Note that a row is not on disk after all; say whether the message is lost, being nowhere else."""
        message = self._in_memory.pop(row, None)
        if message is not None:
            message.row = 0
            return False
        self._no_longer_behind(stream)
        return True

    def moved(self, upto: int) -> None:
        """Note that no row up to `upto` is on disk any more."""
        for row in [row for row in self._in_memory if row <= upto]:
            self._in_memory.pop(row).row = 0

    def feed(self, messages: list[Message], after: int, upto: int) -> None:
        """Take what was read behind `after`; there is nothing else up to `upto`."""
        self._fetching = False
        ended, self._ended = self._ended, set()
        if after == self._cursor and not self._finished:  # else the connection ended meanwhile, and reading begins anew
            self._cursor = upto
            for message in messages:
                if message.row not in self._in_memory and message.row not in ended:
                    self._in_memory[message.row] = message
                    self._backlog.append(message)
            self._settle()
        self.want_more()

    def want_more(self) -> None:
        """Ask the disk for more where it has some and there is need."""
        if self.disk is None or not self.reading or self._fetching or self._finished:
            return
        if len(self._backlog) < BACKLOG_LOW and self._cursor < self._last_row:
            self._fetching = True
            self.disk.fetch(self._cursor)

    def _spill_live(self) -> None:
        live, self._live = self._live, deque()
        for message in live:
            if message.stream:
                self.spill(message)
            else:
                self._live.append(message)

    def _settle(self) -> None:
        """Note that nothing is behind once everything was read back and sent, whatever was counted: rows may be lost with their file."""
        if not self._backlog and self._cursor >= self._last_row and not self._fetching:
            self.behind.clear()

    def _no_longer_behind(self, stream: int) -> None:
        left = self.behind.get(stream, 0) - 1
        if left > 0:
            self.behind[stream] = left
        else:
            self.behind.pop(stream, None)
