"""One connection to one broker, kept up for ever.

A `Link` owns a thread that connects, reads, writes and, when the connection ends, waits
with jitter and connects again. What the rest of edged sees:

    on_block(block, connection)   many received messages at once, in the link's thread
    ack(mids, connection)         their acknowledgement; ignored for an earlier connection
    publish(message)              into a bounded outbox; few are in flight at a time
    wait_for_room()               where more is made than the broker takes
    outbox                        where messages wait, in memory or on disk
    state                         what `edged status` shows, with the reason in plain words

`version = "auto"` tries MQTT 5 first and 3.1.1 when the broker turns that down.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.config.schema import Broker
from edged.mqtt.client import CONNECT_TIMEOUT_S, IN_FLIGHT, Client
from edged.mqtt.message import Message, Will
from edged.mqtt.outbox import Outbox
from edged.mqtt.receive import Block
from edged.mqtt.state import LinkState, why, why_refused
from edged.mqtt.subscriptions import Subscriptions

STEADY_NS = 10 * NS  # a connection that ends earlier counts as a failed attempt: waits go on growing
MUTE_NS = 30 * NS  # a broker that has not acknowledged a message for so long gets a new connection, and it again
GOOD_BYE_S = 1.0  # for what is still to be written at a stop, and the DISCONNECT
LOOK_S = 0.005
OVERFULL_LOOK_S = 0.1


class Link:
    """A connection to one broker. Start it once, stop it once."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        client_id: str,
        clock: Clock,
        rng: random.Random,
        *,
        password: str = "",
        on_block: Callable[[Block, int], None] | None = None,
        on_connected: Callable[[], None] | None = None,
        on_resumed: Callable[[int], None] | None = None,
        is_overfull: Callable[[], bool] = lambda: False,
        will: Callable[[], Will] | None = None,
        keep_session: bool = True,
        longest_wait_s: float = 30.0,
    ) -> None:
        """Prepare; nothing is opened yet.

        `will` is asked anew for each connection. With `keep_session` the broker keeps what
        comes while the link is away; `on_resumed` is told of the connection on which it sends
        that, and again what was not acknowledged. While `is_overfull` the link stays away.
        Waits between attempts grow up to `longest_wait_s`.
        """
        self.name = name
        self.broker = broker
        self.state = LinkState(since=clock.mono())
        self.connection = 0
        self._client_id = client_id
        self._clock = clock
        self._password = password
        self._on_block = on_block
        self._on_connected = on_connected
        self._on_resumed = on_resumed
        self._is_overfull = is_overfull
        self._resumed = False  # the broker kept the session
        self._will = will
        self._keep_session = keep_session
        self._subscriptions = Subscriptions()
        self.outbox = Outbox(lambda message: self._client.hand_over(message), clock)
        self._window = IN_FLIGHT
        self._answered = False  # the broker has answered this connection's CONNECT
        self._began = 0  # monotonic ns, when the present connection began to stand
        self._backoff = Backoff(0.5, longest_wait_s, rng)
        self._stop = threading.Event()
        self._versions = {"auto": ["5", "3.1.1"], "5": ["5"], "3.1.1": ["3.1.1"]}[broker.version]
        self._client = self._make(self._versions[0])
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{name}", daemon=True)

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Ask for a filter, on this and every later connection; from any thread."""
        qos = self._subscriptions.add(topic_filter, qos)
        if self.state.state == "connected":
            self._client.subscribe([(topic_filter, qos)])

    def resubscribe(self, topic_filter: str) -> None:
        """Have retained messages sent anew, from any thread; the flow of a subscription goes on meanwhile, as MQTT says of a second one."""
        self.subscribe(topic_filter, 0)

    def start(self) -> None:
        """Begin to connect; returns at once, also when no broker is there."""
        self._thread.start()

    def publish(self, message: Message) -> None:
        """Queue a message; may be called from any thread. Where there is no disk, the oldest gives way when the outbox is full."""
        self.outbox.put(message)

    def wait_for_room(self) -> None:
        """Hold up, for a bounded time, who publishes more than the broker takes."""
        self.outbox.wait_for_room()

    def ack(self, mids: list[int], connection: int) -> None:
        """Acknowledge QoS 1 messages of one connection; on a later connection the broker sends them again."""
        if connection == self.connection and self.state.state == "connected":
            self._client.send_acks(mids)

    @property
    def alive(self) -> bool:
        """Say whether its thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Count messages that the broker has not acknowledged yet."""
        return self.outbox.waiting

    @property
    def dropped(self) -> dict[str, int]:
        """Count by reason the messages that never reached the broker."""
        return self.outbox.dropped

    @property
    def version(self) -> str:
        """Give the MQTT version in use, `5` or `3.1.1`."""
        return self.state.version

    def look(self) -> None:
        """Notice a broker that is silent; called now and then. One that goes on being so gets a new connection."""
        if self.outbox.look() > MUTE_NS:
            self._client.hang_up()
        if self._subscriptions.is_due(self._clock.mono()) and self.state.state == "connected":
            self._client.subscribe(self._subscriptions.all())

    def drain(self, deadline_s: float) -> None:
        """Wait until the broker has what is in memory, up to the deadline; the rest goes to disk, where it may. Nothing is read back."""
        self.outbox.finish()
        end = time.monotonic() + deadline_s
        while self.waiting and self.state.state == "connected" and time.monotonic() < end:
            time.sleep(LOOK_S)
        if self.waiting:
            self.outbox.close()

    def leave(self) -> None:
        """Begin to end the connection; returns at once.

        With messages left it ends without a DISCONNECT, so that the broker publishes the Will:
        one of them may be the word that this device goes.
        """
        self._stop.set()
        if not self.waiting:
            self._client.disconnect()  # also wakes the link's thread

    def stop(self, deadline_s: float = 2.0) -> int:
        """Drain, end the connection; give the number of messages that the broker has not acknowledged."""
        self.drain(deadline_s)
        self.leave()
        if self._thread.ident is not None:
            self._thread.join(CONNECT_TIMEOUT_S + GOOD_BYE_S + 1)
        if not self.alive:
            self._client.release()
        return self.waiting

    # -- the link's own thread ------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt()
            if self._stop.wait(self._backoff.next()) or self._wait_for_room():
                break
        self._change("stopped", "", "")

    def _wait_for_room(self) -> bool:
        """Stay away while there is no room for what comes; give whether it is time to stop."""
        if self._is_overfull():
            text = "more messages came than are held in memory; the link comes back when half of them are worked off"
            self._change("disconnected", "overfull", text)
        while self._is_overfull():
            if self._stop.wait(OVERFULL_LOOK_S):
                return True
        return False

    def _attempt(self) -> None:
        """Connect, serve the connection to its end, and note how it ended."""
        try:
            self._open()
        except Exception as error:  # also of `will`: whatever it is, the link tries again
            self._change("unreachable", "broker-unreachable", why(error, self._client.address))
            return
        client = self._client
        try:
            self._serve(client)
        except Exception as error:  # Malformed, whatever paho makes of bytes it does not expect, or a bug in a callback
            self._change("disconnected", "broker-protocol", f"cannot go on with what {client.address} sent: {error!r}")
        else:
            self._note_end()
        client.close_socket()
        if self._began and (self._clock.mono() - self._began > STEADY_NS or self._is_overfull()):
            self._backoff.reset()

    def _serve(self, client: Client) -> None:
        while not self._stop.is_set() and client.step(1.0):
            pass
        if self._stop.is_set() and not self.waiting:
            client.disconnect()  # once more: `stop` may have come while we connected
            end = time.monotonic() + GOOD_BYE_S
            while client.step(0.1) and time.monotonic() < end:
                pass

    def _note_end(self) -> None:
        if self._stop.is_set():
            return
        if not self._answered:
            self._turned_down("broker-refused", "the broker closed the connection before it answered")
        elif self.state.state == "connected":
            self._change("disconnected", "broker-disconnected", "the broker closed the connection")

    def _open(self) -> None:
        self.connection += 1
        self._answered, self._began = False, 0
        self._client.open(self._will() if self._will else None)

    # -- what the client says, in the link's thread ---------------------------------------

    def answered(self, refusal: str, window: int, resumed: bool) -> None:
        """See `Events`."""
        self._answered = True
        if refusal:
            self._refused(refusal)
            return
        self._versions = [self._client.protocol_version]
        self._window = window
        self._resumed = resumed
        self._began = self._clock.mono()

    def standing(self) -> None:
        """See `Events`."""
        for mid in self._client.take_lost():
            self.outbox.unsent(mid)
        self._change("connected", "", "", version=self._client.protocol_version)
        if self._resumed and self._on_resumed:
            self._on_resumed(self.connection)
        if filters := self._subscriptions.all():
            self._client.subscribe(filters)
        if self._on_connected:
            self._on_connected()
        self.outbox.open(self._window)

    def subscribed(self, filters: int, refusal: str) -> None:
        """See `Events`."""
        if self._subscriptions.answered(filters, bool(refusal), self._clock.mono()):
            self.state.code = self.state.text = ""
        elif refusal:
            self.state.code, self.state.text = "subscription-refused", f"the broker refuses a subscription: {refusal}"

    def published(self, mid: int, refused: bool) -> None:
        """See `Events`."""
        self.outbox.over(mid, "publish-refused" if refused else "")

    def received(self, block: Block) -> None:
        """See `Events`."""
        if self._on_block:
            self._on_block(block, self.connection)
            if self._is_overfull():
                self._client.hang_up()

    # -- refusals --------------------------------------------------------------------------

    def _refused(self, reason: str) -> None:
        if reason == "Unsupported protocol version":
            self._turned_down("broker-version", f"the broker does not speak MQTT {self._client.protocol_version}")
        else:
            self._change("refused", "broker-refused", why_refused(reason, self.broker.username))

    def _turned_down(self, code: str, text: str) -> None:
        """Try the next MQTT version, if one is left; else say what happened."""
        if len(self._versions) > 1:
            self._versions = [*self._versions[1:], self._versions[0]]
            self._client = self._make(self._versions[0])
        self._change("refused", code, text)

    def _change(self, state: str, code: str, text: str, version: str = "") -> None:
        since = self.state.since if state == self.state.state else self._clock.mono()
        self.state = LinkState(state, since, version or self.state.version, code, text)
        if state != "connected":
            self.outbox.close()

    def _make(self, version: str) -> Client:
        return Client(self.broker, self._password, version, self._client_id, self._keep_session, self)
