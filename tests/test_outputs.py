"""Outputs: which results they get, and what a file and standard output do when things go wrong."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.records import ModelRef, Outgoing, Result, Timing, Window
from edged.stream.outputs.base import Output, wanted
from edged.stream.outputs.file import FileOutput
from edged.stream.outputs.stdout import StdoutOutput
from edged.stream.outputs.writing import reason_of, write_lines

PATIENCE_S = 20
NOBODY = 65534

encode = msgspec.json.Encoder().encode


def outgoing(number: int, changed: bool = False, alarm: bool = False, pad: int = 0) -> Outgoing:
    result = Result(
        v=1,
        id=f"id{number}",
        time="2026-11-22T04:12:21.123Z",
        device="press-7",
        pipeline="pump",
        key="x" * pad,
        labels={},
        window=Window("2026-11-22T04:12:20.123Z", "2026-11-22T04:12:21.123Z", 260),
        model=ModelRef("m", "1.0.0", 1, "int8", "tflite"),
        output={"score": 1.5},
        timing=Timing(0.1, 0.2, 0.3),
        alarm=alarm,
    )
    return Outgoing(result, number, changed, alarm)


def batch(first: int, count: int, pad: int = 0) -> list[Outgoing]:
    return [outgoing(number, pad=pad) for number in range(first, first + count)]


def ids(data: bytes) -> list[int]:
    """Give the numbers of the results in `data`; every line must be one whole result."""
    assert data.endswith(b"\n") or not data
    return [int(json.loads(line)["id"][2:]) for line in data.splitlines()]


# -- when -------------------------------------------------------------------------------------


def test_when_chooses_all_or_changes_or_while_the_alarm_is_on() -> None:
    results = [outgoing(0), outgoing(1, changed=True, alarm=True), outgoing(2, alarm=True), outgoing(3, changed=True)]
    chosen = {when: [each.end_ns for each in wanted(results, when)] for when in ("always", "change", "alarm")}  # type: ignore[arg-type]
    assert chosen == {"always": [0, 1, 2, 3], "change": [1, 3], "alarm": [1, 2]}


# -- file -------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_results_are_appended_one_a_line(path: Path) -> None:
    path.write_bytes(b'{"id":"id0"}\n')
    output: Output = FileOutput(path, encode)
    output.deliver(batch(1, 2))
    output.deliver(batch(3, 1))
    assert ids(path.read_bytes()) == [0, 1, 2, 3]
    assert (output.dropped, output.failing, output.finished) == ({}, None, False)
    output.close()


def test_half_a_line_of_an_earlier_crash_is_ended_first(path: Path) -> None:
    path.write_bytes(b'{"id":"id0"}\n{"id":"i')
    output = FileOutput(path, encode)
    output.deliver(batch(1, 1))
    output.close()
    _, half, line = path.read_bytes().splitlines()
    assert (half, ids(line + b"\n")) == (b'{"id":"i', [1])


def test_a_file_that_was_moved_away_is_begun_anew(path: Path) -> None:
    output = FileOutput(path, encode)
    output.deliver(batch(0, 2))
    path.rename(path.with_suffix(".1"))
    output.deliver(batch(2, 2))
    output.close()
    assert ids(path.with_suffix(".1").read_bytes()) == [0, 1]
    assert ids(path.read_bytes()) == [2, 3]


def test_a_copied_and_truncated_file_goes_on_without_a_hole(path: Path) -> None:
    output = FileOutput(path, encode)
    output.deliver(batch(0, 2))
    os.truncate(path, 0)
    output.deliver(batch(2, 1))
    output.close()
    assert ids(path.read_bytes()) == [2]


def test_nothing_is_written_to_a_file_that_was_removed(path: Path) -> None:
    output = FileOutput(path, encode)
    output.deliver(batch(0, 1))
    path.unlink()
    output.deliver(batch(1, 1))
    output.close()
    assert ids(path.read_bytes()) == [1]


def test_two_pipelines_may_share_a_file(path: Path) -> None:
    """An empty line may come in where one opens the file in the midst of a write of the other; never half a line."""
    outputs = [FileOutput(path, encode) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda o=output, n=n: [o.deliver(batch(n + i, 5)) for i in range(0, 100, 5)], daemon=True)
        for n, output in ((0, outputs[0]), (100, outputs[1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    lines = [line for line in path.read_bytes().splitlines(keepends=True) if line != b"\n"]
    assert sorted(ids(b"".join(lines))) == list(range(200))
    for output in outputs:
        output.close()


def test_a_removed_folder_is_said_counted_and_recovered_from(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    output = FileOutput(folder / "r.jsonl", encode)
    output.deliver(batch(0, 1))
    (folder / "r.jsonl").unlink()
    folder.rmdir()
    output.deliver(batch(1, 3))
    output.deliver(batch(4, 1))
    assert output.dropped == {"no-folder": 4}
    assert output.failing == f"{folder}/r.jsonl cannot be written: its folder does not exist"
    folder.mkdir()
    output.deliver(batch(5, 1))
    assert output.failing is None
    assert output.dropped == {"no-folder": 4}
    assert ids((folder / "r.jsonl").read_bytes()) == [5]
    output.close()


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    output = FileOutput(tmp_path, encode)
    output.deliver(batch(0, 1))
    assert output.dropped == {"is-folder": 1}


def test_lost_permission_is_said_and_recovered_from(path: Path) -> None:
    """As root nothing is forbidden, so root works as nobody meanwhile."""
    path.touch()
    path.chmod(0o400)
    output = FileOutput(path, encode)
    root = os.geteuid() == 0
    if root:
        try:
            os.seteuid(NOBODY)
        except PermissionError:
            pytest.skip("needs a user, or a root that may work as one")
    try:
        output.deliver(batch(0, 1))
    finally:
        if root:
            os.seteuid(0)
    assert output.dropped == {"no-permission": 1}
    assert "permission is denied" in str(output.failing)
    path.chmod(0o600)
    output.deliver(batch(1, 1))
    assert output.failing is None
    assert ids(path.read_bytes()) == [1]
    output.close()


def test_a_pipe_that_nobody_reads_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    output = FileOutput(tmp_path / "fifo", encode)
    output.deliver(batch(0, 1))
    assert output.dropped == {"reader-gone": 1}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("pad", [0, 700, 20_000])
def test_a_full_disk_drops_whole_results_counts_them_and_recovers(disk: Path, pad: int) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(30_000))
    path = disk / "r.jsonl"
    output = FileOutput(path, encode)
    for first in range(0, 700, 7):
        output.deliver(batch(first, 7, pad))
        ids(path.read_bytes())  # never half a line, at no time
    assert output.failing == f"{path} cannot be written: the disk is full"
    kept = ids(path.read_bytes())
    assert output.dropped == {"disk-full": 700 - len(kept)}
    assert kept == sorted(set(kept))

    ballast.unlink()
    output.deliver(batch(700, 1))
    assert output.failing is None
    assert ids(path.read_bytes()) == [*kept, 700]
    output.close()


def test_a_disk_that_becomes_read_only_is_said_and_recovered_from(disk: Path) -> None:
    output = FileOutput(disk / "r.jsonl", encode)
    output.deliver(batch(0, 1))
    output.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    output.deliver(batch(1, 2))
    assert output.dropped == {"read-only": 2}
    assert "read-only" in str(output.failing)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    output.deliver(batch(3, 1))
    assert output.failing is None
    assert ids((disk / "r.jsonl").read_bytes()) == [0, 3]
    output.close()


@contextmanager
def files_of_at_most_1000_bytes() -> Iterator[None]:
    """Have the kernel write up to it, then refuse. Not a fixture: pytest's own output may go to a file, and is written before its end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_is_cut_within_a_line_is_taken_back_to_the_last_whole_one(path: Path) -> None:
    output = FileOutput(path, encode)
    one = len(encode(outgoing(0).result)) + 1
    with files_of_at_most_1000_bytes():
        output.deliver(batch(0, 8))
    whole = 1000 // one
    assert 0 < whole < 8
    assert 1000 % one, "the cut must be within a line"
    assert output.dropped == {"file-too-large": 8 - whole}
    assert ids(path.read_bytes()) == list(range(whole))
    os.truncate(path, 0)
    output.deliver(batch(8, 1))
    assert ids(path.read_bytes()) == [8]
    assert output.failing is None
    output.close()


