"""The board's end of a framed line: bytes in; readings, texts and events out, and the bytes that answer. No clock and no port.

`receive` what has come, `wake` a few times a second, and write what `take` gives: each is told the time, monotonic ns.
Whatever comes, nothing here raises; what is not used is counted in `counts`, by the names in PROTOCOL.md and
by those of `senders`, `results` and this module. Used by one thread; any other may read the attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import frames
from firmware_bridge.asking import Asking
from firmware_bridge.messages import Ack, BadMessage, Event, Hello, Ping, Result, TimeAnswer, split_samples
from firmware_bridge.outbox import Outbox
from firmware_bridge.results import Results
from firmware_bridge.senders import Sender, Senders
from firmware_bridge.stamps import Stamps

COUNTED = ("unknown-type", "bad-body", "no-hello", "echo", "wrong-tick", "clock-jump")


@dataclass(slots=True)
class HelloCame:
    """From here on `hello` says what samples mean. `restarted`: what came before was of another run of a firmware."""

    hello: Hello
    session: int
    restarted: bool


@dataclass(slots=True)
class SamplesCame:
    """A block of `count` readings; `data` are raw samples as `hello` describes them.

    `first_ns` and `last_ns` are when its first and last reading were taken, host monotonic ns. `follows`: no frame is
    missing since the block before.
    """

    hello: Hello
    data: bytes
    count: int
    first_ns: int
    last_ns: int
    follows: bool


@dataclass(slots=True)
class TextCame:
    """A line for people, or for a model that takes texts."""

    text: str


@dataclass(slots=True)
class EventCame:
    """Something happened on the firmware."""

    event: Event


Came = HelloCame | SamplesCame | TextCame | EventCame


class BoardLink:
    """One line with one firmware, over all times that it was opened.

    `frames` counts all whole frames, `last_ns` is when the last one came (0: none yet). `two_senders`: a second firmware
    was heard on the line within the last five seconds.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.last_ns = 0
        self.two_senders = False
        self._reader = frames.FrameReader()
        self._senders = Senders()
        self._outbox = Outbox()
        self._asking = Asking(self._outbox)
        self._results = Results(self._outbox)
        self._counts = dict.fromkeys(COUNTED, 0)
        self._heard: Sender | None = None  # whose frames were used last

    @property
    def counts(self) -> dict[str, int]:
        """Give a copy of all counts, by name."""
        own = self._counts | self._senders.counts | self._results.counts
        return self._reader.faults | own | {"unsent": self._outbox.dropped}

    @property
    def hello(self) -> Hello | None:
        """Give what the firmware said of itself; None before, and until it says so again after a restart."""
        current = self._senders.current
        return current.hello if current else None

    @property
    def stamps(self) -> Stamps | None:
        """Give how the firmware's clock is understood; None before a HELLO."""
        current = self._senders.current
        return current.stamps if current else None

    @property
    def results_sent(self) -> int:
        """Give how many results went down."""
        return self._results.sent

    @property
    def session(self) -> int:
        """Give the session that a HELLO was heard of last, 0 before."""
        return self._outbox.session

    def opened(self, now_ns: int) -> None:
        """The port was opened, for the first time or again: what comes begins anywhere, and a HELLO is asked for."""
        self._reader.reset()
        self._senders.reopened()
        self._heard = None
        self._results.begin_anew()
        self._outbox.begin()
        self._asking.begin(now_ns)

    def receive(self, data: bytes, now_ns: int) -> list[Came]:
        """Give what the bytes say that came until `now_ns`, in order."""
        came: list[Came] = []
        for frame in self._reader.feed(data):
            if frame.type in _OWN and self._outbox.has_sent(frame):
                self._counts["echo"] += 1
                continue
            self.frames += 1
            self.last_ns = now_ns
            if sender := self._senders.sort(frame, now_ns):
                if sender is not self._heard:
                    self._turn_to(sender, now_ns, came)
                self._take_in(frame, sender, now_ns, came)
        self.two_senders = self._senders.two(now_ns)
        return came

    def wake(self, now_ns: int) -> None:
        """Let time pass: ask what is to be asked, send again what was not acknowledged. Call it at least every 0.2 s."""
        self.two_senders = self._senders.two(now_ns)
        if self.hello:
            self._asking.time(now_ns)
        else:
            self._asking.hello(now_ns)
        self._results.pump(now_ns)

    def send(self, result: Result, now_ns: int) -> None:
        """Send a result as soon as the firmware has room for it; until then a newer one takes its place."""
        self._results.put(result, now_ns)

    def take(self) -> bytes:
        """Give the bytes to write now; empty when there are none."""
        return self._outbox.take()

    def _take_in(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        take = _TAKEN.get(frame.type)
        if take is None:
            self._counts["unknown-type"] += 1
            return
        try:
            take(self, frame, sender, now_ns, came)
        except BadMessage:
            self._counts["bad-body"] += 1
            if frame.type == frames.SAMPLES:
                sender.whole = False  # its readings are missing

    def _take_samples(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        hello, stamps = sender.hello, sender.stamps
        if hello is None or stamps is None:
            self._counts["no-hello"] += 1
            self._asking.hello(now_ns)
            return
        samples = split_samples(frame.body, hello)
        follows = sender.whole and sender.tick is not None
        wrong, jumps = stamps.wrong, stamps.jumps
        first_ns, last_ns = stamps.block(samples.tick, samples.count, follows, now_ns)
        self._counts["wrong-tick"] += stamps.wrong - wrong
        self._counts["clock-jump"] += stamps.jumps - jumps
        sender.whole = True
        if stamps.wrong == wrong:
            sender.tick, sender.tick_ns = samples.tick, last_ns
        came.append(SamplesCame(hello, samples.data, samples.count, first_ns, last_ns, follows))

    def _take_hello(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        hello = Hello.decode(frame.body)
        sender.told = True
        if hello != sender.hello:
            sender.hello = hello
            self._announce(sender, hello, now_ns, came)

    def _take_text(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        came.append(TextCame(frame.body.decode("utf-8", "replace")))

    def _take_event(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        came.append(EventCame(Event.decode(frame.body)))

    def _take_time(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        answer = TimeAnswer.decode(frame.body)
        sent_ns = self._asking.answered(answer)
        if sent_ns is not None and sender.stamps:
            fit = sender.stamps.fit
            fit.exchanged(sent_ns, fit.unwrap(answer.tick_in, now_ns), fit.unwrap(answer.tick_out, now_ns), now_ns)

    def _take_ack(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        self._results.acknowledged(Ack.decode(frame.body).sequence, now_ns)

    def _take_ping(self, frame: frames.Frame, sender: Sender, now_ns: int, came: list[Came]) -> None:
        Ping.decode(frame.body)
        self._outbox.put(frames.ACK, Ack(frame.sequence).encode())

    def _turn_to(self, sender: Sender, now_ns: int, came: list[Came]) -> None:
        """Listen to another run of a firmware, or to one from before; results wait until its HELLO is known."""
        self._heard = sender
        self._results.begin_anew()
        if sender.hello:
            self._announce(sender, sender.hello, now_ns, came)

    def _announce(self, sender: Sender, hello: Hello, now_ns: int, came: list[Came]) -> None:
        if sender.stamps is None or sender.rates != (hello.tick_hz, hello.rate_hz):
            sender.stamps = Stamps(hello.tick_hz, hello.rate_hz)
            sender.rates = hello.tick_hz, hello.rate_hz
            sender.tick = None
            self._asking.learn(now_ns)
        self._outbox.session = sender.session
        self._results.window = hello.window
        self._results.pump(now_ns)
        came.append(HelloCame(hello, sender.session, sender.restarted))
        sender.restarted = False


_TAKEN = {
    frames.HELLO: BoardLink._take_hello,
    frames.SAMPLES: BoardLink._take_samples,
    frames.TEXT: BoardLink._take_text,
    frames.EVENT: BoardLink._take_event,
    frames.TIME: BoardLink._take_time,
    frames.ACK: BoardLink._take_ack,
    frames.PING: BoardLink._take_ping,
}
# What the board says itself, so that it comes back from a line that echoes.
_OWN = (frames.PING, frames.TIME, frames.RESULT)
