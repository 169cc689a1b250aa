"""`edged doctor` and brokers: real ones of every kind, and whatever else may answer at an address."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.cli.doctor import render
from edged.config.addresses import parse_broker_url
from edged.config.load import load_config
from edged.config.schema import Broker
from edged.doctor import limits, packets
from edged.doctor.broker import Asked, check_broker
from edged.doctor.examine import Report
from edged.doctor.finding import ERROR, HINT, OK, WARNING, Finding, Trouble
from edged.doctor.limits import Needs, judge_limits, judge_subscriptions, needs_of
from edged.doctor.line import connect_tcp, is_local
from edged.mqtt import client
from tests.broker import Mosquitto, Tls, free_port
from tests.daemon import on_topic, pipeline
from tests.peer import Peer
from tests.test_doctor_board import found
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

NO_NEEDS = Needs(status=True, qos=1, filters=())
SOON_S = 0.3


def asked(port: int, *, scheme: str = "mqtt", needs: Needs = NO_NEEDS, step_s: float = PATIENCE_S, **options: str) -> Asked:
    broker = Broker(url=f"{scheme}://127.0.0.1:{port}", **options)  # type: ignore[arg-type]
    return Asked("main", broker, needs, time.time_ns(), step_s)


def codes(question: Asked) -> dict[str, str]:
    return {each.code: each.severity for each in check_broker(question)}


def answer(question: Asked) -> Finding:
    """Ask a broker that is to be fine, and give what is said of its limits."""
    (finding,) = [each for each in check_broker(question) if "version" in each.details]
    return finding


# -- real brokers -----------------------------------------------------------------------------------


def test_a_broker_of_mqtt_5_is_fine_and_states_its_limits(make_broker: MakeBroker) -> None:
    broker = make_broker(extra="max_inflight_messages 33\nmax_packet_size 200000\nmax_keepalive 40\nmax_topic_alias 7").start()
    finding = answer(asked(broker.port))
    assert finding.severity == OK
    assert finding.details["version"] == "5"
    assert finding.details["receive_maximum"] == 33
    assert finding.details["maximum_packet_size"] == 200_000
    assert finding.details["keepalive_s"] == 40
    assert finding.details["topic_alias_maximum"] == 7
    assert "window 33" in finding.text
    assert "messages up to 200,000 bytes" in finding.text


def test_the_subscriptions_of_the_pipelines_are_tried(broker: Mosquitto) -> None:
    needs = Needs(status=True, qos=1, filters=(("plant/+/vib", 1), ("plant/x", 0)))
    assert codes(asked(broker.port, needs=needs)) == {"ok": OK}


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_messages_that_come_before_the_answer_are_passed_over(broker: Mosquitto, version: str) -> None:
    """A retained message above the limit that we state, and many small ones."""
    topic = f"doctor/{version}"
    with Peer(broker.port) as peer:
        peer.publish(f"{topic}/large", os.urandom(300_000), retain=True)
        for i in range(50):
            peer.publish(f"{topic}/{i}", "x", retain=True)
    needs = Needs(status=True, qos=1, filters=((f"{topic}/+", 1),))
    assert codes(asked(broker.port, needs=needs, version=version)) == {"ok": OK}


def test_no_session_of_ours_stays_at_the_broker(make_broker: MakeBroker, tmp_path: Path) -> None:
    """It is asked for a day, to see what it grants, and then told to forget. Another client's session is in its file."""
    broker = make_broker(persistent=True).start()
    with Peer(broker.port, "kept/+", client_id="kept-client"):
        assert codes(asked(broker.port, needs=Needs(status=True, qos=1, filters=(("a/+", 1),)))) == {"ok": OK}
    broker.stop()
    written = next(tmp_path.glob("broker*/mosquitto.db")).read_bytes()
    assert b"kept-client" in written
    assert b"edged-doctor" not in written


def test_wrong_and_missing_passwords_are_told_apart_from_a_broker_that_is_away(make_broker: MakeBroker, tmp_path: Path) -> None:
    broker = make_broker(users={"press": "right"}).start()
    (tmp_path / "right").write_text("right\n")
    (tmp_path / "wrong").write_text("wrong\n")
    for version in ("5", "3.1.1"):
        wrong = asked(broker.port, username="press", password_file=str(tmp_path / "wrong"), version=version)
        right = asked(broker.port, username="press", password_file=str(tmp_path / "right"), version=version)
        assert codes(asked(broker.port, version=version)) == {"broker-refused-login": ERROR}
        assert codes(wrong) == {"broker-refused-login": ERROR}
        assert codes(right) == {"ok": OK}
        assert "user press" in found(check_broker(wrong))["broker-refused-login"].text


