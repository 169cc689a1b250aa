"""The journal on disk: torn, damaged, hostile, full, too long, read while it is written."""

from __future__ import annotations

import errno
import os
import random
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import BoardError
from edged.models import journal as module
from edged.models.book import Book, read_ledger
from edged.models.entries import Began, Entry, Pinned, Tried
from edged.models.journal import Journal, parse, read


def pins(*numbers: int) -> list[Entry]:
    return [Pinned(model="har", release=number, on=True) for number in numbers]


def line(entry: Entry) -> bytes:
    body = msgspec.json.encode(entry)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def written(path: Path, entries: list[Entry]) -> bytes:
    journal = Journal(path)
    for entry in entries:
        journal.append(entry)
    journal.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, *names: str, half: bool = False) -> Iterator[None]:
    """Let these functions of `os` fail as on a full disk; with `half`, half of a write gets through."""

    def fail(*args: object, **_options: object) -> None:
        if half and isinstance(args[1], memoryview):
            real(args[0], args[1][: len(args[1]) // 2])  # type: ignore[arg-type]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.write
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(os, name, fail)
        yield


def unwritable(do: object) -> None:
    with pytest.raises(BoardError) as caught:
        do()  # type: ignore[operator]
    assert caught.value.code == "store-unwritable"
    assert caught.value.hint


def test_what_was_written_is_read_line_by_line(path: Path):
    data = written(path, pins(1, 2, 3))
    assert data == b"".join(map(line, pins(1, 2, 3)))
    found = read(path)
    assert (found.entries, found.bad, found.whole) == (pins(1, 2, 3), 0, len(data))


def test_no_journal_is_an_empty_one(path: Path):
    assert read(path).entries == []
    assert not path.exists()


def test_a_last_line_torn_at_any_byte_is_removed_by_the_next_writer_and_by_no_reader(path: Path):
    whole, last = line(pins(1)[0]), line(pins(2)[0])
    for length in range(len(last)):
        path.write_bytes(whole + last[:length])
        found = read(path)
        assert (found.entries, found.bad) == (pins(1), 0)
        assert path.stat().st_size == len(whole) + length
        assert written(path, pins(3)) == whole + line(pins(3)[0])
    assert not path.with_name("journal.damaged").exists()


def test_a_torn_end_of_zeros_is_one_too(path: Path):
    path.write_bytes(line(pins(1)[0]) + bytes(300))
    assert written(path, pins(2)) == line(pins(1)[0]) + line(pins(2)[0])


def test_a_bit_flipped_anywhere_costs_one_line_at_most_two_and_raises_nothing():
    lines = [line(each) for each in pins(1, 2, 3)]
    data = b"".join(lines)
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            found = parse(bytes(broken))
            assert all(entry in pins(1, 2, 3) for entry in found.entries)
            assert len(found.entries) >= 1
            assert found.bad >= 1 or found.whole < len(data), "nobody would hear of it"


def test_bad_lines_in_the_middle_are_passed_over_counted_and_kept_aside(state_dir: Path):
    path = state_dir / "models" / "journal"
    good = [line(each) for each in pins(1, 2, 3)]
    damaged = good[0] + b"nonsense\n" + good[1] + good[1].replace(b"har", b"bar") + b"\n" + good[2]
    path.write_bytes(damaged)
    assert read_ledger(state_dir).of("har").pinned == {1, 2, 3}
    book = Book(state_dir)
    assert book.bad_lines == 3
    assert book.of("har").pinned == {1, 2, 3}
    book.note(pins(4)[0])
    book.close()
    assert path.with_name("journal.damaged").read_bytes() == damaged
    again = Book(state_dir)
    assert again.bad_lines == 0
    assert again.of("har").pinned == {1, 2, 3, 4}
    again.close()


def test_bad_lines_on_a_full_disk_do_not_keep_a_daemon_from_starting(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    path = state_dir / "models" / "journal"
    path.write_bytes(b"nonsense\n" + line(pins(1)[0]))
    real = module.write_atomic

    def full(target: Path, data: bytes) -> None:
        if target.name == "journal":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(target, data)

    monkeypatch.setattr(module, "write_atomic", full)
    book = Book(state_dir)
    book.note(pins(2)[0])
    book.close()
    assert (read(path).entries, read(path).bad) == (pins(1, 2), 1)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_without_an_error(data: bytes):
    found = parse(data)
    assert found.whole <= len(data)
    assert found.bad + len(found.entries) == data.count(b"\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"type":"moved"}',
        b'{"type":"unknown","at":1}',
        b'{"type":"pinned","model":"har","release":"one","on":true}',
        b'{"type":"began","at":1e999}',
        b'{"type":"everything","models":[],"running":false}',
        b'{"type":"began","at":' + b"9" * 5000 + b"}",
        b'\xff{"type":"began","at":1}',
    ],
)
def test_a_line_with_a_right_checksum_and_wrong_content_is_a_bad_one(body: bytes):
    found = parse(b"%08x %s\n" % (zlib.crc32(body), body) + line(pins(1)[0]))
    assert (found.entries, found.bad) == (pins(1), 1)


def test_mutated_journals_give_only_entries_that_were_written(path: Path):
    chance = random.Random(7)
    entries: list[Entry] = [*pins(*range(20)), Tried(model="har", release=1, report={"text": "a\nb"}), Began(at=1)]
    data = written(path, entries)
    for _ in range(2000):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(broken))
            kind = chance.randrange(4)
            if kind == 0:
                broken[at] = chance.randrange(256)
            elif kind == 1:
                del broken[at : at + chance.randint(1, 200)]
            elif kind == 2:
                broken[at:at] = chance.randbytes(chance.randint(1, 50))
            else:
                broken[at:at] = broken[at : at + 90]
            broken = broken or bytearray(b"\n")
        assert all(entry in entries for entry in parse(bytes(broken)).entries)


# -- a disk that fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "half"), [(("write",), False), (("write",), True), (("fsync",), False)])
def test_an_append_that_fails_is_as_if_it_had_not_been(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], half: bool
):
    told: list[Entry] = []
    book = Book(state_dir, told.append)
    book.note(pins(1)[0])
    with failing(monkeypatch, *names, half=half):
        unwritable(lambda: book.note(pins(2)[0]))
    assert book.of("har").pinned == {1}
    assert read_ledger(state_dir).of("har").pinned == {1}
    book.note(pins(3)[0])
    assert read_ledger(state_dir).of("har").pinned == {1, 3}
    assert told == pins(1, 3)
    book.close()


