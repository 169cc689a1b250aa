"""Releases that the fleet pushes, from an order to their end: a real store and journal, bytes that come by pieces."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from edged.clock import NS
from edged.errors import BoardError, BugError, EdgedError, PeerError
from edged.fleet.machine import BLOCKING, MAX_ATTEMPTS
from edged.fleet.recovery import LOOKED_UP
from edged.models.book import read_ledger
from edged.models.entries import Moved
from edged.models.journal import read
from edged.models.ledger import NOT_FINAL
from edged.models.manifest import MANIFEST
from edged.models.store import Store
from edged.service.update_status import statuses
from tests.boards import GOOD_WAY, WRONG, YOUNG, Board, FakePorts, Releases, check_tidy, refused, until_cancelled
from tests.far import Before, Far, fails_at, files, pieces, varied
from tests.shim import Cut, copy, cuts_of, die_at, in_words
from tests.stores import seal
from tests.test_agent_at_random import ask, check, disturb
from tests.test_cut_points import after

pytest_plugins = ["tests.quick"]

OFFLINE = PeerError("offline", "no connection to the broker", "see `edged status`")
NOBODY = PeerError("no-server", "nobody answers", "the fleet manager runs `edged fleet serve`")
TRANSFER_WAITS = ("offline", "no-server", "blob-not-found", "budget-spent")
ORDER = "dev:press-7 41"
BEFORE_SERVICE = ["evaluate", "wait", "fetch", "verify", "trial"]


class Fleet:
    """A board, and releases of a large and a small variant that its fleet pushes to it; the large one is the one that fits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.board = Board(folder / "state", Releases(folder / "near"))
        self.board.ports.worth = ["large"]

    def source(self, number: int, before: Before = lambda _file, _number: None) -> Far:
        folder = self.folder / "far" / str(number)
        if not folder.exists():
            varied(folder, number, large=6, small=2)
        return Far(folder, before=before)

    def push(self, number: int, order: str = ORDER, before: Before = lambda _file, _number: None) -> Far:
        """Push a release; give its source."""
        source = self.source(number, before)
        self.moved = self.board.agent.push(source, self.board.policy, order)
        return source

    def commit(self, *numbers: int) -> None:
        for number in numbers:
            self.push(number)
            self.board.settle()
            assert self.board.ended() == (number, "committed", "")

    def job(self) -> object:
        (job,) = self.board.agent.updates.jobs()
        return job


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path)
    fleet.board.start()
    return fleet


def beside(fleet: Fleet, number: int) -> None:
    """Let a release of another model come to its end, whatever becomes of the push."""
    fleet.board.install(number, "other")
    fleet.board.until("committed", "other")


def incoming(fleet: Fleet) -> set[str]:
    return {Path(name).suffix for name in os.listdir(fleet.board.store.incoming)}


# -- the good way ---------------------------------------------------------------------------------


def test_a_push_goes_the_way_of_an_install_and_fetches_what_is_worth_it_only(fleet: Fleet):
    source = fleet.push(1)
    assert (fleet.moved.state, fleet.moved.kind) == ("evaluate", "push")
    fleet.board.settle()
    assert fleet.board.path() == GOOD_WAY
    assert fleet.board.standing() == (1, 1, None)
    assert files(source) == {"large.tflite", "golden-large.npz"}
    assert set(pieces(source).values()) == {1}
    assert [each.name for each in fleet.board.store.load("twice", 1).here] == ["large"]
    assert source.closed == 1
    assert fleet.board.ports.looks > 6, "the board is seen to while bytes come"
    fleet.board.check_tidy()
    fleet.commit(2, 3)
    assert fleet.board.standing() == (3, 3, 2)
    fleet.board.check_tidy()


def test_what_an_earlier_release_brought_is_not_fetched_again(fleet: Fleet):
    fleet.commit(1)
    source = fleet.source(2)
    for name in ("large.tflite", "golden-large.npz"):
        shutil.copyfile(fleet.folder / "far" / "1" / name, fleet.folder / "far" / "2" / name)
    seal(fleet.folder / "far" / "2")
    fleet.commit(2)
    assert files(source) == set()
    assert fleet.board.standing() == (2, 2, 1)


