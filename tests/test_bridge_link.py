"""The board's end of a line: what comes up, what is dropped and why, and that nothing on the line stops it."""

from __future__ import annotations

import dataclasses
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import frames
from firmware_bridge.link import BoardLink, Came, EventCame, HelloCame, SamplesCame, TextCame
from firmware_bridge.messages import Ack, Event, Ping, Result, TimeAnswer, TimeQuestion
from tests.firmwares import VIBRO, FakeFirmware

NS = 1_000_000_000
STEP = NS // 10


class Line:
    """A firmware and the board's end, joined; time passes when the test says so."""

    def __init__(self, firmware: FakeFirmware | None = None) -> None:
        self.firmware = firmware or FakeFirmware()
        self.link = BoardLink()
        self.now = 1000 * NS

    def up(self, *lines: bytes) -> list[Came]:
        return self.link.receive(b"".join(lines), self.now)

    def turn(self, step_ns: int = STEP) -> list[Came]:
        """Let a moment pass: the board wakes, writes, and reads what the firmware answers."""
        self.now += step_ns
        self.link.wake(self.now)
        return self.up(self.firmware.receive(self.link.take()))

    def turns(self, seconds: float) -> list[Came]:
        return [event for _ in range(round(seconds * NS / STEP)) for event in self.turn()]

    @property
    def counted(self) -> dict[str, int]:
        # Of the clock nothing: the firmware's ticks have nothing to do with `now`.
        return {name: count for name, count in self.link.counts.items() if count and name not in ("wrong-tick", "clock-jump")}


@pytest.fixture
def line() -> Line:
    """Give a line whose firmware has begun and whose HELLO was taken."""
    line = Line()
    line.link.opened(line.now)
    line.link.take()
    line.up(line.firmware.start(7))
    return line


def blocks(came: list[Came]) -> list[SamplesCame]:
    return [event for event in came if isinstance(event, SamplesCame)]


def test_a_hello_is_asked_for_when_the_port_is_opened_and_taken() -> None:
    line = Line(FakeFirmware(session=7))
    line.link.opened(line.now)
    sent = line.link.take()
    assert sent[0] == 0, "what noise has begun is ended"
    assert [Ping.decode(frame.body) for frame in frames.FrameReader().feed(sent)] == [Ping(want_hello=True)]
    assert line.link.hello is None
    assert line.up(line.firmware.receive(sent)) == [HelloCame(VIBRO, 7, restarted=False)]
    assert (line.link.hello, line.link.session) == (VIBRO, 7)
    assert line.counted == {}


def test_a_hello_is_asked_for_once_a_second_until_it_comes() -> None:
    line = Line(FakeFirmware(answers=False))
    line.link.opened(line.now)
    assert line.turns(10) == []
    assert line.firmware.pings == 11
    line.firmware.answers = True
    assert line.turns(1) == [HelloCame(VIBRO, 0x1234, restarted=False)]
    line.turns(10)
    assert line.firmware.pings == 12


def test_a_hello_that_says_nothing_new_is_not_given_out_again(line: Line) -> None:
    assert line.up(line.firmware.say_hello(), line.firmware.say_hello()) == []
    other = dataclasses.replace(VIBRO, rate_hz=52.0)
    line.firmware.hello = other
    line.up(line.firmware.block())
    assert line.up(line.firmware.say_hello()) == [HelloCame(other, 7, restarted=False)]
    assert [block.follows for block in blocks(line.up(line.firmware.block(), line.firmware.block()))] == [False, True]
    assert line.counted == {}


def test_a_hello_that_is_not_allowed_is_counted_and_asked_for_again() -> None:
    line = Line()
    line.link.opened(line.now)
    line.link.take()
    assert line.up(line.firmware.frame(frames.HELLO, b"\x09" + VIBRO.encode()[1:])) == []
    assert line.counted == {"bad-body": 1}
    assert HelloCame(VIBRO, 0x1234, restarted=False) in line.turns(1.1)


