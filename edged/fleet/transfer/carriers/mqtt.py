"""Pieces over MQTT: requests and answers as in `exchange/blobs.py`, through the link that is there anyway."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator

from edged.clock import NS
from edged.exchange.blobs import parse_fragment
from edged.fleet.transfer.carriers.base import TICK_S, Errand, Piece, not_found
from edged.fleet.transfer.carriers.inbox import Inbox
from edged.fleet.transfer.download import Download
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics


class MqttCarrier:
    """A board's side of blob transfer over one link.

    The link subscribes to `blob/dat/+` of the device at QoS 0 and gives each message to `received`.
    `dropped` counts by reason what was not taken: `malformed`; `unasked`: of no present download, or not what was asked
    for, or twice; `flood`: more than was asked for.
    """

    name = "MQTT"

    def __init__(self, topics: DeviceTopics, publish: Callable[[Message], None], connected: Callable[[], bool], rng: random.Random) -> None:
        self.connected = connected
        self.dropped: dict[str, int] = {}
        self._topic = topics.blob_request
        self._publish = publish
        self._rng = rng
        self._inbox: Inbox | None = None
        self._counting = threading.Lock()

    def received(self, payload: bytes) -> None:
        """Take a message, in the link's thread; it is put aside, no more."""
        inbox = self._inbox
        try:
            fragment = parse_fragment(payload)
        except ValueError:
            if inbox is not None:
                inbox.waste(len(payload))
            self._drop("malformed")
            return
        reason = inbox.put(fragment) if inbox is not None else "unasked"
        if reason:
            self._drop(reason)

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        """See `Carrier`. It goes on by itself when the connection was away."""
        inbox = Inbox(self._rng.getrandbits(32), errand.clock)
        download = Download(errand.sha256, errand.size, inbox.sid, errand.next_piece, self._rng)
        self._inbox = inbox
        try:
            yield from self._bring(errand, inbox, download)
        finally:
            self._inbox = None
            for reason, count in download.dropped.items():
                self._drop(reason, count)

    def _bring(self, errand: Errand, inbox: Inbox, download: Download) -> Generator[Piece | None, None, None]:
        was_connected = True
        while True:
            piece = self._take(errand, inbox, download)
            if piece is not None:
                yield piece
                if errand.was_bad():
                    download.shun_server(errand.clock.mono())
            now, is_connected = errand.clock.mono(), self.connected()
            if is_connected and not was_connected:
                download.resume(now)
            was_connected = is_connected
            if is_connected:
                for request in download.requests(now, caught_up=inbox.is_empty):
                    self._publish(Message(self._topic, request.encode(), 0))
                if download.is_over:
                    return
                if download.is_lacking(now):
                    raise not_found(errand.sha256, "none of the servers that answer over MQTT")
            if inbox.is_empty:
                yield None
                inbox.wait(min(TICK_S, max(0, download.wake_at - errand.clock.mono()) / NS) if is_connected else TICK_S)

    def _take(self, errand: Errand, inbox: Inbox, download: Download) -> Piece | None:
        """Take one fragment, if there is one, and tell of its bytes."""
        came = inbox.take()
        piece, kept = None, download.kept
        size = inbox.take_wasted()
        if came is not None:
            at, fragment = came
            piece = download.on_fragment(fragment, at)
            size += len(fragment.data)
        if came is not None or size:
            errand.came(size, download.kept - kept)
        return piece

    def _drop(self, reason: str, count: int = 1) -> None:
        with self._counting:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
