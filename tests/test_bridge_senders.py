"""Restarts, and two firmwares on one line: no sample is ever read by the HELLO of another run."""

from __future__ import annotations

import dataclasses
import random

import pytest

from firmware_bridge.frames import HELLO, TEXT
from firmware_bridge.link import BoardLink, Came, EventCame, HelloCame, SamplesCame, TextCame
from firmware_bridge.messages import Ack, Event
from tests.firmwares import VIBRO, FakeFirmware

NS = 1_000_000_000
BLOCK_S = 3 / 26  # what three readings take
OTHER = dataclasses.replace(VIBRO, firmware="other", kind="int32")


class Bench:
    """A link and its time."""

    def __init__(self) -> None:
        self.link = BoardLink()
        self.now = 1000 * NS

    def up(self, *lines: bytes, after: float = BLOCK_S) -> list[Came]:
        self.now += round(after * NS)
        came = self.link.receive(b"".join(lines), self.now)
        self.link.wake(self.now)
        return came

    def asks(self, firmware: FakeFirmware) -> bytes:
        """Write what is to be written; give the firmware's answers."""
        return firmware.receive(self.link.take())

    @property
    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.link.counts.items() if count}


def running(session: int, blocks: int = 50) -> tuple[Bench, FakeFirmware]:
    """Give a bench with a firmware that has been sending for a while."""
    bench, firmware = Bench(), FakeFirmware(session=session)
    bench.up(firmware.start())
    for _ in range(blocks):
        bench.up(firmware.block(3))
    bench.up(bench.asks(firmware))
    return bench, firmware


def kinds(came: list[Came]) -> list[str]:
    return [type(event).__name__ for event in came]


def test_after_a_restart_the_new_hello_counts() -> None:
    bench, firmware = running(7)
    firmware.hello = OTHER
    assert bench.up(firmware.start(8)) == [HelloCame(OTHER, 8, restarted=True)]
    (block,) = bench.up(firmware.block(3))
    assert isinstance(block, SamplesCame)
    assert (block.hello, block.follows) == (OTHER, False)
    assert bench.counted == {"restarts": 1}
    assert bench.link.session == 8


def test_after_a_restart_the_old_hello_is_not_used_for_new_samples() -> None:
    bench, firmware = running(7)
    firmware.hello = OTHER
    firmware.start(8)
    assert bench.up(firmware.block(3), firmware.block(3)) == []
    assert bench.link.hello is None
    assert bench.counted == {"no-hello": 2, "restarts": 1}
    assert bench.up(bench.asks(firmware)) == [HelloCame(OTHER, 8, restarted=True)]


def test_what_a_firmware_says_before_its_hello_is_heard() -> None:
    bench, firmware = running(7)
    firmware.start(8)
    assert bench.up(firmware.text("reset by the watchdog"), firmware.event(Event(1, 2, ""))) == [
        TextCame("reset by the watchdog"),
        EventCame(Event(1, 2, "")),
    ]
    assert "other-sender" not in bench.counted


def test_samples_after_a_restart_have_times_of_the_new_clock() -> None:
    bench, firmware = running(7, blocks=300)
    old = bench.link.stamps
    bench.up(firmware.start(8), after=3)
    assert bench.link.stamps is not old
    (block,) = bench.up(firmware.block(3))
    assert isinstance(block, SamplesCame)
    assert abs(block.last_ns - bench.now) < NS // 2


@pytest.mark.parametrize("before", [1, 50, 20000, 40000, 65534])
def test_the_same_session_and_a_new_hello_is_a_restart(before: int) -> None:
    bench, firmware = running(1)
    firmware.sequence = before
    bench.up(firmware.say_hello())
    counted = bench.counted.get("restarts", 0)
    assert bench.up(firmware.start()) == [HelloCame(VIBRO, 1, restarted=True)]
    assert bench.counted["restarts"] == counted + 1
    (block,) = bench.up(firmware.block(3))
    assert isinstance(block, SamplesCame)
    assert not block.follows