def test_samples_without_a_hello_are_counted_and_it_is_asked_for_at_once() -> None:
    line = Line(FakeFirmware(session=7))
    assert line.up(line.firmware.block(), line.firmware.block()) == []
    assert line.counted == {"no-hello": 2}
    assert line.up(line.firmware.receive(line.link.take())) == [HelloCame(VIBRO, 7, restarted=False)]
    (block,) = blocks(line.up(line.firmware.block()))
    assert not block.follows, "the blocks before it are missing"


def test_samples_come_with_their_hello_and_their_times(line: Line) -> None:
    rows = [[1, -2, 1000], [0, 0, 0], [-32768, 32767, 256]]
    first, second = blocks(line.up(line.firmware.samples(rows)) + line.up(line.firmware.block(26)))
    assert (first.hello, first.count, first.follows) == (VIBRO, 3, False)
    assert struct.unpack("<9h", first.data) == tuple(value for row in rows for value in row)
    assert (second.count, second.follows) == (26, True)
    assert first.first_ns < first.last_ns < second.first_ns < second.last_ns


def test_texts_and_events_come_up(line: Line) -> None:
    came = line.up(
        line.firmware.text("started"), line.firmware.frame(frames.TEXT, b"\xffb\xc3\xb6se"), line.firmware.event(Event(7, -5, "overrun"))
    )
    assert came == [TextCame("started"), TextCame("\N{REPLACEMENT CHARACTER}böse"), EventCame(Event(7, -5, "overrun"))]


def test_texts_and_events_need_no_hello() -> None:
    line = Line()
    assert line.up(line.firmware.text("reset by the watchdog"), line.firmware.event(Event(1, 0, ""))) == [
        TextCame("reset by the watchdog"),
        EventCame(Event(1, 0, "")),
    ]
    assert line.counted == {}


def test_frames_that_are_missing_are_counted_and_the_next_block_does_not_follow(line: Line) -> None:
    line.up(line.firmware.block())
    line.firmware.lose(3)
    (block,) = blocks(line.up(line.firmware.block()))
    assert not block.follows
    assert line.counted == {"gaps": 1, "lost-frames": 3}
    (block,) = blocks(line.up(line.firmware.block()))
    assert block.follows


def test_a_frame_that_is_missing_before_a_text_is_missing_before_the_next_block(line: Line) -> None:
    line.up(line.firmware.block())
    line.firmware.lose(1)
    (block,) = blocks(line.up(line.firmware.text("still here"), line.firmware.block()))
    assert not block.follows


def test_a_text_between_two_blocks_is_no_gap(line: Line) -> None:
    line.up(line.firmware.block())
    (block,) = blocks(line.up(line.firmware.text("still here"), line.firmware.block()))
    assert block.follows


def test_after_sequence_65535_comes_0(line: Line) -> None:
    line.firmware.sequence = 65533 - 60
    line.link = BoardLink()
    line.up(line.firmware.say_hello())
    for _ in range(150):
        line.up(line.firmware.block())
    assert line.counted == {}
    line.firmware.sequence = 65533
    line.link = BoardLink()
    line.up(line.firmware.say_hello(), line.firmware.block())
    line.firmware.lose(5)
    line.up(line.firmware.block())
    assert line.firmware.sequence == 5
    assert line.counted == {"gaps": 1, "lost-frames": 5}


def test_a_frame_that_comes_twice_is_used_once(line: Line) -> None:
    block = line.firmware.block()
    assert len(blocks(line.up(block, block, block))) == 1
    assert line.counted == {"duplicate": 2}
    (block_after,) = blocks(line.up(line.firmware.block()))
    assert block_after.follows


def test_types_that_are_not_known_are_passed_over(line: Line) -> None:
    line.up(line.firmware.block())
    (block,) = blocks(line.up(line.firmware.frame(9, b"tomorrow"), line.firmware.frame(255, b""), line.firmware.block()))
    assert block.follows
    assert line.counted == {"unknown-type": 2}


def test_a_result_is_nothing_that_a_firmware_sends(line: Line) -> None:
    line.up(line.firmware.frame(frames.RESULT, Result("running", None, alarm=True).encode()))
    assert line.counted == {"unknown-type": 1}