def test_a_broker_that_speaks_3_1_1_only_is_fine() -> None:
    iotcore = pytest.importorskip("iotcore", reason="needs the embedded broker: pip install iotcore")
    port = free_port()
    with iotcore.Broker(port=port, listen="127.0.0.1"):
        wait_for(port)
        finding = answer(asked(port, needs=Needs(status=True, qos=1, filters=(("a/+", 1),))))
        assert finding.details["version"] == "3.1.1"
        assert codes(asked(port, version="5")) == {"broker-turned-down": ERROR}


def wait_for(port: int) -> None:
    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    until(listens, "the broker listens")


def test_websockets_are_spoken(make_broker: MakeBroker) -> None:
    broker = make_broker(websockets=True).start()
    needs = Needs(status=True, qos=1, filters=(("a/+", 1),))
    assert codes(asked(broker.port, scheme="ws", needs=needs)) == {"ok": OK}


def test_a_broker_without_websockets_is_told(broker: Mosquitto) -> None:
    assert set(codes(asked(broker.port, scheme="ws", step_s=5))) == {"broker-no-websocket"}


# -- TLS --------------------------------------------------------------------------------------------


def test_tls_is_spoken_and_the_end_of_the_brokers_certificate_told(make_broker: MakeBroker, tls: Tls) -> None:
    """The test's certificate holds for two days, so that is an error."""
    broker = make_broker(tls=tls).start()
    findings = list(check_broker(asked(broker.port, scheme="mqtts", ca_file=str(tls.ca))))
    assert [(each.code, each.severity) for each in findings] == [("certificate-expires", ERROR), ("ok", OK)]
    assert "MQTT 5" in findings[1].text


def test_a_certificate_of_an_unknown_authority_is_told(make_broker: MakeBroker, tls: Tls) -> None:
    broker = make_broker(tls=tls).start()
    finding = found(check_broker(asked(broker.port, scheme="mqtts")))["broker-certificate-untrusted"]
    assert "ca_file" in finding.advice


def test_a_certificate_for_another_name_is_told(make_broker: MakeBroker, tls: Tls) -> None:
    broker = make_broker(tls=tls).start()
    question = Asked("main", Broker(url=f"mqtts://localhost:{broker.port}", ca_file=str(tls.ca)), NO_NEEDS, time.time_ns())
    assert codes(question) == {"broker-certificate-name": ERROR}


@pytest.mark.parametrize(
    ("begin", "end", "code"),
    [
        ("20200101000000Z", "20210101000000Z", "broker-certificate-expired"),
        ("20500101000000Z", "20510101000000Z", "broker-certificate-not-yet-valid"),
    ],
)
def test_a_certificate_outside_its_time_is_told_and_the_clock_named(
    make_broker: MakeBroker, tls: Tls, tmp_path: Path, begin: str, end: str, code: str
) -> None:
    chosen = signed(tls, tmp_path, begin, end)
    broker = make_broker(tls=chosen).start()
    finding = found(check_broker(asked(broker.port, scheme="mqtts", ca_file=str(tls.ca))))[code]
    assert "clock" in finding.text + finding.advice


def signed(tls: Tls, folder: Path, begin: str, end: str) -> Tls:
    """Make a certificate of the test's authority for a time of its own."""
    (folder / "index").touch()
    (folder / "serial").write_text("01")
    (folder / "ca.conf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndir={folder}\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1\n"
    )
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1"]
    sign = ["openssl", "ca", "-batch", "-config", "ca.conf", "-cert", str(tls.ca), "-keyfile", str(tls.ca.with_name("ca.key"))]
    sign += ["-startdate", begin, "-enddate", end, "-in", "server.csr", "-out", "server.pem", "-notext"]
    for command in (request, sign):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Tls(tls.ca, folder / "server.pem", folder / "server.key")


def test_a_broker_that_wants_a_certificate_is_told(make_broker: MakeBroker, tls: Tls) -> None:
    """Where its word is lost in a reset, all that is seen is the end."""
    broker = make_broker(tls=tls, extra="require_certificate true").start()
    (finding,) = check_broker(asked(broker.port, scheme="mqtts", ca_file=str(tls.ca)))
    assert finding.code in ("broker-wants-certificate", "broker-turned-down")
    assert "`cert_file`" in finding.advice


