"""The process behind `tests.bad_link`: carries bytes, late, slowly, not all of them, or not at all.

    python -m tests.bad_link_process

Each line of standard input is a command in JSON, `["name", {arguments}]`; each is answered by one line.
It ends with its standard input. A process of its own, so that it neither waits for the tests' Python nor holds it up.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Coroutine
from typing import Any

from tests.packets import Packets

_CHUNK = 1 << 16
_SLOW_CHUNK = 1 << 12  # of a link with a bound on its rate, so that its bytes come evenly
_SLOW_BUFFER = 1 << 17  # loopback has segments of 64 KiB: a window below that is opened by a timer only, at 40 kB/s
_MOST_IN_FLIGHT = 32 << 20
_RESET = struct.pack("ii", 1, 0)
TO_BROKER, TO_CLIENT = "to_broker", "to_client"


class Direction:
    """What all connections share that pass one way: its delay, its rate, what it lost and what it carried."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.rate = 0.0  # bytes a second; 0: no bound
        self.lossy: list[tuple[str, float]] = []  # ends or parts of topics, and how often a QoS 0 message is lost
        self.total = 0
        self.topics: dict[str, list[int]] = {}  # topic: messages, bytes, lost messages, lost bytes
        self._rng = random.Random(0)
        self._free_at = 0.0

    def seed(self, seed: int) -> None:
        """Begin the chances anew."""
        self._rng = random.Random(seed)

    def due(self, size: int) -> float:
        """Give when so many bytes, begun now, are through."""
        now = time.monotonic()
        if self.rate:
            self._free_at = max(now, self._free_at) + size / self.rate
            now = self._free_at
        return now + self.delay_s

    def in_flight(self) -> float:
        """Give how many bytes a connection may have under way."""
        return self.rate * self.delay_s + 4 * _SLOW_CHUNK if self.rate else _MOST_IN_FLIGHT

    def judge(self, topic: str, qos: int, size: int) -> bool:
        """Count a message; say whether it goes on."""
        counts = self.topics.setdefault(topic, [0, 0, 0, 0])
        lost = qos == 0 and any(part in topic and self._rng.random() < chance for part, chance in self.lossy)
        counts[2 if lost else 0] += 1
        counts[3 if lost else 1] += size
        return not lost


class Lane:
    """One direction of one connection: a reader, a queue of what is under way, a writer."""

    def __init__(self, source: socket.socket, sink: socket.socket, direction: Direction, flowing: asyncio.Event) -> None:
        self._source, self._sink, self._direction, self._flowing = source, sink, direction, flowing
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._packets = Packets(direction.judge)

    async def read(self) -> None:
        """Take what comes, until the source ends."""
        loop, way = asyncio.get_running_loop(), self._direction
        while data := await loop.sock_recv(self._source, _SLOW_CHUNK if way.rate else _CHUNK):
            way.total += len(data)
            if data := self._packets.feed(data):
                self._queue.append((way.due(len(data)), data))
                self._queued += len(data)
                self._changed.set()
            while self._queued > way.in_flight():
                self._changed.clear()
                await self._changed.wait()
        self._ended = True
        self._changed.set()

    async def write(self) -> None:
        """Give it on when it is due, and the end too."""
        loop = asyncio.get_running_loop()
        while self._queue or not self._ended:
            if not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            due, data = self._queue.popleft()
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await self._flowing.wait()
            await loop.sock_sendall(self._sink, data)
            self._queued -= len(data)
            self._changed.set()
        self._sink.shutdown(socket.SHUT_WR)