@pytest.mark.parametrize("type_", [frames.SAMPLES, frames.EVENT, frames.TIME, frames.ACK, frames.PING])
def test_a_body_that_does_not_fit_is_counted(line: Line, type_: int) -> None:
    line.up(line.firmware.block())
    assert line.up(line.firmware.frame(type_, b"")) == []
    assert line.counted == {"bad-body": 1}
    (block,) = blocks(line.up(line.firmware.block()))
    assert block.follows == (type_ != frames.SAMPLES)


def test_a_ping_is_answered(line: Line) -> None:
    line.up(line.firmware.ping())
    (answer,) = frames.FrameReader().feed(line.link.take())
    assert (answer.type, answer.session, Ack.decode(answer.body)) == (frames.ACK, 7, Ack(1))


def test_what_nobody_writes_is_bounded_and_counted(line: Line) -> None:
    for _ in range(1000):
        line.up(line.firmware.ping())
    assert len(line.link.take()) <= 4096
    assert 500 < line.counted["unsent"] < 1000
    line.up(line.firmware.ping())
    (answer,) = frames.FrameReader().feed(line.link.take())
    assert answer.sequence == 1001, "a frame that was dropped counts, so that it shows as a gap"


def test_a_line_that_echoes_what_the_board_sends_does_no_harm(line: Line) -> None:
    for _ in range(100):
        line.now += STEP
        line.link.wake(line.now)
        line.link.send(Result("running", 0.5, alarm=True), line.now)
        sent = line.link.take()
        assert len(blocks(line.up(sent, line.firmware.block(3), line.firmware.receive(sent)))) == 1
    assert set(line.counted) == {"echo"}
    assert len(line.firmware.results) == 100


def test_the_time_is_asked_for_often_and_then_rarely(line: Line) -> None:
    line.turns(60)
    assert 59 <= line.firmware.questions <= 61
    line.turns(100)
    assert 69 <= line.firmware.questions <= 71
    assert line.link.stamps is not None


def test_an_answer_to_a_time_question_is_used_once(line: Line) -> None:
    line.firmware.answers = False
    line.up(line.firmware.block())
    line.turn()
    asked = line.now
    line.now += 4_000_000
    answer = TimeAnswer(asked, line.firmware.tick, line.firmware.tick).encode()
    stamps = line.link.stamps
    assert stamps is not None
    told = []
    stamps.fit.exchanged = lambda *exchange: told.append(exchange)  # type: ignore[method-assign]
    line.up(line.firmware.frame(frames.TIME, TimeAnswer(asked + 1, 1, 1).encode()))
    assert told == [], "it answers nothing that was asked"
    line.up(line.firmware.frame(frames.TIME, answer), line.firmware.frame(frames.TIME, answer))
    assert [(sent, came) for sent, _, _, came in told] == [(asked, line.now)]


def test_with_answers_the_delay_on_the_line_is_known(line: Line) -> None:
    for _ in range(300):
        line.firmware.tick += 100_000
        line.turn()
        line.up(line.firmware.samples([[1, 2, 3]], tick=line.firmware.tick))
    assert line.link.stamps is not None
    assert line.link.stamps.fit.accuracy_ns is not None
    assert line.link.stamps.fit.accuracy_ns < 5_000_000


def test_a_question_carries_the_boards_session_and_time(line: Line) -> None:
    line.now += STEP
    line.link.wake(line.now)
    (question,) = frames.FrameReader().feed(line.link.take())
    assert (question.type, question.session, TimeQuestion.decode(question.body)) == (frames.TIME, 7, TimeQuestion(line.now))


def test_plugged_in_again_the_hello_is_asked_for_and_samples_wait_for_it(line: Line) -> None:
    """Another unit may be there now, even one that says the same session."""
    line.up(line.firmware.block(), line.firmware.block()[:9])
    line.now += 60 * NS
    line.link.opened(line.now)
    assert line.link.hello is None
    assert line.up(line.firmware.block()[4:], line.firmware.block()) == []
    assert line.counted == {"no-hello": 1}
    came = line.up(line.firmware.receive(line.link.take()), line.firmware.block(), line.firmware.block())
    assert came[0] == HelloCame(VIBRO, 7, restarted=False)
    assert [block.follows for block in blocks(came)] == [False, True]


