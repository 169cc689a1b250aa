"""The spool's writer thread: groups, early commits, faults that come and go, what is read back; on the real file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.clock import SystemClock
from edged.spool.faults import SpoolError
from edged.spool.store import Opened, Row, Store, Written
from edged.spool.writer import PENDING_ROWS, URGENT, Writer
from tests.waiting import until

LONG_S = 3600.0


class Owner:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.kept_rows: list[int] = []
        self.refused_rows: list[tuple[int, str]] = []
        self.lost_rows: list[int] = []
        self.moved_upto = 0
        self.left: dict[int, int] = {}
        self.fed: list[tuple[list[bytes], int, int]] = []

    def kept(self, row: Row) -> None:
        self.kept_rows.append(row.id)

    def refused(self, row: Row, reason: str) -> None:
        self.refused_rows.append((row.id, reason))

    def lost(self, row: int, stream: int, reason: str) -> None:
        self.lost_rows.append(row)

    def moved(self, upto: int) -> None:
        self.moved_upto = upto

    def found(self, left: dict[int, int], last_row: int) -> None:
        self.left = left

    def feed(self, rows: list[Row], after: int, upto: int) -> None:
        self.fed.append(([row.payload for row in rows], after, upto))


class Failing(Store):
    """A real store whose disk can be made to fail."""

    fault: SpoolError | None = None
    writes = 0

    def open(self) -> Opened:
        if self.fault:
            raise self.fault
        return super().open()

    def write(self, new: list[Row], gone: list[int]) -> Written:
        if self.fault:
            raise self.fault
        self.writes += bool(new or gone)
        return super().write(new, gone)


FULL_DISK = SpoolError("spool-disk-full", "the disk is full", "make room")
Make = Callable[..., tuple[Writer, Owner, Failing]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that starts a writer on one file; it commits when asked, or after `commit_s`."""
    made: list[Writer] = []

    def make(
        commit_s: float = LONG_S, max_bytes: int = 1 << 20, full: str = "drop-oldest", fault: SpoolError | None = None
    ) -> tuple[Writer, Owner, Failing]:
        store = Failing(tmp_path / "spool.db", max_bytes, full, SystemClock())  # type: ignore[arg-type]
        store.fault = fault
        writer, owner = Writer(store, full, commit_s, SystemClock()), Owner()  # type: ignore[arg-type]
        writer.own("main", owner)
        writer.start()
        made.append(writer)
        return writer, owner, store

    yield make
    for writer in made:
        writer.stop(10)


def row(payload: str = "x", stream: int = 1, queue: str = "main") -> Row:
    return Row(0, queue, stream, "t", payload.encode(), 1)


def test_rows_are_written_together(make: Make) -> None:
    writer, owner, store = make()
    ids = [writer.put(row(str(i)), urgent=False) for i in range(100)]
    assert writer.flush(10)
    assert (owner.kept_rows, store.writes, store.count) == (ids, 1, 100)


def test_a_group_waits_no_longer_than_commit_ms(make: Make) -> None:
    writer, owner, _ = make(commit_s=0.05)
    writer.put(row(), urgent=False)
    until(lambda: owner.kept_rows, "it is written")


def test_senders_that_fill_a_broker_s_window_are_let_go_early(make: Make) -> None:
    """Else 20 messages would go through in each commit time, and no more."""
    writer, owner, _ = make()
    for _ in range(URGENT):
        writer.put(row(), urgent=True)
    until(lambda: len(owner.kept_rows) == URGENT, "they are written", lambda: owner.kept_rows)


def test_what_was_put_before_is_in_what_is_read(make: Make) -> None:
    writer, owner, _ = make()
    first, last = writer.put(row("a"), False), writer.put(row("b"), False)
    writer.fetch("main", 0)
    until(lambda: owner.fed, "it is read")
    assert owner.fed == [([b"a", b"b"], 0, last)]
    writer.gone(first)
    writer.fetch("main", 0)
    until(lambda: len(owner.fed) == 2, "it is read")
    assert owner.fed[1] == ([b"b"], 0, last)
    writer.fetch("main", last)
    until(lambda: len(owner.fed) == 3, "it is read")
    assert owner.fed[2][0] == []
    assert owner.fed[2][2] >= last


def test_rows_of_an_earlier_run_are_found_and_new_ones_come_behind_them(make: Make) -> None:
    writer, _, _ = make()
    for stream in (1, 1, 2):
        writer.put(row(stream=stream), False)
    last = writer.put(row(queue="main", stream=2), False)
    writer.stop(10)
    again, owner, _ = make()
    assert owner.left == {1: 2, 2: 2}
    assert again.rows == 4
    assert again.put(row(), False) > last