@pytest.mark.parametrize("sequence", [100, 20000, 40000, 65000])
@pytest.mark.parametrize("tick", [10**8, 2**31 + 10**6, 2**32 - 10**8])
def test_the_same_session_and_a_lost_hello_is_a_restart(sequence: int, tick: int) -> None:
    """Sequence and tick are both of their range: whichever way they go, one of them tells."""
    bench, firmware = Bench(), FakeFirmware(session=1, sequence=sequence, tick=tick)
    bench.up(firmware.say_hello())
    for _ in range(10):
        assert kinds(bench.up(firmware.block(3))) == ["SamplesCame"]
    firmware.hello = OTHER
    firmware.start()
    assert bench.up(firmware.block(3), after=2) == []
    assert bench.link.hello is None
    assert bench.counted == {"restarts": 1, "no-hello": 1}
    assert bench.up(bench.asks(firmware)) == [HelloCame(OTHER, 1, restarted=True)]


def test_the_same_session_and_a_text_first_is_a_restart() -> None:
    bench, firmware = running(1)
    firmware.start()
    firmware.sequence = 0
    assert bench.up(firmware.text("hello")) == [TextCame("hello")]
    assert bench.up(firmware.block(3)) == []
    assert bench.counted == {"restarts": 1, "no-hello": 1}


def test_a_hello_between_a_restart_and_its_first_samples_stays_good() -> None:
    """The text with sequence 0 looked like a gap; the HELLO after it is of the new run all the same."""
    bench, firmware = running(1)
    firmware.sequence = 40000
    bench.up(firmware.say_hello())
    bench.up(firmware.block(3))
    bench.up(bench.asks(firmware))
    bench.up(firmware.block(3))
    firmware.start()
    firmware.sequence = 0
    assert kinds(bench.up(firmware.text("boot"), firmware.say_hello(), firmware.block(1), firmware.block(1))) == [
        "TextCame",
        "HelloCame",
        "SamplesCame",
        "SamplesCame",
    ]


def test_a_firmware_that_starts_over_and_over_is_counted_each_time() -> None:
    bench, firmware = Bench(), FakeFirmware(session=1)
    for _ in range(10):
        assert kinds(bench.up(firmware.start(), after=1)) == ["HelloCame"]
    assert bench.counted == {"restarts": 9}


def test_many_lost_frames_are_no_restart() -> None:
    bench, firmware = running(7)
    firmware.lose(20000)
    firmware.tick += 50_000_000
    (block,) = bench.up(firmware.block(3), after=50 + BLOCK_S)
    assert isinstance(block, SamplesCame)
    assert not block.follows
    assert bench.counted == {"gaps": 1, "lost-frames": 20000}


def test_a_tick_that_wraps_in_a_gap_is_no_restart() -> None:
    bench, firmware = running(7)
    firmware.tick = 2**32 - 1_000_000
    bench.link = BoardLink()
    bench.up(firmware.say_hello(), firmware.block(3))
    firmware.lose(10)
    firmware.tick += 2_000_000
    assert kinds(bench.up(firmware.block(3), after=2)) == ["SamplesCame"]
    assert bench.counted == {"gaps": 1, "lost-frames": 10}


def test_a_wrong_tick_before_a_gap_makes_no_restart() -> None:
    bench, firmware = running(7)
    tick = firmware.tick
    bench.up(firmware.samples([[1, 2, 3]] * 3, tick=(tick + 2**30) % 2**32))
    firmware.lose(1)
    firmware.tick = tick + 3 * 1_000_000 * 3 // 26
    assert kinds(bench.up(firmware.samples([[1, 2, 3]] * 3, tick=firmware.tick), after=0.2)) == ["SamplesCame"]
    assert bench.counted == {"wrong-tick": 1, "gaps": 1, "lost-frames": 1}


def test_a_long_silence_is_no_restart() -> None:
    """Longer than half a wrap of the tick, which then says nothing of before and after."""
    bench, firmware = running(7)
    for minutes in (30, 40, 60, 100, 1000):
        firmware.lose(5)
        firmware.tick += minutes * 60 * 1_000_000
        assert kinds(bench.up(firmware.block(3), after=minutes * 60 + BLOCK_S)) == ["SamplesCame"]
    assert bench.counted == {"gaps": 5, "lost-frames": 25}


