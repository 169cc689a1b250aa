"""A transfer over carriers that fail, lie, crawl or end: it goes on with another, or says why not."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest

from edged.clock import NS, SystemClock, VirtualClock
from edged.errors import Cancelled, EdgedError, PeerError, PublisherError
from edged.exchange.pieces import PIECE
from edged.fleet.transfer.carriers.base import Broken, Carrier
from edged.fleet.transfer.carriers.folder import FolderCarrier
from edged.fleet.transfer.choice import MOST_BREAKS
from edged.fleet.transfer.transfer import Transfer
from tests.transfers import Blob, Fake, bring, sha256, transfer

BLOB = Blob.random(6 * PIECE + 17)
SMALL = b"a release.json"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def refusal(it: Transfer, blob: Blob = BLOB) -> EdgedError:
    with pytest.raises(EdgedError) as raised:
        bring(it, blob)
    return raised.value


def small(it: Transfer, data: bytes = SMALL) -> bytes:
    return it.small(sha256(data), len(data), lambda: False)


def gives(*broken: int) -> Blob:
    """Give a blob with other bytes in some of its pieces, under the index of the right one."""
    data = bytearray(BLOB.data)
    for number in broken:
        data[number * PIECE + 5] ^= 1
    return Blob(bytes(data), BLOB.index)


# -- bytes that are not the blob's --------------------------------------------------------------------


def test_a_tampered_piece_costs_one_piece(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock)
    fake.spoil = lambda number, data: data if number != 3 or len(fake.given) > 4 else data[::-1]
    it = transfer(tmp_path / "in", fake, clock=clock)
    assert bring(it, BLOB) == BLOB.data
    assert it.received == len(BLOB.index) + len(BLOB.data) + PIECE
    assert it.damaged == 1


def test_a_piece_that_is_bad_three_times_ends_it_and_the_others_stay(tmp_path: Path, clock: VirtualClock):
    fake = Fake({**BLOB.all(), BLOB.seal.sha256: gives(3).data}, clock)
    it = transfer(tmp_path / "in", fake, clock=clock)
    error = refusal(it)
    assert isinstance(error, PeerError)
    assert error.code == "piece-damaged"
    assert it.received == len(BLOB.index) + 6 * PIECE
    fake.blobs = BLOB.all()
    assert bring(it, BLOB) == BLOB.data
    assert it.received == 2 * len(BLOB.index) + 3 * PIECE + len(BLOB.data)


def test_a_piece_that_one_carrier_has_wrong_comes_by_another(tmp_path: Path, clock: VirtualClock):
    bad = Fake({**BLOB.all(), BLOB.seal.sha256: gives(2, 3, 4).data}, clock, "bad")
    good = Fake(BLOB.all(), clock, "good")
    it = transfer(tmp_path / "in", bad, good, clock=clock)
    assert bring(it, BLOB) == BLOB.data
    assert it.damaged == 2


def test_a_forged_index_is_not_used(tmp_path: Path, clock: VirtualClock):
    forged = Blob.random(len(BLOB.data), seed=2)
    fake = Fake({BLOB.seal.sha256: forged.data, sha256(BLOB.index): forged.index}, clock)
    assert refusal(transfer(tmp_path / "in", fake, clock=clock)).code == "piece-damaged"
    assert {name for name, _ in fake.given} == {sha256(BLOB.index)}


def test_a_file_of_many_pieces_without_an_index_is_the_publishers_fault(tmp_path: Path, clock: VirtualClock):
    it = transfer(tmp_path / "in", Fake(BLOB.all(), clock), clock=clock)
    with pytest.raises(PublisherError) as raised:
        it.bring(BLOB.seal, "", lambda _done: None, lambda: False)
    assert raised.value.code == "no-piece-index"


# -- small blobs --------------------------------------------------------------------------------------


def test_a_small_blob_is_given_from_memory_and_nothing_is_written(tmp_path: Path, clock: VirtualClock):
    it = transfer(tmp_path / "in", Fake({sha256(SMALL): SMALL}, clock), clock=clock)
    assert small(it) == SMALL
    assert it.small(sha256(b""), 0, lambda: False) == b""
    assert list((tmp_path / "in").iterdir()) == []


def test_a_small_blob_of_other_bytes_is_not_given(tmp_path: Path, clock: VirtualClock):
    it = transfer(tmp_path / "in", Fake({sha256(SMALL): SMALL[::-1]}, clock), clock=clock)
    with pytest.raises(PeerError) as raised:
        small(it)
    assert raised.value.code == "piece-damaged"


def test_a_blob_that_is_too_large_for_memory_is_not_asked_for(tmp_path: Path, clock: VirtualClock):
    it = transfer(tmp_path / "in", clock=clock)
    with pytest.raises(PublisherError) as raised:
        it.small("ab" * 32, (1 << 20) + 1, lambda: False)
    assert raised.value.code == "blob-too-large"


# -- nobody, or nobody who has it ---------------------------------------------------------------------


def test_without_any_connection_it_is_offline_after_a_minute(tmp_path: Path, clock: VirtualClock):
    assert refusal(transfer(tmp_path / "in", Fake(BLOB.all(), clock, up=lambda: False), clock=clock)).code == "offline"
    assert 60 <= clock.mono() / NS < 61


def test_nobody_answers_for_half_a_minute(tmp_path: Path, clock: VirtualClock):
    assert refusal(transfer(tmp_path / "in", Fake(BLOB.all(), clock, spoil=lambda *_: None), clock=clock)).code == "no-server"
    assert 30 <= clock.mono() / NS < 31


def test_time_without_a_connection_does_not_count_as_nobody_answering(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock, up=lambda: clock.mono() // NS % 50 < 5)
    fake.spoil = lambda _number, data: data if clock.mono() > 40 * NS else None
    assert bring(transfer(tmp_path / "in", fake, clock=clock), BLOB) == BLOB.data
    assert clock.mono() >= 50 * NS


def test_a_blob_that_nobody_has_is_not_found(tmp_path: Path, clock: VirtualClock):
    it = transfer(tmp_path / "in", Fake({}, clock), Fake({}, clock, "another"), clock=clock)
    assert refusal(it).code == "blob-not-found"
    assert clock.mono() == 0


def test_a_blob_that_one_has_is_found(tmp_path: Path, clock: VirtualClock):
    assert bring(transfer(tmp_path / "in", Fake({}, clock), Fake(BLOB.all(), clock), clock=clock), BLOB) == BLOB.data


def test_who_is_away_may_have_what_another_lacks(tmp_path: Path, clock: VirtualClock):
    fakes = Fake({}, clock), Fake(BLOB.all(), clock, up=lambda: clock.mono() > 20 * NS)
    assert bring(transfer(tmp_path / "in", *fakes, clock=clock), BLOB) == BLOB.data


def test_after_a_refusal_the_next_call_asks_again(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock, spoil=lambda *_: None)
    it = transfer(tmp_path / "in", fake, clock=clock)
    assert refusal(it).code == "no-server"
    fake.spoil = lambda _number, data: data
    assert bring(it, BLOB) == BLOB.data


def test_that_one_was_silent_is_not_held_against_the_next(tmp_path: Path, clock: VirtualClock):
    silent = Fake(BLOB.all(), clock, "silent", spoil=lambda *_: None)
    slow = Fake(BLOB.all(), clock, "slow")
    trickle(clock, slow, 25)
    assert bring(transfer(tmp_path / "in", silent, slow, clock=clock), BLOB) == BLOB.data


def test_one_that_sends_a_little_and_breaks_each_time_is_not_tried_for_ever(tmp_path: Path, clock: VirtualClock):
    class Drips(Fake):
        def bring(self, errand):  # type: ignore[no-untyped-def]
            self.given.append((errand.sha256, -1))
            errand.came(1, 1)
            yield None
            raise Broken("it broke")

    fake = Drips(BLOB.all(), clock)
    assert refusal(transfer(tmp_path / "in", fake, clock=clock)).code == "no-server"
    assert len(fake.given) == MOST_BREAKS


# -- slow ---------------------------------------------------------------------------------------------


def trickle(clock: VirtualClock, fake: Fake, gap_s: int) -> None:
    """Let a fake give each piece after a time."""
    last = [0]

    def spoil(_number: int, data: bytearray) -> bytearray | None:
        if clock.mono() - last[0] < gap_s * NS:
            return None
        last[0] = clock.mono()
        return data

    fake.spoil, fake.tick_ns = spoil, NS


def test_a_slow_honest_line_is_waited_for(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock)
    trickle(clock, fake, 25)
    assert bring(transfer(tmp_path / "in", fake, clock=clock), BLOB) == BLOB.data


def test_who_sends_hardly_anything_for_five_minutes_is_slow_and_what_came_is_kept(tmp_path: Path, clock: VirtualClock):
    fake = Crawl(BLOB.all(), clock)
    it = transfer(tmp_path / "in", fake, clock=clock)
    error = refusal(it)
    assert error.code == "transfer-slow"
    assert 300 <= clock.mono() / NS < 310
    assert it.received < 1024 * 300 + len(BLOB.index)


def test_minutes_without_a_connection_do_not_count_as_slow(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock, up=lambda: clock.mono() // NS % 55 < 2)
    fake.spoil = lambda _number, data: data if clock.mono() // NS % 55 == 0 and clock.mono() // NS // 55 >= len(fake.given) else None
    fake.tick_ns = NS
    assert bring(transfer(tmp_path / "in", fake, clock=clock), BLOB) == BLOB.data
    assert clock.mono() > 300 * NS


class Crawl(Fake):
    """It gives the index at once, and a byte each five seconds then."""

    def bring(self, errand):  # type: ignore[no-untyped-def]
        if errand.size == len(BLOB.index):
            yield from super().bring(errand)
            return
        while True:
            self.clock.advance(NS)
            if self.clock.mono() // NS % 5 == 0:
                errand.came(1, 1)
            yield None


# -- from one carrier to another ----------------------------------------------------------------------


def breaks_after(fake: Fake, count: int) -> None:
    def spoil(_number: int, data: bytearray) -> bytearray:
        if len(fake.given) >= count:
            raise Broken("it broke")
        return data

    fake.spoil = spoil


def test_another_carrier_goes_on_where_one_broke(tmp_path: Path, clock: VirtualClock):
    first, second = Fake(BLOB.all(), clock, "first"), Fake(BLOB.all(), clock, "second")
    breaks_after(first, 4)
    it = transfer(tmp_path / "in", first, second, clock=clock)
    assert bring(it, BLOB) == BLOB.data
    assert [number for _, number in second.given] == [3, 4, 5, 6]
    assert it.received == len(BLOB.index) + len(BLOB.data)


def test_the_preferred_one_goes_on_when_it_is_back(tmp_path: Path, clock: VirtualClock):
    first = Fake(BLOB.all(), clock, "first", up=lambda: len(second.given) > 2)
    second = Fake(BLOB.all(), clock, "second")
    second.spoil = lambda _number, data: clock.advance(2 * NS) or data  # type: ignore[func-returns-value]
    it = transfer(tmp_path / "in", first, second, clock=clock)
    assert bring(it, BLOB) == BLOB.data
    assert len(first.given) >= 3
    assert it.received == len(BLOB.index) + len(BLOB.data)


def test_the_only_one_is_tried_again_soon_after_it_broke(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock)
    times = [0]

    def spoil(number: int, data: bytearray) -> bytearray:
        if number == 4 and times[0] < 2:
            times[0] += 1
            raise Broken("it broke")
        return data

    fake.spoil = spoil
    assert bring(transfer(tmp_path / "in", fake, clock=clock), BLOB) == BLOB.data


def test_one_that_breaks_each_time_is_told_after_a_minute(tmp_path: Path, clock: VirtualClock):
    fake = Fake(BLOB.all(), clock)
    breaks_after(fake, 0)
    error = refusal(transfer(tmp_path / "in", fake, clock=clock))
    assert (error.code, error.text) == ("no-server", "it broke")
    assert 60 <= clock.mono() / NS < 61


def test_a_cancel_is_heard_while_nothing_comes(tmp_path: Path, clock: VirtualClock):
    for fake in (Fake(BLOB.all(), clock, spoil=lambda *_: None), Fake(BLOB.all(), clock, up=lambda: False)):
        it, begun = transfer(tmp_path / "in", fake, clock=clock), clock.mono()
        with pytest.raises(Cancelled):
            bring(it, BLOB, lambda begun=begun: clock.mono() > begun + NS)
        assert clock.mono() - begun < 2 * NS


# -- a folder -----------------------------------------------------------------------------------------


def from_folder(tmp_path: Path) -> bytes:
    carriers: list[Carrier] = [FolderCarrier(tmp_path / "stick")]
    return bring(transfer(tmp_path / "in", *carriers, clock=VirtualClock()), BLOB)


def test_a_folder_gives_what_lies_in_it(tmp_path: Path):
    BLOB.lay(tmp_path / "stick")
    assert from_folder(tmp_path) == BLOB.data


def test_a_folder_that_is_not_there_is_no_connection(tmp_path: Path):
    with pytest.raises(PeerError) as raised:
        from_folder(tmp_path)
    assert raised.value.code == "offline"


@pytest.mark.parametrize("harm", ["gone", "outside", "pipe", "folder", "shorter", "longer"])
def test_what_is_no_file_of_the_folder_is_not_found(tmp_path: Path, harm: str):
    path = BLOB.lay(tmp_path / "stick") / "blobs/sha256" / BLOB.seal.sha256
    path.unlink()
    if harm == "outside":
        (tmp_path / "elsewhere").write_bytes(BLOB.data)
        path.symlink_to(tmp_path / "elsewhere")
    elif harm == "pipe":
        os.mkfifo(path)
    elif harm == "folder":
        path.mkdir()
    elif harm != "gone":
        path.write_bytes(BLOB.data[:-1] if harm == "shorter" else BLOB.data + b"x")
    with pytest.raises(PeerError) as raised:
        from_folder(tmp_path)
    assert raised.value.code == "blob-not-found"


def test_a_link_inside_the_folder_is_followed(tmp_path: Path):
    path = BLOB.lay(tmp_path / "stick") / "blobs/sha256" / BLOB.seal.sha256
    path.rename(tmp_path / "stick" / "model")
    path.symlink_to("../../model")
    assert from_folder(tmp_path) == BLOB.data


def test_a_stick_that_comes_later_is_found(tmp_path: Path):
    clock = SystemClock()
    carrier = FolderCarrier(tmp_path / "stick")
    it = transfer(tmp_path / "in", carrier, clock=clock)
    calls = [0]

    def cancelled() -> bool:
        calls[0] += 1
        if calls[0] == 2:
            BLOB.lay(tmp_path / "stick")
        return False

    assert bring(it, BLOB, cancelled) == BLOB.data


def test_random_failures_end_with_the_same_bytes(tmp_path: Path, clock: VirtualClock):
    rng = random.Random(4)

    def spoil(_number: int, data: bytearray) -> bytearray | None:
        chance = rng.random()
        if chance < 0.2:
            raise Broken("it broke")
        return None if chance < 0.4 else data[::-1] if chance < 0.5 else data

    fakes = [Fake(BLOB.all(), clock, str(each), up=lambda: rng.random() < 0.8, spoil=spoil) for each in range(3)]
    it = transfer(tmp_path / "in", *fakes, clock=clock)
    for _ in range(100):
        with suppress(PeerError):
            assert bring(it, BLOB) == BLOB.data
            return
    raise AssertionError
