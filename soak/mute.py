"""A broker that takes everything and acknowledges nothing: results end on disk, and all come once a true one is there."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from bench.parties import pss_mib
from soak.judge import judge
from soak.packets import CONNECT, DISCONNECT, PINGREQ, PUBLISH, SUBSCRIBE, Splitter
from soak.publisher import Publisher
from soak.report import Report
from soak.scene import BROKER, LOSSLESS, Scene
from soak.settle import settle, status_of, until_still
from soak.signals import Signal
from tests.daemon import Daemon
from tests.waiting import PATIENCE_S, until

SAMPLES = 128  # a result says all of them: it is a kilobyte
WINDOWS = 10
AT_ONCE = 100
GROWTH_MIB = 32.0
WINDOW = 20  # messages that a broker has unacknowledged at most: an input that is not acknowledged ends there

_SAID = {CONNECT: b"\x20\x02\x00\x00", PINGREQ: b"\xd0\x00"}


class MuteBroker:
    """Speaks MQTT 3.1.1 on `port` as far as yes to CONNECT, SUBSCRIBE and PINGREQ; use it as a context."""

    def __init__(self, port: int) -> None:
        self.published = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> MuteBroker:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._peers):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for sock in (self._listener, *self._peers):
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self._peers.append(peer)
                thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, peer: socket.socket) -> None:
        splitter = Splitter()
        with suppress(OSError):
            while data := peer.recv(1 << 16):
                for packet in splitter.feed(data):
                    self._answer(peer, packet)

    def _answer(self, peer: socket.socket, packet: bytes) -> None:
        kind = packet[0] >> 4
        self.published += kind == PUBLISH
        if kind == SUBSCRIBE:
            peer.sendall(b"\x90\x03" + packet[2:4] + b"\x01")
        elif kind in _SAID:
            peer.sendall(_SAID[kind])
        elif kind == DISCONNECT:
            peer.shutdown(socket.SHUT_RDWR)


def _paced(daemon: Daemon, publisher: Publisher, messages: int) -> None:
    """Publish until there were so many messages, no faster than they are worked off: what is measured is not what waits for a pipeline."""
    while publisher.messages < messages:
        publisher.send(min(AT_ONCE, messages - publisher.messages))
        until_still(daemon, lambda status: status["pipelines"][0]["messages"] >= publisher.messages, "what was published is worked off")


def _told(daemon: Daemon, report: Report) -> bool:
    status = status_of(daemon)
    texts = [f"{each['code']}: {each['text']}" for each in status["health"] if each["subject"] == "main"] if status else []
    if texts:
        report.number(health="; ".join(texts))
    return bool(texts)


def mute(scene: Scene, results: int = 100_000) -> Report:
    """Let `results` be made while the broker is mute; then a true one takes its port."""
    report = scene.report
    signal = Signal("windows", keys=4, samples=SAMPLES, hop=SAMPLES, sizes=(SAMPLES * WINDOWS,))
    floor, main = scene.broker("floor").start(), scene.broker("main", persistent=True).start()
    ledger = scene.listener(main.port, [signal])
    main.stop()
    version = 'version = "3.1.1"\n'
    config = version + BROKER.format(name="floor", port=floor.port) + scene.tables(signal, broker="floor", more=LOSSLESS)
    with MuteBroker(main.port) as broker:
        daemon = scene.daemon(config, main.port).start()
        publisher = scene.publisher(floor.port, [signal])
        _paced(daemon, publisher, results // WINDOWS // 10)
        assert daemon.process is not None
        before = pss_mib(daemon.process.pid)
        _paced(daemon, publisher, results // WINDOWS)
        status = until_still(daemon, lambda status: status["spool"]["results"] >= results, "all results are kept")
        grown = pss_mib(daemon.process.pid) - before
        spool, messages = status["spool"], status["pipelines"][0]["messages"]
        report.number(spooled=spool["results"], spool_state=spool["state"], pss_before_mib=before, pss_growth_mib=grown)
        report.number(messages_worked_off=messages, published_to_the_mute_broker=broker.published)
        until(lambda: _told(daemon, report), "health speaks of the broker that acknowledges nothing", daemon.tail)
    report.expect(spool["state"] == "disk", f"results are not on disk: {spool}")
    report.expect(spool["results"] >= results, f"{spool['results']:,} of {results:,} results are kept: {spool}")
    acknowledged = messages == publisher.messages > WINDOW
    report.expect(acknowledged, f"{messages:,} of {publisher.messages:,} messages of the other broker are worked off")
    report.expect(grown < GROWTH_MIB, f"memory grew by {grown:.1f} MiB while the broker was mute")
    main.start()
    until(lambda: ledger.results, "results come at the true broker", daemon.tail)
    status = settle(daemon, ledger, publisher)
    judge(report, status, ledger, publisher)
    return report
