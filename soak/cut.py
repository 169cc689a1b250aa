"""The connection breaks inside every hundredth message, either way: everything comes, with one id."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from soak.judge import judge
from soak.packets import PUBLISH, Splitter
from soak.report import Report
from soak.scene import LOSSLESS, Scene
from soak.settle import settle
from soak.signals import Signal
from tests.waiting import until
from tests.wire import Wire

EVERY = 100


class CuttingWire(Wire):
    """A wire that ends all connections in the middle of every EVERYth PUBLISH, `cuts` times."""

    def __init__(self, target: int, cuts: int) -> None:
        self.left = cuts
        self._passed = 0
        self._counting = threading.Lock()
        super().__init__(target)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        splitter = Splitter()
        with suppress(OSError):
            while data := source.recv(1 << 16):
                for packet in splitter.feed(data):
                    if self._is_to_cut(packet):
                        sink.sendall(packet[: len(packet) // 2])
                        self.cut()
                        return
                    sink.sendall(packet)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_to_cut(self, packet: bytes) -> bool:
        if packet[0] >> 4 != PUBLISH:
            return False
        with self._counting:
            self._passed += 1
            if self._passed % EVERY or not self.left:
                return False
            self.left -= 1
            return True


def cut(scene: Scene, cuts: int = 12, rate: float = 200.0) -> Report:
    """Cut the daemon's only connection `cuts` times while `rate` messages a second are published."""
    report = scene.report
    signals = [
        Signal("whole", keys=4, samples=8, hop=8, sizes=(8, 16, 24)),
        Signal("spanning", keys=2, samples=8, hop=8, sizes=(3,)),
    ]
    broker = scene.broker("main").start()
    ledger = scene.listener(broker.port, signals)
    wire = CuttingWire(broker.port, cuts)
    with wire:
        daemon = scene.daemon(scene.tables(*signals, more=LOSSLESS), wire.port).start()
        publisher = scene.publisher(broker.port, signals)
        publisher.start(rate)
        until(lambda: not wire.left, f"the connection is cut {cuts} times", daemon.tail)
        status = settle(daemon, ledger, publisher)
        daemon.kill()
    judge(report, status, ledger, publisher)
    report.number(cuts=cuts)
    return report
