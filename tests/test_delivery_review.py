"""What delivery holds on to in corners: faults while reading, rows that go while they are read, full memory, a disk that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edged.clock import NS, Clock, SystemClock, VirtualClock
from edged.hold import Hold
from edged.mqtt.message import NOT_NOW, Message
from edged.mqtt.outbox import Outbox
from edged.mqtt.waiting import LIMIT
from edged.records import Batch
from edged.service import blackbox
from edged.service.blackbox import BlackBox
from edged.spool.faults import SpoolError
from edged.spool.store import Row, Store, Written
from edged.spool.writer import HUNG_NS, PENDING_ROWS, Writer
from edged.stream.sources.pipeline import PipelineSource
from tests.lanes import Lane
from tests.releases import twice
from tests.test_outbox import Paper, Way
from tests.test_spool_writer import FULL_DISK, Failing, Owner, row
from tests.waiting import PATIENCE_S, until

BAD_BLOCK = SpoolError("spool-io-error", "the disk failed", "change it")


@pytest.fixture
def way() -> Way:
    return Way()


# -- the writer -------------------------------------------------------------------------------


class Gated(Failing):
    """A store whose next write waits until it may go on, and whose reads can be made to fail."""

    gate: threading.Event | None = None
    reads_fail = 0

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.began = threading.Event()
        self.tries = 0

    def write(self, new: list[Row], gone: list[int]) -> Written:
        self.tries += bool(new or gone)
        if self.gate is not None and new:
            self.began.set()
            assert self.gate.wait(PATIENCE_S)
        return super().write(new, gone)

    def read(self, queue: str, after: int, limit: int) -> list[Row]:
        if self.reads_fail:
            self.reads_fail -= 1
            raise BAD_BLOCK
        return super().read(queue, after, limit)


Start = Callable[..., tuple[Writer, Owner, Gated]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a writer which commits after 10 ms."""
    made: list[tuple[Writer, Gated]] = []

    def start(clock: Clock | None = None, owner: Owner | None = None, commit_s: float = 0.01) -> tuple[Writer, Owner, Gated]:
        clock = clock or SystemClock()
        store, owner = Gated(tmp_path / "spool.db", 64 << 20, "drop-oldest", clock), owner or Owner()
        writer = Writer(store, "drop-oldest", commit_s, clock)
        writer.own("main", owner)
        writer.start()
        made.append((writer, store))
        return writer, owner, store

    yield start
    for writer, store in made:
        store.fault, store.reads_fail = None, 0
        if store.gate:
            store.gate.set()
        writer.stop(10)


def test_a_row_that_is_acknowledged_while_it_is_written_again_after_a_fault_is_deleted(start: Start) -> None:
    writer, owner, store = start()
    store.fault = FULL_DISK
    put = writer.put(row(), True)
    until(lambda: writer.fault, "the fault is known")
    store.gate = threading.Event()
    until(store.began.is_set, "it is tried again")
    writer.gone(put)
    store.fault = None
    store.gate.set()
    assert writer.flush(10)
    assert writer.alive
    assert (owner.kept_rows, store.count) == ([put], 0)


def test_a_row_that_is_put_while_a_round_begins_is_not_passed_over_by_what_it_answers(tmp_path: Path) -> None:
    """What is answered is "there is nothing else up to `upto`"; a row that came after the lock was let go is beyond it."""
    writer, owner = (
        Writer(Store(tmp_path / "spool.db", 1 << 20, "drop-oldest", SystemClock()), "drop-oldest", 3600.0, SystemClock()),
        Owner(),
    )
    late: list[int] = []

    class Meanwhile(threading.Condition):
        asked = False

        def __exit__(self, *args: object) -> None:
            super().__exit__(None, None, None)
            if threading.current_thread().name == "spool" and self.asked and not late and not writer._fetches:
                late.append(0)
                late[0] = writer.put(row("late"), False)

    writer._changed = changed = Meanwhile()
    writer.own("main", owner)
    writer.start()
    try:
        changed.asked = True
        writer.fetch("main", 0)
        until(lambda: owner.fed, "it is answered")
        assert late[0] not in owner.kept_rows
        assert owner.fed[0][2] < late[0]
    finally:
        writer.stop(10)


