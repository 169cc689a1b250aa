"""What becomes of updates when the process ends, and when the disk takes no entry of the journal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edged.errors import PublisherError
from edged.models.entries import Policy
from tests.boards import FLAKY, GOOD_WAY, SHORT, YOUNG, Board, Releases, refused, until_cancelled


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "state", Releases(tmp_path / "releases")).start()


# -- a new process over the same folder -----------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    ("stage", "ended", "attempt"),
    [
        ("evaluate", (2, "rejected", "source-lost"), 1),
        ("fetch", (2, "rejected", "source-lost"), 1),
        ("verify", (2, "rejected", "source-lost"), 1),
        ("trial", (2, "committed", ""), 2),
        ("activate", (2, "committed", ""), 1),
        ("confirm", (2, "committed", ""), 1),
        ("committed", (2, "committed", ""), 1),
    ],
)
def test_what_becomes_of_an_update_at_the_next_start(board: Board, stage: str, clean: bool, ended: tuple[int, str, str], attempt: int):
    board.commit(1)
    board.install(2)
    board.until(stage)
    board.restart(clean)
    board.settle()
    assert board.ended() == ended
    assert board.update().attempt == (1 if clean else attempt)
    assert board.standing() == ((2, 2, 1) if ended[1] == "committed" else (1, 1, None))
    board.check_tidy()
    if ended[1] == "rejected":
        board.commit(2)


@pytest.mark.parametrize("code", ["golden-differs", "error-flood"])
def test_an_update_that_has_ended_is_left_alone_at_the_next_start(board: Board, code: str):
    board.commit(1)
    board.ports.script["trial" if code == "golden-differs" else "rehearse"] = [PublisherError(code, "no")]
    board.install(2)
    board.settle()
    before = board.held()
    board.restart()
    board.settle()
    assert board.held().update == before.update
    assert board.standing() == (1, 1, None)


def test_a_trial_that_takes_the_daemon_down_each_time_is_given_up(board: Board):
    """The daemon ends without a word whenever this release is tried."""
    board.commit(1)
    board.install(2)
    board.until("trial")
    for attempt in (2, 3):
        board.restart(clean=False)
        assert board.update().attempt == attempt
        board.until("trial")
    board.restart(clean=False)
    assert board.ended() == (2, "rejected", "interrupted")
    assert board.standing() == (1, 1, None)
    board.check_tidy()


def test_clean_restarts_are_no_failures_of_an_update_that_waits(board: Board):
    board.commit(1, 2)
    board.ports.script["trial"] = [SHORT] * 5
    board.agent.activate("twice", 1, Policy())
    for _ in range(5):
        board.until("wait")
        board.restart()
        assert board.update().attempt == 1
    board.settle()
    assert board.ended() == (1, "committed", "")


def test_failures_before_a_restart_count_after_it(board: Board):
    board.commit(1, 2)
    board.ports.script["trial"] = [FLAKY] * 5
    board.agent.activate("twice", 1, Policy())
    for attempt in (2, 3):
        board.until("wait")
        board.restart()
        assert board.update().attempt == attempt
    board.settle()
    assert board.ended() == (1, "rejected", "trial-no-start")
    assert [call[0] for call in board.ports.calls].count("trial") == 2 + 3


@pytest.mark.parametrize("stage", ["activate", "confirm"])
def test_two_ends_without_a_word_while_a_release_is_new_bring_the_last_good_one_back(board: Board, stage: str):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until(stage)
    board.restart(clean=False)
    assert board.standing() == (2, 1, None), "one may have been a power cut"
    board.work(5)
    board.restart(clean=False)
    assert board.ended() == (2, "rolled_back", "crash-loop")
    assert board.standing() == (1, 1, None)
    board.check_tidy()
    assert refused(lambda: board.install(2)).code == "crash-loop"


def test_clean_stops_while_a_release_is_new_are_not_held_against_it(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    for _ in range(5):
        board.restart()
        board.work(3)
    assert board.standing() == (2, 1, None)


def test_crashes_after_the_commit_change_nothing(board: Board):
    board.commit(1, 2)
    for _ in range(4):
        board.restart(clean=False)
    assert board.standing() == (2, 2, 1)


def test_a_new_release_whose_files_the_disk_lost_goes_back_at_the_next_start(board: Board):
    board.commit(1)
    board.ports.seen["twice"] = YOUNG
    board.install(2)
    board.until("confirm")
    new = board.store.packed("twice", 2).files["twice.tflite"].sha256
    board.stop()
    os.unlink(board.state_dir / "models" / "blobs" / "sha256" / new)
    board.start()
    assert board.ended() == (2, "rolled_back", "store-damaged")
    assert board.standing() == (1, 1, None)
    board.ports.seen.clear()
    board.commit(2)


def test_a_stop_in_the_middle_of_a_stage_goes_on_at_the_next_start(board: Board):
    board.commit(1)
    board.ports.script["trial"] = [until_cancelled(board.agent.updates.interrupt)]
    board.install(2)
    board.work(10)
    assert board.update().state == "trial"
    board.restart()
    board.settle()
    assert board.standing() == (2, 2, 1)
    assert board.update().attempt == 1


def test_a_stop_while_one_release_is_brought_in_and_a_newer_one_waits(board: Board):
    board.commit(1)

    def replace_and_stop() -> None:
        board.install(3)
        board.agent.updates.interrupt()

    board.ports.script["serve"] = [until_cancelled(replace_and_stop)]
    board.install(2)
    board.work(10)
    assert board.update().state == "activate"
    board.restart()
    board.settle()
    assert board.standing() == (2, 2, 1)


# -- a journal that takes nothing -----------------------------------------------------------------


class Full:
    """A disk that takes no entry while it is on."""

    def __init__(self, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, self._write = False, os.write
        self._fd = board.book._journal._fd
        monkeypatch.setattr(os, "write", self._or_not)

    def _or_not(self, fd: int, data: bytes) -> int:
        if self.on and fd == self._fd:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


def test_what_cannot_be_written_is_not_begun(board: Board, monkeypatch: pytest.MonkeyPatch):
    disk = Full(board, monkeypatch)
    board.commit(1)
    disk.on = True
    before, calls = board.held(), len(board.ports.calls)
    board.install(2)
    board.work(100)
    (job,) = board.agent.updates.jobs()
    assert "cannot be written" in job.progress.blocked_by
    assert board.held() == before
    assert len(board.ports.calls) == calls
    disk.on = False
    board.settle()
    assert board.standing() == (2, 2, 1)


@pytest.mark.parametrize("stage", ["evaluate", "fetch", "verify", "trial", "activate", "confirm"])
def test_a_step_that_cannot_be_written_is_done_again_after_a_while(board: Board, stage: str, monkeypatch: pytest.MonkeyPatch):
    disk = Full(board, monkeypatch)
    board.commit(1)
    board.install(2)
    board.until(stage)
    disk.on = True
    calls, begin = len(board.ports.calls), board.clock.mono()
    board.work(200)
    assert board.clock.mono() - begin > 90e9, "it does not spin"
    assert len(board.ports.calls) - calls <= 12, "nor works all the time"
    assert board.update().state == stage
    disk.on = False
    board.settle()
    assert board.standing() == (2, 2, 1)
    assert board.path() == GOOD_WAY * 2


def test_a_cancel_that_cannot_be_written_does_not_spin_either(board: Board, monkeypatch: pytest.MonkeyPatch):
    disk = Full(board, monkeypatch)
    board.install(1)
    board.until("trial")
    disk.on = True
    board.agent.cancel("twice")
    begin = board.clock.mono()
    board.work(100)
    assert board.clock.mono() - begin > 40e9
    disk.on = False
    board.settle()
    assert board.ended() == (1, "rejected", "cancelled")


def test_pins_and_removals_that_cannot_be_written_are_not_done(board: Board, monkeypatch: pytest.MonkeyPatch):
    disk = Full(board, monkeypatch)
    board.commit(1, 2)
    disk.on = True
    assert refused(lambda: board.agent.pin("twice", 1, True)).code == "store-unwritable"
    assert refused(lambda: board.agent.remove("twice", 1)).code == "store-unwritable"
    disk.on = False
    assert board.held().pinned == set()
    assert board.standing() == (2, 2, 1)
    board.check_tidy()
