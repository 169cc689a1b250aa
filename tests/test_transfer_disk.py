"""A part file and its map after kills and power cuts: at most one whole piece comes twice, and none is believed that is not there."""

from __future__ import annotations

import errno
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import NS, VirtualClock
from edged.errors import BoardError, Cancelled
from edged.exchange.pieces import PIECE
from edged.fleet.transfer import partial
from edged.fleet.transfer.budget import DAY_NS, OVERRUN_BYTES, SAVE_BYTES, Budget
from edged.fleet.transfer.mapping import Subject, most_bytes, new_log, parse_log
from edged.fleet.transfer.partial import Partial
from edged.models.packed import FileSeal
from tests.shim import Cut, copy, cuts_of, die_at, in_words
from tests.transfers import Blob, Fake, bring, sha256, transfer

pytest_plugins = ["tests.quick"]

BLOB = Blob.random(5 * PIECE + 3)


def fetch(folder: Path, blob: Blob = BLOB) -> list[int]:
    """Bring a blob; give the pieces of it that were asked for."""
    clock = VirtualClock()
    fake = Fake(blob.all(), clock)
    assert bring(transfer(folder, fake, clock=clock), blob) == blob.data
    return [number for name, number in fake.given if name == blob.seal.sha256]


def fetch_counted(folder: Path, counter: Path) -> None:
    """Bring the blob; count in a file the pieces that were given whole."""
    clock = VirtualClock()
    fake = Fake(BLOB.all(), clock)

    def count(_number: int, data: bytearray) -> bytearray:
        if len(data) != len(BLOB.index):
            with counter.open("ab") as file:
                file.write(b".")
        return data

    fake.spoil = count
    bring(transfer(folder, fake, clock=clock), BLOB)


def lost_at(cut: Cut, quick: Path) -> tuple[int, int]:
    """Bring the blob, end at the cut, bring it again; give how many pieces came before, and how many of these came twice."""
    folder, counter = quick / "incoming", quick / "counter"
    shutil.rmtree(folder, ignore_errors=True)
    counter.write_bytes(b"")
    die_at(cut, lambda: fetch_counted(folder, counter))
    given = counter.stat().st_size
    return given, len(fetch(folder)) - (6 - given)


@pytest.mark.parametrize("sync_bytes", [2 * PIECE, 100 * PIECE])
def test_a_kill_at_any_durable_operation_costs_one_whole_piece_at_most(quick: Path, sync_bytes: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partial, "SYNC_BYTES", sync_bytes)
    cuts = cuts_of(lambda: fetch(quick / "all"))
    print(in_words(cuts))
    outcomes = {cut: lost_at(cut, quick) for cut in cuts}
    assert {cut: twice for cut, (_, twice) in outcomes.items() if twice > 1} == {}
    assert {given for given, _ in outcomes.values()} == set(range(7))


