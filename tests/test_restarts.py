"""A service that fails again and again is started more and more slowly, and forgets once it was well."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.clock import NS, VirtualClock
from edged.service.restarts import CALM_S, Restarts


def pauses_of(restarts: Restarts, results: list[str]) -> list[int]:
    pauses = []
    for result in results:
        restarts.ended(result)
        pauses.append(restarts.pause_s)
    return pauses


def test_the_pause_grows_from_failure_to_failure_up_to_a_minute(tmp_path: Path) -> None:
    assert pauses_of(Restarts(tmp_path, VirtualClock()), ["exit-code", "watchdog", "signal", *["exit-code"] * 6]) == [
        *[0, 2, 4, 8, 16, 32],
        *[60, 60, 60],
    ]


def test_the_first_start_waits_for_nothing(tmp_path: Path) -> None:
    assert Restarts(tmp_path, VirtualClock()).pause_s == 0


def test_an_end_that_was_asked_for_forgets_the_failures(tmp_path: Path) -> None:
    assert pauses_of(Restarts(tmp_path, VirtualClock()), ["exit-code", "exit-code", "success", "success", "exit-code"]) == [0, 2, 0, 0, 0]


def test_a_daemon_that_was_well_for_a_while_begins_anew(tmp_path: Path) -> None:
    clock = VirtualClock()
    restarts = Restarts(tmp_path, clock)
    for _ in range(20):
        restarts.ended("oom-kill")
        clock.advance(CALM_S * NS)
        assert restarts.pause_s == 0


def test_the_count_lives_in_the_folder_and_not_in_the_process(tmp_path: Path) -> None:
    clock = VirtualClock()
    for _ in range(3):
        Restarts(tmp_path, clock).ended("timeout")
    assert Restarts(tmp_path, clock).pause_s == 4


@pytest.mark.parametrize("text", [b"", b"3", b"a b", b"9" * 10_000, b"\xff\xfe", b"-7 0", b"1 2 3"])
def test_a_count_that_cannot_be_read_delays_nothing(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "failures").write_bytes(text)
    restarts = Restarts(tmp_path, VirtualClock())
    assert restarts.pause_s == 0
    restarts.ended("exit-code")
    assert restarts.failures == 1


def test_a_count_beyond_all_bounds_is_still_a_minute(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("9" * 40 + " 0")
    assert Restarts(tmp_path, VirtualClock()).pause_s == 60