def together(bench: Bench, first: FakeFirmware, second: FakeFirmware, turns: int) -> list[Came]:
    return [event for _ in range(turns) for event in bench.up(first.block(3), second.block(3))]


def sessions(came: list[Came]) -> set[str]:
    return {event.hello.firmware for event in came if isinstance(event, SamplesCame)}


def test_of_two_senders_the_first_is_heard_and_the_other_counted() -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=8)
    bench.up(second.start())
    assert [event for event in bench.up(first.block(3)) if isinstance(event, HelloCame)] == [HelloCame(VIBRO, 7, restarted=False)]
    assert bench.link.two_senders
    came = together(bench, first, second, 100)
    assert sessions(came) == {"vibro"}
    assert all(block.follows for block in came if isinstance(block, SamplesCame))
    assert bench.counted == {"restarts": 1, "other-sender": 100}
    assert bench.link.session == 7


@pytest.mark.parametrize("session", [8, 7])
def test_two_senders_without_a_hello_of_the_second(session: int) -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=session, sequence=30000)
    came = together(bench, first, second, 100)
    assert sessions(came) == {"vibro"}
    assert len(came) >= 98
    assert bench.link.two_senders
    assert bench.counted["other-sender"] >= 98
    assert bench.link.hello == VIBRO


def test_the_other_is_taken_up_when_the_first_is_silent_for_five_seconds() -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=8)
    bench.up(second.start())
    together(bench, first, second, 10)
    for _ in range(49):
        assert bench.up(second.block(3), after=0.1) == []
    assert bench.link.two_senders
    bench.up(second.block(3), after=0.2)
    came = bench.up(bench.asks(second))
    assert came == [HelloCame(OTHER, 8, restarted=True)]
    assert sessions(bench.up(second.block(3))) == {"other"}
    bench.up(second.block(3), after=5)
    assert not bench.link.two_senders
    assert sessions(together(bench, first, second, 100)) == {"other"}, "now it is the first"
    assert bench.link.two_senders


def test_two_senders_are_no_more_when_the_second_goes_away() -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=8)
    bench.up(second.start())
    together(bench, first, second, 10)
    for _ in range(51):
        bench.up(first.block(3))
    assert not bench.link.two_senders


def test_a_second_that_went_away_takes_no_frame_of_the_first() -> None:
    """Not even one that comes where the second's sequence stood."""
    bench, first = running(1, blocks=100)
    second = FakeFirmware(OTHER, session=1, sequence=300)
    together(bench, first, second, 10)
    for _ in range(51):
        bench.up(first.block(3))
    first.lose(second.sequence - first.sequence)
    first.tick += 5_000_000
    assert kinds(bench.up(first.block(3), after=5)) == ["SamplesCame"]
    assert bench.up(first.block(3), first.block(3)) != []


def test_going_back_to_the_first_is_no_restart_of_it() -> None:
    bench, first = running(7)
    assert bench.up(first.start(9)) == [HelloCame(VIBRO, 9, restarted=True)]
    bench.up(first.block(3))
    bench.up(FakeFirmware(OTHER).start(8))
    assert bench.up(first.block(3))[0] == HelloCame(VIBRO, 9, restarted=False)


def test_a_restart_of_the_first_of_two_is_taken_from_its_hello() -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=8)
    bench.up(second.start())
    together(bench, first, second, 10)
    assert bench.up(first.start(9)) == [HelloCame(VIBRO, 9, restarted=True)]
    assert sessions(together(bench, first, second, 100)) == {"vibro"}


@pytest.mark.parametrize("apart", [-40000, -5000, -64, -3, -2, 2, 3, 40, 64, 5000, 30000])
def test_two_senders_of_the_same_session_are_told_apart_by_their_sequence(apart: int) -> None:
    """The case of two units of a firmware that cannot choose a session."""
    bench, first = running(1, blocks=100)
    second = FakeFirmware(OTHER, session=1, sequence=(first.sequence + apart) % 2**16)
    second.tick = 123_456_789
    came = together(bench, first, second, 10)
    came += [event for _ in range(20) for event in bench.up(bench.asks(first) + bench.asks(second))]
    came += together(bench, first, second, 20)
    heard = sessions(came)
    assert len(heard) == 1
    tail = together(bench, first, second, 100)
    assert sessions(tail) == heard
    assert len(tail) >= 95
    assert bench.link.two_senders
    assert bench.counted["other-sender"] >= 100


