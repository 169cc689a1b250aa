"""Results on their way down: never more than the firmware has room for, the newest first, sent again when they get lost."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge import frames
from firmware_bridge.messages import Result
from firmware_bridge.outbox import Outbox

AGAIN_NS = 1_000_000_000
MOST_AGAIN = 3

COUNTED = ("result-replaced", "result-lost", "result-unwanted")


@dataclass(slots=True)
class _Flight:
    """A result that was sent, by the sequences of its frames, and was not acknowledged yet."""

    result: Result
    sequences: list[int]
    sent_ns: int


class Results:
    """Flow control of RESULTs. `window`: how many may be on their way, None while that is not known.

    `sent` counts those that went down, each once. Each that does not arrive is counted once, too: `result-replaced` when a
    newer took its place, `result-lost` when no ACK came after all tries, `result-unwanted` when the firmware takes none.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.window: int | None = None
        self.sent = 0
        self.counts = dict.fromkeys(COUNTED, 0)
        self._outbox = outbox
        self._waiting: Result | None = None
        self._flights: list[_Flight] = []  # oldest first

    def put(self, result: Result, now_ns: int) -> None:
        """Send a result now or as soon as there is room, in the place of one that still waits."""
        if self._waiting is not None:
            self.counts["result-replaced"] += 1
        self._waiting = result
        self.pump(now_ns)

    def acknowledged(self, sequence: int, now_ns: int) -> None:
        """Note that the firmware took the frame with `sequence`; any of a result's frames will do."""
        self._flights = [flight for flight in self._flights if sequence not in flight.sequences]
        self.pump(now_ns)

    def begin_anew(self) -> None:
        """Let the newest result wait until the window of another run of the firmware is known, which has got none yet."""
        self.window = None
        if self._flights and self._waiting is None:
            self._waiting = self._flights.pop().result
        self.counts["result-replaced"] += len(self._flights)
        self._flights = []

    def pump(self, now_ns: int) -> None:
        """Send what waits as far as there is room, and again what was not acknowledged in time."""
        if self.window is None:
            return
        self._flights = [flight for flight in self._flights if self._keeps(flight, now_ns)]
        if self._waiting is None or len(self._flights) >= max(self.window, 1):
            return
        result, self._waiting = self._waiting, None
        if self.window:
            self.sent += 1
            self._flights.append(_Flight(result, [self._outbox.put(frames.RESULT, result.encode())], now_ns))
        else:
            self.counts["result-unwanted"] += 1

    def _keeps(self, flight: _Flight, now_ns: int) -> bool:
        """Say whether a result is still on its way, after sending it again if that is due."""
        if now_ns - flight.sent_ns < AGAIN_NS:
            return True
        if self._waiting is not None or flight is not self._flights[-1]:
            self.counts["result-replaced"] += 1
            return False
        if len(flight.sequences) > MOST_AGAIN:
            self.counts["result-lost"] += 1
            return False
        flight.sequences.append(self._outbox.put(frames.RESULT, flight.result.encode()))
        flight.sent_ns = now_ns
        return True