def test_a_wait_looks_anew_at_what_is_worth_fetching(fleet: Fleet):
    fleet.board.ports.worth = ["small"]
    source = fleet.push(1, before=fails_at("small.tflite", 1, OFFLINE))
    fleet.board.until("wait")
    fleet.board.ports.worth = ["large"]
    fleet.board.settle()
    assert [each.name for each in fleet.board.store.load("twice", 1).here] == ["large"]
    assert pieces(source)["small.tflite 0"] == 1
    fleet.board.check_tidy()


# -- numbers and orders ---------------------------------------------------------------------------


def test_a_number_below_the_highest_is_refused(fleet: Fleet):
    fleet.commit(1, 2)
    source = fleet.source(1)
    assert refused(lambda: fleet.push(1)).code == "release-not-rising"
    assert fleet.board.path().count("evaluate") == 2
    other = varied(fleet.folder / "other", 2, large=7, small=2)
    assert refused(lambda: fleet.board.agent.push(Far(other), fleet.board.policy, ORDER)).code == "release-not-rising"
    assert pieces(source).total() == 6 + 1 + 1, "what came when it was new"


def test_a_release_of_the_store_that_does_not_serve_is_activated_and_nothing_is_fetched(fleet: Fleet):
    fleet.commit(1)
    fleet.board.ports.script["rehearse"] = [WRONG]
    source = fleet.push(2)
    fleet.board.until("confirm")
    fleet.board.agent.pin("twice", 2, True)
    fleet.board.settle()
    assert fleet.board.ended() == (2, "rolled_back", WRONG.code)
    came = pieces(source).total()
    fleet.push(2, "dev:press-7 42")
    fleet.board.settle()
    assert fleet.board.standing() == (2, 2, 1)
    assert pieces(source).total() == came


@pytest.mark.parametrize("state", [*BEFORE_SERVICE, "activate", "confirm"])
def test_an_order_that_comes_again_changes_nothing(fleet: Fleet, state: str):
    fleet.commit(1)
    again: list[Far] = []

    def repeat(*_: object) -> None:
        again.append(fleet.push(2))
        assert (fleet.moved.release, fleet.moved.state) == (2, "confirm" if state == "activate" else fleet.board.update().state)

    before: Before = lambda file, number: repeat() if (file, number) == ("large.tflite", 3) and state == "fetch" else None  # noqa: E731
    if state == "wait":
        before = fails_at("large.tflite", 3, OFFLINE)
    port = {"trial": "trial", "activate": "serve", "confirm": "rehearse"}.get(state)
    if port:
        fleet.board.ports.script[port] = [repeat]
    source = fleet.push(2, before=before)
    if state in ("evaluate", "wait", "verify"):
        fleet.board.until(state)
        repeat()
        repeat()
    fleet.board.settle()
    assert again
    assert fleet.board.standing() == (2, 2, 1)
    assert fleet.board.path().count("committed") == 2
    assert "superseded" not in fleet.board.path()
    assert all(each.closed for each in (source, *again))
    assert set(pieces(source).values()) == {1}


def test_an_order_for_what_serves_is_answered_so(fleet: Fleet):
    fleet.board.ports.seen["twice"] = YOUNG
    fleet.push(1)
    fleet.board.until("confirm")
    assert fleet.push(1).closed
    assert fleet.moved.state == "confirm"
    assert fleet.board.agent.standing("twice", 1, fleet.moved.digest) == "confirm"
    fleet.board.ports.seen.clear()
    fleet.board.settle()
    before = len(fleet.board.entries)
    assert fleet.push(1).closed
    assert fleet.moved.state == "committed"
    assert fleet.board.agent.standing("twice", 1, fleet.moved.digest) == "committed"
    assert fleet.board.agent.standing("twice", 2, fleet.moved.digest) == ""
    assert fleet.board.agent.standing("twice", 1, "0" * 64) == ""
    assert not fleet.board.agent.updates.jobs()
    assert len(fleet.board.entries) == before


