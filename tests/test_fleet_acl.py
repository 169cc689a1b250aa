"""The rules that `edged fleet acl` prints keep devices apart, on every broker that it knows and the tests can run.

A broker may refuse without a word, so what counts is what a trusted user hears. A marker that is sent behind says
that enough was waited for.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edged.mqtt.message import Will
from edged.mqtt.topics import DeviceTopics, FleetTopics
from tests.bad_link import BadLink
from tests.broker import Tls
from tests.fleet_sites import DEVICES, FLEET, MANAGER, TRUSTED, USERS, Place, User, open_place
from tests.waiting import PATIENCE_S, until

pytest_plugins = ["tests.fixtures"]

KINDS = ["mosquitto-5-password", "mosquitto-3.1.1-password", "mosquitto-5-certificate", "mosquitto-3.1.1-certificate", "nats"]
A, B = (DeviceTopics(FLEET, device) for device in DEVICES)
ALL = FleetTopics(FLEET)

MARKER = A.event("marker")
WRITES_OF_B = [B.status, B.birth, B.reported, B.event("alarm"), B.result("refresh", "1"), f"{B.base}/out/vibration", B.blob_request]
ORDERS = [device.desired for device in (A, B)] + [f"{device.base}/cmd/refresh/1" for device in (A, B)]
BYTES = [device.blob_data(7) for device in (A, B)]
OF_ALL = [ALL.repo("timestamp"), ALL.repo("root/3"), ALL.group_desired("presses"), f"{ALL.base}/_roll/1"]
ELSEWHERE = [
    DeviceTopics("other", DEVICES[0]).status,
    FleetTopics("other").repo("timestamp"),
    f"{ALL.base}/status",
    f"{A.base}/cmd",
    A.base,
    "sensors/x",
]


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = open_place(request.param, tmp_path_factory.mktemp("rules") / "broker", lambda: request.getfixturevalue("tls"))
    yield place
    place.close()


@pytest.fixture
def at(place: Place) -> Iterator[Place]:
    """Give the broker, and let the test's users go."""
    yield place
    for user in place.users:
        user.link.stop(0)
    place.users.clear()


def eyes(at: Place) -> User:
    """Give the trusted user, who hears everything once this returns."""
    trusted = at.user(TRUSTED, "edged/#", "sensors/#", suffix="-eyes")
    trusted.publish(MARKER, payload=b"ready")
    trusted.wait(MARKER, b"ready")
    trusted.heard.clear()
    return trusted


# -- what a device must not write -------------------------------------------------------------


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("payload", [b"forged", b""], ids=["forged", "erased"])
def test_a_device_writes_nothing_that_is_another_s_or_its_orders(at: Place, retain: bool, payload: bytes) -> None:
    trusted, device = eyes(at), at.user(DEVICES[0])
    forbidden = [*WRITES_OF_B, *ORDERS, *BYTES, *OF_ALL, *ELSEWHERE]
    device.publish(*forbidden, payload=payload, retain=retain)
    device.publish(MARKER, payload=b"behind")
    assert trusted.wait(MARKER, b"behind") == [(MARKER, b"behind")]
    assert device.link.dropped == ({"publish-refused": len(forbidden)} if at.says_no else {})


def test_a_device_cannot_erase_what_is_retained(at: Place) -> None:
    retained = [B.desired, B.status, ALL.repo("timestamp"), ALL.group_desired("presses")]
    trusted, device = at.user(TRUSTED), at.user(DEVICES[0])
    trusted.publish(*retained, payload=b"genuine", retain=True)
    device.publish(*retained, payload=b"", retain=True)
    device.publish(MARKER)
    late = at.user(TRUSTED, "edged/#", suffix="-late")
    until(lambda: set(retained) <= late.kept, "all that was retained", lambda: late.heard)
    assert {payload for topic, payload in late.heard if topic in retained} == {b"genuine"}
    trusted.publish(*retained, payload=b"", retain=True)


def test_a_device_s_will_does_not_speak_for_another(at: Place) -> None:
    trusted = eyes(at)
    with BadLink(at.port) as forger_s, BadLink(at.port) as honest:
        forging = at.broker(DEVICES[0], at.tls and at.tls.issue(DEVICES[0]), forger_s.port)
        forger = at.begin(forging, USERS[DEVICES[0]] if at.passwords else "", will=Will(B.status, b"lost"), suffix="-forger")
        until(lambda: forger.link.state.state in ("connected", "refused"), "the broker's answer", lambda: forger.link.state)
        at.user(DEVICES[0], port=honest.port, will=Will(A.status, b"lost"))
        for way in (forger_s, honest):
            way.down()
        trusted.wait(A.status, b"lost")
    at.user(DEVICES[0], suffix="-marker").publish(MARKER, payload=b"behind")
    assert B.status not in {topic for topic, _ in trusted.wait(MARKER, b"behind")}
    trusted.publish(A.status, payload=b"", retain=True)


