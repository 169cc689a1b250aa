"""Retained messages to a broker, one after the other: the next goes when the broker has said yes to the one before."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from edged.clock import Clock
from edged.config.schema import Broker
from edged.errors import EXIT_UNREACHABLE, PeerError
from edged.hold import Hold
from edged.mqtt.link import Link
from edged.mqtt.message import Message
from edged.mqtt.receive import Block
from edged.publisher.letters import Letter

REFUSED_S = 4.0  # a wrong password stays one; another version of MQTT is tried within that time
ANSWER_S = 15.0  # a broker that has not said yes by then will not
_LOOK_S = 0.02


class BrokerUnreachable(PeerError):
    """No broker answers, or it lets nobody in."""

    exit_code = EXIT_UNREACHABLE


def make_link(
    broker: Broker,
    password: str,
    clock: Clock,
    rng: random.Random,
    on_block: Callable[[Block, int], None] | None = None,
    on_connected: Callable[[], None] | None = None,
) -> Link:
    """Make a link for a fleet manager's command; it is not started. Raises OperatorError(`tls-files`)."""
    client_id = f"edged-fleet-{rng.getrandbits(48):012x}"
    return Link("fleet", broker, client_id, clock, rng, password=password, on_block=on_block, on_connected=on_connected, keep_session=False)


def reach(link: Link, seconds: float = ANSWER_S) -> None:
    """Wait until a link that was started is connected; raises BrokerUnreachable with what the link says."""
    end, refused = time.monotonic() + seconds, False
    while (state := link.state.state) != "connected":
        if state == "refused" and not refused:
            refused, end = True, min(end, time.monotonic() + REFUSED_S)
        if time.monotonic() >= end:
            raise unreachable(link)
        time.sleep(_LOOK_S)


def unreachable(link: Link) -> BrokerUnreachable:
    """Say why a link is not connected."""
    text = link.state.text or f"{link.broker.url} does not answer"
    refused = link.state.state == "refused"
    hint = "check --username, --password-file and the broker's own log" if refused else "check --broker, and that the broker runs"
    return BrokerUnreachable(link.state.code or "broker-unreachable", text, hint)


class Post:
    """Sends letters on a link, from one thread. `stop` ends a wait early, without an error."""

    def __init__(self, link: Link, stop: threading.Event | None = None) -> None:
        self._link = link
        self._stop = stop or threading.Event()

    @property
    def ready(self) -> bool:
        """Say whether the link is connected."""
        return self._link.state.state == "connected"

    def send(self, letter: Letter, seconds: float = ANSWER_S) -> None:
        """Send a letter and wait for the broker's yes.

        Raises BrokerUnreachable where the connection is gone, PeerError: `publish-refused` where the broker says no (on
        MQTT 3.1.1 it cannot), `broker-mute` where it says nothing.
        """
        over = threading.Event()
        before = dict(self._link.dropped)
        self._link.publish(Message(letter.topic, letter.payload, 1, True, hold=Hold(over.set)))
        end = time.monotonic() + seconds
        while not over.wait(_LOOK_S) and not self._stop.is_set():
            if time.monotonic() >= end:
                raise self._silence(letter)
        lost = [reason for reason, count in self._link.dropped.items() if count > before.get(reason, 0)]
        if "publish-refused" in lost:
            hint = "let this user write the topics of its fleet: edged fleet acl --broker mosquitto|nats|emqx --fleet NAME --manager USER"
            raise PeerError("publish-refused", f"the broker refuses {letter.name} on {letter.topic}", hint)
        if lost and not self._stop.is_set():
            raise unreachable(self._link)

    def _silence(self, letter: Letter) -> PeerError:
        if self._link.state.state != "connected":
            return unreachable(self._link)
        text = f"the broker did not confirm {letter.name}, {len(letter.payload):,} bytes on {letter.topic}"
        return PeerError("broker-mute", text, "look into the broker's log; it may not take messages of this size")
