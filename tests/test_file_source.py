"""Sources of lines: cutting bytes, whole files, followed files through rotation, standard input."""

from __future__ import annotations

import os
import pty
import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import VirtualClock
from edged.records import Batch
from edged.stream.sources.file import FileSource
from edged.stream.sources.follow import FollowedFile
from edged.stream.sources.lines import GROUP_BYTES, GROUP_LINES, MAX_LINE, LineSplitter, grouped
from edged.stream.sources.reader import Deliver, LineReader
from edged.stream.sources.stdin import StdinSource

PATIENCE_S = 20


class Taker:
    """The pipeline's side of a source: keeps the batches, and lets a test wait for lines."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._more = threading.Condition()

    def __call__(self, batch: Batch) -> bool:
        with self._more:
            self.batches.append(batch)
            self._more.notify_all()
        return True

    @property
    def lines(self) -> list[bytes | None]:
        return [line for batch in self.batches for line in batch.payloads]

    @property
    def topics(self) -> list[bytes]:
        return [topic for batch in self.batches for topic in batch.topics]

    def wait_for(self, count: int) -> list[bytes | None]:
        with self._more:
            assert self._more.wait_for(lambda: len(self.lines) >= count, PATIENCE_S), self.lines
        return self.lines


def thread_of(name: str) -> threading.Thread:
    return next(thread for thread in threading.enumerate() if thread.name == f"source-{name}")


def run(source: LineReader) -> Taker:
    """Let a finite source run to its end."""
    taker = Taker()
    run_into(source, taker)
    return taker


def run_into(source: LineReader, deliver: Deliver) -> None:
    before = set(threading.enumerate())
    source.start(deliver)
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert source.finished


# -- lines ------------------------------------------------------------------------------------

pieces = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"\r", b"\x00", b"\xff" * 7, b"0123456789"]), max_size=30)


def expected_lines(data: bytes, limit: int) -> list[bytes | None]:
    """Say it in the plainest way: the reference for the splitter."""
    lines: list[bytes | None] = []
    for line in data.split(b"\n"):
        if len(line) > limit:
            lines.append(None)
        elif line.removesuffix(b"\r"):
            lines.append(line.removesuffix(b"\r"))
    return lines


@given(pieces, st.integers(1, 12))
def test_lines_are_the_same_wherever_the_bytes_are_cut(parts: list[bytes], limit: int) -> None:
    data = b"".join(parts)
    expected = expected_lines(data, limit)
    one_by_one = [data[i : i + 1] for i in range(len(data))]
    cuts = [[data[:at], data[at:]] for at in range(len(data) + 1)]
    for feeding in ([data], one_by_one, parts, *cuts):
        splitter = LineSplitter(limit)
        assert [line for part in feeding for line in splitter.feed(part)] + splitter.rest() == expected


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_are_cut_into_lines_without_newlines(parts: list[bytes]) -> None:
    splitter = LineSplitter(50)
    lines = [line for part in parts for line in splitter.feed(part)] + splitter.rest()
    assert all(line is None or (b"\n" not in line and 0 < len(line) <= 50) for line in lines)
    assert lines == expected_lines(b"".join(parts), 50)


def test_a_line_without_end_is_given_up_once_and_not_kept() -> None:
    splitter = LineSplitter()
    given_up = [line for _ in range(40) for line in splitter.feed(b"x" * (MAX_LINE // 10))]
    assert given_up == [None]
    assert splitter.feed(b"the end of it\nnext\n") == [b"next"]


def test_an_unfinished_line_is_kept_until_its_newline_comes() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"o\n") == [b"two"]


@given(st.lists(st.one_of(st.none(), st.integers(1, GROUP_BYTES + 10).map(lambda size: b"x" * size)), max_size=20))
def test_groups_are_bounded_and_keep_every_line_in_order(lines: list[bytes | None]) -> None:
    lines = lines * 3
    groups = list(grouped(lines))
    assert [line for group in groups for line in group] == lines
    for group in groups:
        assert len(group) == 1 or sum(len(line or b"") for line in group) <= GROUP_BYTES


def test_groups_hold_at_most_so_many_lines() -> None:
    assert [len(group) for group in grouped([b"x"] * (GROUP_LINES * 2 + 1))] == [GROUP_LINES, GROUP_LINES, 1]


# -- whole files ------------------------------------------------------------------------------


def test_a_whole_file_is_read_to_its_last_line_and_then_finished(tmp_path: Path) -> None:
    path = tmp_path / "vib.csv"
    path.write_bytes(b"1,2\r\n3,4\n\n5,6")
    source = FileSource(str(path), False, VirtualClock(5))
    taker = run(source)
    assert taker.lines == [b"1,2", b"3,4", b"5,6"]
    assert set(taker.topics) == {b"vib.csv"}
    assert (taker.batches[0].arrival, source.error) == (5, "")


def test_a_large_file_comes_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "big"
    lines = [f"{i},{i * i}".encode() for i in range(50_000)]
    path.write_bytes(b"\n".join(lines))
    taker = run(FileSource(str(path), False, VirtualClock()))
    assert taker.lines == lines
    assert max(len(batch.payloads) for batch in taker.batches) == GROUP_LINES


def test_an_overlong_line_in_a_file_is_told_as_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * (MAX_LINE + 1) + b"\nb\n")
    assert run(FileSource(str(path), False, VirtualClock())).lines == [b"a", None, b"b"]


def test_a_star_reads_several_files_each_with_its_name(tmp_path: Path) -> None:
    for folder, name, text in (("walking", "2.csv", "b"), ("running", "1.csv", "a"), ("running", "notes.txt", "no")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    taker = run(FileSource(f"{tmp_path}/*/*.csv", False, VirtualClock()))
    assert list(zip(taker.topics, taker.lines, strict=True)) == [(b"running/1.csv", b"a"), (b"walking/2.csv", b"b")]


def test_only_a_star_is_special_in_a_path(tmp_path: Path) -> None:
    for name in ("run[1]-a?.csv", "run1-ab.csv"):
        (tmp_path / name).write_text(name)
    assert run(FileSource(f"{tmp_path}/run[1]-a?.csv", False, VirtualClock())).lines == [b"run[1]-a?.csv"]
    assert run(FileSource(f"{tmp_path}/run[1]-a?*", False, VirtualClock())).lines == [b"run[1]-a?.csv"]


def test_a_file_name_that_is_no_utf8_is_a_topic_too(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.csv"
    try:
        with open(path, "wb") as file:
            file.write(b"1\n")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert run(FileSource(f"{tmp_path}/*.csv", False, VirtualClock())).topics == [b"\xff\xfe.csv"]


@pytest.mark.parametrize(("name", "word"), [("missing.csv", "No such file"), ("*.csv", "no file matches"), ("", "not a regular file")])
def test_what_cannot_be_read_is_said_and_the_source_is_finished(tmp_path: Path, name: str, word: str) -> None:
    source = FileSource(f"{tmp_path}/{name}", False, VirtualClock())
    assert run(source).lines == []
    assert word in source.error
    assert str(tmp_path) in source.error


def test_one_bad_file_among_several_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "b.csv").write_text("1\n")
    source = FileSource(f"{tmp_path}/*.csv", False, VirtualClock())
    assert run(source).lines == [b"1"]
    assert "a.csv" in source.error


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    source = FileSource(str(tmp_path / "fifo"), False, VirtualClock())
    assert run(source).lines == []
    assert "stdin" in source.error


def test_a_source_ends_when_the_pipeline_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x\n" * 10_000)
    source = FileSource(str(path), False, VirtualClock())
    given_: list[Batch] = []

    def closed(batch: Batch) -> bool:
        given_.append(batch)
        return False

    run_into(source, closed)
    assert len(given_) == 1


def test_a_full_queue_holds_the_reader_and_stop_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x\n" * 10_000)
    source = FileSource(str(path), False, VirtualClock())
    waits, room = threading.Event(), threading.Event()
    given_: list[Batch] = []

    def full(batch: Batch) -> None:
        given_.append(batch)
        waits.set()
        room.wait(PATIENCE_S)

    source.start(full)
    assert waits.wait(PATIENCE_S)
    thread = thread_of("big")
    assert thread.daemon
    closer = threading.Thread(target=source.stop)
    closer.start()
    room.set()
    closer.join(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert source.finished
    assert len(given_) < 40


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_pipeline_is_visible_at_the_source(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    source = FileSource(str(tmp_path / "a"), False, VirtualClock())
    run_into(source, lambda batch: 1 // 0 > 0)
    assert "ZeroDivisionError" in source.error


# -- followed files ---------------------------------------------------------------------------


class Follower:
    """A followed source that polls when the test says so, and only then."""

    def __init__(self, pattern: str) -> None:
        self._idle = threading.Semaphore(0)
        self._go: queue.Queue[bool] = queue.Queue()
        self.taker = Taker()
        self.source = FileSource(pattern, True, VirtualClock(), self._wait)
        self.source.start(self.taker)
        self._settle()

    def _wait(self, seconds: float) -> bool:
        self._idle.release()
        return self._go.get()

    def _settle(self) -> None:
        assert self._idle.acquire(timeout=PATIENCE_S)

    def poll(self) -> list[bytes | None]:
        """Let one poll pass; give the lines that it brought."""
        before = len(self.taker.lines)
        self._go.put(False)
        self._settle()
        return self.taker.lines[before:]

    def close(self) -> None:
        self._go.put(True)
        self.source.stop()
        assert self.source.finished


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    log.write_bytes(b"first\n")
    follower = Follower(str(log))
    yield follower
    follower.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_followed_file_is_read_from_its_start_and_goes_on(follower: Follower, log: Path) -> None:
    assert follower.taker.lines == [b"first"]
    assert follower.poll() == []
    append(log, b"second\nthi")
    assert follower.poll() == [b"second"]
    append(log, b"rd\n")
    assert follower.poll() == [b"third"]


def test_rotation_by_rename_loses_no_line_of_a_writer_that_reopens_late(follower: Follower, log: Path) -> None:
    with log.open("ab", buffering=0) as writer:
        log.rename(log.with_name("app.log.1"))
        assert follower.poll() == []
        writer.write(b"to the old name\n")
        log.touch()
        assert follower.poll() == [b"to the old name"]
        writer.write(b"still to the old one\n")
        assert follower.poll() == [b"still to the old one"]
        writer.write(b"last of the old one\n")
    append(log, b"first of the new one\n")
    assert follower.poll() == [b"last of the old one", b"first of the new one"]


def test_lines_written_while_the_name_is_looked_up_are_read_before_the_file_is_left(log: Path) -> None:
    log.write_bytes(b"first\n")
    with log.open("ab", buffering=0) as writer:
        file = FollowedFile(log)
        assert [file.read(), file.read()] == [[b"first"], None]
        log.rename(log.with_name("app.log.1"))
        log.write_bytes(b"new\n")
        assert file.read() == []  # has seen the new file
        writer.write(b"late\n")
    assert [file.read() for _ in range(5)] == [[b"late"], [], [b"new"], None, None]
    file.close()


def test_a_copied_and_truncated_file_is_read_from_its_start(follower: Follower, log: Path) -> None:
    append(log, b"more\nhalf a li")
    assert follower.poll() == [b"more"]
    os.truncate(log, 0)
    append(log, b"new\n")
    assert follower.poll() == [b"half a li", b"new"]


def test_a_removed_file_is_missed_and_taken_up_when_it_returns(follower: Follower, log: Path) -> None:
    append(log, b"last")
    log.unlink()
    assert follower.poll() == [b"last"]
    assert "No such file" in follower.source.error
    log.write_bytes(b"back\n")
    assert follower.poll() == [b"back"]
    assert follower.source.error == ""


def test_a_file_removed_and_made_anew_between_two_polls_is_read_from_its_start(follower: Follower, log: Path) -> None:
    log.unlink()
    log.write_bytes(b"first\nanew\n")
    assert follower.poll() == [b"first", b"anew"]


def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        (tmp_path / day).write_text(f"{day}\n")
    link = tmp_path / "today"
    link.symlink_to("monday")
    follower = Follower(str(link))
    (tmp_path / "new").symlink_to("tuesday")
    (tmp_path / "new").rename(link)
    follower.poll()
    follower.close()
    assert follower.taker.lines == [b"monday", b"tuesday"]


def test_a_file_that_is_not_there_yet_is_waited_for(log: Path) -> None:
    follower = Follower(str(log))
    assert "No such file" in follower.source.error
    assert not follower.source.finished
    append(log, b"here\n")
    assert follower.poll() == [b"here"]
    assert follower.source.error == ""
    follower.close()


def test_a_missing_folder_is_waited_for_too(tmp_path: Path) -> None:
    follower = Follower(f"{tmp_path}/later/*.log")
    assert "no file matches" in follower.source.error
    (tmp_path / "later").mkdir()
    append(tmp_path / "later" / "a.log", b"1\n")
    assert follower.poll() == [b"1"]
    shutil.rmtree(tmp_path / "later")
    assert follower.poll() == []
    follower.poll()
    assert "no file matches" in follower.source.error
    follower.close()


def test_files_that_come_later_are_followed_each_under_its_name(tmp_path: Path) -> None:
    append(tmp_path / "a.log", b"a1\n")
    follower = Follower(f"{tmp_path}/*.log")
    append(tmp_path / "b.log", b"b1\nb")
    append(tmp_path / "a.log", b"a2\n")
    assert follower.poll() == [b"a2", b"b1"]
    append(tmp_path / "a.log", b"a3\n")
    append(tmp_path / "b.log", b"2\n")
    assert follower.poll() == [b"a3", b"b2"]
    assert follower.taker.topics == [b"a.log", b"a.log", b"b.log", b"a.log", b"b.log"]
    follower.close()


def test_rotated_files_that_match_the_pattern_too_are_not_read_twice(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    append(log, b"0\n")
    follower = Follower(f"{tmp_path}/app*")
    read: list[bytes | None] = list(follower.taker.lines)
    for turn in range(1, 5):
        # The oldest goes first, as logrotate does it: its inode may be given to the next new file.
        (tmp_path / "app.log.2").unlink(missing_ok=True)
        if turn > 1:
            (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
        log.rename(tmp_path / "app.log.1")
        read += follower.poll()
        append(log, f"{turn}\n".encode())
        read += follower.poll() + follower.poll()
    follower.close()
    assert read == [b"0", b"1", b"2", b"3", b"4"]


def test_a_followed_source_stops_in_the_midst_of_its_wait(log: Path) -> None:
    append(log, b"1\n")
    source = FileSource(str(log), True, VirtualClock())
    taker = Taker()
    source.start(taker)
    taker.wait_for(1)
    source.stop()
    assert source.finished


def test_a_source_may_be_stopped_before_it_starts_and_twice(log: Path) -> None:
    source = FileSource(str(log), True, VirtualClock())
    source.stop()
    source.start(Taker())
    source.stop()
    source.stop()
    assert source.finished


# -- standard input ---------------------------------------------------------------------------


def test_a_pipe_is_read_as_lines_come_and_to_its_end() -> None:
    reader, writer = os.pipe()
    source, taker = StdinSource(VirtualClock(9), reader), Taker()
    source.start(taker)
    os.write(writer, b"1\n2")
    assert taker.wait_for(1) == [b"1"]
    os.write(writer, b"2\n3")
    assert taker.wait_for(2) == [b"1", b"22"]
    thread = thread_of("stdin")
    os.close(writer)
    thread.join(PATIENCE_S)
    assert taker.lines == [b"1", b"22", b"3"]
    assert set(taker.topics) == {b"stdin"}
    assert taker.batches[0].arrival == 9
    assert (source.finished, source.error) == (True, "")
    os.close(reader)


def test_a_terminal_is_read_until_end_of_input_is_typed() -> None:
    ours, theirs = pty.openpty()
    source, taker = StdinSource(VirtualClock(), theirs), Taker()
    source.start(taker)
    thread = thread_of("stdin")
    os.write(ours, b"hello\n")
    assert taker.wait_for(1) == [b"hello"]
    os.write(ours, b"\x04")
    thread.join(PATIENCE_S)
    assert (source.finished, source.error) == (True, "")
    os.close(ours)
    os.close(theirs)


def test_standard_input_from_a_file_is_read_whole(log: Path) -> None:
    log.write_bytes(b"1\n2\n")
    with log.open("rb") as file:
        assert run(StdinSource(VirtualClock(), file.fileno())).lines == [b"1", b"2"]


def test_a_closed_standard_input_is_said_and_finished() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    source = StdinSource(VirtualClock(), reader)
    assert run(source).lines == []
    assert "standard input cannot be read" in source.error


def test_a_silent_pipe_can_be_stopped() -> None:
    reader, writer = os.pipe()
    source = StdinSource(VirtualClock(), reader)
    source.start(Taker())
    source.stop()
    assert source.finished
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    source, taker = StdinSource(VirtualClock(), reader), Taker()
    source.start(taker)
    os.write(writer, b"1\n")
    assert taker.wait_for(1) == [b"1"]
    source.stop()
    os.close(reader)
    os.close(writer)
