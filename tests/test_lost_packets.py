"""The link over real TCP on a wire that loses packets: slower, and nothing else."""

from __future__ import annotations

import json
import sys

import pytest

from tests.lost_packets import run_losing


@pytest.mark.parametrize("chance", [0.01, 0.1])  # at 0.3 it takes 20 s, or with bad luck minutes: waits of TCP double
def test_all_messages_come_though_packets_are_lost(chance: float) -> None:
    ran = json.loads(run_losing(chance, sys.executable, "-m", "tests.lost_packets_run", "200"))
    assert list(dict.fromkeys(ran["heard"])) == list(range(200))
    assert ran["dropped"] == {}
    print(f"{chance:.0%} lost: {ran['seconds']} s for 200 messages there and back, {ran['connections']} connections")