# -- what a device must not read --------------------------------------------------------------

SECRETS = [B.desired, f"{B.base}/cmd/refresh/1", B.blob_data(7), *WRITES_OF_B, DeviceTopics("other", DEVICES[0]).desired]
PRYING = [
    B.desired,
    f"{B.base}/cmd/#",
    B.commands,
    f"{B.base}/blob/dat/#",
    f"{B.base}/#",
    ALL.of_devices("desired"),
    ALL.of_devices("#"),
    f"$share/spies/{B.base}/cmd/#",
    f"{ALL.base}/#",
    "edged/#",
    "+/+/+/+/desired",
    "#",
    "$MQTT/sub/#",
]


@pytest.mark.parametrize("prying", PRYING)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_device_reads_nothing_of_another(at: Place, prying: str, qos: int) -> None:
    trusted = at.user(TRUSTED)
    trusted.publish(*SECRETS, payload=b"retained", retain=True)
    own = f"{A.base}/cmd/marker/1"
    device = at.user(DEVICES[0], prying, f"{A.base}/cmd/#", qos=qos)
    other = at.user(DEVICES[1], B.commands, B.desired, B.blob_data("+"), suffix="-meant")
    until(lambda: B.desired in other.kept, "whom it is meant for hears it", lambda: other.heard)
    for round in (b"1", b"2"):  # what is late of the first is in by the second
        trusted.publish(*SECRETS, payload=b"live" + round)
        other.wait(f"{B.base}/cmd/refresh/1", b"live" + round)
        until(lambda round=round: _pulse(trusted, device, own, round), "the marker", lambda: device.link.state)  # type: ignore[misc]
    assert {topic for topic, _ in device.heard} <= {own}
    trusted.publish(*SECRETS, payload=b"", retain=True)


def _pulse(trusted: User, device: User, topic: str, payload: bytes) -> bool:
    """Send the marker until it is heard: the subscription may come after it."""
    trusted.publish(topic, payload=payload)
    return (topic, payload) in device.heard


# -- what each must be able to do -------------------------------------------------------------


def test_a_device_says_all_that_it_has_to(at: Place) -> None:
    trusted, device = eyes(at), at.user(DEVICES[0])
    kept = [A.status, A.birth, A.reported]
    told = [A.event("rejected"), A.result("refresh", "1"), f"{A.base}/out/vibration", f"{A.base}/out/hall-2/vibration", A.blob_request]
    device.publish(*kept, retain=True)
    device.publish(*told)
    device.publish(f"{A.base}/out/quick", qos=0)
    for topic in [*kept, *told, f"{A.base}/out/quick"]:
        trusted.wait(topic, b"x")
    assert device.link.dropped == {}
    device.publish(*kept, payload=b"", retain=True)


def test_a_device_hears_the_manager_before_and_after_it_connects(at: Place) -> None:
    manager = at.user(MANAGER)
    kept = [A.desired, ALL.repo("timestamp"), ALL.repo("root/3"), ALL.group_desired("presses")]
    manager.publish(*kept, payload=b"before", retain=True)
    device = at.user(DEVICES[0], A.desired, A.commands, ALL.repo("#"), ALL.group_desired("presses"))
    device.link.subscribe(A.blob_data("+"), 0)
    for topic in kept:
        device.wait(topic, b"before")
    assert device.kept == set(kept)
    manager.publish(*kept, payload=b"after", retain=True)
    manager.publish(f"{A.base}/cmd/refresh/1", payload=b"after")
    for topic in [*kept, f"{A.base}/cmd/refresh/1"]:
        device.wait(topic, b"after")
    until(lambda: _served(manager, device), "bytes", lambda: device.heard)
    assert manager.link.dropped == {}
    assert device.link.state.code == ""
    manager.publish(*kept, payload=b"", retain=True)


def _served(manager: User, device: User) -> bool:
    manager.publish(A.blob_data(7), payload=b"piece", qos=0)
    return (A.blob_data(7), b"piece") in device.heard


def test_the_manager_hears_the_fleet_and_cannot_speak_as_a_device(at: Place) -> None:
    device = at.user(DEVICES[0])
    device.publish(A.birth, payload=b"kept", retain=True)
    heard = ["birth", "reported", "status", "evt/+", "res/+/+", "blob/req"]
    manager = at.user(MANAGER, *map(ALL.of_devices, heard), ALL.repo("#"), ALL.group_desired("+"), ALL.of_devices("desired"))
    manager.wait(A.birth, b"kept")
    said = [A.reported, A.status, A.event("alarm"), A.result("refresh", "1"), A.blob_request]
    device.publish(*said, payload=b"live")
    for topic in said:
        manager.wait(topic, b"live")
    device.publish(A.birth, payload=b"", retain=True)
    trusted = eyes(at)
    at.user(MANAGER, suffix="-forger").publish(*WRITES_OF_B, payload=b"forged")
    device.publish(MARKER, payload=b"behind")
    assert trusted.wait(MARKER, b"behind") == [(MARKER, b"behind")]


