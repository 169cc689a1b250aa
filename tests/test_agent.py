"""The control path from a request to its end: a real store and journal, pipelines and trials that do what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.errors import BugError, Cancelled, DoesNotFit, EdgedError, OperatorError
from edged.fleet.confirm import Watched
from edged.models.book import read_ledger
from edged.models.entries import Moved, Policy, Refusal
from edged.models.source import FolderSource
from tests.boards import FLAKY, GOOD_WAY, SHORT, WRONG, YOUNG, Board, Releases, refused
from tests.waiting import until


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "state", Releases(tmp_path / "releases")).start()


def port_of(stage: str) -> str:
    return {"evaluate": "fitting", "trial": "trial", "activate": "serve", "confirm": "rehearse"}[stage]


# -- the good way ---------------------------------------------------------------------------------


def test_a_good_release_goes_all_the_way(board: Board):
    taken = board.install(1)
    assert (taken.model, taken.release, taken.state) == ("twice", 1, "evaluate")
    board.settle()
    assert board.path() == GOOD_WAY
    assert board.standing() == (1, 1, None)
    assert [call[0] for call in board.ports.calls] == ["fitting", "trial", "serve", "rehearse"]
    board.commit(2)
    assert board.standing() == (2, 2, 1)
    assert board.held().reports[2] == {"variant": "fp32", "swap": {"gap_ms": 1}}
    board.commit(3)
    assert board.standing() == (3, 3, 2)
    board.check_tidy()


def test_each_state_is_in_the_journal_before_anything_is_done_about_it(board: Board):
    seen = []
    for port in ("fitting", "trial", "serve", "rehearse"):
        board.ports.script[port] = [lambda _, port=port: seen.append((port, board.update().state))]
    board.commit(1)
    assert seen == [("fitting", "evaluate"), ("trial", "trial"), ("serve", "activate"), ("rehearse", "confirm")]


def test_a_release_without_a_pipeline_waits_for_one_and_is_committed_when_it_has_proven_itself(board: Board):
    board.ports.seen["twice"] = Watched()
    board.install(1)
    board.until("confirm")
    board.work()
    (job,) = board.agent.updates.jobs()
    assert job.progress.waits_for == "no pipeline runs it"
    board.ports.seen["twice"] = YOUNG
    board.work(2)
    assert (job.progress.windows, job.progress.seconds, job.progress.waits_for) == (3, 1.0, "3 of 100 windows")
    del board.ports.seen["twice"]
    board.settle()
    assert board.standing() == (1, 1, None)


def test_a_shadow_runs_where_the_policy_asks_for_one_and_a_pipeline_wants_the_model(board: Board):
    board.policy = Policy(shadow=50)
    board.commit(1)
    assert board.held().reports[1]["shadow"] == {"windows": 50, "disagreed": 0}
    board.ports.wanted = False
    board.commit(2)
    assert "shadow" not in board.held().reports[2]


def test_a_daemon_that_was_restarted_with_a_release_needs_no_rehearsal(board: Board):
    board.ports.seen["twice"] = YOUNG
    board.install(1)
    board.until("confirm")
    board.restart()
    board.ports.seen.clear()
    board.settle()
    assert board.standing() == (1, 1, None)
    assert "rehearse" not in [call[0] for call in board.ports.calls]


# -- each stage refused, failed, cancelled --------------------------------------------------------


@pytest.mark.parametrize("stage", ["evaluate", "trial", "activate", "confirm"])
@pytest.mark.parametrize("error", [WRONG, OperatorError("channels-do-not-match", "four channels"), DoesNotFit("does-not-fit", "no")])
def test_a_fault_that_stays_ends_it_at_once(board: Board, stage: str, error: EdgedError):
    board.commit(1)
    board.ports.script[port_of(stage)] = [error]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rolled_back" if stage in ("activate", "confirm") else "rejected", error.code)
    assert board.standing() == (1, 1, None)
    assert board.update().attempt == 1
    board.check_tidy()
    board.commit(3)


@pytest.mark.parametrize("stage", ["evaluate", "trial"])
@pytest.mark.parametrize("error", [FLAKY, ValueError("a slip of ours")])
def test_a_fault_that_may_pass_is_tried_three_times_and_counted_before_each(board: Board, stage: str, error: Exception):
    board.commit(1)
    attempts = []

    def fail(_cancelled: object) -> None:
        attempts.append(read_ledger(board.state_dir).of("twice").update.attempt)
        raise error

    board.ports.script[port_of(stage)] = [fail] * 5
    board.install(2)
    begin = board.clock.mono()
    board.settle()
    assert attempts == [1, 2, 3], "as the journal had it while it was tried"
    assert board.ended() == (2, "rejected", FLAKY.code if error is FLAKY else "update-bug")
    assert board.path().count("wait") == 2
    assert board.clock.mono() - begin >= 30_000_000_000, "it waits between attempts, longer each time"
    assert board.standing() == (1, 1, None)
    board.check_tidy()


def test_a_fault_that_passes_is_forgotten(board: Board):
    board.ports.script["trial"] = [FLAKY, FLAKY]
    board.install(1)
    board.settle()
    assert board.ended() == (1, "committed", "")
    assert board.update().attempt == 3


def test_what_fails_while_it_is_brought_into_service_goes_back_at_once(board: Board):
    board.commit(1)
    board.ports.script["serve"] = [FLAKY]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rolled_back", "trial-no-start")
    assert [call[1:] for call in board.ports.calls if call[0] == "serve"][-2:] == [("twice", 2), ("twice", 1)]
    assert board.standing() == (1, 1, None)


def test_the_first_release_of_all_that_is_rolled_back_leaves_its_pipelines_at_a_stop(board: Board):
    board.ports.script["rehearse"] = [WRONG]
    board.install(1)
    board.settle()
    assert board.standing() == (None, None, None)
    board.check_tidy()


@pytest.mark.parametrize("stage", ["evaluate", "wait", "fetch", "verify", "trial", "activate", "confirm"])
def test_a_cancel_between_two_steps_ends_it_in_every_state(board: Board, stage: str):
    board.commit(1)
    board.ports.script["trial"] = [SHORT] if stage == "wait" else []
    board.install(2)
    board.until(stage)
    board.agent.cancel("twice")
    board.settle(steps=4)
    assert board.ended() == (2, "rolled_back" if stage in ("activate", "confirm") else "rejected", "cancelled")
    assert board.standing() == (1, 1, None)
    board.check_tidy()
    board.commit(2)


def test_a_cancel_before_it_was_taken_up_leaves_no_trace(board: Board):
    board.commit(1)
    board.install(2)
    board.agent.cancel("twice")
    board.settle()
    assert board.update().release == 1
    assert refused(lambda: board.agent.cancel("twice")).code == "nothing-to-cancel"


@pytest.mark.parametrize("stage", ["trial", "activate", "confirm"])
def test_a_cancel_while_a_thread_is_inside_a_stage_ends_it_promptly(board: Board, stage: str):
    """What works polls `cancelled`, as a trial does; the cancel comes from another thread."""
    board.commit(1)
    inside = threading.Event()

    def work(cancelled: Callable[[], bool]) -> None:
        inside.set()
        until(cancelled, "nobody asked it to stop")
        raise Cancelled

    board.ports.script[port_of(stage)] = [work]
    board.install(2)
    thread = threading.Thread(target=board.settle)
    thread.start()
    until(inside.is_set, "it never came there")
    board.agent.cancel("twice")
    thread.join()
    assert board.ended() == (2, "rolled_back" if stage in ("activate", "confirm") else "rejected", "cancelled")
    assert board.standing() == (1, 1, None)


def test_the_bytes_of_a_release_are_not_copied_on_after_a_cancel(board: Board):
    board.install(1)
    board.until("fetch")
    (job,) = board.agent.updates.jobs()
    assert job.source is not None
    opened = job.source.open

    def cancel(file: str):  # type: ignore[no-untyped-def]
        board.agent.cancel("twice")
        return opened(file)

    job.source.open = cancel  # type: ignore[method-assign]
    board.settle(steps=3)
    assert board.ended() == (1, "rejected", "cancelled")
    board.check_tidy()


# -- a failure is final until an input changes ----------------------------------------------------


@pytest.mark.parametrize("stage", ["evaluate", "trial", "confirm"])
def test_what_failed_is_not_tried_again_until_an_input_changes(board: Board, stage: str):
    board.commit(1)
    board.ports.script[port_of(stage)] = [WRONG]
    board.install(2)
    board.settle()
    before = len(board.entries)
    error = refused(lambda: board.install(2))
    assert (error.code, error.family) == ("golden-differs", "publisher")
    assert "edged models remove twice 2" in error.hint
    board.restart()
    assert refused(lambda: board.install(2)).code == "golden-differs"
    assert not [entry for entry in board.entries[before:] if isinstance(entry, Moved)]
    board.ports.builds = "tflite 2"
    board.commit(2)


def test_removing_what_failed_forgets_it(board: Board):
    board.commit(1)
    board.ports.script["trial"] = [WRONG]
    board.install(2)
    board.settle()
    board.agent.remove("twice", 2)
    board.commit(2)


@pytest.mark.parametrize("stage", ["evaluate", "fetch", "verify", "trial", "activate", "confirm"])
def test_what_was_cancelled_may_come_again_at_once(board: Board, stage: str):
    board.commit(1)
    board.install(2)
    board.until(stage)
    board.agent.cancel("twice")
    board.settle()
    board.commit(2)


# -- numbers --------------------------------------------------------------------------------------


def test_a_number_rises(board: Board):
    board.commit(2)
    assert refused(lambda: board.install(1)).code == "release-not-rising"
    assert refused(lambda: board.install(2, comment="# other")).code == "release-not-rising"
    board.commit(3)
    assert refused(lambda: board.install(2)).code == "release-stored"
    board.agent.remove("twice", 2)
    assert refused(lambda: board.install(2)).code == "release-not-rising"
    board.restart(clean=False)
    assert refused(lambda: board.install(2)).code == "release-not-rising"


def test_the_number_of_a_release_that_was_in_the_store_and_rejected_never_stands_for_another(board: Board):
    board.commit(1)
    board.ports.script["trial"] = [WRONG]
    board.install(2)
    board.settle()
    assert refused(lambda: board.install(2, comment="# mended")).code == "release-not-rising"


def test_a_release_that_serves_already_needs_nothing_and_says_how_it_stands(board: Board):
    board.ports.seen["twice"] = YOUNG
    board.install(1)
    board.until("confirm")
    before = len(board.entries)
    assert board.install(1).state == "confirm"
    board.ports.seen.clear()
    board.settle()
    assert board.install(1).state == "committed"
    assert [entry.state for entry in board.entries[before:]] == ["committed"]
    assert not board.agent.updates.jobs()


class Counted(FolderSource):
    """A source that counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("number", [1, 2, 3], ids=["refused", "serves already", "taken"])
