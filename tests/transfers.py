"""What the tests of the transfer share: blobs, carriers that do as they are told, and a transfer over them."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from edged.clock import NS, Clock, VirtualClock
from edged.exchange.blobs import Request, encode_data, encode_refusal, parse_request
from edged.exchange.pieces import DIGEST, index_of, piece_bounds
from edged.fleet.transfer.budget import Budget
from edged.fleet.transfer.carriers.base import Carrier, Errand, Piece, not_found
from edged.fleet.transfer.carriers.mqtt import MqttCarrier
from edged.fleet.transfer.transfer import Transfer
from edged.models.packed import FileSeal
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics

TOPICS = DeviceTopics("site", "press-7")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file and its index."""

    data: bytes
    index: bytes

    @classmethod
    def of(cls, data: bytes) -> Blob:
        return cls(data, index_of(io.BytesIO(data)))

    @classmethod
    def random(cls, size: int, seed: int = 1) -> Blob:
        return cls.of(random.Random(seed).randbytes(size))

    @property
    def seal(self) -> FileSeal:
        return FileSeal(sha256(self.data), len(self.data))

    @property
    def index_sha256(self) -> str:
        return sha256(self.index) if len(self.index) > DIGEST else ""

    def all(self) -> dict[str, bytes]:
        """Give what a server has."""
        return {self.seal.sha256: self.data, sha256(self.index): self.index}

    def lay(self, folder: Path) -> Path:
        """Put it into a repository."""
        (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        for name, data in self.all().items():
            (folder / "blobs/sha256" / name).write_bytes(data)
        return folder


@dataclass(eq=False)
class Fake:
    """A carrier. `spoil` gets each piece before it is given, and may raise; a tick takes `tick_ns` of a virtual clock."""

    blobs: dict[str, bytes]
    clock: VirtualClock
    name: str = "fake"
    up: Callable[[], bool] = lambda: True
    spoil: Callable[[int, bytearray], bytearray | None] = lambda _number, data: data
    tick_ns: int = NS // 4
    given: list[tuple[str, int]] = field(default_factory=list)

    def connected(self) -> bool:
        return self.up()

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        if errand.sha256 not in self.blobs:
            raise not_found(errand.sha256, self.name)
        while (number := errand.next_piece()) is not None:
            start, length = piece_bounds(errand.size, number)
            data: bytearray | None = None
            while data is None:
                data = self.spoil(number, bytearray(self.blobs[errand.sha256][start : start + length])) if self.up() else None
                if data is None:
                    self.clock.advance(self.tick_ns)
                    yield None
            self.given.append((errand.sha256, number))
            errand.came(length, length)
            yield number, data


def transfer(folder: Path, *carriers: Carrier, clock: Clock | None = None, limit: int = 0) -> Transfer:
    """Make one whose pauses advance a virtual clock."""
    clock = clock or VirtualClock()
    folder.mkdir(exist_ok=True)
    pause = (lambda s: clock.advance(int(s * NS))) if isinstance(clock, VirtualClock) else threading.Event().wait
    return Transfer(carriers, folder, Budget(folder.parent / "budget", limit, clock), clock, random.Random(1), pause=pause)


def bring(it: Transfer, blob: Blob, cancelled: Callable[[], bool] = lambda: False) -> bytes:
    """Bring a blob, and give what is in the file."""
    return it.bring(blob.seal, blob.index_sha256, lambda _done: None, cancelled).read_bytes()


class Server(threading.Thread):
    """Answers requests of one MqttCarrier in a thread, without a broker. `lose` says of each fragment whether it is lost."""

    def __init__(self, blobs: dict[str, bytes], number: int = 7) -> None:
        super().__init__(daemon=True)
        self.blobs, self.number = blobs, number
        self.carrier = MqttCarrier(TOPICS, self.publish, lambda: True, random.Random(5))
        self.requests: list[Request] = []
        self.spoil: Callable[[int, bytes], bytes] = lambda _offset, data: data
        self.lose: Callable[[int], bool] = lambda _offset: False
        self.others: list[Server] = []
        self.refusal = ""
        self._queue: Queue[Request | None] = Queue()

    def publish(self, message: Message) -> None:
        """Take what the board sends."""
        request = parse_request(message.payload)
        assert message.topic == TOPICS.blob_request
        assert message.qos == 0
        for server in [self, *self.others]:
            if request.server in (0, server.number):
                server._queue.put(request)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self.join()

    def run(self) -> None:
        while (request := self._queue.get()) is not None:
            self.requests.append(request)
            self.answer(request)

    def answer(self, request: Request) -> None:
        """Answer one request."""
        if self.refusal or request.sha256 not in self.blobs:
            self.send(encode_refusal(request.sid, self.number, request.off, self.refusal or "not-found"))
            return
        data = self.blobs[request.sha256]
        for offset in range(request.off, request.off + request.len, request.frag):
            if not self.lose(offset):
                part = self.spoil(offset, data[offset : min(offset + request.frag, request.off + request.len)])
                self.send(encode_data(request.sid, self.number, offset, part))

    def send(self, payload: bytes) -> None:
        """Send it to the board; one that helps another sends to that one's."""
        self.carrier.received(payload)
