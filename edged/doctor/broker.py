"""One broker of the configuration: is it reachable, does it take us, what are its limits."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from edged.config.addresses import EMBEDDED, BrokerUrl, parse_broker_url
from edged.config.schema import Broker
from edged.doctor.certificates import judge_validity
from edged.doctor.credentials import password_of, tls_context
from edged.doctor.finding import Finding, Trouble, error, hint, warning
from edged.doctor.limits import SESSION_EXPIRY_S, Needs, describe, judge_limits, judge_speed, judge_subscriptions
from edged.doctor.line import at, is_local, look
from edged.doctor.packets import Connack
from edged.doctor.session import Session, TurnedDown
from edged.doctor.validity import Malformed, validity_of

STEP_S = 5.0

# MQTT 3.1.1 table 3.1 below 0x80, MQTT 5.0 section 3.2.2.2 above
_REFUSALS = {
    0x02: "it does not take the client id",
    0x03: "it is not available",
    0x81: "it calls our packet malformed",
    0x85: "it does not take the client id",
    0x88: "it is not available",
    0x89: "it is busy",
    0x8A: "this client is banned",
    0x97: "a quota is used up",
    0x9C: "use another server",
    0x9D: "it has moved",
    0x9F: "too many connections in a short time",
}
_LOGIN = (0x04, 0x05, 0x86, 0x87, 0x8C)


@dataclass(frozen=True)
class Asked:
    """One broker as the configuration names it, and how long each step may take, in seconds."""

    name: str
    broker: Broker
    needs: Needs
    now: int
    step_s: float = STEP_S

    @property
    def user(self) -> str:
        """Name who connects, for a person."""
        return f"user {self.broker.username}" if self.broker.username else "a client without a user name"

    @property
    def versions(self) -> list[str]:
        """Give the MQTT versions to try, as the daemon does."""
        return {"auto": ["5", "3.1.1"]}.get(self.broker.version, [self.broker.version])


def check_broker(asked: Asked) -> Iterator[Finding]:
    """Connect as the daemon would, under another client id, and say what comes of it."""
    if asked.broker.url == EMBEDDED:
        text = "the broker is edged's own: it forgets all at a restart, and no other machine reaches it"
        yield hint("broker-embedded", text, "for more than trying things out, take a broker", "sudo apt install mosquitto", asked.name)
        return
    try:
        url = parse_broker_url(asked.broker.url)
        context = tls_context(asked.broker) if url.scheme in ("mqtts", "wss") else None
        password = password_of(asked.broker)
        version, session, answer = _open(asked, url, context, password)
        try:
            yield from _peer(asked, url, session.peer_certificate)
            yield from _privacy(asked, url)
            ping_ms = session.ping()
        finally:
            session.close(version)
        yield from judge_limits(answer.properties, asked.needs, asked.name)
        yield from judge_speed(ping_ms, asked.name)
        yield from _subscriptions(asked, url, context, password, version)
        yield describe(version, ping_ms, answer.properties, asked.broker.url, asked.name)
    except Trouble as trouble:
        yield structs.replace(trouble.finding, subject=asked.name)


def _open(asked: Asked, url: BrokerUrl, context: ssl.SSLContext | None, password: str) -> tuple[str, Session, Connack]:
    """Connect with the first version of MQTT that the broker takes."""
    for version in asked.versions:
        session = Session(url, context, asked.step_s)
        try:
            answer = session.connect(version, asked.broker.username, password, SESSION_EXPIRY_S)
            if answer.code:
                raise Trouble(_refused(asked, url, answer))
        except TurnedDown:
            session.close(version)
        except BaseException:
            session.close(version)
            raise
        else:
            return version, session, answer
    tried = " or ".join(asked.versions)
    text = f"{at(url)} closes the connection when it is asked for MQTT {tried}"
    if context:
        advice = "does it want a certificate of this board? then name one in `cert_file` and `key_file`; its log says why"
    else:
        advice = "is it a TLS port? then write `mqtts://`; its log says why"
    raise Trouble(error("broker-turned-down", text, advice, look(url)))


def _subscriptions(asked: Asked, url: BrokerUrl, context: ssl.SSLContext | None, password: str, version: str) -> Iterator[Finding]:
    """Subscribe to what the pipelines read, in a session that ends with its connection: no message waits for nobody."""
    if not asked.needs.filters:
        return
    session = Session(url, context, asked.step_s)
    try:
        answer = session.connect(version, asked.broker.username, password, 0)
        if answer.code:
            raise Trouble(_refused(asked, url, answer))
        codes = session.subscribe(version, asked.needs.filters)
    except TurnedDown:
        text = f"{at(url)} took one connection and closed the next before it answered"
        raise Trouble(error("broker-closed", text, "the broker's log says why")) from None
    finally:
        session.close(version)
    yield from judge_subscriptions(asked.needs.filters, codes, asked.user, asked.name)


def _refused(asked: Asked, url: BrokerUrl, answer: Connack) -> Finding:
    said = f" (it says: {answer.properties['reason']})" if answer.properties.get("reason") else ""
    if answer.code in _LOGIN:
        text = f"{at(url)} refuses {asked.user}: wrong user name or password, or not allowed to connect{said}"
        advice = f"check `username` and `password_file` in [mqtt.{asked.name}], and the broker's own list"
        return error("broker-refused-login", text, advice)
    reason = _REFUSALS.get(answer.code, f"code 0x{answer.code:02x}")
    return error("broker-refused", f"{at(url)} refuses the connection: {reason}{said}", "the broker's log says why")


def _peer(asked: Asked, url: BrokerUrl, certificate: bytes) -> Iterator[Finding]:
    """Judge how long the broker's certificate holds; the chain was verified when TLS began."""
    if not certificate:
        return
    try:
        validity = validity_of(certificate)
    except Malformed:  # sound for OpenSSL, and of a form that ours does not read: nothing to say
        return
    show = f"{look(url)} | openssl x509 -noout -subject -dates"
    yield from judge_validity(f"the certificate of {at(url)}", asked.name, validity, asked.now, show)


def _privacy(asked: Asked, url: BrokerUrl) -> Iterator[Finding]:
    if url.scheme in ("mqtts", "wss") or is_local(url.host):
        return
    if asked.broker.username:
        text = f"user name and password go unencrypted to {url.host}"
        yield warning("broker-unencrypted", text, "let the broker take TLS, and write `mqtts://`", subject=asked.name)
    else:
        text = f"{url.host} takes anybody, unencrypted: who is in this network can read results and send readings"
        yield warning("broker-open", text, "let the broker want a password and TLS", subject=asked.name)
