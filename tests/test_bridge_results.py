"""Results on their way down: the firmware's window, lost ones sent again, old ones given up for newer ones."""

from __future__ import annotations

import dataclasses

import pytest

from firmware_bridge.frames import RESULT, Frame, FrameReader
from firmware_bridge.link import BoardLink
from firmware_bridge.messages import Ack, Result
from tests.firmwares import VIBRO, FakeFirmware

NS = 1_000_000_000


class Desk:
    """A link with a firmware that acknowledges when the test says so."""

    def __init__(self, window: int) -> None:
        self.firmware = FakeFirmware(dataclasses.replace(VIBRO, window=window), answers=False)
        self.link = BoardLink()
        self.now = 1000 * NS
        self.link.receive(self.firmware.start(7), self.now)

    def send(self, *labels: str) -> None:
        for label in labels:
            self.link.send(Result(label, 0.5, alarm=True), self.now)

    def sent(self, seconds: float = 0) -> list[Frame]:
        """Let time pass; give the RESULTs that went down."""
        self.now += round(seconds * NS)
        self.link.wake(self.now)
        return [frame for frame in FrameReader().feed(self.link.take()) if frame.type == RESULT]

    def labels(self, seconds: float = 0) -> list[str]:
        return [Result.decode(frame.body).label for frame in self.sent(seconds)]

    def acknowledge(self, sequence: int) -> None:
        self.link.receive(self.firmware.frame(7, Ack(sequence).encode()), self.now)

    @property
    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.link.counts.items() if count}


def test_a_result_goes_down_as_it_is() -> None:
    desk = Desk(2)
    desk.send("running")
    (frame,) = desk.sent()
    assert (frame.session, Result.decode(frame.body)) == (7, Result("running", 0.5, alarm=True))
    desk.acknowledge(frame.sequence)
    assert [desk.labels(1) for _ in range(10)] == [[]] * 10
    assert desk.counted == {}


@pytest.mark.parametrize("window", [1, 2, 5, 16])
def test_no_more_are_on_their_way_than_the_firmware_has_room_for(window: int) -> None:
    desk = Desk(window)
    desk.send(*map(str, range(20)))
    sent = desk.sent()
    assert len(sent) == window
    desk.acknowledge(sent[0].sequence)
    assert desk.labels() == ["19"], "the newest of those that waited"
    assert desk.counted == {"result-replaced": 20 - window - 1}


def test_a_slow_firmware_gets_the_newest_late() -> None:
    desk = Desk(1)
    taken = []
    for number in range(100):
        desk.send(str(number))
        for frame in desk.sent(0.1):
            taken.append(Result.decode(frame.body).label)
            last = frame.sequence
        if number % 5 == 4:
            desk.acknowledge(last)
    assert taken[:3] == ["0", "4", "9"]
    assert taken == sorted(taken, key=int)


def test_results_wait_for_the_hello_and_only_the_newest_of_them() -> None:
    link, firmware = BoardLink(), FakeFirmware()
    for label in ("walking", "running"):
        link.send(Result(label, None, alarm=False), NS)
    link.wake(NS)
    link.receive(firmware.start(), NS)
    firmware.receive(link.take())
    assert [result.label for result in firmware.results] == ["running"]
    assert link.counts["result-replaced"] == 1


def test_a_firmware_without_a_window_gets_none_and_they_are_counted() -> None:
    desk = Desk(0)
    desk.send("a", "b", "c")
    assert desk.sent(1) == []
    assert desk.counted == {"result-unwanted": 3}


def test_a_result_that_waited_for_a_firmware_that_wants_none_is_counted() -> None:
    link = BoardLink()
    link.send(Result("running", None, alarm=False), NS)
    link.receive(FakeFirmware(dataclasses.replace(VIBRO, window=0)).start(), NS)
    assert link.counts["result-unwanted"] == 1


def test_without_an_ack_it_is_sent_again_each_second_three_times_and_given_up() -> None:
    desk = Desk(1)
    desk.send("running")
    frames = desk.sent()
    for _ in range(3):
        assert desk.sent(0.9) == []
        frames += desk.sent(0.1)
    assert [Result.decode(frame.body).label for frame in frames] == ["running"] * 4
    assert len({frame.sequence for frame in frames}) == 4, "each time as a new frame"
    assert desk.counted == {}
    assert desk.sent(1) == []
    assert desk.counted == {"result-lost": 1}
    desk.send("walking")
    assert desk.labels() == ["walking"]


def test_a_newer_one_goes_in_the_place_of_one_that_would_be_sent_again() -> None:
    desk = Desk(1)
    desk.send("old", "new")
    assert desk.labels() == ["old"]
    assert desk.labels(0.9) == []
    assert desk.labels(0.1) == ["new"]
    assert desk.counted == {"result-replaced": 1}


def test_with_a_wide_window_an_old_one_is_not_sent_again_after_a_newer_one() -> None:
    """The firmware would show the older one as the last."""
    desk = Desk(4)
    desk.send("old", "newer", "newest")
    assert desk.labels() == ["old", "newer", "newest"]
    assert desk.labels(1) == ["newest"]
    assert desk.counted == {"result-replaced": 2}


@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_ack_of_any_of_its_frames_will_do(which: int) -> None:
    desk = Desk(1)
    desk.send("running")
    frames = [*desk.sent(), *desk.sent(1), *desk.sent(1)]
    desk.acknowledge(frames[which].sequence)
    assert desk.sent(1) == []
    assert desk.sent(5) == []
    assert desk.counted == {}


def test_an_ack_of_nothing_is_nothing() -> None:
    desk = Desk(1)
    desk.acknowledge(999)
    desk.send("running")
    (frame,) = desk.sent()
    desk.acknowledge(frame.sequence + 1)
    assert desk.labels(1) == ["running"]


def test_an_ack_of_another_sender_is_not_taken() -> None:
    desk = Desk(1)
    desk.send("running")
    (frame,) = desk.sent()
    other = FakeFirmware(session=8)
    desk.link.receive(other.frame(7, Ack(frame.sequence).encode()), desk.now)
    assert desk.labels(1) == ["running"]
    assert desk.counted == {"other-sender": 1}


def test_after_a_restart_the_newest_is_sent_again() -> None:
    """A firmware that has begun anew shows nothing yet."""
    desk = Desk(2)
    desk.send("old", "new")
    assert desk.labels() == ["old", "new"]
    desk.link.receive(desk.firmware.start(8), desk.now)
    (frame,) = desk.sent()
    assert (frame.session, Result.decode(frame.body).label) == (8, "new")
    assert desk.counted == {"result-replaced": 1, "restarts": 1}


def test_plugged_in_again_the_newest_is_sent_when_the_hello_has_come() -> None:
    desk = Desk(2)
    desk.send("old", "new")
    desk.link.opened(desk.now)
    assert desk.sent(5) == []
    desk.link.receive(desk.firmware.say_hello(), desk.now)
    assert desk.labels() == ["new"]


def test_a_result_that_found_no_room_in_the_outbox_is_sent_again() -> None:
    desk = Desk(1)
    for _ in range(1000):
        desk.link.receive(desk.firmware.ping(), desk.now)
    desk.send("running")
    assert desk.labels() == []
    assert desk.labels(1) == ["running"]