def test_another_order_takes_the_place_of_the_one_under_way(fleet: Fleet):
    fleet.commit(1)
    first = fleet.push(2, before=lambda file, number: fleet.push(3) and None if (file, number) == ("large.tflite", 2) else None)
    fleet.board.settle()
    assert fleet.board.standing() == (3, 3, 1)
    assert "superseded" in fleet.board.path()
    assert first.closed
    fleet.board.check_tidy()


def test_what_came_of_a_replaced_push_makes_room_for_the_one_that_replaces_it(fleet: Fleet):
    fleet.push(1, before=fails_at("large.tflite", 5, OFFLINE))
    fleet.board.until("wait")
    collect, seen = fleet.board.store.collect, list[set[str]]()

    def collected(keep: set[tuple[str, int]], coming: set[str] | None) -> int:
        freed = collect(keep, coming)
        seen.append(set(os.listdir(fleet.board.store.incoming)))
        fleet.board.free = 1 << 40
        return freed

    fleet.board.store.collect = collected  # type: ignore[method-assign]
    fleet.board.free = 0
    fleet.push(2)
    fleet.board.settle()
    assert fleet.board.standing() == (2, 2, None)
    assert seen[0] == set()
    fleet.board.check_tidy()


def test_an_order_may_be_withdrawn_while_another_is_still_to_come(fleet: Fleet):
    fleet.commit(1)
    fleet.push(2, before=fails_at("large.tflite", 5, OFFLINE))
    fleet.board.until("wait")
    assert fleet.board.agent.updates.supersede("twice")
    fleet.board.settle()
    assert fleet.board.ended() == (2, "superseded", "")
    assert fleet.board.standing() == (1, 1, None)
    fleet.board.check_tidy()
    assert not fleet.board.agent.updates.supersede("twice")


def test_an_order_that_is_withdrawn_in_service_leaves_the_good_release_there(fleet: Fleet):
    fleet.commit(1)
    fleet.board.ports.seen["twice"] = YOUNG
    fleet.push(2)
    fleet.board.until("confirm")
    fleet.board.agent.updates.supersede("twice")
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)
    fleet.board.check_tidy()


@pytest.mark.parametrize("state", ["evaluate", "wait", "fetch", "verify", "trial"])
def test_a_push_that_is_cancelled_leaves_nothing(fleet: Fleet, state: str):
    fleet.commit(1)
    cancel: Callable[..., None] = lambda *_: fleet.board.agent.cancel("twice")  # noqa: E731
    before: Before = lambda file, number: cancel() if (file, number) == ("large.tflite", 3) else None  # noqa: E731
    if state == "trial":
        fleet.board.ports.script["trial"] = [until_cancelled(cancel)]
    source = fleet.push(2, before={"fetch": before, "wait": fails_at("large.tflite", 3, OFFLINE)}.get(state, lambda *_: None))
    if state in ("evaluate", "wait", "verify"):
        fleet.board.until(state)
        cancel()
    fleet.board.settle()
    assert fleet.board.ended() == (2, "rejected", "cancelled")
    assert source.closed
    fleet.board.check_tidy()
    fleet.commit(2)


# -- failures -------------------------------------------------------------------------------------


def test_what_failed_for_good_is_tried_again_for_another_order_only(fleet: Fleet):
    fleet.board.ports.script["trial"] = [WRONG, WRONG]
    fleet.push(1)
    fleet.board.settle()
    assert fleet.board.ended() == (1, "rejected", WRONG.code)
    error = refused(lambda: fleet.push(1))
    assert (error.code, error.family) == (WRONG.code, "publisher")
    fleet.push(1, "dev:press-7 42")
    fleet.board.settle()
    assert fleet.board.ended() == (1, "rejected", WRONG.code)
    assert len(fleet.board.held().failures) == 2
    fleet.push(1, "group:line-3 42")
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)


def test_what_failed_for_good_is_tried_again_when_the_board_is_another(fleet: Fleet):
    fleet.board.ports.script["trial"] = [WRONG]
    fleet.push(1)
    fleet.board.settle()
    fleet.board.ports.builds = "tflite 2"
    fleet.commit(1)


def test_what_failed_as_an_install_may_come_as_a_push(fleet: Fleet):
    fleet.board.ports.script["trial"] = [WRONG]
    fleet.board.agent.install(fleet.source(1), fleet.board.policy)
    fleet.board.settle()
    fleet.commit(1)


