"""Attacks on the board's end of a framed line that a hostile reader found: each must cost nothing but what it sent."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from firmware_bridge import frames
from firmware_bridge.link import BoardLink, SamplesCame
from firmware_bridge.messages import BadMessage, Hello
from firmware_bridge.stamps import Stamps
from tests.firmwares import VIBRO, FakeFirmware

S = 1_000_000_000


@pytest.mark.parametrize("rate_hz", [1e-45, 1e-38, 9e-7])
def test_a_rate_so_low_that_a_block_began_before_all_clocks_is_refused(rate_hz: float) -> None:
    body = bytearray(VIBRO.encode())
    body[8:12] = struct.pack("<f", rate_hz)
    with pytest.raises(BadMessage, match="readings a second"):
        Hello.decode(bytes(body))


def test_times_of_the_slowest_sensor_fit_where_times_are_kept() -> None:
    hello = replace(VIBRO, rate_hz=1e-6, tick_hz=1, channels=VIBRO.channels[:1])
    firmware, link = FakeFirmware(hello), BoardLink()
    link.receive(b"\0" + firmware.say_hello(), S)
    most = (frames.MAX_BODY - 4) // hello.reading_bytes
    came = [each for each in link.receive(firmware.samples([[1]] * most, tick=5), 2 * S) if isinstance(each, SamplesCame)]
    assert -(2**62) < came[0].first_ns < came[0].last_ns < 2**62


def count_over(seconds: int, tick_of: Callable[[int], int]) -> dict[str, int]:
    """Give what is counted of a lossless stream of a block a second, whose tick after so many seconds is `tick_of`."""
    firmware, link = FakeFirmware(), BoardLink()
    link.receive(b"\0" + firmware.say_hello(), 0)
    for second in range(1, seconds + 1):
        link.receive(firmware.samples([[1, 2, 3]] * 26, tick=tick_of(second)), second * S)
    return {name: count for name, count in link.counts.items() if count}


def test_ticks_that_cannot_be_true_are_counted() -> None:
    assert count_over(60, lambda second: second * 1_000_000) == {}
    assert count_over(60, lambda second: (second + 5 * (second % 20 == 0)) * 1_000_000) == {"wrong-tick": 3}


@pytest.mark.parametrize(("factor", "name"), [(2.0, "wrong-tick"), (0.5, "clock-jump")])
def test_a_clock_that_runs_at_another_rate_than_the_hello_says_shows_in_the_counts(factor: float, name: str) -> None:
    assert count_over(60, lambda second: round(second * factor * 1_000_000))[name] > 4


def test_a_question_that_was_answered_before_the_first_block_does_not_bend_the_clock() -> None:
    """An oscillator that is 2 % slow: what its nominal rate says of the time before the first block is wrong by most of a millisecond."""
    drift, delay_ns, tick_hz = 0.98, 300_000, 1_000_000

    def tick(at_ns: int) -> int:
        return round(at_ns * drift * tick_hz / S)

    stamps = Stamps(tick_hz, 1000.0)
    fit = stamps.fit
    asked_ns = 3 * S - 40_000_000
    fit.exchanged(asked_ns, tick(asked_ns + delay_ns), tick(asked_ns + delay_ns), asked_ns + 2 * delay_ns)
    for tenth in range(30, 900):
        at_ns = tenth * S // 10
        _, last_ns = stamps.block(tick(at_ns), 100, True, at_ns + delay_ns)
        if tenth % 10 == 5:
            fit.exchanged(at_ns, tick(at_ns + delay_ns), tick(at_ns + delay_ns), at_ns + 2 * delay_ns)
    assert abs(last_ns - at_ns) < 50_000
