"""paho, with its edges taken off; the only module that imports it.

`Client` changes two things: PUBLISH packets come in blocks, acknowledgements go out in blocks.
It is driven by one thread through `step`. What it has to say goes to `Events`, in that thread.
Foreign exceptions end in `mqtt/link.py`, which treats each as the end of an attempt.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import cache
from struct import Struct
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edged.config.schema import Broker
from edged.errors import OperatorError
from edged.mqtt.message import NOT_NOW, Message, Will
from edged.mqtt.receive import Block, PublishReader
from edged.mqtt.sockets import ack_quickly, hurry

MESSAGE_LIMIT = 1 << 20  # a longer message is skipped while it comes in, and counted
READ_SIZE = 1 << 16
IN_FLIGHT = 64  # unacknowledged publishes, if the broker takes as many: 20 to 100 is best, 1000 halves paho's rate
CONNECT_TIMEOUT_S = 5.0
SESSION_EXPIRY_S = 24 * 3600

# When small blocks follow each other within HURRY_NS, the next read waits PACE_S, so that more
# messages share one pass: at 30,000 messages a second this halves the CPU time of each.
HURRY_NS = 1_000_000
HURRY_MESSAGES = 20
PACE_S = 0.0002

_TAKEN = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)
_ACK = Struct(">HH").pack
_PUBACK = 0x4002  # type 4, remaining length 2


class Events(Protocol):
    """Who hears of a connection."""

    def answered(self, refusal: str, window: int, resumed: bool) -> None:
        """The broker answered CONNECT: with yes, its window for publishes and whether it kept the session, or with a refusal."""

    def standing(self) -> None:
        """Say that messages may go; paho has sent again what was in flight."""

    def subscribed(self, filters: int, refusal: str) -> None:
        """Say that the broker has answered to so many filters at once: with yes, or with a refusal of one of them."""

    def published(self, mid: int, refused: bool) -> None:
        """Say that the message that was handed over as `mid` is over."""

    def received(self, block: Block) -> None:
        """Give messages that came."""


class Client(paho.Client):
    """A client for one broker and one version of MQTT, `5` or `3.1.1`."""

    def __init__(self, broker: Broker, password: str, version: str, client_id: str, keep_session: bool, events: Events) -> None:
        """Prepare; raises OperatorError(`tls-files`)."""
        url = urlsplit(broker.url)
        secure = url.scheme in ("mqtts", "wss")
        port = url.port or {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}[url.scheme]
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if version == "5" else not keep_session,
            protocol=paho.MQTTv5 if version == "5" else paho.MQTTv311,
            transport="websockets" if url.scheme in ("ws", "wss") else "tcp",
        )
        self.protocol_version = version
        self._host_port = (url.hostname or "", port)
        self.address = f"{url.hostname}:{port}"
        self._keep_session = keep_session
        self._keepalive_s = broker.keepalive_s
        self._events = events
        self._reader = PublishReader(MESSAGE_LIMIT, version == "5")
        self._reader_of: object = None
        self._pending = b""
        self._closed = False
        self._last_read = 0
        self._writing = threading.Lock()
        self._hurried = False  # the last blocks were small and close together
        self._greeted = False  # the broker has said yes, and paho is not through with what follows from it
        self._unsure: list[paho.MQTTMessageInfo] = []  # QoS 0, handed to paho last
        self.on_connect = self._on_connect_answer
        self.on_subscribe = self._on_subscribe_answer
        self.on_publish = self._on_publish_answer
        self.on_socket_register_write = lambda *_: None  # a publish leaves the writing to the link's thread
        self.connect_timeout = CONNECT_TIMEOUT_S
        self.max_inflight_messages_set(IN_FLIGHT)
        self._websockets = url.scheme in ("ws", "wss")
        if self._websockets:
            self.ws_set_options(path=url.path or "/mqtt")
        if broker.username:
            self.username_pw_set(broker.username, password or None)
        if secure:
            self._secure(broker)

    def _secure(self, broker: Broker) -> None:
        try:
            self.tls_set(broker.ca_file or None, broker.cert_file or None, broker.key_file or None)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise OperatorError(
                "tls-files", f"cannot use the TLS files of this broker: {error}", "check ca_file, cert_file and key_file"
            ) from error

    def open(self, will: Will | None) -> None:
        """Connect and send CONNECT; raises what sockets and TLS raise."""
        if will:
            self.will_set(will.topic, will.payload, qos=1, retain=True)
        if self.protocol_version == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY_S if self._keep_session else 0
            self.connect(*self._host_port, self._keepalive_s, clean_start=not self._keep_session, properties=properties)
        else:
            self.connect(*self._host_port, self._keepalive_s)

    def step(self, timeout_s: float) -> bool:
        """Wait for something to do, do it; False when the connection is over."""
        if self.loop(timeout_s) != paho.MQTT_ERR_SUCCESS:
            return False
        if self._hurried:
            time.sleep(PACE_S)
        return True

    def hand_over(self, message: Message) -> int:
        """Give paho a message to publish, from any thread; its packet identifier, 0 where it never can go, NOT_NOW without a connection."""
        try:
            info = self.publish(message.topic, message.payload, message.qos, message.retain, self._publish_properties(message))
        except Exception:  # a topic or a property that MQTT does not take: labels from outside stand in them
            return 0
        if info.rc and (message.qos == 0 or info.rc != paho.MQTT_ERR_NO_CONN):  # QoS 1 without a connection stays in flight
            return NOT_NOW if info.rc == paho.MQTT_ERR_NO_CONN else 0
        if message.qos == 0:
            self._unsure = [*self._unsure[-IN_FLIGHT:], info]
        return info.mid

    def take_lost(self) -> list[int]:
        """Name QoS 0 messages that the last connection took along: paho lets them go without a word when it connects again."""
        lost = [info.mid for info in self._unsure if info.rc == paho.MQTT_ERR_CONN_LOST]
        self._unsure = []
        return lost

    def hang_up(self) -> None:
        """End the connection from any thread, without a word to the broker; the next `step` notices."""
        with suppress(OSError, AttributeError):  # gone, or paho's wrapper for websockets, which only its keep-alive ends
            self.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def send_acks(self, mids: list[int]) -> None:
        """Acknowledge QoS 1 messages, in one write; from any thread.

        On a plain socket with nothing else to write they go out at once, which saves the
        link's thread a wake-up for each block. Everywhere else that thread sends them.
        """
        packets = b"".join([_ACK(_PUBACK, mid) for mid in mids if mid])
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
        """Read one block, hand its messages on, give everything else to paho."""
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
        if not self._websockets:  # paho's wrapper of such a socket has no options
            ack_quickly(sock)
        block = self._reader.feed(data)
        now = time.monotonic_ns()
        self._hurried = 0 < len(block.topics) < HURRY_MESSAGES and now - self._last_read < HURRY_NS
        self._last_read = now
        self._pending = block.others
        rc = paho.MQTT_ERR_SUCCESS
        while rc == paho.MQTT_ERR_SUCCESS and (self._pending or self._closed) and self.socket() is not None:
            rc = super().loop_read(1)
        if self._greeted:
            self._greeted = False
            self._events.standing()
        # Behind the others: a CONNACK among them comes before every message, which may then be acknowledged.
        if block.topics:
            self._events.received(block)
        return rc

    def close_socket(self) -> None:
        """Close what is still open: paho would leave it so until the next attempt, and the broker would believe us there."""
        sock = self.socket()
        if sock is not None:
            sock.close()

    def release(self) -> None:
        """Close what wakes the client's thread, once that has ended; paho leaves it open for the garbage collector."""
        self._reset_sockets(sockpair_only=True)

    def _create_socket_connection(self) -> socket.socket:
        sock = super()._create_socket_connection()
        hurry(sock)
        return sock

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """Note a plain yes to a publish without the objects that paho makes of it: they took a third of the link's time."""
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) != 2:
            return super()._handle_pubackcomp(cmd)
        mid = packet[0] << 8 | packet[1]
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, _TAKEN, _NO_PROPERTIES)
        return paho.MQTT_ERR_SUCCESS

    def _sock_recv(self, bufsize: int) -> bytes:
        """Give paho bytes of the packets that `loop_read` left to it."""
        if not self._pending:
            if self._closed:
                return b""
            raise BlockingIOError
        taken, self._pending = self._pending[:bufsize], self._pending[bufsize:]
        return taken

    def _on_connect_answer(self, _client: Any, _data: Any, flags: Any, reason: Any, properties: Any = None) -> None:
        """Take the broker's answer to CONNECT; paho next sends again what was in flight, and only then new messages may go."""
        self._greeted = not reason.is_failure
        window = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._events.answered(str(reason) if reason.is_failure else "", window, flags.session_present)

    def _on_subscribe_answer(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any = None) -> None:
        self._events.subscribed(len(reasons), next((str(reason) for reason in reasons if reason.is_failure), ""))

    def _on_publish_answer(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._events.published(mid, bool(reason.is_failure))  # refused on MQTT 5 only: 3.1.1 has no word for it

    def _publish_properties(self, message: Message) -> Properties | None:
        if self.protocol_version != "5" or not (message.content_type or message.properties):
            return None
        if not message.properties:
            return _content_type(message.content_type)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = message.content_type
        properties.UserProperty = list(message.properties.items())
        properties.pack()  # raises here what would else raise at each connection, once paho holds the message
        return properties


@cache
def _content_type(name: str) -> Properties:
    """Give the properties of all messages of one content type; paho only reads them."""
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = name
    return properties


def _out_packet(data: bytes) -> Any:
    """Make what paho keeps of a packet that waits to be written."""
    return {"command": paho.PUBACK, "mid": 0, "qos": 0, "pos": 0, "to_process": len(data), "packet": data, "info": None}