@pytest.mark.parametrize("code", TRANSFER_WAITS)
def test_what_a_transfer_waits_for_is_never_final_and_no_attempt(fleet: Fleet, code: str):
    assert code in BLOCKING & NOT_FINAL
    tries: list[int] = []

    def before(file: str, number: int) -> None:
        if (file, number) == ("large.tflite", 4):
            tries.append(fleet.board.clock.mono() // NS)
            if len(tries) < 12:
                raise (BoardError if code == "budget-spent" else PeerError)(code, "it is not there", "wait")

    source = fleet.push(1, before=before)
    fleet.board.settle(20_000)
    assert fleet.board.ended() == (1, "committed", "")
    assert fleet.board.update().attempt == 1
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (10, 20, 600)
    assert set(pieces(source).values()) == {1}
    assert not fleet.board.held().failures


@pytest.mark.parametrize("code", ["transfer-slow", "piece-damaged"])
def test_a_bad_transfer_is_tried_three_times_and_then_final(fleet: Fleet, code: str):
    fleet.push(1, before=fails_at("large.tflite", 4, *[PeerError(code, "it is bad", "see the server")] * 3))
    fleet.board.settle()
    assert fleet.board.ended() == (1, "rejected", code)
    assert fleet.board.update().attempt == MAX_ATTEMPTS
    assert refused(lambda: fleet.push(1)).code == code
    fleet.board.check_tidy()


def test_a_whole_that_is_not_what_was_signed_is_the_publishers(fleet: Fleet):
    class Liar(Far):
        def _piece(self, file: str, number: int) -> bytes:
            return bytes(len(super()._piece(file, number))) if file == "large.tflite" else super()._piece(file, number)

    fleet.source(1)
    fleet.board.agent.push(Liar(fleet.folder / "far" / "1"), fleet.board.policy, ORDER)
    fleet.board.settle()
    assert fleet.board.ended() == (1, "rejected", "file-changed")
    assert fleet.board.update().why.family == "publisher"
    fleet.board.check_tidy()


def test_who_waits_for_a_server_need_not_go_on_waiting_when_one_is_there(fleet: Fleet):
    fleet.push(1, before=fails_at("large.tflite", 4, *[NOBODY] * 8))
    fleet.board.run(lambda: fleet.board.path().count("wait") == 8, 10_000)
    begin = fleet.board.clock.mono()
    fleet.board.agent.updates.hurry({"offline"})
    fleet.board.work(3)
    assert fleet.board.update().state == "wait"
    fleet.board.agent.updates.hurry({"no-server"})
    fleet.board.run(lambda: fleet.board.update().state != "wait")
    assert fleet.board.clock.mono() - begin < 10 * NS
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)


# -- beside others --------------------------------------------------------------------------------


def test_who_comes_to_the_board_does_not_wait_until_all_bytes_are_there(fleet: Fleet):
    fleet.push(1, before=lambda file, number: fleet.board.install(1, "other") and None if (file, number) == ("large.tflite", 2) else None)
    fleet.board.settle()
    ends = [entry.model for entry in fleet.board.entries if isinstance(entry, Moved) and entry.state == "committed"]
    assert ends == ["other", "twice"]
    assert fleet.board.update().attempt == 1
    fleet.board.check_tidy()


def test_a_release_that_has_shown_that_it_is_good_is_committed_while_bytes_come(fleet: Fleet):
    fleet.board.ports.seen["other"] = YOUNG
    fleet.board.install(1, "other")
    fleet.board.until("confirm", "other")
    slow = 0

    def before(_file: str, _number: int) -> None:
        nonlocal slow
        slow += 1
        fleet.board.clock.advance(NS)
        fleet.board.ports.seen.clear()

    fleet.push(1, before=before)
    fleet.board.settle()
    ends = [entry.model for entry in fleet.board.entries if isinstance(entry, Moved) and entry.state == "committed"]
    assert ends == ["other", "twice"]