def test_another_unit_that_is_plugged_in_is_asked_who_it_is(line: Line) -> None:
    line.up(line.firmware.block())
    line.link.opened(line.now)
    line.firmware = FakeFirmware(dataclasses.replace(VIBRO, firmware="other"))
    came = line.up(line.firmware.start(9)) + line.turn()
    assert came == [HelloCame(line.firmware.hello, 9, restarted=True)]
    assert line.counted == {"restarts": 1}


def test_opening_forgets_what_was_not_written_yet(line: Line) -> None:
    for _ in range(50):
        line.up(line.firmware.ping())
    line.link.opened(line.now)
    assert [frame.type for frame in frames.FrameReader().feed(line.link.take())] == [frames.PING]


def test_when_the_last_whole_frame_came_is_known() -> None:
    line = Line()
    assert (line.link.frames, line.link.last_ns) == (0, 0)
    line.up(line.firmware.start())
    heard = line.now
    line.now += NS
    line.up(b"\x11\x22\0")
    assert (line.link.frames, line.link.last_ns) == (1, heard)


def test_all_faults_of_the_line_are_in_the_counts(line: Line) -> None:
    for name in frames.FAULTS:
        assert line.link.counts[name] == 0
    line.up(b"\x11\x22\0")
    assert line.counted == {"bad-stuffing": 1}


# Rates and ticks at which arithmetic goes wrong, if it does at all.
rates = st.sampled_from([2.0**-19, 0.001, 26.0, 4000.0, 1_000_000.0])
tick_rates = st.sampled_from([1, 1000, 1_000_000, 100_000_000])
steps = st.one_of(st.integers(0, 10 * NS), st.integers(0, 10_000 * NS))
words = st.one_of(st.integers(0, 4), st.integers(0, 2**16 - 1))
bodies = st.one_of(
    st.binary(max_size=40),
    st.builds(struct.Struct("<I6h").pack, st.integers(0, 2**32 - 1), *[st.just(1)] * 6),
    st.builds(
        lambda rate, ticks, window: dataclasses.replace(VIBRO, rate_hz=rate, tick_hz=ticks, window=window).encode(),
        rates,
        tick_rates,
        st.integers(0, 16),
    ),
)
hostile = st.builds(frames.encode, st.integers(0, 10), words, words, bodies)


@given(st.lists(st.tuples(steps, st.one_of(hostile, hostile, hostile, st.binary(max_size=30))), max_size=40))
@settings(max_examples=300)
def test_whatever_whole_frames_say_nothing_raises(sent: list[tuple[int, bytes]]) -> None:
    link, now = BoardLink(), 0
    link.opened(now)
    for step, data in sent:
        now += step
        events = link.receive(data, now)
        link.wake(now)
        link.send(Result("running", 0.5, alarm=True), now)
        link.take()
        assert all(block.count * block.hello.reading_bytes == len(block.data) for block in blocks(events))


@pytest.mark.parametrize("seed", range(3))
def test_on_a_bad_line_each_block_is_one_that_was_sent_and_all_else_is_counted(seed: int) -> None:
    noise = random.Random(seed)
    line = Line()
    line.link.opened(line.now)
    sent, read = {}, []
    for number in range(3000):
        line.turn(3 * NS // 26)
        block = line.firmware.samples([[number % 2**15, noise.randrange(2**15), number // 2**15]] * 3)
        sent[(frames.FrameReader().feed(block)[0]).body[4:]] = number
        spoiled = bytearray(block)
        if noise.random() < 0.2:
            spoiled[noise.randrange(len(spoiled))] ^= 1 << noise.randrange(8)
        if noise.random() < 0.1:
            del spoiled[noise.randrange(len(spoiled)) :]
        read += blocks(line.up(bytes(spoiled)))
    numbers = [sent[block.data] for block in read]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 1800
    # What is missing at the end, nobody has seen the end of yet.
    assert 0 <= line.firmware.sequence - line.link.frames - line.counted["lost-frames"] < 20
    times = [time for block in read for time in (block.first_ns, block.last_ns)]
    assert times == sorted(times)
    assert set(line.counted) <= {"bad-stuffing", "too-short", "bad-crc", "gaps", "lost-frames", "no-hello"}
