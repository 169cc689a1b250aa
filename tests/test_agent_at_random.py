"""The control path under requests, faults, stops and kills in any order, and from several threads at once."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from edged.errors import BoardError, BugError, Cancelled, EdgedError, PublisherError
from edged.fleet.confirm import Watched
from edged.fleet.machine import CONFIRM, EXITS
from edged.models.entries import Moved, Policy
from tests.boards import Board, Releases
from tests.waiting import until

MODELS = ("twice", "other")
NUMBERS = range(1, 7)


def check(board: Board) -> None:
    """What holds after every step."""
    kept = board.book.kept()
    under_way = {job.model: job for job in board.agent.updates.jobs()}
    for model, held in board.book.models().items():
        for number in {held.active, held.last_good} - {None}:
            assert (model, number) in kept
            board.store.load(model, number)  # type: ignore[arg-type]
        if held.unproven and held.last_good is not None and model not in board.agent.updates.stale:
            assert model in under_way, "an unproven release serves, nobody watches it, and there is a good one"
        update = held.update
        if update is not None and update.state not in EXITS:
            assert under_way[model].moved.release == update.release or model in board.agent.updates._asked


def ask(board: Board, chance: random.Random) -> None:
    """Ask for something; no is an answer, a bug is none."""
    model, number, agent = chance.choice(MODELS), chance.choice(NUMBERS), board.agent
    policy = Policy(shadow=chance.choice([0, 5]))
    highest = board.held(model).highest
    todo = [
        lambda: board.install(highest + 1 if highest < 6 else number, model),
        lambda: board.install(number, model),
        lambda: agent.activate(model, number, policy),
        lambda: agent.rollback(model),
        lambda: agent.cancel(model),
        lambda: agent.remove(model, number),
        lambda: agent.pin(model, number, chance.random() < 0.3),
    ]
    try:
        chance.choice(todo)()
    except BugError:
        raise
    except EdgedError:
        pass


def disturb(board: Board, chance: random.Random) -> None:
    """Let something go wrong, or right again."""
    model = chance.choice(MODELS)
    young = Watched(windows=3, results=3, seconds=1.0, pipelines=1)
    board.ports.seen[model] = chance.choice([young, young, Watched(), Watched(windows=100, errors=100, pipelines=1)])
    if chance.random() < 0.5:
        board.ports.seen.pop(model)
    board.free = chance.choice([0, 1 << 40, 1 << 40])
    faults = [BoardError("flaky", "it fails now and then"), PublisherError("wrong", "it is wrong"), BoardError("memory-short", "short")]
    board.ports.script[chance.choice(["fitting", "trial", "shadow", "serve", "rehearse"])] = [chance.choice(faults)] * chance.choice([1, 4])
    if chance.random() < 0.2:
        board.ports.builds = f"tflite {chance.randint(1, 3)}"
    if chance.random() < 0.3:
        board.restart(clean=chance.random() < 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_requests_faults_and_ends_comes_to_rest_with_a_good_release(seed: int, tmp_path: Path):
    chance = random.Random(seed)
    board = Board(tmp_path / "state", Releases(tmp_path / "releases")).start()
    for _ in range(60):
        ask(board, chance)
        if chance.random() < 0.4:
            disturb(board, chance)
        for _ in range(chance.randint(0, 8)):
            board.work(1)
            check(board)
    board.ports.script.clear()
    board.ports.seen.clear()
    board.free = 1 << 40
    board.settle(steps=4000)
    for model in board.book.models():
        active, last_good, previous = board.standing(model)
        assert active == last_good or last_good is None
        assert previous is None or previous != last_good
    board.agent.updates._collect()
    board.check_tidy()
    board.restart(clean=False).check_tidy()


def test_requests_from_several_threads_beside_the_one_that_works(tmp_path: Path):
    board = Board(tmp_path / "state", Releases(tmp_path / "releases")).start()
    for model in MODELS:
        for number in NUMBERS:
            board.releases(number, model)
    ended, bugs = threading.Event(), []

    def asking(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(60):
                ask(board, chance)
                if chance.random() < 0.3:
                    until(lambda: not board.agent.updates.jobs(), "the updates never end")
        except BaseException as error:
            bugs.append(error)

    def working() -> None:
        try:
            while not ended.is_set():
                pause = board.agent.step()
                board.clock.advance(int(pause * 1e9))
                if pause:
                    board.agent.updates.changed.wait(0.01)
        except BaseException as error:
            bugs.append(error)

    def trial(cancelled: object) -> None:
        for _ in range(5):
            if cancelled():  # type: ignore[operator]
                raise Cancelled

    board.ports.script["trial"] = [trial] * 10_000
    threads = [threading.Thread(target=asking, args=(seed,)) for seed in range(3)]
    worker = threading.Thread(target=working)
    worker.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    worker.join()
    if bugs:
        raise bugs[0]
    board.settle(steps=2000)
    board.agent.updates._collect()
    board.check_tidy()
    for model in MODELS:
        assert not board.held(model).unproven
    assert len([entry for entry in board.entries if isinstance(entry, Moved) and entry.state == CONFIRM]) > 3
