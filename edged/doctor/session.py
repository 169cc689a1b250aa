"""One short MQTT session under a client id of its own: what the broker says to CONNECT, PING and SUBSCRIBE.

The running daemon keeps its session: brokers part sessions by client id alone, and this one's
is made of random bits.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter

from edged.config.addresses import BrokerUrl
from edged.doctor import packets
from edged.doctor.finding import Trouble, error
from edged.doctor.line import Line, Stream, at, connect_tcp, look, wrap_tls
from edged.doctor.packets import Connack, Malformed
from edged.doctor.websocket import WebSocket

KEEPALIVE_S = 60  # never 0: some brokers turn such a client down
_ENOUGH_BYTES = 1 << 24  # of messages that come before an answer


class TurnedDown(Exception):
    """The broker does not take this version of MQTT, or closed the connection without a word."""


class Session:
    """A connection to the broker at `url`; every step ends within `timeout_s` seconds, with a Trouble where it fails."""

    def __init__(self, url: BrokerUrl, context: ssl.SSLContext | None, timeout_s: float) -> None:
        """Open the connection, with TLS where a `context` is given."""
        self._url = url
        self._timeout_s = timeout_s
        self._rest = b""
        sock = connect_tcp(url, timeout_s)
        try:
            self.peer_certificate = b""
            if context:
                sock = secure = wrap_tls(sock, url, context, timeout_s)
                self.peer_certificate = secure.getpeercert(binary_form=True) or b""
            self._line = Line(sock, url)
            self._line.allow(timeout_s)
            self._stream: Stream = WebSocket(self._line, url) if url.scheme in ("ws", "wss") else self._line
        except BaseException:
            sock.close()
            raise

    def connect(self, version: str, username: str, password: str, session_expiry_s: int) -> Connack:
        """Send CONNECT and give the answer, also where it is a refusal; TurnedDown where this version is not spoken."""
        client_id = f"edged-doctor-{secrets.token_hex(4)}"  # 21 bytes: every broker must take 23
        self._line.allow(self._timeout_s)
        self._stream.send(packets.connect(version, client_id, username, password, KEEPALIVE_S, session_expiry_s))
        try:
            answer = packets.read_connack(self._answer(packets.CONNACK))
        except EOFError:
            raise TurnedDown from None
        except Malformed as fault:
            raise self._not_mqtt(fault) from None
        if answer.code in (0x84, 0x01):  # unsupported protocol version, on MQTT 5 and 3.1.1
            raise TurnedDown
        return answer

    def ping(self) -> float:
        """Give the milliseconds that a PINGREQ takes there and back."""
        start = perf_counter()
        self._ask(packets.PINGREQ, packets.PINGRESP)
        return 1000 * (perf_counter() - start)

    def subscribe(self, version: str, filters: Sequence[tuple[str, int]]) -> list[int]:
        """Subscribe to topic filters; give for each the granted QoS, or the code of a refusal."""
        body = self._ask(packets.subscribe(version, filters), packets.SUBACK)
        try:
            codes = packets.read_suback(body, version)
        except Malformed as fault:
            raise self._not_mqtt(fault) from None
        if len(codes) != len(filters):
            raise self._not_mqtt(Malformed("a SUBACK with another number of answers"))
        return codes

    def close(self, version: str) -> None:
        """Say good-bye, so that the broker forgets the session, and close."""
        with suppress(Trouble):
            self._stream.send(packets.disconnect(version))
        self._line.close()

    def _ask(self, request: bytes, answer: int) -> bytes:
        self._line.allow(self._timeout_s)
        self._stream.send(request)
        try:
            return self._answer(answer)
        except EOFError:
            text = f"{at(self._url)} took the connection, then closed it before it answered"
            raise Trouble(error("broker-closed", text, "the broker's log says why")) from None
        except Malformed as fault:
            raise self._not_mqtt(fault) from None

    def _answer(self, wanted: int) -> bytes:
        """Give the body of the next packet of the kind `wanted`; messages before it are passed over."""
        passed = 0
        while passed < _ENOUGH_BYTES:
            self._need(2)
            while (found := packets.read_length(self._rest[:5])) is None:
                self._need(len(self._rest) + 1)
            start, length = found
            kind = self._rest[0] >> 4
            if kind == packets.PUBLISH and wanted != packets.CONNACK:
                self._skip(start + length)
                passed += start + length
                continue
            if kind == packets.DISCONNECT:
                raise EOFError
            if kind != wanted or length > packets.MOST_BYTES:
                raise Malformed(f"it begins with {self._rest[:16]!r}")
            self._need(start + length)
            body, self._rest = self._rest[start : start + length], self._rest[start + length :]
            return body
        raise Malformed("more messages than answers")

    def _need(self, count: int) -> None:
        while len(self._rest) < count:
            part = self._stream.receive()
            if not part:
                raise EOFError
            self._rest += part

    def _skip(self, count: int) -> None:
        while count > len(self._rest):
            count -= len(self._rest)
            self._rest = b""
            self._need(1)
        self._rest = self._rest[count:]

    def _not_mqtt(self, fault: Malformed) -> Trouble:
        began = self._rest[:5]
        if began.startswith(b"\x15\x03"):
            advice = "it answers with TLS: write `mqtts://` in `url`"
        elif began.startswith(b"HTTP/"):
            advice = "it is a web server: check the port in `url`, or write `ws://` where it takes WebSockets"
        else:
            advice = "check host and port in `url`"
        return Trouble(error("broker-not-mqtt", f"what answers at {at(self._url)} is not an MQTT broker: {fault}", advice, look(self._url)))