def test_two_senders_of_the_same_session_and_sequence_are_one_with_repeats() -> None:
    """Nothing tells them apart; one of them is heard, and the counts show that something is wrong."""
    bench, first = running(1)
    second = FakeFirmware(session=1, sequence=first.sequence, tick=first.tick)
    came = together(bench, first, second, 50)
    assert len(came) == 50
    assert bench.counted == {"duplicate": 50}


def test_the_second_of_the_same_session_starts_while_the_first_runs() -> None:
    bench, first = running(1, blocks=100)
    second = FakeFirmware(OTHER, session=1)
    assert kinds(bench.up(second.start())) == ["HelloCame"]
    assert bench.up(first.block(3))[0] == HelloCame(VIBRO, 1, restarted=False)
    assert sessions(together(bench, first, second, 100)) == {"vibro"}


def test_answers_of_a_stranger_are_left_out() -> None:
    bench, _ = running(7)
    stranger = FakeFirmware(session=9)
    assert bench.up(stranger.frame(7, Ack(1).encode()), stranger.frame(5, bytes(16))) == []
    assert bench.counted == {"other-sender": 2}
    assert bench.link.hello == VIBRO


def test_opened_again_all_who_were_heard_are_forgotten() -> None:
    bench, first = running(7)
    second = FakeFirmware(OTHER, session=8)
    bench.up(second.start())
    together(bench, first, second, 10)
    bench.link.opened(bench.now)
    assert bench.up(second.say_hello()) == [HelloCame(OTHER, 8, restarted=True)]
    assert not bench.link.two_senders


@pytest.mark.parametrize("seed", range(8))
def test_the_same_session_restarts_again_and_again_on_a_bad_line(seed: int) -> None:
    """Each run says something else in its HELLO, which is often lost, and its number in each sample."""
    chance = random.Random(seed)
    bench, firmware, answers, heard = Bench(), FakeFirmware(session=1), b"", 0
    for run in range(20):
        firmware.hello = dataclasses.replace(VIBRO, firmware=f"run{run}")
        line = firmware.start()
        line = line if chance.random() < 0.5 else b""
        bench.now += chance.randrange(NS // 10, 3 * NS)
        for _ in range(20 + round(chance.expovariate(1 / 100))):
            line = answers + line + firmware.samples([[run, 0, 0]] * 3)
            came = bench.up(b"" if chance.random() < 0.2 else line, after=BLOCK_S)
            answers, line = bench.asks(firmware), b""
            for event in came:
                if isinstance(event, SamplesCame):
                    heard += 1
                    assert event.hello.firmware == f"run{event.data[0]}"
    assert heard > 1000


@pytest.mark.parametrize("seed", range(4))
def test_however_firmwares_come_and_go_samples_are_read_by_their_own_hello(seed: int) -> None:
    """Three firmwares with HELLOs of their own restart at random, on a line that loses frames; each value says whose it is."""
    chance = random.Random(seed)
    bench = Bench()
    firmwares = [FakeFirmware(dataclasses.replace(VIBRO, firmware=f"unit{i}")) for i in range(3)]
    heard = 0
    for firmware in firmwares:
        firmware.start(chance.randrange(1, 2**16))
    for _ in range(5000):
        index = chance.choice([0, 0, 0, 0, 1, 2])
        firmware = firmwares[index]
        line = firmware.samples([[index, index, index]])
        if chance.random() < 0.01:
            line = firmware.start(chance.randrange(1, 2**16))
        if chance.random() < 0.02:
            line = firmware.frame(chance.choice([TEXT, HELLO]), b"") + line
        if chance.random() < 0.1:
            line = b""
        came = bench.up(line, after=chance.choice([0.01, 0.1, 0.1, 1.0]))
        for each in firmwares:
            came += bench.up(each.receive(bench.link.take() if each is firmware else b""), after=0)
        for event in came:
            if isinstance(event, SamplesCame):
                heard += 1
                assert event.hello.firmware == f"unit{event.data[0]}"
        assert len(bench.link._senders._others) <= 4
    assert heard > 1000