def test_rows_that_cannot_be_read_for_a_moment_are_read_all_the_same(start: Start) -> None:
    writer, owner, store = start()
    writer.put(row("a"), False)
    assert writer.flush(10)
    store.reads_fail = 1
    writer.fetch("main", 0)
    until(lambda: owner.fed, "it is answered")
    assert owner.fed[0][0] == [b"a"]


def test_rows_that_could_not_be_read_are_asked_for_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.spool.reading.AGAIN_NS", 0, raising=False)
    monkeypatch.setattr("edged.spool.writer.RETRY_S", 0.02)
    told: list[int] = []

    class Asking(Owner):
        def found(self, left: dict[int, int], last_row: int) -> None:
            told.append(last_row)

    writer, owner, store = start(owner=Asking())
    put = writer.put(row("a"), False)
    assert writer.flush(10)
    store.reads_fail = 2
    writer.fetch("main", 0)
    until(lambda: owner.fed, "it is answered: new results go on")
    until(lambda: told, "it is told that there are rows to read")
    assert told[0] >= put


def test_who_reads_while_the_disk_fails_does_not_have_it_written_to_again_and_again(start: Start) -> None:
    writer, owner, store = start(commit_s=3600.0)
    store.fault = FULL_DISK
    writer.put(row(), False)
    writer.fetch("main", 0)
    until(lambda: len(owner.fed) == 1, "it is answered")
    for number in range(2, 12):
        writer.fetch("main", 0)
        until(lambda number=number: len(owner.fed) == number, "it is answered")  # type: ignore[misc]
    assert store.tries == 1


def test_memory_is_bounded_while_the_disk_hangs(start: Start) -> None:
    clock = VirtualClock(1)
    clock.advance(1)
    writer, owner, store = start(clock)
    store.gate = threading.Event()
    first = writer.put(row(), False)
    until(store.began.is_set, "it is being written")
    ids = [writer.put(row(), False) for _ in range(PENDING_ROWS + 5)]
    writer.look()
    assert writer.fault is None
    clock.advance(HUNG_NS + 1)
    writer.look()
    assert writer.fault is not None
    assert writer.fault.code == "spool-hung"
    assert [each for each, _ in owner.refused_rows] == ids[:6]
    store.gate.set()
    assert writer.flush(60)
    until(lambda: len(owner.kept_rows) == PENDING_ROWS, "the rest is written")
    assert owner.kept_rows[0] == first
    assert writer.fault is None


def test_a_start_does_not_wait_for_a_file_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.spool.writer.OPEN_S", 0.01, raising=False)
    opens = threading.Event()

    class Hanging(Store):
        def open(self):  # type: ignore[no-untyped-def]
            assert opens.wait(PATIENCE_S)
            return super().open()

    store, owner = Hanging(tmp_path / "spool.db", 1 << 20, "drop-oldest", SystemClock()), Owner()
    writer = Writer(store, "drop-oldest", 0.01, SystemClock())
    writer.own("main", owner)
    starting = threading.Thread(target=writer.start, daemon=True)
    starting.start()
    try:
        starting.join(PATIENCE_S)
        assert not starting.is_alive()
        put = writer.put(row(), False)
        opens.set()
        until(lambda: owner.kept_rows == [put], "it is written once the file opened")
    finally:
        opens.set()
        writer.stop(10)


def test_rows_of_nobody_that_make_room_are_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "spool.db", 1 << 20, "drop-oldest", SystemClock())
    store.open()
    old = row("x" * 500_000, queue="gone")
    old.id = 5
    store.write([old], [])
    store.close()
    writer, owner = Writer(store, "drop-oldest", 0.01, SystemClock()), Owner()
    writer.own("main", owner)
    writer.start()
    try:
        for _ in range(2):
            writer.put(row("y" * 400_000), False)
            assert writer.flush(10)
        until(lambda: len(owner.kept_rows) == 2, "both are written")
        assert (writer.dropped, writer.orphans) == ({"spool-full": 1}, 0)
    finally:
        writer.stop(10)


