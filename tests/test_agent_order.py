"""Updates that wait, take each other's place, go back, and run beside those of other models."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.errors import BoardError
from edged.fleet.confirm import Watched
from edged.fleet.outcome import MOST_RETRY_S
from edged.models.entries import Moved, Policy
from tests.boards import BAD, FLAKY, GOOD_WAY, SHORT, WRONG, YOUNG, Board, Releases, refused, until_cancelled


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "state", Releases(tmp_path / "releases")).start()


# -- space ----------------------------------------------------------------------------------------


def test_it_waits_for_space_as_long_as_it_takes_and_is_seen_to(board: Board):
    board.commit(1)
    board.free = 0
    board.install(2)
    board.until("wait")
    (job,) = board.agent.updates.jobs()
    assert "MiB" in job.progress.blocked_by
    assert job.progress.retry_at > board.clock.mono()
    assert board.update().why.code == "no-space"
    begin = board.clock.mono()
    board.work(6000)
    tries = board.path().count("wait")
    assert 5 < tries < 30, "less and less often"
    assert board.clock.mono() - begin > 2 * MOST_RETRY_S * 1e9
    assert board.update().attempt == 1, "it did not fail"
    board.free = 1 << 40
    board.settle(steps=2000)
    assert board.standing() == (2, 2, 1)


def test_it_makes_room_by_what_nobody_needs(board: Board):
    board.commit(1, 2)
    board.agent.pin("twice", 1, True)
    board.commit(3)
    board.agent.pin("twice", 1, False)
    freed = []
    collect = board.store.collect

    def collected(keep: set[tuple[str, int]], coming: object) -> int:
        freed.append(collect(keep))
        board.free = 1 << 40
        return freed[-1]

    board.free = 0
    board.store.collect = collected  # type: ignore[method-assign]
    board.install(4)
    board.settle()
    assert board.standing() == (4, 4, 3)
    assert freed[0] > 0
    assert "wait" not in board.path()


def test_files_of_another_update_are_not_swept_away_for_want_of_a_name(board: Board):
    """One model's update has its files in the store, and no release there names them yet, when another model's update ends."""
    board.ports.seen["other"] = YOUNG
    board.install(1, "other")
    board.until("confirm", "other")
    board.install(1)
    board.until("verify")
    del board.ports.seen["other"]
    board.settle()
    assert board.ended("other") == board.ended() == (1, "committed", "")
    assert board.path() == GOOD_WAY
    assert board.update().attempt == 1
    board.check_tidy()


def test_memory_that_is_short_for_a_trial_is_waited_for(board: Board):
    board.ports.script["trial"] = [SHORT] * 5
    board.install(1)
    board.settle(steps=3000)
    assert board.ended() == (1, "committed", "")
    assert board.update().attempt == 1


def test_memory_that_is_short_for_a_rehearsal_is_waited_for_without_starting_one_again_and_again(board: Board):
    board.ports.script["rehearse"] = [SHORT]
    board.install(1)
    board.until("confirm")
    board.work(100)
    (job,) = board.agent.updates.jobs()
    assert [call[0] for call in board.ports.calls].count("rehearse") == 1
    assert "memory is short" in job.progress.blocked_by
    board.settle(steps=2000)
    assert board.standing() == (1, 1, None)


def test_a_release_that_turns_bad_while_memory_is_short_for_its_rehearsal_goes_back(board: Board):
    board.commit(1)
    board.ports.script["rehearse"] = [SHORT]
    board.install(2)
    board.until("confirm")
    board.work(5)
    board.ports.seen["twice"] = BAD
    board.settle()
    assert board.ended() == (2, "rolled_back", "error-flood")


# -- superseded -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["evaluate", "wait", "fetch", "verify", "trial", "activate", "confirm"])
def test_a_newer_release_takes_the_place_of_one_in_any_state(board: Board, stage: str):
    board.commit(1)
    board.ports.script["trial"] = [SHORT] if stage == "wait" else []
    board.install(2)
    board.until(stage)
    board.install(3)
    board.settle()
    assert board.ended() == (3, "committed", "")
    assert board.standing() == (3, 3, 1)
    assert board.path().count("superseded") == 1
    board.check_tidy()


def test_a_newer_release_interrupts_the_trial_of_an_older_one(board: Board):
    board.ports.script["trial"] = [until_cancelled(lambda: board.install(2))]
    board.install(1)
    board.settle()
    assert board.ended() == (2, "committed", "")
    assert board.path()[:5] == ["evaluate", "fetch", "verify", "trial", "superseded"]


def test_of_several_that_wait_only_the_newest_is_taken_up(board: Board):
    for number in (1, 2, 3):
        board.install(number)
    board.settle()
    assert board.path() == GOOD_WAY
    assert board.update().release == 3


@pytest.mark.parametrize("how", ["rejected", "cancelled"])
def test_where_the_successor_of_an_unproven_release_comes_to_nothing_the_last_good_one_serves_again(board: Board, how: str):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.ports.script["trial"] = [WRONG if how == "rejected" else until_cancelled(lambda: board.agent.cancel("twice"))]
    board.install(3)
    board.settle()
    assert board.ended() == (3, "rejected", "golden-differs" if how == "rejected" else "cancelled")
    assert board.standing() == (1, 1, None)
    assert not board.held().unproven
    board.check_tidy()


@pytest.mark.parametrize("clean", [True, False])
def test_also_where_the_process_ends_before_its_successor_comes_to_nothing(board: Board, clean: bool):
    """The files of the successor went with the process, so at the next start nothing is there that would prove anything."""
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.install(3)
    board.until("fetch")
    board.restart(clean)
    assert board.ended() == (3, "rejected", "source-lost")
    assert board.standing() == (1, 1, None)
    board.check_tidy()


def test_also_where_the_journal_cannot_take_it_at_once(board: Board, monkeypatch: pytest.MonkeyPatch):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.ports.script["trial"] = [WRONG]
    board.install(3)
    note = board.book.note
    full = [True]

    def noted(entry: object) -> None:
        if type(entry).__name__ == "Restored" and full:
            full.pop()
            raise BoardError("store-unwritable", "the disk is full", "make room")
        note(entry)  # type: ignore[arg-type]

    monkeypatch.setattr(board.book, "note", noted)
    board.until("rejected")
    assert board.agent.updates.stale == {"twice": "the disk is full"}
    assert board.held().active == 2
    board.settle()
    assert board.standing() == (1, 1, None)


def test_also_where_its_successor_is_cancelled_before_it_was_taken_up(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.install(3)
    board.agent.step()
    assert board.update().state == "superseded"
    board.agent.cancel("twice")
    board.settle()
    assert board.standing() == (1, 1, None)
    board.agent.updates._collect()
    board.check_tidy()


def test_an_unproven_first_release_whose_successor_came_to_nothing_can_be_tried_again(board: Board):
    board.ports.seen["twice"] = YOUNG
    board.install(1)
    board.until("confirm")
    assert refused(lambda: board.agent.activate("twice", 1, Policy())).code == "serves-already"
    board.ports.script["trial"] = [WRONG]
    board.install(2)
    board.settle()
    assert board.standing() == (1, None, None), "there is nothing to go back to"
    assert "activate twice 1" in refused(lambda: board.install(1)).hint
    board.ports.seen.clear()
    board.agent.activate("twice", 1, Policy())
    board.settle()
    assert board.standing() == (1, 1, None)


# -- rollback -------------------------------------------------------------------------------------


def test_a_release_that_floods_errors_is_rolled_back(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.ports.seen["twice"] = BAD
    board.settle()
    assert board.ended() == (2, "rolled_back", "error-flood")
    assert board.standing() == (1, 1, None)
    board.check_tidy()


def test_an_operator_rolls_back_what_is_being_watched(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    assert board.agent.rollback("twice") == 1
    board.settle()
    assert board.ended() == (2, "rolled_back", "rolled-back-by-operator")
    assert board.standing() == (1, 1, None)


def test_an_operator_rolls_back_after_the_commit_and_forth_again(board: Board):
    board.commit(1, 2)
    assert board.agent.rollback("twice") == 1
    board.settle()
    assert board.standing() == (1, 1, 2)
    assert board.path()[-3:] == ["activate", "confirm", "committed"]
    assert board.agent.rollback("twice") == 2
    board.settle()
    assert board.standing() == (2, 2, 1)
    board.check_tidy()


def test_a_rollback_needs_neither_windows_nor_a_rehearsal(board: Board):
    board.commit(1, 2)
    board.ports.seen["twice"] = Watched()
    before = len(board.ports.calls)
    board.agent.rollback("twice")
    board.settle()
    assert board.ports.calls[before:] == [("serve", "twice", 1)]


def test_a_rollback_of_what_failed_before_is_done_all_the_same(board: Board):
    board.commit(1, 2)
    board.ports.script["trial"] = [WRONG]
    board.agent.activate("twice", 1, Policy())
    board.settle()
    assert refused(lambda: board.agent.activate("twice", 1, Policy())).code == "golden-differs"
    board.agent.rollback("twice")
    board.settle()
    assert board.standing() == (1, 1, 2)


def test_there_may_be_nothing_to_roll_back_to(board: Board):
    assert refused(lambda: board.agent.rollback("twice")).code == "nothing-to-roll-back"
    board.commit(1)
    assert refused(lambda: board.agent.rollback("twice")).code == "nothing-to-roll-back"


def test_a_rollback_while_the_next_release_is_in_its_trial(board: Board):
    board.commit(1, 2)
    board.ports.script["trial"] = [until_cancelled(lambda: board.agent.rollback("twice"))]
    board.install(3)
    board.settle()
    assert board.standing() == (1, 1, 2)
    assert board.path()[-4:] == ["superseded", "activate", "confirm", "committed"]


def test_a_rollback_that_fails_leaves_what_served(board: Board):
    board.commit(1, 2)
    board.ports.script["serve"] = [FLAKY]
    board.agent.rollback("twice")
    board.settle()
    assert board.ended() == (1, "rolled_back", "trial-no-start")
    assert board.standing() == (2, 2, 1)


def test_back_to_a_release_that_its_pipelines_do_not_take_is_tried_again_and_seen(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    board.ports.seen["twice"] = BAD
    board.ports.script["serve"] = [FLAKY] * 3
    board.until("rolled_back")
    assert board.agent.updates.stale == {"twice": FLAKY.text}
    assert board.ports.served["twice"] == 2
    begin = board.clock.mono()
    board.settle()
    assert board.clock.mono() - begin >= 20e9
    assert board.standing() == (1, 1, None)


# -- two models at once ---------------------------------------------------------------------------


def test_two_models_are_updated_one_stage_at_a_time(board: Board):
    board.install(1)
    board.install(1, "other")
    board.settle()
    assert board.ended() == board.ended("other") == (1, "committed", "")
    assert board.path() == board.path("other") == GOOD_WAY
    board.check_tidy()


def test_one_that_waits_does_not_hold_up_another(board: Board):
    board.ports.script["trial"] = [SHORT]
    board.install(1)
    board.until("wait")
    begin = board.clock.mono()
    board.install(1, "other")
    board.until("committed", "other")
    assert board.clock.mono() - begin < 5e9
    assert board.update().state == "wait"
    board.settle()
    assert board.standing() == (1, 1, None)


@pytest.mark.parametrize("stage", ["trial", "shadow", "rehearse"])
def test_a_rollback_does_not_wait_for_the_long_work_on_another_model(board: Board, stage: str):
    board.policy = Policy(shadow=10)
    board.commit(1, 2, name="other")
    board.ports.script[stage] = [until_cancelled(lambda: board.agent.rollback("other"))]
    board.install(1)
    board.run(lambda: board.held("other").active == 1)
    assert board.ports.served["other"] == 1
    assert board.update().state != "committed"
    board.settle()
    assert board.standing("other") == (1, 1, 2)
    assert board.standing() == (1, 1, None)
    assert board.update().attempt == 1, "giving way is no failure"


@pytest.mark.parametrize("ask", ["rollback", "cancel"])
def test_nor_does_one_from_a_release_that_is_being_watched(board: Board, ask: str):
    board.commit(1, name="other")
    board.ports.seen["other"] = YOUNG
    board.install(2, "other")
    board.until("confirm", "other")
    board.ports.script["trial"] = [until_cancelled(lambda: getattr(board.agent, ask)("other"))]
    board.install(1)
    board.settle()
    assert board.standing("other") == (1, 1, None)
    assert board.standing() == (1, 1, None)
    order = [(entry.model, entry.state) for entry in board.entries if isinstance(entry, Moved)]
    assert order.index(("other", "rolled_back")) < order.index(("twice", "activate"))


def test_a_rollback_is_not_held_up_by_an_update_of_its_model_that_waits_behind_another(board: Board):
    """Its model's own update stands in line behind a trial of another model; it ends first."""
    board.commit(1, 2, name="other")
    board.entries.clear()
    board.ports.script["trial"] = [SHORT]
    board.install(3, "other")
    board.until("wait", "other")
    board.ports.script["trial"] = [until_cancelled(lambda: board.agent.rollback("other"))]
    board.install(1)
    board.settle()
    order = [(entry.model, entry.release, entry.state) for entry in board.entries if isinstance(entry, Moved)]
    assert order.index(("other", 3, "superseded")) < order.index(("other", 1, "activate")) < order.index(("twice", 1, "activate"))
    assert board.standing("other") == (1, 1, 2)
    trials = [call for call in board.ports.calls if call[:2] == ("trial", "twice")]
    assert len(trials) == 2, "one that gave way, and one after it"


def test_a_release_in_service_that_turns_bad_while_another_model_is_tried_goes_back_at_once(board: Board):
    board.commit(1, name="other")
    board.ports.seen["other"] = YOUNG
    board.install(2, "other")
    board.until("confirm", "other")

    def turn_bad() -> None:
        board.clock.advance(10**9)
        board.ports.seen["other"] = BAD

    board.ports.script["trial"] = [until_cancelled(turn_bad)]
    board.install(1)
    board.settle()
    assert board.ended("other") == (2, "rolled_back", "error-flood")
    order = [(entry.model, entry.state) for entry in board.entries if isinstance(entry, Moved)]
    assert order.index(("other", "rolled_back")) < order.index(("twice", "activate"))
    assert board.standing() == (1, 1, None)
