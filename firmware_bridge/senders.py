"""Whose frame it is: gaps, repeats, restarts, and a second firmware on the same line.

A firmware is known by its session and by where its sequence stands: frames whose sequence is a little ahead continue it.

- Whoever speaks is believed to be the one firmware: a frame of another session, or one that does not continue the
  sequence, is taken for its restart, and what was known of it waits aside.
- If the one from before is heard again within five seconds, it had not restarted: there are two. The board goes back
  to the first, and both are known as two from then on.
- Of two, the board stays with the one it has, drops the frames of the other and counts them, and takes up the other
  when its own has been silent for five seconds.

Two firmwares that both say session 1 are told apart in the same way, as long as their sequences differ; while they do
not, the second one's frames are repeats. Restarts of a firmware that always says the same session show by its sequence
going back, by a HELLO with sequence 0, and, where frames are missing, by a tick that its clock cannot show: so a HELLO
is not used for the samples of another run. Only a run of less than two seconds, and a lost HELLO after it, can pass for
the run that follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import frames
from firmware_bridge.messages import Hello
from firmware_bridge.stamps import Stamps

SILENT_NS = 5_000_000_000
NEAR = 64  # frames ahead that still continue a sequence where there is a choice

COUNTED = ("duplicate", "gaps", "lost-frames", "restarts", "other-sender")

_MOST_OTHERS = 4
_REPEATED = 2**16 - 1
_BACK = 2**15
# These only answer: alone they are no proof that anybody new is there.
_ANSWERS = (frames.TIME, frames.ACK)


@dataclass(slots=True, eq=False)
class Sender:
    """One run of a firmware, as far as it is known."""

    session: int
    expected: int | None = None  # sequence of its next frame
    last_ns: int = 0  # when it was heard last
    hello: Hello | None = None  # None: not known, or to be heard again
    stamps: Stamps | None = None  # None: no HELLO was ever heard of it
    rates: tuple[int, float] | None = None  # that `stamps` were made for: ticks and readings a second
    tick: int | None = None  # of its last SAMPLES that had one that can be true
    tick_ns: int = 0  # when that tick was, by the host's clock
    whole: bool = True  # no frame is missing since its last SAMPLES
    told: bool = False  # its HELLO came after the last missing frame
    restarted: bool = False  # it took the place of another, and nobody was told yet
    of_two: bool = False  # heard in turns with another

    def ahead(self, sequence: int) -> int:
        """Give by how much a sequence is ahead of the expected one; 0 where any would do."""
        return 0 if self.expected is None else (sequence - self.expected) % 2**16

    def continues(self, sequence: int) -> bool:
        """Say whether a sequence is the expected one, a little ahead, or the last again."""
        return (self.ahead(sequence) + 1) % 2**16 <= NEAR


class Senders:
    """Sorts frames by their sender. `current` is the one the board listens to."""

    def __init__(self) -> None:
        self.current: Sender | None = None
        self.counts = dict.fromkeys(COUNTED, 0)
        self._others: list[Sender] = []  # heard longest ago first

    def reopened(self) -> None:
        """The line was closed: another firmware may be there, and what is missing was not lost on the line."""
        self._others = []
        if self.current:
            self.current.expected = self.current.hello = None
            self.current.whole = self.current.told = self.current.of_two = False

    def two(self, now_ns: int) -> bool:
        """Say whether a second firmware was heard within the last five seconds."""
        return any(other.of_two and now_ns - other.last_ns < SILENT_NS for other in self._others)

    def sort(self, frame: frames.Frame, now_ns: int) -> Sender | None:
        """Give the sender of a frame that is to be used; None when it is dropped, which is counted."""
        current = self.current
        if current and current.session == frame.session and current.expected == frame.sequence:
            sender: Sender | None = self._own(current, frame, now_ns)
        else:
            sender = self._strange(frame, now_ns)
        if sender:
            sender.expected = (frame.sequence + 1) % 2**16
            sender.last_ns = now_ns
        return sender

    def _own(self, sender: Sender, frame: frames.Frame, now_ns: int) -> Sender | None:
        """Take a frame of the current sender, or of a new run of it."""
        ahead = sender.ahead(frame.sequence)
        if _restarts(sender, frame, ahead, now_ns):
            return self._new(frame, sender.hello if sender.told and not ahead else None)
        if ahead == _REPEATED:
            self.counts["duplicate"] += 1
            return None
        if ahead:
            self.counts["gaps"] += 1
            self.counts["lost-frames"] += ahead
            sender.whole = sender.told = False
        return sender

    def _strange(self, frame: frames.Frame, now_ns: int) -> Sender | None:
        """Take a frame that is not the next of the current sender, or drop it."""
        current = self.current
        if current is None:
            return self._new(frame)
        other = self._other(frame, now_ns)
        goes_on = current.session == frame.session and current.continues(frame.sequence)
        next_of_other = other is not None and other.expected == frame.sequence
        if goes_on and not next_of_other:
            return self._own(current, frame, now_ns)
        if other and not other.of_two and now_ns - other.last_ns < SILENT_NS:
            self._back_to(other, current)
            if current.session == frame.session and (goes_on or not next_of_other):
                # It may as well be a restarted firmware that lost some frames: then what is known is of another run.
                other.hello = other.rates = None
            return self._own(other, frame, now_ns)
        if other and other.of_two and now_ns - current.last_ns < SILENT_NS:
            self._drop(other, frame, now_ns)
            return None
        if frame.type in _ANSWERS:
            self.counts["other-sender"] += 1
            return None
        if current.session == frame.session and not other:
            return self._own(current, frame, now_ns)
        if other:
            self._others.remove(other)
        return self._new(frame, of_two=bool(other and other.of_two))

    def _other(self, frame: frames.Frame, now_ns: int) -> Sender | None:
        """Find who else this frame may be of; of one session, only who is heard now and whose sequence goes on."""
        same = [other for other in self._others if other.session == frame.session]
        for other in same:
            if other.continues(frame.sequence) and now_ns - other.last_ns < SILENT_NS:
                return other
        return same[-1] if same and self.current and self.current.session != frame.session else None

    def _back_to(self, first: Sender, second: Sender) -> None:
        """The first is heard again after the second: there are two of them."""
        first.of_two = second.of_two = True
        self._others.remove(first)
        self._aside(second)
        self.current = first

    def _drop(self, other: Sender, frame: frames.Frame, now_ns: int) -> None:
        self.counts["other-sender"] += 1
        other.expected = (frame.sequence + 1) % 2**16
        other.last_ns = now_ns

    def _new(self, frame: frames.Frame, hello: Hello | None = None, of_two: bool = False) -> Sender:
        """Believe that a firmware has just begun, in the place of the current one."""
        before = self.current
        self.current = Sender(frame.session, hello=hello, of_two=of_two)
        if before and (before.stamps or before.restarted):
            self.current.restarted = True
            self.counts["restarts"] += before.stamps is not None
        if before and before.stamps:
            self._aside(before)
        return self.current

    def _aside(self, sender: Sender) -> None:
        self._others = [*self._others[-_MOST_OTHERS + 1 :], sender]


def _restarts(sender: Sender, frame: frames.Frame, ahead: int, now_ns: int) -> bool:
    """Say whether a frame of a sender's session is of another run than those before."""
    if ahead == _REPEATED:
        return frame.type == frames.HELLO and not frame.sequence
    if ahead >= _BACK:
        return True
    if frame.type == frames.HELLO:
        return ahead > 0 and not frame.sequence
    if frame.type == frames.SAMPLES and (ahead or not sender.whole) and len(frame.body) >= 4:
        return _is_another_clocks(int.from_bytes(frame.body[:4], "little"), sender, now_ns)
    return False


def _is_another_clocks(tick: int, sender: Sender, now_ns: int) -> bool:
    """Say whether the clock that gave a sender's last tick cannot show `tick` now: it lies before, or in the future."""
    if sender.tick is None or sender.stamps is None or sender.rates is None:
        return False
    tick_hz = sender.rates[0]
    passed_s = (now_ns - sender.tick_ns) / 1e9
    if passed_s * tick_hz < 2**31 and sender.stamps.goes_back(tick):
        return True
    return (tick - sender.tick) % 2**32 / tick_hz > passed_s * 1.1 + 1