# -- the outbox -------------------------------------------------------------------------------


def drain(way: Way, window: int = 1) -> None:
    way.outbox.open(window)
    for _ in range(60):
        way.disk.commit()
        if way.in_flight:
            way.answer()


def test_a_result_whose_row_made_room_while_it_was_read_back_outlives_the_next_outage(way: Way) -> None:
    """A full spool drops its oldest rows: those that were read back first."""
    way.outbox.close()
    for name in "abc":
        way.put(name)
    way.disk.commit()
    way.outbox.open(1)
    way.disk.commit()  # a is in flight, b and c are read back
    for number in (2, 3):
        del way.disk.rows[number]
        way.outbox.lost(number, 1, "spool-full")
    assert way.outbox.dropped == {}
    way.outbox.close()
    way.put("d")
    way.disk.commit()
    drain(way)
    assert (way.payloads(), way.outbox.behind) == (["a", "b", "c", "d"], 0)


def test_a_result_that_is_in_memory_only_is_told_of_at_the_stop(way: Way) -> None:
    way.outbox.close()
    for name in "ab":
        way.put(name)
    way.disk.commit()
    way.outbox.open(1)
    way.disk.commit()
    del way.disk.rows[2]
    way.outbox.lost(2, 1, "spool-full")
    way.outbox.finish()
    way.outbox.close()
    assert way.outbox.at_risk == 1


def test_results_that_were_read_back_outlive_the_file_that_is_moved_aside(way: Way) -> None:
    way.outbox.close()
    for name in "abc":
        way.put(name)
    way.disk.commit()
    way.outbox.open(1)
    way.disk.commit()  # a is in flight, b and c are read back
    way.disk.rows.clear()
    way.outbox.moved(3)
    way.outbox.close()
    way.disk.commit()
    assert [message.payload for message in way.disk.rows.values()] == [b"a"]  # written anew: a kill would take it along
    way.put("d")
    drain(way)
    assert (way.payloads(), way.outbox.behind, way.disk.rows) == (["a", "b", "c", "d"], 0, {})


def test_a_stream_keeps_its_order_when_memory_is_full(way: Way) -> None:
    way.outbox.open(1)
    for i in range(LIMIT + 10):
        way.put(str(i))
    while way.in_flight or way.outbox.behind:
        way.disk.commit()
        if way.in_flight:
            way.answer()
    assert way.payloads() == [str(i) for i in range(LIMIT + 10)]


def test_memory_stays_bounded_by_what_may_not_go_to_disk(way: Way) -> None:
    way.outbox.close()
    for _ in range(LIMIT + 10):
        way.outbox.put(Message("t", b"event"))
    assert (way.outbox.waiting, way.outbox.dropped) == (LIMIT, {"outbox-full": 10})


def test_a_stream_whose_rows_were_lost_with_their_file_goes_past_the_disk_again(way: Way) -> None:
    way.outbox.found({1: 5}, 5)  # and the file with three of them is moved aside before they are read
    way.disk._next = 6
    for number in (1, 2):
        way.disk.rows[number] = Message("t", b"%d" % number, stream=1)
    way.outbox.open(1)
    way.disk.commit()
    way.disk.commit()
    for _ in range(2):
        way.answer()
    written = way.disk.written
    way.put("new")
    way.disk.commit()
    way.disk.commit()
    assert (way.payloads()[-1], way.disk.written, way.outbox.behind) == ("new", written, 0)


def test_what_was_asked_for_before_the_end_is_not_taken_up_at_the_end(way: Way) -> None:
    way.outbox.close()
    way.put("a")
    way.disk.commit()
    way.outbox.open(1)  # it asks the disk for more
    way.outbox.finish()
    way.disk.commit()
    assert (way.outbox.waiting, way.payloads()) == (0, [])