def test_rows_of_a_broker_that_is_not_configured_any_more_stay_and_are_told_of(make: Make, tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", 1 << 20, "drop-oldest", SystemClock())
    store.open()
    old = row(queue="gone")
    old.id = 5
    store.write([old], [])
    store.close()
    writer, owner, _ = make()
    assert (writer.orphans, owner.left, writer.rows) == (1, {}, 1)


def test_while_the_disk_fails_rows_wait_in_memory_and_are_written_when_it_recovers(make: Make) -> None:
    writer, owner, store = make(commit_s=0.01)
    store.fault = FULL_DISK
    put = writer.put(row("a"), True)
    until(lambda: writer.fault, "the fault is known")
    assert writer.fault is FULL_DISK
    assert owner.kept_rows == []
    store.fault = None
    until(lambda: owner.kept_rows == [put], "it is written after all")
    assert writer.fault is None


def test_while_the_disk_fails_rows_are_read_back_from_memory(make: Make) -> None:
    writer, owner, store = make(commit_s=0.01)
    store.fault = FULL_DISK
    put = writer.put(row("a"), True)
    until(lambda: writer.fault, "the fault is known")
    writer.fetch("main", 0)
    until(lambda: owner.fed, "it is read")
    assert owner.fed[0][0] == [b"a"]
    writer.gone(put)
    assert writer.rows == 0


@pytest.mark.parametrize(("policy", "survivors"), [("drop-oldest", slice(3, None)), ("refuse", slice(None, -3))])
def test_while_the_disk_fails_memory_is_bounded_by_the_policy(make: Make, policy: str, survivors: slice) -> None:
    writer, owner, store = make(commit_s=0.01, full=policy, max_bytes=64 << 20)
    store.fault = FULL_DISK
    ids = [writer.put(row(), False) for _ in range(PENDING_ROWS + 3)]
    until(lambda: len(owner.refused_rows) == 3, "three are let go", lambda: owner.refused_rows)
    store.fault = None
    assert writer.flush(60)
    until(lambda: len(owner.kept_rows) == PENDING_ROWS, "the others are written")
    assert owner.kept_rows == ids[survivors]
    assert {reason for _, reason in owner.refused_rows} == {"spool-unwritable"}


def test_a_file_that_cannot_be_opened_at_the_start_is_opened_when_it_can(make: Make) -> None:
    before, _, _ = make()
    before.put(row("old", stream=9), False)
    before.stop(10)
    writer, owner, store = make(commit_s=0.01, fault=FULL_DISK)
    assert writer.fault is FULL_DISK
    put = writer.put(row("new"), False)
    store.fault = None
    until(lambda: owner.kept_rows == [put], "it is written")
    assert (owner.left, writer.fault) == ({9: 1}, None)


def test_a_fault_is_over_when_the_disk_recovers_also_with_nothing_to_write(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.spool.writer.RETRY_S", 0.02)
    writer, _, store = make(fault=FULL_DISK)
    assert writer.fault is FULL_DISK
    store.fault = None
    until(lambda: writer.fault is None, "the fault is over")


def test_a_file_that_turns_out_to_be_corrupt_is_moved_aside_and_what_waits_goes_into_a_new_one(make: Make, tmp_path: Path) -> None:
    writer, owner, _ = make(commit_s=0.01, max_bytes=16 << 20)
    for i in range(20_000):  # more than SQLite keeps in its cache
        writer.put(row(f"{i:0500}"), False)
    assert writer.flush(60)
    file = tmp_path / "spool.db"
    for path in (file, tmp_path / "spool.db-wal"):
        if path.exists():
            with path.open("r+b") as raw:
                raw.write(b"\xa5" * path.stat().st_size)
    writer.fetch("main", 0)
    until(lambda: writer.moved, "the damage is found")
    assert owner.moved_upto == owner.kept_rows[-1]
    put = writer.put(row("new"), True)
    until(lambda: put in owner.kept_rows, "the new one is written", lambda: writer.fault)
    assert len(writer.moved) == 1
    assert Path(writer.moved[0].to).exists()
    assert writer.dropped["spool-corrupt"] >= 1000
    assert writer.fault is None


def test_what_does_not_fit_is_said_by_the_policy(make: Make) -> None:
    writer, owner, _ = make(max_bytes=256 << 10, full="refuse")
    for _ in range(3):
        for _ in range(10):
            writer.put(row("x" * 16_000), False)
        writer.flush(10)
    assert len(owner.kept_rows) + len(owner.refused_rows) == 30
    assert {reason for _, reason in owner.refused_rows} == {"spool-full"}


def test_nothing_is_written_and_nothing_wakes_up_while_there_is_nothing_to_do(make: Make, tmp_path: Path) -> None:
    writer, _, store = make(commit_s=0.01)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    writer.fetch("main", 0)
    assert writer.flush(10)
    assert store.writes == 0
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
