"""What a hostile review of signed updates found: each test failed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.clock import VirtualClock
from edged.fleet.instructions import OK
from edged.mqtt.topics import FleetTopics
from tests.fleets import Fleet
from tests.stores import tiny
from tests.test_instructions import DEVICE, START, Scene
from tests.test_trust_attacks import Board, refused


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_word_that_a_broker_forgets_a_root_is_no_root(scene: Scene) -> None:
    """An empty message clears what is retained; to a board that never had it, it says nothing."""
    scene.fleet.assign(DEVICE, {"twice": 1})
    for name in ("root/2", "snapshot/1", "targets/1", "timestamp"):
        scene.mailbox.put(FleetTopics("plant-a").repo(name).encode(), b"", False)
        assert scene.mailbox.metadata(name) is None
    scene.publish(DEVICE)
    scene.look()
    assert (scene.instructions.state, scene.wanted()) == (OK, {"twice": (1, DEVICE)})


def test_a_fleet_that_was_founded_anew_is_followed_when_the_operator_puts_its_root_there(tmp_path: Path) -> None:
    """Its versions begin at 1 again, those of the old one had risen. The old root still may not be rolled back."""
    clock = VirtualClock(START)
    old = Fleet(tmp_path / "old", clock=clock)
    old.add(tiny(tmp_path / "one"))
    old.assign(DEVICE, {"twice": 1})
    before = Board(tmp_path / "board", old, clock)
    first = old.keep()
    old.rotate("root")
    old.rotate("timestamp")
    before.refresh()
    before.accept(old.desired(DEVICE))

    new = Fleet(tmp_path / "new", clock=clock)
    new.add(tiny(tmp_path / "two"))
    new.assign(DEVICE, {"twice": 1})
    board = Board(tmp_path / "board", new, clock)
    assert board.refresh().versions["root"] == 1
    assert board.accept(new.desired(DEVICE)).rev == 1

    again = Board(tmp_path / "board", old, clock)
    assert again.refresh().versions["root"] == 3
    old.put_back(first)
    again.forget_cache()
    assert refused(again.refresh).code == "metadata-rollback"
