"""Attacks on a board's trust, one test each: a broker or a thief of keys lies about metadata, releases and orders.

Each begins with a board that has refreshed once from an honest repository, and says what the attack is, what ends it and
what goes on all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.clock import NS, VirtualClock
from edged.errors import EXIT_UNTRUSTED, EdgedError, PeerError, Untrusted
from edged.exchange.desired import Desired
from edged.exchange.targets import MAX_TARGETS_BYTES, target_path
from edged.fleet.desired import accept, moment
from edged.fleet.floor import Floor, FloorFile, Revision
from edged.fleet.repositories import FolderRepository
from edged.fleet.timekeeping import Time
from edged.fleet.trust import Trusted, refresh
from tests.fleets import Fleet, days
from tests.stores import tiny

START = 1_795_000_000 * NS
DEVICE = "dev:press-7"


class Board:
    """What of a board believes: a cache, a floor on disk, a clock; it reads the repository's folder."""

    def __init__(self, folder: Path, fleet: Fleet, clock: VirtualClock) -> None:
        self.fleet, self.clock, self.folder = fleet, clock, folder
        self.root = fleet.root_bytes()
        self.floor = FloorFile(folder / "fleet")
        self.unsynced: bool | None = False
        self.time = Time(clock, lambda: self.unsynced)
        self.fetch: Callable[[str], bytes | None] = FolderRepository(fleet.public).metadata
        self.trusted: Trusted | None = None

    def refresh(self) -> Trusted:
        now = self.time.now(self.floor.now.time)
        trusted, floor = refresh(self.folder / "cache", self.root, self.fetch, moment(now), self.floor.now)
        self.floor.put(msgspec.structs.replace(floor, time=self.time.lifted(floor.time)))
        self.trusted = trusted
        return trusted

    def accept(self, envelope: bytes, audience: str = DEVICE) -> Desired:
        assert self.trusted is not None
        assert self.trusted.director is not None
        seen = self.floor.now.revs.get(audience, Revision())
        now = moment(self.time.now(self.floor.now.time))
        desired, revision = accept(envelope, audience, self.trusted.director, seen, now)
        self.floor.put(msgspec.structs.replace(self.floor.now, revs={**self.floor.now.revs, audience: revision}))
        return desired

    def forget_cache(self) -> None:
        """Lose all metadata, as a board whose disk was wiped but for the floor."""
        import shutil

        shutil.rmtree(self.folder / "cache")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def fleet(tmp_path: Path, clock: VirtualClock) -> Fleet:
    made = Fleet(tmp_path / "repository", clock=clock)
    made.add(tiny(tmp_path / "one"))
    made.assign(DEVICE, {"twice": 1})
    return made


@pytest.fixture
def board(tmp_path: Path, fleet: Fleet, clock: VirtualClock) -> Board:
    made = Board(tmp_path / "board", fleet, clock)
    made.refresh()
    made.accept(fleet.desired(DEVICE))
    return made


def refused(do: Callable[[], object]) -> EdgedError:
    """Give the error of what is refused."""
    with pytest.raises(EdgedError) as caught:
        do()
    error = caught.value
    assert error.code
    assert error.text
    assert error.hint, f"{error.code} does not say what to do next"
    return error


def test_an_honest_repository_is_trusted(board: Board, fleet: Fleet) -> None:
    assert board.trusted is not None
    listed = board.trusted.find("twice", 1)
    assert listed is not None
    assert listed.sha256 == fleet.digest("twice", 1)
    assert board.trusted.versions == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert {name: each.version for name, each in board.floor.now.roles.items()} == board.trusted.versions
    assert FloorFile(board.folder / "fleet").now == board.floor.now


def test_arbitrary_release_of_somebody_elses_repository(board: Board, fleet: Fleet, tmp_path: Path, clock: VirtualClock) -> None:
    other = Fleet(tmp_path / "thief", clock=clock)
    other.add(tiny(tmp_path / "two", release=2))
    other.add(tiny(tmp_path / "three", release=3))
    board.fetch = FolderRepository(other.public).metadata
    assert refused(board.refresh).code == "metadata-unsigned"