def test_what_came_is_kept_while_others_come_to_their_end(fleet: Fleet):
    source = fleet.push(1, before=fails_at("large.tflite", 5, *[OFFLINE] * 3))
    fleet.board.until("wait")
    beside(fleet, 1)
    beside(fleet, 2)
    fleet.board.agent.remove("other", 1)
    assert incoming(fleet) == {".part", ".map"}
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)
    assert set(pieces(source).values()) == {1}, "also the golden, which had come whole before"
    fleet.board.check_tidy()


def test_releases_can_be_removed_while_bytes_come(fleet: Fleet):
    fleet.commit(1, 2)
    before: Before = lambda file, number: fleet.board.agent.remove("twice", 1) if (file, number) == ("large.tflite", 3) else None  # noqa: E731
    source = fleet.push(3, before=before)
    fleet.board.settle()
    assert fleet.board.standing() == (3, 3, 2)
    assert set(pieces(source).values()) == {1}
    assert fleet.board.update().attempt == 1
    fleet.board.check_tidy()


def test_many_models_may_be_pushed_at_once(fleet: Fleet):
    for name in "abcdefgh":
        folder = varied(fleet.folder / name, 1, large=3)
        text = (folder / MANIFEST).read_text().replace('name = "twice"', f'name = "{name}"', 1)
        (folder / MANIFEST).write_text(text)
        fleet.board.agent.push(Far(seal(folder)), fleet.board.policy, ORDER)
    fleet.board.settle(1000)
    assert {name: held.active for name, held in fleet.board.book.models().items()} == dict.fromkeys("abcdefgh", 1)
    fleet.board.check_tidy()


def test_bytes_that_came_already_need_no_room_again(fleet: Fleet):
    fleet.push(1, before=fails_at("large.tflite", 5, OFFLINE))
    fleet.board.until("wait")
    (part,) = fleet.board.store.incoming.glob("*.part")
    held = part.stat().st_blocks * 512
    assert held >= 5 << 10
    candidate = fleet.board.store.examine(fleet.source(1)).narrowed(["large"])
    fleet.board.free = (4 << 20) + fleet.board.store.need(candidate) - min(held, part.stat().st_size)
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)


# -- restarts -------------------------------------------------------------------------------------


def interrupted_in(fleet: Fleet, state: str) -> Far:
    """Push a release that is in this state when the process is to end."""

    class Gone(BaseException):
        pass

    def go(*_: object) -> None:
        raise Gone

    before: Before = lambda *_: None  # noqa: E731
    if state == "wait":
        before = fails_at("large.tflite", 4, OFFLINE)
    if state == "fetch":
        before = lambda file, number: go() if (file, number) == ("large.tflite", 4) and not pieces(source)["large.tflite 4"] else None  # noqa: E731
    if state == "trial":
        fleet.board.ports.script["trial"] = [go]
    source = fleet.source(2, before)
    fleet.board.agent.push(source, fleet.board.policy, ORDER)
    if state in ("fetch", "trial"):
        with pytest.raises(Gone):
            fleet.board.settle()
    else:
        fleet.board.until(state)
    assert fleet.board.update().state == state
    return source


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("state", ["evaluate", "wait", "fetch", "verify"])
def test_a_push_goes_on_after_a_restart_when_its_order_was_looked_up(fleet: Fleet, state: str, clean: bool):
    fleet.commit(1)
    source = interrupted_in(fleet, state)
    kept = incoming(fleet)
    fleet.board.restart(clean)
    attempt = 2 if state == "verify" and not clean else 1
    assert incoming(fleet) == kept
    job = fleet.job()
    assert (job.candidate, job.state, job.moved.attempt) == (None, "evaluate", attempt)
    (status,) = statuses(fleet.board.book.models(), [job], fleet.board.clock)
    assert (status.release, status.state, status.kind, status.blocked_by) == (2, "evaluate", "push", LOOKED_UP)
    beside(fleet, 1)
    fleet.board.work(20)
    assert fleet.board.update().state == "evaluate", "it is not begun before it is known what it is"
    source.before = lambda *_: None
    later = fleet.push(2, "another order for the same release")
    assert fleet.moved == job.moved
    fleet.board.settle()
    assert fleet.board.ended() == (2, "committed", "")
    assert fleet.board.update().attempt == attempt
    assert fleet.board.standing() == (2, 2, 1)
    assert later.closed
    assert set(pieces(source).values()) == {1}
    fleet.board.check_tidy()