def test_a_source_is_closed_when_it_is_not_needed_any_more(board: Board, number: int):
    board.commit(2)
    source = Counted(board.releases(number))
    if number == 1:
        refused(lambda: board.agent.install(source, board.policy))
    else:
        board.agent.install(source, board.policy)
    board.settle()
    assert source.closed


def test_sources_that_are_open_at_once_are_bounded(board: Board):
    for name in ("a", "b", "c", "d"):
        board.install(1, name)
    source = Counted(board.releases(1, "e"))
    assert refused(lambda: board.agent.install(source, board.policy)).code == "too-many-updates"
    assert source.closed
    board.settle()
    board.commit(1, name="e")


# -- pin and remove -------------------------------------------------------------------------------


def test_what_may_not_be_removed(board: Board):
    board.commit(1, 2, 3)
    board.agent.pin("twice", 2, True)
    board.ports.seen["twice"] = YOUNG
    board.install(4)
    board.until("confirm")
    codes = {number: refused(lambda number=number: board.agent.remove("twice", number)).code for number in (1, 2, 3, 4, 9)}
    assert codes == {
        1: "no-such-release",  # collected long ago
        2: "release-pinned",
        3: "release-last-good",
        4: "release-active",
        9: "no-such-release",
    }
    assert refused(lambda: board.agent.remove("nobody", 1)).code == "no-such-release"
    assert refused(lambda: board.agent.pin("twice", 1, True)).code == "no-such-release"
    board.check_tidy()