def test_a_result_without_a_connection_any_more_waits_on_disk() -> None:
    """QoS 0: paho has lost the socket, and the link does not know it yet."""
    gone = True
    sent: list[str] = []

    def hand_over(message: Message) -> int:
        if not gone:
            sent.append(message.payload.decode())
        return NOT_NOW if gone else len(sent)

    outbox = Outbox(hand_over, VirtualClock())
    disk = Paper(outbox)
    outbox.open(9)
    for name in "abc":
        outbox.put(Message("t", name.encode(), qos=0, stream=1))
    outbox.close()
    gone = False
    outbox.open(9)
    for _ in range(5):
        disk.commit()
    assert (sent, outbox.dropped) == (["a", "b", "c"], {})


def test_a_message_that_went_with_its_connection_before_it_was_noted_is_over() -> None:
    """Else it stays in flight for ever, and whoever waits for it, too."""
    done: list[int] = []
    outbox: Outbox

    def hand_over(message: Message) -> int:
        outbox.unsent(1)
        return 1

    outbox = Outbox(hand_over, VirtualClock())
    outbox.open(1)
    outbox.put(Message("t", b"a", qos=0, hold=Hold(lambda: done.append(1))))
    assert (outbox.waiting, outbox.dropped, done) == (0, {"connection-lost": 1}, [1])


# -- pipelines --------------------------------------------------------------------------------


def test_results_for_a_pipeline_that_is_stopped_leave_their_message_unacknowledged(tmp_path: Path) -> None:
    """The first pipeline is still at work when the deadline of the stop is over."""
    lane, done = Lane(twice(tmp_path / "void", 1, 2, 2, 10.0), {"type": "json", "channels": ["v"]}), list[int]()
    chain = PipelineSource(lane.clock)
    lane.pipeline.sinks[0].output = chain
    batches: list[Batch] = []
    chain.start(batches.append)
    chain.stop()
    batch = Batch([b"in/a"], [b'{"v": [1, 2]}'], lane.clock.wall(), lane.clock.mono(), lambda: done.append(1))
    lane.pipeline.process(batch)
    assert (lane.counters.results, batches, done) == (1, [], [])


def test_results_for_a_pipeline_that_was_never_there_hold_nothing_up(tmp_path: Path) -> None:
    lane, done = Lane(twice(tmp_path / "void", 1, 2, 2, 10.0), {"type": "json", "channels": ["v"]}), list[int]()
    chain = PipelineSource(lane.clock)
    lane.pipeline.sinks[0].output = chain
    chain.stop()
    batch = Batch([b"in/a"], [b'{"v": [1, 2]}'], lane.clock.wall(), lane.clock.mono(), lambda: done.append(1))
    lane.pipeline.process(batch)
    assert done == [1]


def test_no_step_of_a_slow_model_is_long_enough_to_be_taken_for_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane(twice(tmp_path / "void", 1, 2, 2, 10.0), {"type": "json", "channels": ["v"]})
    scores, steps = lane.pipeline.inference.scores, list[int]()

    def slow(windows, slots):  # type: ignore[no-untyped-def]
        steps.append(len(windows))
        lane.clock.advance(len(windows) * NS)
        return scores(windows, slots)

    monkeypatch.setattr(lane.pipeline.inference, "scores", slow)
    lane.put(("in/a", '{"v": [' + ", ".join("1" * 200) + "]}"))
    assert (sum(steps), max(steps)) == (100, 1)
    assert lane.counters.results == 100


# -- beside -----------------------------------------------------------------------------------


def test_a_link_laid_where_the_black_box_is_made_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blackbox, "in_memory", lambda _: True)
    victim, path = tmp_path / "victim", tmp_path / "box"
    victim.write_text("mine")
    (tmp_path / "box.new").symlink_to(victim)
    path.symlink_to(victim)
    box = BlackBox(path, ["har"])
    box.note([7])
    assert (victim.read_text(), box.before) == ("mine", {})
    assert BlackBox(path, ["har"]).before == {"har": 7}