@pytest.mark.parametrize("state", ["trial", "activate", "confirm"])
def test_a_push_whose_bytes_are_all_there_needs_no_order_any_more(fleet: Fleet, state: str):
    fleet.commit(1)
    if state == "trial":
        interrupted_in(fleet, state)
    else:
        fleet.board.ports.seen["twice"] = YOUNG
        fleet.push(2)
        fleet.board.until(state)
    fleet.board.restart(clean=False)
    fleet.board.ports.seen.clear()
    fleet.board.settle()
    assert fleet.board.standing() == (2, 2, 1)
    fleet.board.check_tidy()


def test_a_board_that_is_switched_off_again_and_again_while_bytes_come_has_not_failed(fleet: Fleet):
    for _ in range(MAX_ATTEMPTS + 2):
        fleet.push(1, before=lambda file, number: None)
        fleet.board.until("fetch")
        fleet.board.restart(clean=False)
    fleet.push(1)
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)


def test_three_ends_of_the_daemon_with_all_bytes_there_are_enough(fleet: Fleet):
    for _ in range(MAX_ATTEMPTS):
        fleet.push(1, before=lambda file, number: None)
        fleet.board.until("verify")
        fleet.board.restart(clean=False)
    assert fleet.board.ended() == (1, "rejected", "interrupted")
    assert not fleet.board.agent.updates.jobs()
    fleet.board.check_tidy()
    assert refused(lambda: fleet.push(1)).code == "interrupted"
    fleet.push(1, "dev:press-7 42")
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)


def test_after_a_restart_another_order_replaces_the_one_that_was_under_way(fleet: Fleet):
    fleet.commit(1)
    interrupted_in(fleet, "fetch")
    before = len(fleet.board.path())
    fleet.board.restart(clean=False)
    fleet.push(3)
    fleet.board.settle()
    assert fleet.board.standing() == (3, 3, 1)
    assert fleet.board.path()[before:][:3] == ["evaluate", "superseded", "evaluate"]
    fleet.board.check_tidy()


@pytest.mark.parametrize("how", ["cancel", "install", "rollback"])
def test_after_a_restart_people_need_no_order_to_end_a_push(fleet: Fleet, how: str):
    fleet.commit(1, 2)
    fleet.push(3, before=fails_at("large.tflite", 4, OFFLINE))
    fleet.board.until("wait")
    fleet.board.restart()
    if how == "cancel":
        fleet.board.agent.cancel("twice")
    elif how == "install":
        fleet.board.agent.install(fleet.source(4), fleet.board.policy)
    else:
        assert fleet.board.agent.rollback("twice") == 1
    fleet.board.settle()
    assert fleet.board.standing() == {"cancel": (2, 2, 1), "install": (4, 4, 2), "rollback": (1, 1, 2)}[how]
    fleet.board.check_tidy()


def test_an_install_whose_files_are_lost_ends_as_before(fleet: Fleet):
    fleet.board.install(1)
    fleet.board.until("fetch")
    fleet.board.restart(clean=False)
    assert fleet.board.ended() == (1, "rejected", "source-lost")


def test_a_command_that_works_alone_leaves_what_a_push_brought(fleet: Fleet):
    source = fleet.push(1, before=fails_at("large.tflite", 4, OFFLINE))
    fleet.board.until("wait")
    fleet.board.stop()
    alone = fleet.board.open()
    alone.agent.updates.stand_in()
    alone.install(1, "other")
    alone.until("confirm", "other")
    alone.agent.updates._collect()
    alone.close()
    fleet.board.start()
    fleet.push(1)
    fleet.board.settle()
    assert fleet.board.standing() == (1, 1, None)
    assert set(pieces(source).values()) == {1}


# -- in any order ---------------------------------------------------------------------------------