def test_a_certificate_of_our_own_is_shown(make_broker: MakeBroker, tls: Tls) -> None:
    broker = make_broker(tls=tls, extra="require_certificate true").start()
    question = asked(broker.port, scheme="mqtts", ca_file=str(tls.ca), cert_file=str(tls.cert), key_file=str(tls.key))
    assert "MQTT 5" in answer(question).text


def test_tls_where_there_is_none_and_none_where_there_is_are_told(make_broker: MakeBroker, broker: Mosquitto, tls: Tls) -> None:
    secure = make_broker(tls=tls).start()
    assert codes(asked(broker.port, scheme="mqtts", ca_file=str(tls.ca), step_s=5)) in (
        {"broker-no-tls": ERROR},
        {"broker-silent": ERROR},
    )
    finding = next(iter(check_broker(asked(secure.port))))
    assert finding.severity == ERROR
    assert "mqtts://" in finding.advice


# -- what hurts -------------------------------------------------------------------------------------


@contextmanager
def listener(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Listen on loopback and let `serve` deal with each connection; give the port."""
    server = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                connection.settimeout(PATIENCE_S)
                with suppress(OSError):
                    serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        server.close()
        thread.join(PATIENCE_S)


def says(*packets_: bytes) -> Callable[[socket.socket], None]:
    """Answer each thing that is sent with the next of these packets, then close."""

    def serve(connection: socket.socket) -> None:
        for packet in packets_:
            connection.recv(1 << 16)
            connection.sendall(packet)
        connection.close()

    return serve


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts", "ws", "wss"])
def test_who_accepts_and_says_nothing_is_left_after_the_time_of_one_step(scheme: str) -> None:
    with listener(lambda _: None) as port:
        assert codes(asked(port, scheme=scheme, step_s=SOON_S)) == {"broker-silent": ERROR}


def test_who_lets_bytes_drip_is_left_after_the_time_of_one_step() -> None:
    """Each byte alone would come in time."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"\x20\xff\xff\x03")
        while not ended.wait(SOON_S / 10):
            connection.sendall(b"\x20")

    try:
        with listener(drip) as port:
            assert codes(asked(port, step_s=SOON_S)) == {"broker-silent": ERROR}
    finally:
        ended.set()


def test_nobody_listening_is_told_with_the_command_that_starts_a_broker() -> None:
    finding = found(check_broker(asked(free_port())))["broker-unreachable"]
    assert finding.fix == "sudo systemctl start mosquitto"


def test_a_name_that_nobody_knows_is_told() -> None:
    question = Asked("main", Broker(url="mqtt://no-such-host.invalid"), NO_NEEDS, time.time_ns(), 5)
    assert codes(question) == {"broker-name-unknown": ERROR}


def test_a_name_server_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asleep.wait(PATIENCE_S) and [])
    with pytest.raises(Trouble) as caught:
        connect_tcp(parse_broker_url("mqtt://broker.plant"), SOON_S)
    asleep.set()
    assert caught.value.finding.code == "broker-name-unknown"