# -- who must not come in ---------------------------------------------------------------------


def test_who_has_no_right_name_and_password_stays_out(at: Place) -> None:
    if at.tls:
        pytest.skip("this one asks for certificates")
    for name, password in ((DEVICES[0], "guess"), ("press-9", "guess"), ("", "")):
        stranger = at.begin(at.broker(name), password, "#")
        until(lambda stranger=stranger: stranger.link.state.state == "refused", "refused", lambda stranger=stranger: stranger.link.state)  # type: ignore[misc]
        assert not stranger.heard


def test_who_has_no_certificate_of_the_authority_stays_out(at: Place, tmp_path: Path) -> None:
    if not at.tls:
        pytest.skip("this one asks for passwords")
    for own in (Tls.make(tmp_path).issue(DEVICES[0]), None):
        stranger = at.begin(at.broker(DEVICES[0], own), "", "#")
        until(lambda stranger=stranger: stranger.link.connection > 1, "a second attempt", lambda stranger=stranger: stranger.link.state)  # type: ignore[misc]
        assert stranger.link.state.state != "connected"
        assert not stranger.heard


# -- NATS speaks more than MQTT ---------------------------------------------------------------


def test_a_device_that_speaks_nats_itself_reads_nothing_of_another(at: Place) -> None:
    """MQTT at QoS 1 goes through subjects of NATS's own, which its native protocol could hear."""
    if not at.native_port:
        pytest.skip("this one speaks MQTT only")
    spied = [">", "$MQTT.>", "$MQTT.sub.>", "$MQTT.deliver.pubrel.>", "$JS.>", "_INBOX.>", f"edged.1.{FLEET}.>"]
    trusted = at.user(TRUSTED)
    other = at.user(DEVICES[1], B.commands, B.desired)
    trusted.publish(B.desired, payload=b"kept", retain=True)
    other.wait(B.desired, b"kept")
    with closing(Native(at.native_port, DEVICES[0])) as native:
        native.send(*(f"SUB {subject} {i}" for i, subject in enumerate(spied)))
        native.answered()
        trusted.publish(f"{B.base}/cmd/refresh/1", payload=b"secret")
        other.wait(f"{B.base}/cmd/refresh/1", b"secret")
        heard = native.answered()
    trusted.publish(B.desired, payload=b"", retain=True)
    assert b"secret" not in heard


def test_a_device_that_speaks_nats_itself_writes_nothing_of_another(at: Place) -> None:
    if not at.native_port:
        pytest.skip("this one speaks MQTT only")
    trusted = eyes(at)
    subjects = [topic.replace("/", ".") for topic in (*WRITES_OF_B, *ORDERS, *BYTES, *OF_ALL)]
    subjects += [
        f"$MQTT.msgs.{B.desired.replace('/', '.')}",
        f"$MQTT.rmsgs.{B.desired.replace('/', '.')}",
        "$JS.API.STREAM.PURGE.$MQTT_rmsgs",
    ]
    with closing(Native(at.native_port, DEVICES[0])) as native:
        native.send(*(f"PUB {subject} 6\r\nforged" for subject in subjects))
        native.answered()
    at.user(DEVICES[0]).publish(MARKER, payload=b"behind")
    assert trusted.wait(MARKER, b"behind") == [(MARKER, b"behind")]
    late = at.user(DEVICES[1], B.desired, B.commands, suffix="-late")
    until(lambda: _pulse(trusted, late, f"{B.base}/cmd/marker/1", b"x"), "the marker", lambda: late.heard)
    assert B.desired not in late.kept


class Native:
    """A connection in the protocol of NATS, with a device's credentials."""

    def __init__(self, port: int, user: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._said = b""
        self._pings = 0
        self.send("CONNECT " + json.dumps({"verbose": False, "pedantic": False, "user": user, "pass": USERS[user]}))

    def send(self, *lines: str) -> None:
        with suppress(OSError):  # let in or not, see `answered`
            self._sock.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def answered(self) -> bytes:
        """Wait until all that was sent is worked off, or the connection is ended; give all that was said."""
        self.send("PING")
        self._pings += 1
        with suppress(ConnectionError):
            while self._said.count(b"PONG\r\n") < self._pings and (data := self._sock.recv(1 << 16)):
                self._said += data
        return self._said

    def close(self) -> None:
        self._sock.close()