def push_any(fleet: Fleet, chance: random.Random) -> None:
    """Let the fleet order something, over a line that may fail anywhere; no is an answer, a bug is none."""
    fleet.board.ports.worth = chance.choice([["large"], ["small"], ["large", "small"]])
    codes = chance.choices([*TRANSFER_WAITS, "transfer-slow"], k=chance.randint(0, 3))
    before = fails_at("large.tflite", chance.randint(0, 5), *[PeerError(code, "it fails", "wait") for code in codes])
    try:
        fleet.push(max(1, fleet.board.held().highest + chance.choice([-1, 0, 0, 1, 2])), f"order {chance.randint(1, 3)}", before)
    except BugError:
        raise
    except EdgedError:
        pass


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_pushes_requests_faults_and_ends_comes_to_rest_with_a_good_release(seed: int, tmp_path: Path):
    chance, fleet = random.Random(seed), Fleet(tmp_path)
    board = fleet.board.start()
    for _ in range(80):
        chance.choice([lambda: push_any(fleet, chance), lambda: push_any(fleet, chance), lambda: ask(board, chance)])()
        if chance.random() < 0.4:
            disturb(board, chance)
        for _ in range(chance.randint(0, 12)):
            board.work(1)
            check(board)
    board.ports.script.clear()
    board.ports.seen.clear()
    board.free = 1 << 40
    for job in board.agent.updates.jobs():
        if job.candidate is None:
            board.agent.cancel(job.model)
    board.settle(steps=20_000)
    for model in board.book.models():
        active, last_good, _ = board.standing(model)
        assert active == last_good or last_good is None
    board.agent.updates._collect()
    board.check_tidy()
    board.restart(clean=False).check_tidy()
    assert any(entry.kind == "push" for entry in board.entries if isinstance(entry, Moved))


# -- a kill at every durable operation ------------------------------------------------------------


class PushSweep:
    """A push that is cut at each of its durable operations, and the same order at the next start."""

    def __init__(self, quick: Path, variants: list[str]) -> None:
        self.fleet, self.variants = Fleet(quick), variants
        self.state, self.template = quick / "state", quick / "template"
        self.source = self.fleet.source(2)
        self._fresh().start()
        self.fleet.commit(1)
        self.fleet.board.stop()
        copy(self.state, self.template)

    def _fresh(self) -> Board:
        self.fleet.board = Board(self.state, Releases(self.state / "none"))
        self.fleet.board.ports = FakePorts()
        self.fleet.board.ports.worth = self.variants
        return self.fleet.board

    def act(self) -> None:
        board = self._fresh().start()
        self.fleet.commit(2)
        board.stop()

    def cuts(self) -> list[Cut]:
        copy(self.template, self.state)
        return cuts_of(self.act)

    def cut(self, cut: Cut) -> None:
        """End the process there, and say what a kill may leave."""
        copy(self.template, self.state)
        self.source.asked.unlink(missing_ok=True)
        die_at(cut, self.act)
        assert read(self.state / "models" / "journal").bad == 0
        active = read_ledger(self.state).of("twice").active
        assert active in (1, 2)
        Store(self.state).load("twice", active)

    def go_on(self) -> None:
        """Start again; whatever the update came to, the fleet gives its order again, and the board comes to it."""
        board = self._fresh().start()
        for order in (ORDER, "the same, asked for again"):
            try:
                self.fleet.push(2, order)
            except EdgedError:
                continue
            board.settle()
        check_tidy(self.state, board.book.kept())
        assert board.standing() == (2, 2, 1)
        assert {each.name for each in board.store.load("twice", 2).here} == set(self.variants)
        board.stop()
        came = pieces(self.source)
        assert came.total() - len(came) <= 1, f"more than a piece came twice: {came}"


@pytest.mark.parametrize("variants", [["large"], ["large", "small"]], ids=["in part", "whole"])
@pytest.mark.parametrize("lost", [False, True], ids=["kill", "power cut"])
def test_an_end_at_any_durable_operation_of_a_push_costs_a_piece_at_most(
    quick: Path, variants: list[str], lost: bool, record_property: Callable[[str, object], None]
):
    sweep = PushSweep(quick, variants)
    cuts = [replace(cut, lost=lost) for cut in sweep.cuts() if not (lost and cut.half)]
    for cut in cuts:
        with after(cut):
            sweep.cut(cut)
            sweep.go_on()
    record_property("cuts", in_words(cuts))
    assert {"rename", "fsync", "unlink"} <= {cut.operation for cut in cuts}
