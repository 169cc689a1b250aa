"""The daemon is killed under load, again and again; `make soak SOAK_ARGS="kill"` does it fifty times."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.kill import kill
from soak.scene import Scene


@pytest.mark.parametrize("more", ["", "durable = true"])
def test_every_window_of_a_whole_message_comes_though_the_daemon_is_killed_again_and_again(tmp_path: Path, more: str) -> None:
    with Scene("kill", tmp_path, seed=1) as scene:
        assert kill(scene, kills=5, rate=100.0, more=more).faults == []