GARBAGE = {
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a mail server": b"220 mail ESMTP\r\n",
    "another packet": b"\x90\x03\x00\x01\x00",
    "a CONNACK without a body": b"\x20\x00",
    "a CONNACK of one byte": b"\x20\x01\x00",
    "flags that cannot be": b"\x20\x03\xff\x00\x00",
    "a length of five bytes": b"\x20\xff\xff\xff\xff\x7f",
    "a length of 256 MiB": b"\x20\xff\xff\xff\x7f",
    "properties longer than the packet": b"\x20\x04\x00\x00\x7f\x21",
    "a property that cannot be": b"\x20\x05\x00\x00\x02\xee\x01",
    "a property cut short": b"\x20\x05\x00\x00\x02\x21\x01",
    "a text longer than the packet": b"\x20\x07\x00\x00\x04\x1f\xff\xff\x41",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_not_mqtt_is_told(data: bytes) -> None:
    with listener(says(data)) as port:
        assert codes(asked(port)) == {"broker-not-mqtt": ERROR}


def test_what_answers_with_tls_or_http_is_told_with_the_url_to_write() -> None:
    for name, word in (("a TLS alert", "mqtts://"), ("a web server", "ws://")):
        with listener(says(GARBAGE[name])) as port:
            assert word in found(check_broker(asked(port)))["broker-not-mqtt"].advice


def test_who_closes_without_a_word_is_told() -> None:
    with listener(lambda connection: connection.close()) as port:
        assert codes(asked(port)) == {"broker-turned-down": ERROR}


CONNACK = b"\x20\x03\x00\x00\x00"
PINGRESP = b"\xd0\x00"


def test_who_closes_after_the_connection_is_told() -> None:
    with listener(says(CONNACK)) as port:
        assert codes(asked(port)) == {"broker-closed": ERROR}


def test_an_endless_flood_of_messages_is_left() -> None:
    publish = b"\x30" + b"\xff\xff\x03" + b"\x00\x01a" + bytes(65535 - 3)

    def flood(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(CONNACK)
        while True:
            connection.sendall(publish * 16)

    with listener(flood) as port:
        assert codes(asked(port)) == {"broker-not-mqtt": ERROR}


@pytest.mark.parametrize(
    ("version", "code", "expected"),
    [("5", 0x86, "broker-refused-login"), ("5", 0x8A, "broker-refused"), ("5", 0xEE, "broker-refused"), ("3.1.1", 3, "broker-refused")],
)
def test_a_refusal_is_told_by_its_reason(version: str, code: int, expected: str) -> None:
    said = b"\x1f\x00\x04busy"
    body = bytes([0, code]) + (bytes([len(said)]) + said if version == "5" else b"")
    with listener(says(b"\x20" + bytes([len(body)]) + body)) as port:
        finding = found(check_broker(asked(port, version=version)))[expected]
        assert ("(it says: busy)" in finding.text) is (version == "5")


def test_control_characters_of_a_broker_reach_no_terminal() -> None:
    said = b"\x1f\x00\x0a\x1b[2J\x1b[31mx!"
    body = b"\x00\x88" + bytes([len(said)]) + said
    with listener(says(b"\x20" + bytes([len(body)]) + body)) as port:
        report = Report(tuple(check_broker(asked(port))), ())
    assert "\x1b" not in render(report, None, 100, False, False)


def test_a_refused_subscription_names_the_topic() -> None:
    needs = Needs(status=True, qos=1, filters=(("a/+", 1), ("b", 1), ("c", 1)))
    served = iter([says(CONNACK, PINGRESP), says(CONNACK, b"\x90\x06\x00\x01\x00\x87\x00\x01")])

    with listener(lambda connection: next(served)(connection)) as port:
        findings = {each.code: each for each in check_broker(asked(port, needs=needs))}
    assert findings["broker-subscription-refused"].severity == ERROR
    assert "may not subscribe to a/+: not authorized" in findings["broker-subscription-refused"].text
    assert findings["broker-subscription-qos"].severity == WARNING


@pytest.mark.parametrize("suback", [b"\x90\x04\x00\x07\x00\x01", b"\x90\x05\x00\x01\x00\x01\x01", b"\x90\x02\x00\x01"])
def test_an_answer_to_another_subscription_is_not_believed(suback: bytes) -> None:
    needs = Needs(status=True, qos=1, filters=(("a/+", 1),))
    served = iter([says(CONNACK, PINGRESP), says(CONNACK, suback)])
    with listener(lambda connection: next(served)(connection)) as port:
        assert "broker-not-mqtt" in codes(asked(port, needs=needs))


FRAMES = {
    "huge": b"\x82\x7f" + bytes(8),
    "cut": b"\x82\xfe\xff\xff",
    "closed": b"\x88\x00",
    "pings, then no MQTT": b"\x89\x00" * 3 + b"\x82\x02\x99\x00",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_websocket_frames_are_bounded(frame: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        head = connection.recv(1 << 16).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].split("\r\n")[0]
        proof = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        connection.sendall(f"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: {proof}\r\n\r\n".encode())
        connection.recv(1 << 16)
        connection.sendall(frame)
        connection.close()

    with listener(serve) as port:
        assert set(codes(asked(port, scheme="ws"))) <= {"broker-not-mqtt", "broker-turned-down"}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_connack_or_malformed(body: bytes) -> None:
    for read in (packets.read_connack, lambda data: packets.read_suback(data, "5"), lambda data: packets.read_suback(data, "3.1.1")):
        with suppress(packets.Malformed):
            read(body)


@given(st.integers(0, 268_435_455))
def test_lengths_are_read_as_they_are_written(length: int) -> None:
    written = packets._length(length)
    assert packets.read_length(b"\x20" + written) == (1 + len(written), length)


# -- what the configuration needs -------------------------------------------------------------------


def limit_codes(needs: Needs = NO_NEEDS, **stated: packets.Value) -> dict[str, str]:
    return {each.code: each.severity for each in judge_limits(stated, needs, "main")}


WILD = Needs(status=False, qos=1, filters=(("a/+", 1),))


@pytest.mark.parametrize(
    ("stated", "needs", "expected"),
    [
        ({}, NO_NEEDS, {}),
        ({"maximum_qos": 0}, NO_NEEDS, {"broker-qos": ERROR}),
        ({"maximum_qos": 0}, Needs(status=False, qos=0, filters=()), {}),
        ({"retain_available": False}, NO_NEEDS, {"broker-no-retain": ERROR}),
        ({"retain_available": False}, WILD, {}),
        ({"wildcards_available": False}, WILD, {"broker-no-wildcards": ERROR}),
        ({"wildcards_available": False}, NO_NEEDS, {}),
        ({"receive_maximum": 1}, NO_NEEDS, {"broker-window-small": HINT}),
        ({"maximum_packet_size": 4096}, NO_NEEDS, {"broker-packet-small": WARNING}),
        ({"session_expiry_s": 60}, WILD, {"broker-session-short": HINT}),
        ({"session_expiry_s": 60}, NO_NEEDS, {}),
    ],
)
def test_limits_matter_where_the_configuration_meets_them(stated: dict[str, packets.Value], needs: Needs, expected: dict[str, str]) -> None:
    assert limit_codes(needs, **stated) == expected


def test_the_session_that_is_asked_for_is_as_long_as_the_daemons() -> None:
    assert limits.SESSION_EXPIRY_S == client.SESSION_EXPIRY_S


def test_a_granted_subscription_is_nothing_to_tell() -> None:
    assert list(judge_subscriptions((("a", 0), ("b", 1)), [0, 1], "user", "main")) == []


def test_the_needs_of_a_broker_are_those_of_its_pipelines(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text(
        '[mqtt.main]\nurl = "mqtt://127.0.0.1"\n[mqtt.floor]\nurl = "mqtt://127.0.0.1:2"\n'
        + pipeline("a", on_topic("plant/{line}/x", ', qos = 0, broker = "floor"'))
        + pipeline("b", on_topic("plant/{line}/y"), outputs='[{ type = "mqtt", topic = "o", qos = 0, broker = "floor" }]')
    )
    loaded = load_config(config, {})
    assert needs_of(loaded.config, "floor") == Needs(status=False, qos=0, filters=(("plant/+/x", 0),))
    assert needs_of(loaded.config, "main") == Needs(status=True, qos=1, filters=(("plant/+/y", 1),))


HOSTS = [("localhost", True), ("127.8.8.8", True), ("::1", True), ("10.0.0.1", False), ("broker.plant", False)]


@pytest.mark.parametrize(("host", "local"), HOSTS)
def test_this_machine_is_known_by_name_and_address(host: str, local: bool) -> None:
    assert is_local(host) is local


def test_an_open_unencrypted_broker_elsewhere_is_a_warning(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker of the test plays one of another machine."""
    monkeypatch.setattr("edged.doctor.broker.is_local", lambda _: False)
    assert codes(asked(broker.port)) == {"broker-open": WARNING, "ok": OK}
    assert codes(asked(broker.port, username="press")) == {"broker-unencrypted": WARNING, "ok": OK}


def test_the_embedded_broker_is_not_asked() -> None:
    assert codes(Asked("main", Broker(url="embedded"), NO_NEEDS, 0)) == {"broker-embedded": HINT}


def test_the_running_daemon_stays_connected(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    """It is asked while the daemon is there: the broker has seen no connection taken over, and the daemon none lost."""
    broker = make_broker().start()
    daemon = make_daemon(pipeline("pump", on_topic("$FLEET/{pump}")), broker.port).start()
    loaded = load_config(daemon.file, {})
    question = Asked("main", loaded.config.mqtt["main"], needs_of(loaded.config, "main"), time.time_ns())
    assert codes(question) == {"ok": OK}
    assert daemon.status()["brokers"]["main"]["state"] == "connected"
    assert "already connected" not in broker.log
    assert "edged-doctor-" in broker.log
    daemon.stop()
