"""Twice the load that the machine takes, for seconds; `make soak SOAK_ARGS="overload"` has a minute, and the bar for recovery."""

from __future__ import annotations

from pathlib import Path

from soak.overload import overload
from soak.scene import Scene


def test_losses_are_counted_to_the_message_and_safety_loses_nothing(tmp_path: Path) -> None:
    with Scene("overload", tmp_path) as scene:
        assert overload(scene, seconds=4.0, measured=200, recovery_bar_s=None).faults == []