def test_arbitrary_release_that_no_list_names(board: Board) -> None:
    assert board.trusted is not None
    assert board.trusted.find("twice", 7) is None
    assert board.trusted.find("../twice", 1) is None


def test_rollback_of_metadata(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    old = fleet.keep()
    fleet.add(tiny(tmp_path / "two", release=2))
    board.refresh()
    fleet.put_back(old)
    assert refused(board.refresh).code == "metadata-rollback"


def test_rollback_of_metadata_on_a_board_whose_cache_is_empty(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    old = fleet.keep()
    fleet.add(tiny(tmp_path / "two", release=2))
    board.refresh()
    fleet.put_back(old)
    board.forget_cache()
    before = board.floor.now
    error = refused(board.refresh)
    assert (error.code, error.exit_code) == ("metadata-rollback", EXIT_UNTRUSTED)
    assert board.floor.now == before


def test_rollback_of_one_role_by_its_own_key(board: Board, fleet: Fleet) -> None:
    """A thief of the online keys signs a lower number of the list of releases."""
    fleet.resign("snapshot", lambda signed: setattr(signed.meta["targets.json"], "version", 1))
    assert refused(board.refresh).code == "metadata-rollback"


def test_freeze(board: Board, fleet: Fleet, clock: VirtualClock) -> None:
    """Nothing new comes; what there was expires, so it is noticed, and nothing more is installed."""
    clock.advance(days(31))
    error = refused(board.refresh)
    assert error.code == "metadata-expired"
    assert "edged fleet publish" in error.hint
    fleet.resign("snapshot", _renewed(fleet))
    fleet.resign("timestamp", _renewed(fleet))
    board.refresh()


def _renewed(fleet: Fleet) -> Callable[[object], None]:
    return lambda signed: setattr(signed, "expires", fleet.repository.now() + timedelta(days=30))


def test_mix_and_match(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    """The list of releases of one moment beside the snapshot of another."""
    old = fleet.metadata("targets/2")
    fleet.add(tiny(tmp_path / "two", release=2))
    honest = board.fetch
    board.fetch = lambda name: old if name == "targets/3" else honest(name)
    assert refused(board.refresh).code in ("metadata-mismatch", "metadata-rollback")


def test_endless_data_in_metadata(board: Board) -> None:
    honest = board.fetch
    for name, most in (("timestamp", 16 << 10), ("root/2", 64 << 10)):
        board.fetch = lambda asked, name=name, most=most: b" " * (most + 1) if asked == name else honest(asked)
        assert refused(board.refresh).code == "metadata-too-large"


def test_endless_data_in_the_list_of_releases(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    fleet.add(tiny(tmp_path / "two", release=2))
    honest = board.fetch
    board.fetch = lambda name: b" " * (MAX_TARGETS_BYTES + 1) if name == "targets/3" else honest(name)
    assert refused(board.refresh).code in ("metadata-too-large", "metadata-mismatch")


def test_wrong_size_of_metadata(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    fleet.add(tiny(tmp_path / "two", release=2))
    honest = board.fetch
    board.fetch = lambda name: (honest(name) or b"") + b" " if name == "targets/3" else honest(name)
    assert refused(board.refresh).code in ("metadata-mismatch", "metadata-too-large")


def test_fast_forward_and_recovery(board: Board, fleet: Fleet) -> None:
    """A thief of the online keys runs numbers up; new keys begin anew below them."""
    honest = fleet.keep()
    fleet.resign("snapshot", lambda signed: setattr(signed, "version", 2**31 - 10))
    fleet.resign("timestamp", lambda signed: setattr(signed, "version", 2**31 - 10))
    assert board.refresh().versions["timestamp"] == 2**31 - 10
    fleet.put_back(honest)
    assert refused(board.refresh).code == "metadata-rollback"
    fleet.rotate("snapshot")
    fleet.rotate("timestamp")
    trusted = board.refresh()
    assert trusted.versions["timestamp"] < 100
    assert board.floor.now.roles["timestamp"].version == trusted.versions["timestamp"]


def test_stolen_director_key_chooses_among_genuine_releases_only(board: Board, fleet: Fleet) -> None:
    forged = fleet.make_desired(DEVICE, {"twice": 9}, rev=50)
    desired = board.accept(fleet.sign_desired(forged))  # well signed
    assert board.trusted is not None
    assert board.trusted.find("twice", desired.models["twice"].release) is None  # and nothing comes of it


def test_stolen_director_key_after_its_replacement(board: Board, fleet: Fleet) -> None:
    forged = fleet.sign_desired(fleet.make_desired(DEVICE, {"twice": 1}, rev=2**40))
    board.accept(forged)
    fleet.rotate("director")
    board.refresh()
    later = fleet.make_desired(DEVICE, {"twice": 1}, rev=2**40 + 1)
    assert refused(lambda: board.accept(forged)).code == "desired-unsigned"
    assert board.accept(fleet.sign_desired(later)).rev == 2**40 + 1
    honest = fleet.make_desired(DEVICE, {"twice": 1}, rev=2**40 + 2)
    assert board.accept(fleet.sign_desired(honest)).rev == 2**40 + 2


def test_a_replaced_director_key_recovers_revisions_that_were_run_up(board: Board, fleet: Fleet) -> None:
    board.accept(fleet.sign_desired(fleet.make_desired(DEVICE, {"twice": 1}, rev=2**50)))
    fleet.rotate("director")
    board.refresh()
    assert board.accept(fleet.sign_desired(fleet.make_desired(DEVICE, {"twice": 1}, rev=3))).rev == 3


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_a_stolen_key_of_another_role_cannot_address_devices(board: Board, fleet: Fleet, role: str) -> None:
    forged = fleet.make_desired(DEVICE, {"twice": 1}, rev=99)
    assert refused(lambda: board.accept(fleet.sign_desired(forged, role))).code == "desired-unsigned"


def test_rollback_of_desired(board: Board, fleet: Fleet) -> None:
    old = fleet.desired(DEVICE)
    fleet.assign(DEVICE, {"twice": 1})
    board.accept(fleet.desired(DEVICE))
    assert refused(lambda: board.accept(old)).code == "desired-rollback"


def test_another_content_under_a_revision_that_was_seen(board: Board, fleet: Fleet) -> None:
    other = fleet.make_desired(DEVICE, {"twice": 1}, rev=1, windows=7)
    assert refused(lambda: board.accept(fleet.sign_desired(other))).code == "desired-rollback"


def test_the_same_document_again_is_no_attack(board: Board, fleet: Fleet) -> None:
    assert board.accept(fleet.desired(DEVICE)) == board.accept(fleet.desired(DEVICE))


def test_another_devices_desired_replayed(board: Board, fleet: Fleet) -> None:
    fleet.assign("dev:press-8", {"twice": 1})
    assert refused(lambda: board.accept(fleet.desired("dev:press-8"))).code == "desired-for-another"
    fleet.assign("group:press-7", {"twice": 1})
    assert refused(lambda: board.accept(fleet.desired("group:press-7"))).code == "desired-for-another"


def test_expired_document_with_a_right_clock(board: Board, fleet: Fleet, clock: VirtualClock) -> None:
    document = fleet.sign_desired(fleet.make_desired(DEVICE, {"twice": 1}, rev=5, days=1))
    clock.advance(days(2))
    error = refused(lambda: board.accept(document))
    assert error.code == "desired-expired"
    assert "clock" in error.hint


def test_expired_document_with_a_clock_that_was_set_back(board: Board, fleet: Fleet, clock: VirtualClock) -> None:
    document = fleet.sign_desired(fleet.make_desired(DEVICE, {"twice": 1}, rev=5, days=1))
    clock.advance(days(2))
    board.refresh()  # a clock that is right lifts the floor
    clock.set_wall(START)
    assert refused(lambda: board.accept(document)).code == "desired-expired"


def test_expired_metadata_with_a_clock_that_was_set_back(board: Board, fleet: Fleet, clock: VirtualClock) -> None:
    clock.advance(days(29))
    board.refresh()
    clock.advance(days(2))
    fleet.resign("timestamp", lambda signed: setattr(signed, "expires", fleet.repository.now() + timedelta(days=9)))
    fleet.resign("snapshot", lambda signed: setattr(signed, "expires", fleet.repository.now() + timedelta(days=9)))
    board.refresh()
    expired = fleet.expire("timestamp", 3600)
    assert expired
    clock.set_wall(START)
    assert refused(board.refresh).code == "metadata-expired"


def test_document_with_an_unset_clock(tmp_path: Path, fleet: Fleet, board: Board, clock: VirtualClock) -> None:
    """A board without a battery clock starts in 1970: it goes by the moment it saw last."""
    clock.set_wall(0)
    board.unsynced = True
    assert board.time.state == "unsynced"
    assert board.refresh().versions["root"] == 1
    assert board.accept(fleet.desired(DEVICE)).rev == 1
    expired = fleet.make_desired(DEVICE, {"twice": 1}, rev=9, days=-1)
    assert refused(lambda: board.accept(fleet.sign_desired(expired))).code in ("desired-expired",)


def test_a_clock_that_runs_ahead_lifts_no_floor(board: Board, fleet: Fleet, clock: VirtualClock) -> None:
    board.unsynced = True
    clock.set_wall(START + days(4000))
    assert refused(board.refresh).code == "metadata-expired"
    clock.set_wall(START + days(1))
    board.unsynced = False
    board.refresh()
    assert board.accept(fleet.desired(DEVICE)).rev == 1


def test_key_rotation(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    for role in ("root", "targets", "snapshot", "timestamp", "root"):
        fleet.rotate(role)
    fleet.add(tiny(tmp_path / "two", release=2))
    trusted = board.refresh()
    assert trusted.versions["root"] > 4
    assert trusted.find("twice", 2) is not None


def test_a_revoked_key_signs_no_more(board: Board, fleet: Fleet) -> None:
    signed_before = fleet.keep()
    fleet.rotate("timestamp")
    board.refresh()
    roots = {name: data for name, data in fleet.keep().items() if name.endswith("root.json")}
    fleet.put_back({**signed_before, **roots})
    assert refused(board.refresh).code in ("metadata-unsigned", "metadata-rollback")


def test_a_root_that_only_new_keys_sign(board: Board, fleet: Fleet, tmp_path: Path, clock: VirtualClock) -> None:
    """The thief makes a root of the next number with keys of his own."""
    other = Fleet(tmp_path / "thief", clock=clock)
    other.rotate("root")
    honest = board.fetch
    board.fetch = lambda name: other.metadata("root/2") if name == "root/2" else honest(name)
    assert refused(board.refresh).code == "metadata-unsigned"


def test_path_tricks_in_names_of_releases(board: Board, fleet: Fleet) -> None:
    for trick in ("../../etc/passwd", "..", "a/b", "twice\x00", "x" * 65, "Twice", "_repo", "twice/../../x"):
        forged = fleet.desired_payload(DEVICE).encode().replace(b'"twice"', msgspec.json.encode(trick)).replace(b'"rev":1', b'"rev":9')
        assert refused(lambda forged=forged: board.accept(fleet.sign_desired(forged))).code == "desired-malformed", trick


def test_path_tricks_in_targets(board: Board, fleet: Fleet) -> None:
    def trick(signed: object) -> None:
        target = signed.targets.pop(target_path("twice", 1))  # type: ignore[attr-defined]
        signed.targets["../../twice/1"] = target  # type: ignore[attr-defined]

    fleet.resign("targets", trick)
    assert board.refresh().find("twice", 1) is None
    assert sorted(each.name for each in board.folder.iterdir()) == ["cache", "fleet"]


def test_an_entry_that_is_none_of_edgeds(board: Board, fleet: Fleet) -> None:
    def spoil(signed: object) -> None:
        signed.targets[target_path("twice", 1)].unrecognized_fields["custom"] = {"edged": {"pieces": {"..": "x"}}}  # type: ignore[attr-defined]

    fleet.resign("targets", spoil)
    trusted = board.refresh()
    assert refused(lambda: trusted.find("twice", 1)).code == "metadata-malformed"


def test_metadata_that_is_held_back(board: Board, fleet: Fleet, tmp_path: Path) -> None:
    fleet.add(tiny(tmp_path / "two", release=2))
    honest = board.fetch
    board.fetch = lambda name: None if name == "snapshot/3" else honest(name)
    error = refused(board.refresh)
    assert isinstance(error, PeerError)
    assert error.code == "metadata-missing"
    board.fetch = honest
    assert board.refresh().find("twice", 2) is not None


def test_too_many_signatures_cost_no_time(board: Board, fleet: Fleet) -> None:
    envelope = msgspec.json.decode(fleet.desired(DEVICE))
    one = envelope["signatures"][0]
    envelope["signatures"] = [{**one, "keyid": f"{i:064x}"} for i in range(17)]
    assert refused(lambda: board.accept(msgspec.json.encode(envelope))).code == "desired-malformed"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_any_bytes_as_metadata_are_refused_in_words(board: Board, fleet: Fleet, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["timestamp", "root/2", "snapshot/2", "targets/2"]))
    honest = board.fetch(name) or fleet.metadata("root/1")
    bad = data.draw(st.one_of(st.binary(max_size=300), _mutated(honest), st.just(b"[" * 5000), st.just(b'{"a":' * 3000)))
    fetch = board.fetch
    board.forget_cache()
    try:
        board.fetch = lambda asked: bad if asked == name else fetch(asked)
        board.refresh()
    except EdgedError as error:
        assert isinstance(error, (Untrusted, PeerError)), error.code  # noqa: PT017
    finally:
        board.fetch = fetch
    board.refresh()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_any_bytes_as_an_order_are_refused_in_words(board: Board, fleet: Fleet, data: st.DataObject) -> None:
    honest = fleet.desired(DEVICE)
    bad = data.draw(st.one_of(st.binary(max_size=300), _mutated(honest), st.just(b"[" * 5000), st.just(b"{}")))
    try:
        board.accept(bad)
    except EdgedError as error:
        assert isinstance(error, Untrusted), error.code  # noqa: PT017
    else:
        assert msgspec.json.decode(bad)["payload"] == msgspec.json.decode(honest)["payload"]


def _mutated(honest: bytes) -> st.SearchStrategy[bytes]:
    """Give bytes that differ from honest ones in a place or two."""

    def change(at: int, new: int, cut: int) -> bytes:
        at %= len(honest)
        return honest[:at] + bytes([new]) + honest[at + 1 : len(honest) - cut]

    return st.builds(change, st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3))


def test_a_floor_that_is_damaged_says_so(board: Board) -> None:
    (board.folder / "fleet" / "floor.json").write_bytes(b'{"v":1,"roles":{"root":')
    error = refused(lambda: FloorFile(board.folder / "fleet"))
    assert error.code == "trust-floor-damaged"
    assert error.family == "board"


def test_a_floor_that_cannot_be_written_believes_nothing_new(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = board.floor.now
    monkeypatch.setattr(os, "fsync", full)
    error = refused(lambda: board.floor.put(Floor(time=1)))
    assert error.code == "trust-unwritable"
    assert board.floor.now == before