def test_a_release_on_its_way_may_not_be_removed(board: Board):
    board.commit(1)
    board.install(2)
    board.until("trial")
    assert refused(lambda: board.agent.remove("twice", 2)).code == "release-staged"
    board.settle()
    assert board.standing() == (2, 2, 1)


def test_nothing_is_removed_while_files_are_taken_in(board: Board):
    board.commit(1, 2)
    board.install(1, "other")
    board.until("verify", "other")
    assert refused(lambda: board.agent.remove("twice", 1)).code == "update-under-way"
    board.settle()
    board.agent.remove("twice", 1)
    assert board.standing() == (2, 2, None)
    board.check_tidy()


def test_a_pinned_release_stays_and_can_be_activated(board: Board):
    board.commit(1)
    board.agent.pin("twice", 1, True)
    board.commit(2, 3, 4)
    board.check_tidy()
    board.agent.activate("twice", 1, Policy())
    board.settle()
    assert board.standing() == (1, 1, 4)
    assert refused(lambda: board.agent.activate("twice", 1, Policy())).code == "serves-already"
    assert refused(lambda: board.agent.activate("twice", 2, Policy())).code == "no-such-release"


def test_a_bug_in_a_stage_is_told_as_one_and_ends_nothing_else(board: Board):
    board.commit(1)
    board.ports.script["serve"] = [ZeroDivisionError("of ours")]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rolled_back", "update-bug")
    assert board.update().why.family == BugError.family
    assert board.standing() == (1, 1, None)


def test_what_the_journal_says_of_an_end_is_the_whole_error(board: Board):
    board.ports.script["trial"] = [WRONG]
    board.install(1)
    board.settle()
    assert board.update().why == Refusal(**WRONG.as_dict())