def test_dev_full_is_a_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    output = FileOutput(Path("/dev/full"), encode)
    output.deliver(batch(0, 3))
    assert output.dropped == {"disk-full": 3}
    output.close()


def test_no_results_are_no_work(path: Path) -> None:
    output = FileOutput(path, encode)
    output.deliver([])
    assert (output.dropped, output.failing) == ({}, None)
    output.close()


def test_an_unknown_failure_keeps_the_words_of_the_system() -> None:
    assert reason_of(OSError(5000, "odd")) == ("write-failed", "odd")


# -- standard output --------------------------------------------------------------------------


def test_each_batch_is_out_at_once() -> None:
    reader, writer = os.pipe()
    output: Output = StdoutOutput(encode, writer)
    output.deliver(batch(0, 2))
    assert ids(os.read(reader, 65536)) == [0, 1]
    output.close()
    os.write(writer, b"still open")
    os.close(reader)
    os.close(writer)


def test_a_reader_that_has_gone_finishes_the_output_and_later_results_are_counted() -> None:
    reader, writer = os.pipe()
    output = StdoutOutput(encode, writer)
    os.close(reader)
    output.deliver(batch(0, 2))
    assert output.finished
    output.deliver(batch(2, 3))
    output.deliver([])
    assert output.dropped == {"reader-gone": 5}
    assert output.failing == "standard output cannot be written: nobody reads it any more"
    os.close(writer)


