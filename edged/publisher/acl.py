"""Who may write and read which topics of a fleet, as the rules of a broker.

A device writes what is its own, and reads its own orders, commands and bytes, the metadata and the orders of groups.
The manager writes metadata, orders, commands and bytes, and reads all of the fleet. Nothing here is what keeps a bad
release out: signatures do that. Rules keep devices from each other's results, and strangers from the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edged.mqtt.topics import FleetTopics

DEVICE_WRITES = ("status", "birth", "reported", "evt/#", "res/#", "out/#", "blob/req")
DEVICE_READS = ("desired", "cmd/#", "blob/dat/#")
FLEET_READS = ("_repo/#", "_grp/+/desired")
MANAGER_WRITES = ("_repo/#", "_grp/#", "+/desired", "+/cmd/#", "+/blob/dat/#")


def mosquitto(fleet: str, devices: Sequence[str], manager: str) -> str:
    """Give an `acl_file` for Mosquitto; users are called as their devices are. `devices` are not needed: `%u` stands for each."""
    base = FleetTopics(fleet).base
    lines = [
        f"# Mosquitto: who may do what in the fleet {fleet}. Save as /etc/mosquitto/{fleet}.acl, and in mosquitto.conf:",
        "#   allow_anonymous false",
        "#   password_file /etc/mosquitto/passwords     (mosquitto_passwd; a device's user name is its id)",
        f"#   acl_file /etc/mosquitto/{fleet}.acl",
        "# With client certificates instead of passwords, whose common name is the device's id:",
        "#   require_certificate true",
        "#   use_identity_as_username true",
        "",
        "# The fleet manager.",
        f"user {manager}",
        *(f"topic write {base}/{topic}" for topic in MANAGER_WRITES),
        f"topic read {base}/#",
        "",
        "# Each device; %u is its user name.",
        *(f"pattern write {base}/%u/{topic}" for topic in DEVICE_WRITES),
        *(f"pattern read {base}/%u/{topic}" for topic in DEVICE_READS),
        *(f"pattern read {base}/{topic}" for topic in FLEET_READS),
        "",
        "# The topics of your sensors: what boards read, and what sensors write, such as",
        "#   pattern read sensors/%u/#",
        "#   user sensor-gateway",
        "#   topic write sensors/#",
        "",
    ]
    return "\n".join(lines)


def nats(fleet: str, devices: Sequence[str], manager: str) -> str:
    """Give the `authorization` block for nats-server.conf: a user for each device, with passwords to be filled in."""
    base = FleetTopics(fleet).base
    lines = [
        f"# NATS: who may do what in the fleet {fleet}. NATS has no variable for the user: each device has its own lines.",
        '# Make password hashes with `nats server passwd`. An MQTT topic a/b is the subject a.b; "#" is ">", "+" is "*".',
        "# $MQTT.sub.> is where nats-server before 2.12.4 delivers QoS 1 to a client; later ones need no such line.",
        '# Add the topics of your sensors to "subscribe" of the boards that read them, such as "sensors.press-7.>".',
        "authorization {",
        "  users = [",
        *_nats_user(manager, [f"{base}/{topic}" for topic in MANAGER_WRITES], [f"{base}/#"]),
    ]
    for device in devices or ["DEVICE"]:
        writes = [f"{base}/{device}/{topic}" for topic in DEVICE_WRITES]
        reads = [*(f"{base}/{device}/{topic}" for topic in DEVICE_READS), *(f"{base}/{topic}" for topic in FLEET_READS)]
        lines += _nats_user(device, writes, reads)
    return "\n".join([*lines, "  ]", "}", ""])


def emqx(fleet: str, devices: Sequence[str], manager: str) -> str:
    """Give terms for EMQX's acl.conf; `${username}` is the device's id. `devices` are not needed."""
    base = FleetTopics(fleet).base
    own = f"{base}/${{username}}"
    lines = [
        f"%% EMQX: who may do what in the fleet {fleet}. Put these terms into etc/acl.conf, before its last lines,",
        "%% and set `authorization.no_match = deny`. A device's user name is its id; with client certificates set",
        "%% `listeners.ssl.default.ssl_options.verify = verify_peer` and `mqtt.peer_cert_as_username = cn`.",
        _term(f'{{user, "{manager}"}}', "publish", [f"{base}/{topic}" for topic in MANAGER_WRITES]),
        _term(f'{{user, "{manager}"}}', "subscribe", [f"{base}/#"]),
        _term("all", "publish", [f"{own}/{topic}" for topic in DEVICE_WRITES]),
        _term("all", "subscribe", [*(f"{own}/{topic}" for topic in DEVICE_READS), *(f"{base}/{topic}" for topic in FLEET_READS)]),
        "%% The topics of your sensors, such as",
        '%% {allow, all, subscribe, ["sensors/${username}/#"]}.',
        "{deny, all}.",
        "",
    ]
    return "\n".join(lines)


BROKERS: dict[str, Callable[[str, Sequence[str], str], str]] = {"mosquitto": mosquitto, "nats": nats, "emqx": emqx}


def _nats_user(user: str, writes: Sequence[str], reads: Sequence[str]) -> list[str]:
    """Give one user, for MQTT only: what NATS needs for QoS 1, `$MQTT.sub.>`, would let its own protocol hear all devices."""
    publish = ", ".join(f'"{subject}"' for topic in writes for subject in _subjects(topic))
    subscribe = ", ".join(f'"{subject}"' for subject in [*(each for topic in reads for each in _subjects(topic)), "$MQTT.sub.>"])
    return [
        f'    {{ user: "{user}", password: "CHANGE-ME", allowed_connection_types: ["MQTT", "MQTT_WS"], permissions: {{',
        f"        publish: [{publish}]",
        f"        subscribe: [{subscribe}]",
        "    } }",
    ]


def _subjects(topic: str) -> list[str]:
    """Give the subjects that a filter stands for: `a/#` is also `a` itself."""
    subject = topic.replace("/", ".").replace("+", "*")
    return [subject.removesuffix(".#"), subject.replace("#", ">")] if topic.endswith("/#") else [subject]


def _term(who: str, action: str, topics: Sequence[str]) -> str:
    return f"{{allow, {who}, {action}, [{', '.join(f'{chr(34)}{topic}{chr(34)}' for topic in topics)}]}}."
