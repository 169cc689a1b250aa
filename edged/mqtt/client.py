"""One connection to one broker, kept up for ever; the only module that imports paho.

A `Link` owns a thread that connects, reads, writes and, when the connection ends, waits
with jitter and connects again. What the rest of edged sees:

    on_block(block, connection)   many received messages at once, in the link's thread
    ack(mids, connection)         their acknowledgement; ignored for an earlier connection
    publish(...)                  into a bounded outbox; few are in flight at a time
    state                         what `edged status` shows, with the reason in plain words

`version = "auto"` tries MQTT 5 first and 3.1.1 when the broker turns that down.
Foreign exceptions end here. Receiving goes through `receive.PublishReader`, see there.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.config.schema import Broker
from edged.errors import OperatorError
from edged.mqtt.receive import Block, PublishReader

MESSAGE_LIMIT = 1 << 20  # a longer message is skipped while it comes in, and counted
READ_SIZE = 1 << 16
IN_FLIGHT = 64  # unacknowledged publishes, if the broker takes as many: 20 to 100 is best, 1000 halves paho's rate
OUTBOX_LIMIT = 10_000  # messages waiting for the broker; older ones are dropped and counted
CONNECT_TIMEOUT_S = 5.0
SESSION_EXPIRY_S = 24 * 3600
STEADY_NS = 10 * NS  # a connection that ends earlier counts as a failed attempt: waits go on growing
GOOD_BYE_S = 1.0  # for what is still to be written at a stop, and the DISCONNECT
LOOK_S = 0.005

# When small blocks follow each other within HURRY_NS, the next read waits PACE_S, so that more
# messages share one pass: at 30,000 messages a second this halves the CPU time of each.
HURRY_NS = 1_000_000
HURRY_MESSAGES = 20
PACE_S = 0.0002

_ACK = Struct(">HH").pack
_PUBACK = 0x4002  # type 4, remaining length 2


@dataclass(frozen=True)
class Will:
    """What the broker publishes, retained, when the device is lost."""

    topic: str
    payload: bytes


@dataclass
class LinkState:
    """What a person sees of a connection.

    `state`: connecting | connected | refused | unreachable | disconnected | stopped. `since` is
    monotonic time in nanoseconds; while attempts fail in the same way it is that of the first.
    """

    state: str = "connecting"
    since: int = 0
    version: str = ""
    code: str = ""
    text: str = ""


@dataclass(slots=True)
class Message:
    """A message to publish. `content_type` and `properties` go out on MQTT 5 only."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    content_type: str = ""
    properties: dict[str, str] | None = None


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
        will: Callable[[], Will] | None = None,
        keep_session: bool = True,
    ) -> None:
        """Prepare; nothing is opened yet.

        `will` is asked anew for each connection. With `keep_session` the broker keeps what
        comes while the link is away.
        """
        self.name = name
        self.broker = broker
        self.state = LinkState(since=clock.mono())
        self.dropped: dict[str, int] = {}
        self.connection = 0
        self._client_id = client_id
        self._clock = clock
        self._password = password
        self._on_block = on_block
        self._on_connected = on_connected
        self._will = will
        self._keep_session = keep_session
        self._subscriptions: dict[str, int] = {}
        self._outbox: deque[Message] = deque()
        self._in_flight = 0
        self._window = IN_FLIGHT
        self._answered = False  # the broker has answered this connection's CONNECT
        self._unsure: deque[paho.MQTTMessageInfo] = deque(maxlen=IN_FLIGHT)  # QoS 0, handed to paho last
        self._count_lock = threading.Lock()
        self._pump_lock = threading.Lock()
        self._backoff = Backoff(0.5, 30.0, rng)
        self._stop = threading.Event()
        self._versions = {"auto": ["5", "3.1.1"], "5": ["5"], "3.1.1": ["3.1.1"]}[broker.version]
        self._client = self._make(self._versions[0])
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{name}", daemon=True)

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Ask for a filter, on this and every later connection."""
        self._subscriptions[topic_filter] = max(qos, self._subscriptions.get(topic_filter, 0))

    def start(self) -> None:
        """Begin to connect; returns at once, also when no broker is there."""
        self._thread.start()

    def publish(self, message: Message) -> None:
        """Queue a message; may be called from any thread. The oldest gives way when the outbox is full."""
        self._outbox.append(message)
        if len(self._outbox) > OUTBOX_LIMIT:
            self._drop("outbox-full")
        self._pump()

    def ack(self, mids: list[int], connection: int) -> None:
        """Acknowledge QoS 1 messages of one connection; on a later connection the broker sends them again."""
        if connection == self.connection and self.state.state == "connected":
            self._client.send_acks(b"".join([_ACK(_PUBACK, mid) for mid in mids if mid]))

    @property
    def waiting(self) -> int:
        """Count messages that the broker has not acknowledged yet."""
        return len(self._outbox) + self._in_flight

    @property
    def version(self) -> str:
        """Give the MQTT version in use, `5` or `3.1.1`."""
        return self.state.version

    def stop(self, deadline_s: float = 2.0) -> int:
        """Wait for the outbox up to the deadline, end the connection; give the number of messages left behind.

        With messages left the connection ends without a DISCONNECT, so that the broker
        publishes the Will: one of them may be the word that this device goes.
        """
        end = time.monotonic() + deadline_s
        while self.waiting and self.state.state == "connected" and time.monotonic() < end:
            time.sleep(LOOK_S)
        self._stop.set()
        if not self.waiting:
            self._client.disconnect()  # also wakes the link's thread
        if self._thread.ident is not None:
            self._thread.join(CONNECT_TIMEOUT_S + GOOD_BYE_S + 1)
        return self.waiting

    # -- the link's own thread ------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            self._attempt()
            if self._stop.wait(self._backoff.next()):
                break
        self._change("stopped", "", "")

    def _attempt(self) -> None:
        """Connect, serve the connection to its end, and note how it ended."""
        try:
            self._open()
        except Exception as error:  # also of `will`: whatever it is, the link tries again
            self._change("unreachable", "broker-unreachable", _why(error, self._client))
            return
        client = self._client
        try:
            self._serve(client)
        except Exception as error:  # Malformed, whatever paho makes of bytes it does not expect, or a bug in a callback
            self._change("disconnected", "broker-protocol", f"cannot go on with what {_address(client)} sent: {error!r}")
        else:
            self._note_end()
        client.close_socket()
        if client.began and self._clock.mono() - client.began > STEADY_NS:
            self._backoff.reset()

    def _serve(self, client: _Client) -> None:
        while not self._stop.is_set() and client.loop(1.0) == paho.MQTT_ERR_SUCCESS:
            if client.hurried:
                time.sleep(PACE_S)
        if self._stop.is_set() and not self.waiting:
            client.disconnect()  # once more: `stop` may have come while we connected
            end = time.monotonic() + GOOD_BYE_S
            while client.loop(0.1) == paho.MQTT_ERR_SUCCESS and time.monotonic() < end:
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
        self._answered = False
        client = self._client
        client.began = 0
        if self._will:
            will = self._will()
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        if client.protocol_version == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._keep_session else 0
            client.connect(*client.host_port, self.broker.keepalive_s, clean_start=not self._keep_session, properties=properties)
        else:
            client.connect(*client.host_port, self.broker.keepalive_s)

    def _connected(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any = None) -> None:
        """Take the broker's answer to CONNECT; paho next sends again what was in flight, and only then new messages may go."""
        self._answered = True
        if reason.is_failure:
            self._refused(str(reason))
            return
        self._versions = [self._client.protocol_version]
        self._window = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._client.began = self._clock.mono()
        self._client.greeted = True

    def begin(self) -> None:
        """Use a connection that stands. Called by the client, behind what `_connected` says."""
        self._count_lost()
        self._change("connected", "", "", version=self._client.protocol_version)
        if self._subscriptions:
            self._client.subscribe(list(self._subscriptions.items()))
        if self._on_connected:
            self._on_connected()
        self._pump()

    def _refused(self, reason: str) -> None:
        if reason in ("Bad user name or password", "Not authorized"):
            who = f"user {self.broker.username}" if self.broker.username else "a client without a user name"
            text = f"the broker refuses {who}: wrong user name or password, or not allowed to connect ({reason})"
            self._change("refused", "broker-refused", text)
        elif reason == "Unsupported protocol version":
            self._turned_down("broker-version", f"the broker does not speak MQTT {self._client.protocol_version}")
        else:
            self._change("refused", "broker-refused", f"the broker refuses the connection: {reason}")

    def _turned_down(self, code: str, text: str) -> None:
        """Try the next MQTT version, if one is left; else say what happened."""
        if len(self._versions) > 1:
            self._versions = [*self._versions[1:], self._versions[0]]
            self._client = self._make(self._versions[0])
        self._change("refused", code, text)

    def _subscribed(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any = None) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self.state.code, self.state.text = "subscription-refused", f"the broker refuses a subscription: {refused[0]}"

    def _count_lost(self) -> None:
        """Count QoS 0 messages that the last connection took along: paho lets them go without a word when it connects again."""
        for info in self._unsure:
            if info.rc == paho.MQTT_ERR_CONN_LOST:
                self._flying(-1)
                self._count("connection-lost")
        self._unsure.clear()

    def _published(self, _client: Any, _data: Any, _mid: int, reason: Any, _properties: Any) -> None:
        if reason.is_failure:  # MQTT 5 only: 3.1.1 has no word for it
            self._count("publish-refused")
        self._flying(-1)
        self._pump()

    def _pump(self) -> None:
        """Hand messages to paho while few are in flight; one thread at a time.

        Whoever finds another thread pumping leaves its message to that one, which looks
        again after it has let go.
        """
        while self._may_send() and self._pump_lock.acquire(blocking=False):
            try:
                while self._may_send():
                    self._send()
            finally:
                self._pump_lock.release()

    def _may_send(self) -> bool:
        return bool(self._outbox) and self._in_flight < self._window and self.state.state == "connected"

    def _send(self) -> None:
        """Hand the oldest message to paho."""
        self._flying(1)  # before it leaves the outbox: at no time it is in neither
        message = self._outbox.popleft()
        try:
            info = self._client.publish(message.topic, message.payload, message.qos, message.retain, self._properties(message))
        except Exception:  # a topic or a property that MQTT does not take: labels from outside stand in them
            self._flying(-1)
            self._count("publish-failed")
            return
        if info.rc and (message.qos == 0 or info.rc != paho.MQTT_ERR_NO_CONN):  # QoS 1 without a connection stays in flight
            self._flying(-1)
            self._count("publish-failed")
        elif message.qos == 0:
            self._unsure.append(info)

    def _flying(self, change: int) -> None:
        with self._count_lock:
            self._in_flight += change

    def _properties(self, message: Message) -> Properties | None:
        if self.state.version != "5" or not (message.content_type or message.properties):
            return None
        properties = Properties(PacketTypes.PUBLISH)
        if message.content_type:
            properties.ContentType = message.content_type
        if message.properties:
            properties.UserProperty = list(message.properties.items())
            properties.pack()  # raises here what would else raise at each connection, once paho holds the message
        return properties

    def _drop(self, reason: str) -> None:
        try:
            self._outbox.popleft()
        except IndexError:
            return
        self._count(reason)

    def _count(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def _change(self, state: str, code: str, text: str, version: str = "") -> None:
        since = self.state.since if state == self.state.state else self._clock.mono()
        self.state = LinkState(state, since, version or self.state.version, code, text)

    def _make(self, version: str) -> _Client:
        client = _Client(self, version, self._client_id)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        return client


class _Client(paho.Client):
    """paho with two changes: PUBLISH packets come in blocks, acknowledgements go out in blocks.

    It is driven by `Link._run` through `loop()`. `on_socket_register_write` is set so that
    a publish from another thread never writes the socket itself.
    """

    def __init__(self, link: Link, version: str, client_id: str) -> None:
        broker = link.broker
        url = urlsplit(broker.url)
        secure = url.scheme in ("mqtts", "wss")
        port = url.port or {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}[url.scheme]
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version == "5" else not link._keep_session,
            protocol=paho.MQTTv5 if version == "5" else paho.MQTTv311,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
        )
        self.protocol_version = version
        self.host_port = (url.hostname or "", port)
        self._link = link
        self._reader = PublishReader(MESSAGE_LIMIT, version == "5")
        self._reader_of: object = None
        self._pending = b""
        self._closed = False
        self._last_read = 0
        self._writing = threading.Lock()
        self.hurried = False  # the last blocks were small and close together
        self.greeted = False  # the broker has said yes, and the link has not been told
        self.began = 0  # monotonic ns, when the present connection began to stand
        self.on_socket_register_write = _leave_to_loop
        self.connect_timeout = CONNECT_TIMEOUT_S
        self.max_inflight_messages_set(IN_FLIGHT)
        self._websockets = url.scheme in ("ws", "wss")
        if self._websockets:
            self.ws_set_options(path=url.path or "/mqtt")
        if broker.username:
            self.username_pw_set(broker.username, link._password or None)
        if secure:
            self._secure(broker)

    def _secure(self, broker: Broker) -> None:
        try:
            self.tls_set(broker.ca_file or None, broker.cert_file or None, broker.key_file or None)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise OperatorError(
                "tls-files", f"cannot use the TLS files of this broker: {error}", "check ca_file, cert_file and key_file"
            ) from error

    def send_acks(self, packets: bytes) -> None:
        """Send PUBACK packets that are already encoded, in one write; from any thread.

        On a plain socket with nothing else to write they go out at once, which saves the
        link's thread a wake-up for each block. Everywhere else that thread sends them.
        """
        sock = self.socket()
        if type(sock) is socket.socket and not self._out_packet and self._writing.acquire(blocking=False):
            try:
                if not self._out_packet:
                    sent = sock.send(packets)
                    packets = packets[sent:]
                    if sent and packets:  # cut inside: the rest goes before everything that is queued meanwhile
                        self._out_packet.appendleft(_out_packet(packets))
                        packets = b""
            except OSError:  # full, or gone: the link's thread finds out which
                pass
            finally:
                self._writing.release()
        if packets:
            self._packet_queue(paho.PUBACK, packets, 0, 0)

    def _packet_write(self) -> MQTTErrorCode:
        """Write what is queued, alone: a packet must not begin inside another."""
        with self._writing:
            return super()._packet_write()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read one block, give its messages to the link, and everything else to paho."""
        sock: Any = self.socket()
        if sock is None:
            return paho.MQTT_ERR_NO_CONN
        if sock is not self._reader_of:
            self._reader = PublishReader(MESSAGE_LIMIT, self.protocol_version == "5")
            self._reader_of = sock
        try:
            data = sock.recv(READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return paho.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        self._closed = not data
        self._ack_quickly(sock)
        block = self._reader.feed(data)
        now = time.monotonic_ns()
        self.hurried = 0 < len(block.topics) < HURRY_MESSAGES and now - self._last_read < HURRY_NS
        self._last_read = now
        self._pending = block.others
        rc = paho.MQTT_ERR_SUCCESS
        while rc == paho.MQTT_ERR_SUCCESS and (self._pending or self._closed) and self.socket() is not None:
            rc = super().loop_read(1)
        if self.greeted:
            self.greeted = False
            self._link.begin()
        # Behind the others: a CONNACK among them comes before every message, which may then be acknowledged.
        if block.topics and self._link._on_block:
            self._link._on_block(block, self._link.connection)
        return rc

    def close_socket(self) -> None:
        """Close what is still open: paho would leave it so until the next attempt, and the broker would believe us there."""
        sock = self.socket()
        if sock is not None:
            sock.close()

    def _create_socket_connection(self) -> socket.socket:
        """Connect without Nagle's algorithm: what follows another small message would wait 40 ms for the peer's delayed ACK."""
        sock = super()._create_socket_connection()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _ack_quickly(self, sock: Any) -> None:
        """Have TCP acknowledge at once: brokers keep Nagle's algorithm on, and wait for it. It wears off: ask each time."""
        if not self._websockets:  # paho's wrapper of such a socket has no options
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _sock_recv(self, bufsize: int) -> bytes:
        """Give paho bytes of the packets that `loop_read` left to it."""
        if not self._pending:
            if self._closed:
                return b""
            raise BlockingIOError
        taken, self._pending = self._pending[:bufsize], self._pending[bufsize:]
        return taken


def _out_packet(data: bytes) -> Any:
    """Make what paho keeps of a packet that waits to be written."""
    return {"command": paho.PUBACK, "mid": 0, "qos": 0, "pos": 0, "to_process": len(data), "packet": data, "info": None}


def _leave_to_loop(*_: Any) -> None:
    """Stand in paho's hook for other event loops: writing is left to the link's thread."""


def _address(client: _Client) -> str:
    return "{}:{}".format(*client.host_port)


def _why(error: Exception, client: _Client) -> str:
    where = _address(client)
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer"
    return f"cannot connect to {where}: {error}"