@pytest.mark.parametrize("sync_bytes", [1, 2 * PIECE])
def test_a_power_cut_costs_what_was_not_synced_and_no_piece_is_believed_that_is_not_there(
    quick: Path, sync_bytes: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partial, "SYNC_BYTES", sync_bytes)
    cuts = [replace(cut, lost=True) for cut in cuts_of(lambda: fetch(quick / "all")) if not cut.half]
    outcomes = {cut: lost_at(cut, quick) for cut in cuts}
    assert {cut: twice for cut, (_, twice) in outcomes.items() if twice > max(1, sync_bytes // PIECE)} == {}


def test_a_power_cut_that_keeps_the_map_and_loses_the_pieces_is_seen(quick: Path, monkeypatch: pytest.MonkeyPatch):
    """Disks write in any order: here the records come to the disk, and two pieces do not."""
    monkeypatch.setattr(partial, "SYNC_BYTES", 2 * PIECE)
    die_at(last_write(quick), lambda: fetch(quick / "incoming"))
    path = quick / "incoming" / f"{BLOB.seal.sha256}.part"
    with path.open("r+b") as file:
        file.seek(4 * PIECE + 1000)
        file.write(bytes(PIECE - 1000))
    assert fetch(quick / "incoming") == [4, 5]


def last_write(quick: Path) -> Cut:
    return [cut for cut in cuts_of(lambda: fetch(quick / "all")) if cut.operation == "write" and not cut.half][-3]


def test_a_kill_while_a_download_goes_on_after_a_kill(quick: Path):
    first = cuts_of(lambda: fetch(quick / "all"))
    for place in first[6::5]:
        shutil.rmtree(quick / "wreck", ignore_errors=True)
        die_at(place, lambda: fetch(quick / "wreck"))
        left = len(fetch(copy(quick / "wreck", quick / "incoming")))
        copy(quick / "wreck", quick / "incoming")
        for cut in cuts_of(lambda: fetch(quick / "incoming"))[::3]:
            copy(quick / "wreck", quick / "incoming")
            die_at(cut, lambda: fetch(quick / "incoming"))
            assert len(fetch(quick / "incoming")) <= left


def test_a_download_that_was_cancelled_goes_on_where_it_was(tmp_path: Path):
    clock = VirtualClock()
    fake = Fake(BLOB.all(), clock)
    seen: list[int] = []
    with pytest.raises(Cancelled):
        transfer(tmp_path / "in", fake, clock=clock).bring(BLOB.seal, BLOB.index_sha256, seen.append, lambda: len(fake.given) > 3)
    assert seen == [0, PIECE, 2 * PIECE, 3 * PIECE]
    fresh = Fake(BLOB.all(), clock)
    transfer(tmp_path / "in", fresh, clock=clock).bring(BLOB.seal, BLOB.index_sha256, seen.append, lambda: False)
    assert [number for name, number in fresh.given if name == BLOB.seal.sha256] == [3, 4, 5]
    assert seen[4:] == [3 * PIECE, 4 * PIECE, 5 * PIECE, 5 * PIECE + 3] + [5 * PIECE + 3] * (len(seen) - 8)


def test_what_is_there_is_not_asked_for(tmp_path: Path):
    assert fetch(tmp_path / "in") == [0, 1, 2, 3, 4, 5]
    assert fetch(tmp_path / "in") == []


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_files_of_any_size_arrive(tmp_path: Path, size: int):
    assert len(fetch(tmp_path / "in", Blob.random(size))) == -(-size // PIECE)
    assert fetch(tmp_path / "in", Blob.random(size)) == []


def test_pieces_that_are_the_same_come_once(tmp_path: Path):
    twice = random.Random(1).randbytes(PIECE)
    blob = Blob.of(twice + bytes(3 * PIECE) + twice + b"end" + bytes(1000))
    assert fetch(tmp_path / "in", blob) == [0, 1, 5]


def test_a_file_of_another_index_is_begun_anew(tmp_path: Path):
    fetch(tmp_path / "in")
    it = Partial(tmp_path / "in", BLOB.seal.sha256, Subject(len(BLOB.data), "ab" * 32), b"", VirtualClock(), random.Random(1))
    assert it.have == set()
    it.close()


@pytest.mark.parametrize("harm", ["part-cut", "part-longer", "part-gone", "map-cut", "map-gone", "map-zeros", "map-link", "part-link"])
def test_files_that_are_not_what_they_were_are_not_believed(tmp_path: Path, harm: str):
    folder = tmp_path / "in"
    fetch(folder)
    which, _, how = harm.partition("-")
    path = folder / f"{BLOB.seal.sha256}.{which}"
    data = path.read_bytes()
    path.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        path.symlink_to(tmp_path / "elsewhere")
    elif how != "gone":
        path.write_bytes({"cut": data[:40], "longer": data + b"x", "zeros": bytes(len(data))}[how])
    assert fetch(folder) == [0, 1, 2, 3, 4, 5]
    if how == "link":
        assert (tmp_path / "elsewhere").read_bytes() == data


@given(cut=st.integers(0, 200), flip=st.integers(0, 199), bit=st.integers(0, 7))
def test_a_torn_or_damaged_log_ends_where_it_is_damaged(cut: int, flip: int, bit: int):
    subject = Subject(20 * PIECE, "cd" * 32)
    data, log = new_log(subject, 5, range(8))
    data += b"".join(log.record(piece) for piece in range(8, 12))
    torn = bytearray(data)
    torn[flip % len(torn)] ^= 1 << bit
    for harmed in (bytes(torn), data[:cut], bytes(torn[:cut])):
        parsed = parse_log(harmed, subject)
        if parsed is not None:
            assert parsed.safe in (set(), set(range(8)))
            assert parsed.doubtful == list(range(len(parsed.doubtful))) or parsed.doubtful == list(range(8, 8 + len(parsed.doubtful)))
            assert parsed.length <= len(harmed) or harmed == data


@given(st.binary(max_size=300))
def test_any_bytes_are_no_log_of_a_blob(data: bytes):
    assert parse_log(data, Subject(20 * PIECE, "cd" * 32)) is None


def test_the_longest_log_is_read_whole():
    subject = Subject(20 * PIECE, "cd" * 32)
    data, log = new_log(subject, 5, [])
    data += b"".join(log.record(piece) + log.synced() for piece in range(20))
    assert len(data) <= most_bytes(20 * PIECE)


# -- space ----------------------------------------------------------------------------------------


def test_without_space_for_all_of_it_nothing_is_left_and_nothing_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    clock = VirtualClock()
    fake = Fake(BLOB.all(), clock)
    with pytest.raises(BoardError) as raised:
        bring(transfer(tmp_path / "in", fake, clock=clock), BLOB)
    assert raised.value.code == "no-space"
    assert list((tmp_path / "in").iterdir()) == []
    assert BLOB.seal.sha256 not in [name for name, _ in fake.given]


def test_a_file_system_that_cannot_set_space_aside_serves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    assert len(fetch(tmp_path / "in")) == 6


def test_a_disk_that_fills_up_on_the_way_is_told_and_what_came_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = VirtualClock()
    fake = Fake(BLOB.all(), clock)
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if len(fake.given) > 3 and len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(BoardError) as raised:
        bring(transfer(tmp_path / "in", fake, clock=clock), BLOB)
    assert raised.value.code == "no-space"
    monkeypatch.undo()
    assert fetch(tmp_path / "in") == [2, 3, 4, 5]


@pytest.mark.parametrize("boundary", [2 << 30, 4 << 30])
def test_pieces_around_2_and_4_gib_come_to_their_places(tmp_path: Path, boundary: int):
    """A sparse file whose map says that all but the pieces around the boundary are there."""
    size, number = boundary + 2 * PIECE + 77, boundary // PIECE
    pieces = {each: random.Random(each).randbytes(PIECE) for each in (number - 1, number, number + 1)}
    pieces[number + 2] = random.Random(9).randbytes(77)
    zero = bytes.fromhex(sha256(bytes(PIECE)))
    index = b"".join(bytes.fromhex(sha256(pieces[each])) if each in pieces else zero for each in range(number + 3))
    name, subject = "ef" * 32, Subject(size, sha256(index))
    folder = tmp_path / "in"
    folder.mkdir()
    with (folder / f"{name}.part").open("wb") as file:
        file.truncate(size)
    (folder / f"{name}.map").write_bytes(new_log(subject, 1, range(number - 1))[0])
    clock = VirtualClock()
    fake = Fake({sha256(index): index, name: b""}, clock)
    fake.spoil = lambda each, data: bytearray(pieces[each]) if each in pieces else data
    path = transfer(folder, fake, clock=clock).bring(FileSeal(name, size), sha256(index), lambda _done: None, lambda: False)
    assert path.stat().st_size == size
    with path.open("rb") as file:
        for each, data in pieces.items():
            file.seek(each * PIECE)
            assert file.read(len(data)) == data
        file.seek((number - 2) * PIECE)
        assert file.read(PIECE) == bytes(PIECE)


# -- bytes of a day -------------------------------------------------------------------------------


def budget(tmp_path: Path, limit: int, clock: VirtualClock) -> Budget:
    return Budget(tmp_path / "budget", limit, clock)


def test_a_budget_that_is_spent_ends_the_transfer_says_when_it_goes_on_and_goes_on_then(tmp_path: Path):
    clock = VirtualClock(wall=20_000 * DAY_NS + 5 * NS)
    fake = Fake(BLOB.all(), clock)
    it = transfer(tmp_path / "in", fake, clock=clock, limit=2 * PIECE + 100)
    for _ in range(2):
        with pytest.raises(BoardError) as raised:
            bring(it, BLOB)
        assert raised.value.code == "budget-spent"
        assert "2024-10-05 00:00 UTC" in raised.value.hint
    assert it.received == 2 * PIECE + len(BLOB.index)
    clock.advance(DAY_NS)
    with pytest.raises(BoardError):
        bring(it, BLOB)
    clock.advance(DAY_NS)
    assert bring(it, BLOB) == BLOB.data
    assert it.received == len(BLOB.data) + 3 * len(BLOB.index)


def test_a_flood_of_useless_bytes_overruns_a_budget_by_little(tmp_path: Path):
    it = budget(tmp_path, 1000, VirtualClock())
    it.spend(1000 + OVERRUN_BYTES - 1)
    with pytest.raises(BoardError):
        it.spend(1)


def test_a_clock_that_is_set_back_and_a_restart_give_no_bytes_for_free(tmp_path: Path):
    clock = VirtualClock(wall=20_000 * DAY_NS)
    first = budget(tmp_path, 1000, clock)
    first.spend(900)
    first.save()
    clock.set_wall(10 * DAY_NS)
    again = budget(tmp_path, 1000, clock)
    assert again.spent == 900
    again.spend(100)
    with pytest.raises(BoardError):
        again.check()


def test_a_clock_that_was_far_ahead_once_does_not_end_all_days(tmp_path: Path):
    clock = VirtualClock(wall=40_000 * DAY_NS)
    budget(tmp_path, 1000, clock).spend(900)
    clock.set_wall(20_000 * DAY_NS)
    it = budget(tmp_path, 1000, clock)
    it.spend(900)
    clock.advance(DAY_NS)
    assert it.spent == 0


def test_the_count_is_written_every_4_mib_and_at_the_end(tmp_path: Path):
    clock = VirtualClock(wall=20_000 * DAY_NS)
    it = budget(tmp_path, 0, clock)
    it.spend(SAVE_BYTES - 1)
    assert budget(tmp_path, 0, clock).spent == 0
    it.spend(1)
    assert budget(tmp_path, 0, clock).spent == SAVE_BYTES
    it.spend(5)
    it.save()
    assert budget(tmp_path, 0, clock).spent == SAVE_BYTES + 5


@pytest.mark.parametrize("content", [b"", b"{}", b'{"day":-1,"bytes":0}', b'{"day":1,"bytes":"x"}', b"[" * 10_000])
def test_a_budget_file_that_is_none_counts_as_none(tmp_path: Path, content: bytes):
    (tmp_path / "budget").write_bytes(content)
    assert budget(tmp_path, 1000, VirtualClock()).spent == 0
