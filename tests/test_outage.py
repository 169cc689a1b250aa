"""Brokers that go, never come, take everything and say nothing, or lose the connection; `make soak` has the long forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.backlog import backlog
from soak.cut import cut
from soak.mute import mute
from soak.outage import outage
from soak.scene import Scene


@pytest.mark.parametrize("more", ["", "durable = true"])
def test_results_wait_for_a_broker_that_is_not_there_and_come_in_order(tmp_path: Path, more: str) -> None:
    with Scene("outage", tmp_path) as scene:
        assert outage(scene, results=5_000, more=more).faults == []


@pytest.mark.alone  # the kill in the drain has to come before all is drained: who counts must keep up with the daemon
def test_results_outlive_a_kill_in_the_outage_and_one_in_the_drain(tmp_path: Path) -> None:
    with Scene("outage", tmp_path) as scene:
        assert outage(scene, results=5_000, kills=True).faults == []


def test_results_for_a_broker_that_acknowledges_nothing_end_on_disk_and_come_at_a_true_one(tmp_path: Path) -> None:
    with Scene("mute", tmp_path) as scene:
        assert mute(scene, results=3_000).faults == []


def test_everything_comes_though_the_connection_breaks_inside_every_hundredth_message(tmp_path: Path) -> None:
    with Scene("cut", tmp_path) as scene:
        assert cut(scene, cuts=4).faults == []


def test_messages_that_gathered_while_the_daemon_was_away_are_neither_dropped_nor_all_taken_at_once(tmp_path: Path) -> None:
    with Scene("backlog", tmp_path) as scene:
        assert backlog(scene, messages=4_000).faults == []
