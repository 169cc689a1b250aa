"""What a configuration needs of a broker, held against the limits that the broker states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edged.config.schema import Config, MqttOutput, MqttSource
from edged.doctor.finding import Finding, error, hint, ok, warning
from edged.doctor.packets import REFUSED, Value
from edged.mqtt.topics import Template

MAIN = "main"
SESSION_EXPIRY_S = 24 * 3600  # what the daemon asks for
LEAST_WINDOW = 10
LEAST_PACKET = 1 << 16
SLOW_MS = 1000.0

# MQTT 5.0, table 2-6; 3.1.1 has 0x80 alone
_REFUSALS = {
    0x80: "for no stated reason",
    0x87: "not authorized",
    0x8F: "the filter is not valid",
    0x97: "quota exceeded",
    0x9E: "shared subscriptions are not supported",
    0xA2: "wildcards are not supported",
}


@dataclass(frozen=True)
class Needs:
    """What the configuration does with one broker.

    `status`: the board's own retained topics go there. `qos` is the highest in use, `filters`
    are what is subscribed to, each with its QoS.
    """

    status: bool
    qos: int
    filters: tuple[tuple[str, int], ...]


def needs_of(config: Config, name: str) -> Needs:
    """Collect what the pipelines want of the broker called `name`."""
    sources = [each.source for each in config.pipelines if isinstance(each.source, MqttSource) and each.source.broker == name]
    outputs = [out for each in config.pipelines for out in each.outputs if isinstance(out, MqttOutput) and out.broker == name]
    filters: dict[str, int] = {}
    for source in sources:
        topic = Template(source.topic).filter
        filters[topic] = max(source.qos, filters.get(topic, 0))
    levels = [*filters.values(), *(each.qos for each in outputs)]
    return Needs(name == MAIN, max(levels, default=0) if name != MAIN else 1, tuple(filters.items()))


def judge_limits(limits: Mapping[str, Value], needs: Needs, subject: str) -> Iterator[Finding]:
    """Say which limits of an MQTT 5 broker the configuration meets; a broker that states none has none."""
    if needs.qos > _number(limits, "maximum_qos", 2):
        text = "the broker takes QoS 0 only, and the configuration wants QoS 1"
        yield error("broker-qos", text, "let the broker take QoS 1: without it results get lost", subject=subject)
    if needs.status and limits.get("retain_available") is False:
        text = "the broker keeps no retained messages: it turns down the daemon, whose Will is one"
        yield error("broker-no-retain", text, "let the broker keep retained messages", subject=subject)
    wild = [topic for topic, _ in needs.filters if {"+", "#"} & set(topic.split("/"))]
    if wild and limits.get("wildcards_available") is False:
        text = f"the broker takes no wildcards, and {wild[0]} has one"
        yield error("broker-no-wildcards", text, "allow wildcards there, or name the topics one by one", subject=subject)
    if (window := _number(limits, "receive_maximum", 65535)) < LEAST_WINDOW:
        text = f"the broker takes {window} unacknowledged messages at a time: results go out slowly over a slow link"
        yield hint("broker-window-small", text, "raise its receive maximum to 20 or more", subject=subject)
    if (largest := _number(limits, "maximum_packet_size", 1 << 28)) < LEAST_PACKET:
        text = f"the broker takes messages up to {largest:,} bytes: longer results are lost"
        yield warning("broker-packet-small", text, f"raise its maximum packet size to {LEAST_PACKET:,} bytes or more", subject=subject)
    if needs.filters and (kept := _number(limits, "session_expiry_s", SESSION_EXPIRY_S)) < SESSION_EXPIRY_S:
        text = f"the broker keeps what comes while the daemon is away for {kept:,} s only; the daemon asks for a day"
        yield hint("broker-session-short", text, "raise its session expiry, where readings must not be lost", subject=subject)


def judge_subscriptions(filters: tuple[tuple[str, int], ...], codes: list[int], user: str, subject: str) -> Iterator[Finding]:
    """Say which topic filters the broker does not grant, or at a lower QoS than asked for."""
    for (topic, qos), code in zip(filters, codes):
        if code >= REFUSED:
            text = f"{user} may not subscribe to {topic}: {_REFUSALS.get(code, f'code 0x{code:02x}')}"
            yield error("broker-subscription-refused", text, "let the broker's access rules allow it", subject=subject)
        elif code < qos:
            text = f"the broker gives QoS {code} for {topic}, not {qos}: readings may get lost on the way"
            yield warning("broker-subscription-qos", text, "let the broker grant it, or write `qos = 0`", subject=subject)


def judge_speed(ping_ms: float, subject: str) -> Iterator[Finding]:
    """Say where the way to the broker is slow."""
    if ping_ms >= SLOW_MS:
        text = f"the broker takes {ping_ms / 1000:.1f} s to answer a ping: network or broker are overloaded"
        yield hint("broker-slow", text, subject=subject)


def describe(version: str, ping_ms: float, limits: Mapping[str, Value], where: str, subject: str) -> Finding:
    """Make the finding that the broker answers, with its limits in words and, for programs, whole."""
    words = [f"MQTT {version} at {where}", f"answers in {ping_ms:.1f} ms"]
    if version == "5":
        words.append(f"window {_number(limits, 'receive_maximum', 65535):,}")
        words.append(f"QoS up to {_number(limits, 'maximum_qos', 2)}")
        if size := _number(limits, "maximum_packet_size", 0):
            words.append(f"messages up to {size:,} bytes")
        if keepalive := _number(limits, "keepalive_s", 0):
            words.append(f"keepalive {keepalive} s")
    return ok(", ".join(words), subject, {"version": version, "ping_ms": round(ping_ms, 2), **limits})


def _number(limits: Mapping[str, Value], name: str, default: int) -> int:
    value = limits.get(name, default)
    return value if isinstance(value, int) else default
