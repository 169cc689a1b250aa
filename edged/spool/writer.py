"""The one thread that writes and reads the spool's file, for the results of all brokers.

What is put is written in groups: `commit_s` after the first of a group, or at once when URGENT
of them hold up their senders. Where the file cannot be written, results wait in memory, up to
PENDING_ROWS or PENDING_BYTES, and writing is tried again; beyond it the policy decides, and what
is let go is counted. A disk that hangs counts as one that fails. A file that turns out to be
corrupt is moved aside, and a new one begun.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import Literal

from edged.clock import NS, Clock
from edged.spool.faults import SpoolError, hanging
from edged.spool.owner import Moved, Owner
from edged.spool.pending import Pending
from edged.spool.reading import CHUNK, Reading
from edged.spool.store import Row, Store

URGENT = 16  # Mosquitto lets 20 messages be unacknowledged
GROUP = 2_000  # rows in one transaction
CROWDED = 2_000  # rows that wait to be written, beyond which who makes them is held up
PENDING_ROWS = 10_000
PENDING_BYTES = 32 << 20
RETRY_S = 5.0
OPEN_S = 10.0  # a start waits no longer for the file
HUNG_NS = 20 * NS  # one step of the disk that takes longer counts as a fault
_MOVED = 10  # remembered
FULL, UNWRITABLE, CORRUPT = "spool-full", "spool-unwritable", "spool-corrupt"


class Writer:
    """Start it once, stop it once. `fault` says why the file cannot be written, None while it can."""

    def __init__(self, store: Store, full: Literal["drop-oldest", "refuse"], commit_s: float, clock: Clock) -> None:
        self.fault: SpoolError | None = None
        self.moved: list[Moved] = []
        self.dropped: dict[str, int] = {}
        self.oldest: int | None = None  # wall time in ns at which the oldest result on disk was accepted
        self.orphans = 0  # rows of brokers that are not configured any more
        self._store = store
        self._reading = Reading(store, clock)
        self._full = full
        self._commit_s = commit_s
        self._clock = clock
        self._owners: dict[str, Owner] = {}
        self._opened = False
        # Above whatever an earlier run gave, also where its file cannot be opened yet.
        self._next = clock.wall()
        self._pending = Pending()
        self._gone: set[int] = set()
        self._fetches: list[tuple[str, int]] = []
        self._urgent = 0
        self._rounds = 0
        self._flush = False
        self._stopping = False
        self._retry_s = 0.0  # how long to wait after the last failure; 0: it did not fail
        self._retry_at = 0  # monotonic ns
        self._step_began = 0  # monotonic ns, while the disk is used
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def own(self, queue: str, owner: Owner) -> None:
        """Say whom the rows of a queue belong to; before the start."""
        self._owners[queue] = owner

    def start(self) -> None:
        """Begin to write; when this returns, the owners know what an earlier run left, where the file could be opened within OPEN_S."""
        self._thread.start()
        self._ready.wait(OPEN_S)

    def look(self) -> None:
        """Notice a disk that neither takes nor refuses; called now and then."""
        with self._changed:
            hangs = bool(self._step_began) and self._clock.mono() - self._step_began > HUNG_NS
            if hangs and self.fault is None:
                self.fault = hanging(self._store.path)
        if hangs:
            self._trim()

    @property
    def alive(self) -> bool:
        """Say whether its thread runs."""
        return self._thread.is_alive()

    @property
    def crowded(self) -> bool:
        """Say whether more is put in than is written; not while writing fails: that would hold up everybody for long."""
        return self.fault is None and len(self._pending) > CROWDED

    @property
    def rows(self) -> int:
        """Count the results on disk, and those on their way there."""
        return self._store.count + len(self._pending)

    @property
    def used_bytes(self) -> int:
        """Give what the results on disk take."""
        return self._store.used_bytes

    def put(self, row: Row, urgent: bool) -> int:
        """Have a row written; gives it its id. `urgent`: a sender waits for it."""
        with self._changed:
            row.id = self._next
            self._next += 1
            self._pending.add(row)
            self._urgent += urgent
            if len(self._pending) == 1 or self._urgent >= URGENT:
                self._changed.notify()
        return row.id

    def gone(self, row: int) -> None:
        """Have a row deleted."""
        with self._changed:
            if self.fault is not None and self._pending.remove(row):
                return
            self._gone.add(row)
            if len(self._gone) == 1:
                self._changed.notify()

    def fetch(self, queue: str, after: int) -> None:
        """Have rows read; what was put before is written first."""
        with self._changed:
            self._fetches.append((queue, after))
            self._changed.notify()

    def flush(self, deadline_s: float) -> bool:
        """Wait until everything is written; False where that is not so within the deadline, or writing fails once more."""
        with self._changed:
            self._flush = True
            self._changed.notify()
            two_more = self._rounds + 2  # the one that may be under way knows nothing of what was put last
            done = self._changed.wait_for(
                lambda: not (self._pending or self._gone) or (self.fault is not None and self._rounds >= two_more), deadline_s
            )
            self._flush = False
            return done and not (self._pending or self._gone)

    def stop(self, deadline_s: float) -> int:
        """Write what is left; give how many results could not be written."""
        self.flush(deadline_s)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(deadline_s)
        return len(self._pending)

    # -- the writer's own thread ----------------------------------------------------------

    def _run(self) -> None:
        self._step_began = self._clock.mono()
        self._open()
        self._step_began = 0
        self._ready.set()
        while not self._stopping:
            with self._changed:
                waiting = self._changed.wait_for(self._something_to_do, RETRY_S if self.fault or self._reading.missed else None)
                if waiting and not self._hurry():
                    self._changed.wait_for(self._hurry, self._retry_s or self._commit_s)
            if not self._stopping:
                self._round()
        self._store.close()

    def _something_to_do(self) -> bool:
        return bool(self._pending or self._gone or self._fetches) or self._stopping

    def _hurry(self) -> bool:
        waits = self._urgent >= URGENT or len(self._pending) >= GROUP
        return bool(self._fetches) or self._stopping or self._flush or (waits and not self._retry_s)

    def _round(self) -> None:
        """Write one group and answer who asked meanwhile."""
        with self._changed:
            now = self._step_began = self._clock.mono()
            rows: list[Row] = []
            gone: list[int] = []
            tries = not self._retry_s or self._flush or now >= self._retry_at  # else who only reads would have it fail again and again
            if tries:
                rows = self._pending.begin(GROUP)
                gone = list(islice((row for row in self._gone if row not in self._pending), GROUP))
            upto = rows[-1].id if len(rows) == GROUP else self._next - 1
            fetches, self._fetches = self._fetches, []
            self._urgent = 0
        if tries:
            try:
                self._write(rows, gone)
            except SpoolError as error:
                self._failed(error)
        for queue, after in fetches:
            self._owners[queue].feed(*self._answer(queue, after, upto))
        self._trim()
        with self._changed:
            self._step_began = 0
            self._rounds += 1
            self._changed.notify_all()  # who flushes

    def _write(self, rows: list[Row], gone: list[int]) -> None:
        if not self._opened:
            self._open()
        if self.fault is not None and not self._opened:
            raise self.fault
        written = self._store.write(rows, gone)
        refused = set(written.refused)
        with self._changed:
            self._gone.difference_update(gone)
            self._pending.end(rows)
            self.fault, self._retry_s = None, 0.0
            self._step_began = self._clock.mono()
        self.oldest = self._store.oldest()
        for row in rows:
            if row.id in refused:
                self._owners[row.queue].refused(row, FULL)
            else:
                self._owners[row.queue].kept(row)
        for queue, stream, row_id in written.dropped:
            if queue not in self._owners:
                self.orphans -= 1
                self.dropped[FULL] = self.dropped.get(FULL, 0) + 1
            elif row_id not in self._gone:
                self._owners[queue].lost(row_id, stream, FULL)
        for queue in self._reading.take_missed():
            self._owners[queue].found({}, self._next - 1)

    def _failed(self, error: SpoolError) -> None:
        with self._changed:
            self._pending.end([])
        self.fault = error
        self._retry_s = min(RETRY_S, max(self._commit_s, 2 * self._retry_s))
        self._retry_at = self._clock.mono() + int(self._retry_s * NS)
        if error.code == "spool-corrupt":
            self._opened = False
            self._open(self._store.count)

    def _open(self, known: int | None = None) -> None:
        """Open the file; `known` rows were in it, where it was open before."""
        try:
            opened = self._store.open()
        except SpoolError as error:
            self.fault = error
            return
        self._opened = True
        self.fault = None
        self.oldest = self._store.oldest()
        if opened.moved is not None:
            self.moved = [*self.moved[1 - _MOVED :], Moved(str(opened.moved), opened.why, known)]
            self.dropped[CORRUPT] = self.dropped.get(CORRUPT, 0) + (known or 0)
            with self._changed:
                upto = next((row.id for row in self._pending), self._next) - 1  # those that wait will be in the new file
            for owner in self._owners.values():
                owner.moved(upto)
        left: dict[str, dict[int, int]] = {}
        for queue, stream, count in opened.waiting:
            left.setdefault(queue, {})[stream] = count
        with self._changed:
            self._next = max(self._next, opened.next_id)
        self.orphans = sum(sum(streams.values()) for queue, streams in left.items() if queue not in self._owners)
        for queue, streams in left.items():
            if queue in self._owners:
                self._owners[queue].found(streams, opened.next_id - 1)

    def _answer(self, queue: str, after: int, upto: int) -> tuple[list[Row], int, int]:
        """Read rows behind `after`; from memory what the file does not take."""
        rows: list[Row] = []
        if self._opened:
            try:
                rows = self._reading.read(queue, after)
            except SpoolError as error:
                self._failed(error)
                if error.code == "spool-corrupt" and self._opened:
                    return [], after, after  # so that it is asked for again, of the file that is new now
        with self._changed:
            if rows:
                return [row for row in rows if row.id not in self._gone], after, rows[-1].id
            if self.fault is None:
                return [], after, max(after, upto)
            waiting = self._pending.behind(queue, after, CHUNK)
            return waiting, after, waiting[-1].id if waiting else max(after, self._next - 1)

    def _trim(self) -> None:
        """Let go of what does not fit into memory while the file cannot be written."""
        with self._changed:
            if self.fault is None:
                return
            for row in [row for row in self._gone if self._pending.remove(row)]:
                self._gone.discard(row)
            let_go = self._pending.trim(PENDING_ROWS, PENDING_BYTES, newest=self._full == "refuse")
        for each in let_go:
            self._owners[each.queue].refused(each, UNWRITABLE)