def test_half_a_line_that_could_not_be_cut_off_at_once_does_not_spoil_the_next_one(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(path)
    journal.append(pins(1)[0])
    with failing(monkeypatch, "write", "ftruncate", half=True):
        unwritable(lambda: journal.append(pins(2)[0]))
    assert path.stat().st_size > len(line(pins(1)[0]))
    journal.append(pins(3)[0])
    journal.close()
    assert (read(path).entries, read(path).bad) == (pins(1, 3), 0)


def test_a_journal_that_cannot_be_opened_says_so(state_dir: Path):
    (state_dir / "models" / "journal").mkdir()
    with pytest.raises(BoardError) as caught:
        Book(state_dir)
    assert caught.value.code == "store-unreadable"
    with pytest.raises(BoardError):
        Journal(state_dir / "nowhere" / "journal")


# -- writing it anew ------------------------------------------------------------------------------


def test_a_long_journal_is_written_anew_and_says_the_same(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BYTES", 2000)
    book = Book(state_dir)
    most = 0
    for number in range(1, 300):
        book.note(Pinned(model="har", release=number % 5, on=number % 3 > 0))
        most = max(most, (state_dir / "models" / "journal").stat().st_size)
        assert read_ledger(state_dir).models == book.models()
    book.close()
    assert most < 4000
    assert os.listdir(state_dir / "models") == ["journal"]


def test_one_that_is_long_because_there_is_much_to_say_is_not_written_anew_for_each_entry(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    book, path, files = Book(state_dir), state_dir / "models" / "journal", set()
    book.note(Tried(model="har", release=1, report={"text": "x" * 5000}))
    for number in range(100):
        book.note(pins(number)[0])
        files.add(path.stat().st_ino)
        assert path.stat().st_size < 8000
    book.close()
    assert len(files) < 20
    assert read_ledger(state_dir).of("har").pinned == set(range(100))


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_where_it_cannot_be_written_anew_nothing_is_lost_and_it_is_tried_again(state_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    book = Book(state_dir)
    for number in range(5):
        book.note(pins(number)[0])
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    real, calls = getattr(os, name), []

    def fail(*args: object) -> object:
        calls.append(args)
        if name == "replace" or len(calls) == 3:  # the third: of the folder, when the new file has its name already
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        book.note(pins(5)[0])
    assert calls
    assert read_ledger(state_dir).of("har").pinned == set(range(6))
    for number in range(6, 9):
        book.note(pins(number)[0])
        assert read_ledger(state_dir).of("har").pinned == set(range(number + 1))
    book.close()
    assert len(read(state_dir / "models" / "journal").entries) < 4


def test_a_journal_written_anew_that_cannot_be_opened_takes_entries_when_it_can(path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(path)
    real = os.open

    def no_more_files(target: object, *args: object) -> int:
        if target == path:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(target, *args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_more_files)
        unwritable(lambda: journal.begin_anew(pins(1)[0]))
        unwritable(lambda: journal.append(pins(2)[0]))
    journal.append(pins(3)[0])
    journal.close()
    assert read(path).entries == pins(1, 3)


# -- readers beside the writer --------------------------------------------------------------------


def test_readers_beside_a_writer_see_some_first_entries_and_never_a_bad_line(state_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    book, ended = Book(state_dir), threading.Event()
    seen: list[tuple[int, int]] = []

    def look() -> None:
        while not ended.is_set():
            seen.append((read(state_dir / "models" / "journal").bad, len(read_ledger(state_dir).of("har").pinned)))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(300):
            book.note(pins(number)[0])
    finally:
        ended.set()
        reader.join()
        book.close()
    assert seen
    assert not any(bad for bad, _ in seen)
    counts = [count for _, count in seen]
    assert counts == sorted(counts)


def test_what_a_book_gives_does_not_change_under_who_reads_it(state_dir: Path):
    book = Book(state_dir)
    book.note(pins(1)[0])
    before, models = book.of("har"), book.models()
    book.note(pins(2)[0])
    assert before.pinned == models["har"].pinned == {1}
    before.pinned.add(9)
    assert book.of("har").pinned == {1, 2}
    book.close()
