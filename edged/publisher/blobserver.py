"""Answers boards that ask for bytes: fair between them, and with little in memory.

A request goes in by `take`, from the link's thread. The thread that calls `run` reads a fragment when the link has
room for it, and not before. Several servers may run, on copies of one repository that are not the same:

- a request to another server's number is not ours;
- one to us alone, for a blob that is not here, is refused with `not-found` at once;
- one to all, for a blob that is not here, is refused LATE_NS later: a server that has it answers meanwhile, and the
  board asks that one from then on. Without the refusal a board would wait for a blob that nobody has.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from edged.clock import NS, Clock
from edged.exchange.blobs import BUSY, MAX_REQUEST_BYTES, NOT_FOUND, Request, encode_data, encode_refusal, parse_request
from edged.hold import Hold
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.publisher.reading import BlobReader
from edged.publisher.turns import Turn, Turns

LATE_NS = NS
IN_HAND = 16  # fragments that are read and not yet on the wire, 1 MiB: more is no faster, and what is published would wait behind it
MOST_INBOX = 20_000
MOST_LATE = 10_000
_IDLE_S = 0.1


class BlobServer:
    """Serves the blobs of a folder on one link. `number` is what boards call it by.

    `sent` counts bytes, `fragments` messages; `refused` and `dropped` count by reason what was not answered with bytes.
    """

    def __init__(self, fleet: str, folder: Path, publish: Callable[[Message], None], clock: Clock, rng: random.Random) -> None:
        self.number = rng.randrange(1, 1 << 32)
        self.sent = 0
        self.fragments = 0
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._fleet = fleet
        self._publish = publish
        self._clock = clock
        self._reader = BlobReader(folder)
        self._turns = Turns()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._late: deque[tuple[int, str, Request]] = deque()
        self._wake = threading.Event()
        self._room = threading.Semaphore(IN_HAND)
        self._anew = False
        self._changed = False

    @property
    def waiting(self) -> int:
        """Count the requests that wait."""
        return self._turns.waiting + len(self._inbox)

    @property
    def devices(self) -> int:
        """Count the devices that wait for bytes."""
        return self._turns.devices

    # -- from other threads -----------------------------------------------------------------

    def take(self, device: str, payload: bytes | None) -> None:
        """Take what a device published as a request; from the link's thread."""
        if payload is None or len(payload) > MAX_REQUEST_BYTES:
            self.dropped["malformed"] += 1
        elif len(self._inbox) >= MOST_INBOX:
            self.dropped["inbox-full"] += 1
        else:
            self._inbox.append((device, payload))
            self._wake.set()

    def forget(self) -> None:
        """Forget what waits: the connection is a new one, and boards ask again."""
        self._anew = True

    def look_again(self) -> None:
        """Note that the folder changed: files that are open may be gone."""
        self._changed = True

    # -- the server's thread ----------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`."""
        try:
            while not stop.is_set():
                if not self.step(_IDLE_S):
                    self._wake.wait(_IDLE_S)
                    self._wake.clear()
        finally:
            self._reader.close()

    def step(self, wait_s: float = 0.0) -> bool:
        """Answer with one fragment at most, waiting for room for so long; False where there was nothing to do."""
        if self._anew:
            self._anew = False
            self._turns.clear()
        if self._changed:
            self._changed = False
            self._reader.close()
        while self._inbox:
            self._meet(*self._inbox.popleft())
        self._refuse_late()
        if not self._turns.waiting or not self._room.acquire(timeout=wait_s):
            return False
        turn = self._turns.next()
        if turn is None or not self._answer(turn):
            self._room.release()
        return True

    def _meet(self, device: str, payload: bytes) -> None:
        try:
            request = parse_request(payload)
        except (ValueError, RecursionError):
            self.dropped["malformed"] += 1
            return
        if request.server not in (0, self.number):
            return
        size = self._reader.size(request.sha256)
        if size is None or request.off > max(0, size - 1):
            self._lack(device, request)
        elif not self._turns.put(device, request, size):
            self._refuse(device, request, BUSY)

    def _lack(self, device: str, request: Request) -> None:
        if request.server:
            self._refuse(device, request, NOT_FOUND)
        elif len(self._late) < MOST_LATE:
            self._late.append((self._clock.mono() + LATE_NS, device, request))
        else:
            self.dropped["inbox-full"] += 1

    def _refuse_late(self) -> None:
        while self._late and self._late[0][0] <= self._clock.mono():
            _, device, request = self._late.popleft()
            self._refuse(device, request, NOT_FOUND)

    def _answer(self, turn: Turn) -> bool:
        request = turn.request
        data = self._reader.read(request.sha256, turn.offset, turn.length)
        if data is None:
            self._lack(turn.device, request)
            self._turns.end(turn.device, request)
            return False
        self._send(turn.device, request, encode_data(request.sid, self.number, turn.offset, data), Hold(self._room.release))
        self.sent += len(data)
        self.fragments += 1
        return True

    def _refuse(self, device: str, request: Request, reason: str) -> None:
        self.refused[reason] += 1
        self._send(device, request, encode_refusal(request.sid, self.number, request.off, reason))

    def _send(self, device: str, request: Request, payload: bytes, hold: Hold | None = None) -> None:
        self._publish(Message(DeviceTopics(self._fleet, device).blob_data(request.sid), payload, 0, hold=hold))