def test_a_closed_standard_output_is_as_one_whose_reader_has_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    output = StdoutOutput(encode, writer)
    output.deliver(batch(0, 1))
    assert output.finished
    assert output.dropped == {"reader-gone": 1}


PROGRAM = """
from tests.test_outputs import batch, encode
from edged.stream.outputs.stdout import StdoutOutput
import sys
output = StdoutOutput(encode)
first = 0
while not output.finished:
    output.deliver(batch(first, 10))
    first += 10
print(sorted(output.dropped), file=sys.stderr)
"""


def test_head_ends_the_program_without_a_traceback() -> None:
    root = Path(__file__).parent.parent
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    head = subprocess.run(["head", "-n", "3"], stdin=program.stdout, capture_output=True, timeout=PATIENCE_S, check=True)
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    said = program.stderr.read()
    program.stderr.close()
    assert ids(head.stdout) == [0, 1, 2]
    assert (said, program.wait(PATIENCE_S)) == (b"['reader-gone']\n", 0)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_is_waited_for_and_gets_everything(blocking: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    output = StdoutOutput(encode, writer)
    got = bytearray()

    def read() -> None:
        while data := os.read(reader, 1000):
            got.extend(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    output.deliver(batch(0, 100, pad=3000))
    os.close(writer)
    thread.join(PATIENCE_S)
    assert ids(bytes(got)) == list(range(100))
    assert output.dropped == {}
    os.close(reader)


def test_a_redirection_to_a_disk_that_was_full_goes_on_with_a_line_of_its_own(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    output = StdoutOutput(encode, fd)
    with files_of_at_most_1000_bytes():
        output.deliver(batch(0, 8))
        assert not output.finished
        assert sum(output.dropped.values()) == 8 - path.read_bytes().count(b"\n")
        output.deliver(batch(8, 1))
    output.deliver(batch(9, 2))
    assert output.failing is None
    assert ids(b"\n".join(path.read_bytes().splitlines()[-2:]) + b"\n") == [9, 10]
    os.close(fd)


# -- what is out ------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.integers(0, 300))
def test_what_is_out_is_told_exactly_wherever_the_system_cuts(sizes: list[int], room: int) -> None:
    lines = [b"x" * (size - 1) + b"\n" for size in sizes]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    fd = os.memfd_create("out")
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        written = write_lines(fd, lines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out = os.pread(fd, 10_000, 0)
    os.close(fd)
    assert out == b"".join(lines)[:room]
    assert written.lines == sum(len(b"".join(lines[: i + 1])) <= room for i in range(len(lines)))
    assert b"".join(lines[: written.lines]) == out[: written.size]
    assert written.size + written.over == len(out)
    assert (written.error is None) == (len(out) == sum(sizes))