class Proxy:
    """The port, its connections, and the commands that the tests send."""

    def __init__(self) -> None:
        self.ways = {TO_BROKER: Direction(), TO_CLIENT: Direction()}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._upstreams: list[int] = []
        self._port = 0
        self._listening: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._schedule: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], tuple[socket.socket, ...]] = {}
        self.accepted = 0

    # -- commands ---------------------------------------------------------------------------

    async def open(self, upstreams: list[int], port: int) -> None:
        """Listen there."""
        self._upstreams, self._port = upstreams, port
        self._listen()

    async def use(self, upstreams: list[int]) -> None:
        """Lead to other brokers from now on; the connections to the old ones end."""
        self._upstreams = upstreams
        await self.cut()

    async def cut(self) -> None:
        """End all connections at once; what is under way is lost."""
        tasks = list(self._connections)
        for sockets in self._connections.values():
            for each in sockets:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def down(self) -> None:
        """Cut, and refuse new connections."""
        if self._listening and self._listener:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listener.close()
            self._listening = self._listener = None
        await self.cut()

    async def up(self) -> None:
        """Take connections again."""
        self._listen()

    async def alternate(self, up_s: float, down_s: float) -> None:
        """Go up and down by oneself, up first, until `steady`."""
        await self.steady()
        self._schedule = asyncio.create_task(self._alternate(up_s, down_s))

    async def steady(self) -> None:
        """End going up and down; up."""
        if self._schedule:
            self._schedule.cancel()
            await asyncio.gather(self._schedule, return_exceptions=True)
        self._schedule = None
        self._listen()

    async def freeze(self) -> None:
        """Carry nothing any more, and tell nobody."""
        self._flowing.clear()

    async def thaw(self) -> None:
        """Carry again, what was held first."""
        self._flowing.set()

    async def set(self, round_trip_s: float, rate: float) -> None:
        """Be late by half the round trip each way, and carry so many bytes a second each way (0: no bound)."""
        for way in self.ways.values():
            way.delay_s, way.rate = round_trip_s / 2, rate

    async def lose(self, part: str, chance: float, seed: int) -> None:
        """Lose QoS 0 messages to the client whose topic holds `part`, each with this chance."""
        way = self.ways[TO_CLIENT]
        way.seed(seed)
        way.lossy = [(part, chance)] if chance else []

    async def counts(self) -> dict[str, Any]:
        """Give what was carried and lost."""
        ways = {name: {"total": way.total, "topics": way.topics} for name, way in self.ways.items()}
        return {**ways, "accepted": self.accepted, "open": len(self._connections)}

    # -- inside -----------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port))  # it sets SO_REUSEADDR: the port stays ours
            self._listener.setblocking(False)
            self._listening = asyncio.create_task(self._accept(self._listener))

    async def _alternate(self, up_s: float, down_s: float) -> None:
        while True:
            await asyncio.sleep(up_s)
            await self.down()
            await asyncio.sleep(down_s)
            self._listen()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            self.accepted += 1
            task = asyncio.create_task(self._carry(near))
            self._connections[task] = (near,)
            task.add_done_callback(lambda task: self._connections.pop(task, None))

    async def _carry(self, near: socket.socket) -> None:
        with near:
            far = await self._reach()
            if far is None:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                return
            with far:
                task = asyncio.current_task()
                assert task is not None
                self._connections[task] = (near, far)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self.ways[TO_CLIENT].rate:  # else the system's buffers take whole seconds of a slow link
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
                there, back = Lane(near, far, self.ways[TO_BROKER], self._flowing), Lane(far, near, self.ways[TO_CLIENT], self._flowing)
                await _until_one_fails(there.read(), there.write(), back.read(), back.write())

    async def _reach(self) -> socket.socket | None:
        """Connect to the first broker that takes it."""
        for port in self._upstreams:
            far = socket.socket()
            far.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", port))
            except OSError:
                far.close()
            else:
                return far
        return None


async def _until_one_fails(*work: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    proxy = Proxy()
    while line := await commands.readline():
        name, arguments = json.loads(line)
        print(json.dumps(await getattr(proxy, name)(**arguments)), flush=True)
    await proxy.steady()
    await proxy.down()


if __name__ == "__main__":
    asyncio.run(_main())
