"""Between a link's outbox and the spool's file: messages as rows, rows as messages."""

from __future__ import annotations

from dataclasses import dataclass

from edged.clock import SteadyClock
from edged.mqtt.message import Message
from edged.mqtt.outbox import Outbox
from edged.spool.store import Row
from edged.spool.writer import Writer


@dataclass(slots=True)
class _Waiting(Row):
    """A row that is on its way to disk, with the message it was made of."""

    message: Message | None = None


class Spooled:
    """The disk of one link; a `mqtt.waiting.Disk` to its outbox, a `spool.writer.Owner` to the writer."""

    def __init__(self, queue: str, writer: Writer, outbox: Outbox, clock: SteadyClock) -> None:
        self._queue = queue
        self._writer = writer
        self._outbox = outbox
        self._clock = clock
        outbox.attach(self)
        writer.own(queue, self)

    # -- to the outbox --------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """See `Disk`."""
        return self._writer.crowded

    def keep(self, message: Message) -> int:
        """See `Disk`."""
        m = message
        row = _Waiting(0, self._queue, m.stream, m.topic, m.payload, m.qos, m.content_type, m.properties, self._clock.now(), m)
        return self._writer.put(row, urgent=message.hold is not None)

    def gone(self, row: int) -> None:
        """See `Disk`."""
        self._writer.gone(row)

    def fetch(self, after: int) -> None:
        """See `Disk`."""
        self._writer.fetch(self._queue, after)

    # -- to the writer --------------------------------------------------------------------

    def kept(self, row: Row) -> None:
        """See `Owner`."""
        assert isinstance(row, _Waiting)
        assert row.message
        self._outbox.kept(row.message)

    def refused(self, row: Row, reason: str) -> None:
        """See `Owner`."""
        assert isinstance(row, _Waiting)
        assert row.message
        self._outbox.refused(row.message, row.id, reason)

    def lost(self, row: int, stream: int, reason: str) -> None:
        """See `Owner`."""
        self._outbox.lost(row, stream, reason)

    def moved(self, upto: int) -> None:
        """See `Owner`."""
        self._outbox.moved(upto)

    def found(self, left: dict[int, int], last_row: int) -> None:
        """See `Owner`."""
        self._outbox.found(left, last_row)

    def feed(self, rows: list[Row], after: int, upto: int) -> None:
        """See `Owner`."""
        self._outbox.feed([_message(row) for row in rows], after, upto)


def _message(row: Row) -> Message:
    if isinstance(row, _Waiting) and row.message:
        return row.message
    return Message(row.topic, row.payload, row.qos, False, row.content_type, row.properties, row.stream, row=row.id)
