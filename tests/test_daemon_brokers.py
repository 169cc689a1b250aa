"""The daemon and the brokers there are: versions of MQTT, websockets, TLS, one of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.broker import Mosquitto, Tls
from tests.daemon import Daemon, codes, on_topic, pipeline
from tests.peer import Peer
from tests.recordings import window_message

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

HAR_IN = pipeline("har", on_topic("$FLEET/in"))


def assert_results_flow(daemon: Daemon, peer: Peer) -> None:
    peer.publish(f"{daemon.fleet}/in", window_message("running_01"))
    assert [each["output"]["label"] for each in peer.results(daemon.out("har"))] == ["running"]
    assert codes(daemon.status()) == set()


def port_of(daemon: Daemon) -> int:
    """Give the port of the daemon's broker, which it says in its status."""
    return urlsplit(daemon.status()["brokers"]["main"]["url"]).port or 0


def test_auto_takes_mqtt_5_where_the_broker_speaks_it(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    assert daemon.status()["brokers"]["main"]["version"] == "5"
    with Peer(broker.port, daemon.out("har")) as peer:
        assert_results_flow(daemon, peer)


def test_auto_falls_back_to_3_1_1_where_the_broker_speaks_nothing_newer(make_daemon: MakeDaemon) -> None:
    pytest.importorskip("iotcore", reason="needs a broker that only speaks 3.1.1: pip install iotcore")
    first = make_daemon(f'[mqtt.main]\nurl = "embedded"\n{HAR_IN}').start()
    # The first daemon's own broker serves the second, which is not told its version.
    daemon = make_daemon(HAR_IN.replace('name = "har"', 'name = "second"'), port_of(first)).start()
    assert daemon.status()["brokers"]["main"]["version"] == "3.1.1"
    with Peer(port_of(first), daemon.out("second"), version="3.1.1") as peer:
        peer.publish(f"{daemon.fleet}/in", window_message("running_01"))
        assert [each["output"]["label"] for each in peer.results(daemon.out("second"))] == ["running"]
    assert daemon.stop() == 0


def test_embedded_is_a_broker_of_our_own(make_daemon: MakeDaemon) -> None:
    pytest.importorskip("iotcore", reason="needs the embedded broker: pip install iotcore")
    daemon = make_daemon(f'[mqtt.main]\nurl = "embedded"\n{HAR_IN}').start()
    with Peer(port_of(daemon), daemon.out("har"), daemon.topic("status"), version="3.1.1") as peer:
        assert_results_flow(daemon, peer)
        assert json.loads(peer.wait(daemon.topic("status"))[0].payload)["state"] == "online"
    assert daemon.stop() == 0


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_version_that_is_asked_for_is_spoken(broker: Mosquitto, make_daemon: MakeDaemon, version: str) -> None:
    daemon = make_daemon(f'[mqtt.main]\nurl = "mqtt://127.0.0.1:{broker.port}"\nversion = "{version}"\n{HAR_IN}').start()
    assert daemon.status()["brokers"]["main"]["version"] == version
    with Peer(broker.port, daemon.out("har")) as peer:
        assert_results_flow(daemon, peer)


def test_websockets(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker(websockets=True).start()
    daemon = make_daemon(f'[mqtt.main]\nurl = "ws://127.0.0.1:{broker.port}/mqtt"\n{HAR_IN}').start()
    with Peer(broker.port, daemon.out("har"), websockets=True) as peer:
        assert_results_flow(daemon, peer)


def test_tls_with_a_ca_of_ones_own(make_broker: MakeBroker, make_daemon: MakeDaemon, tls: Tls) -> None:
    broker = make_broker(tls=tls).start()
    url = f'[mqtt.main]\nurl = "mqtts://127.0.0.1:{broker.port}"\n'
    daemon = make_daemon(f'{url}ca_file = "{tls.ca}"\n{HAR_IN}').start()
    with Peer(broker.port, daemon.out("har"), ca=tls.ca) as peer:
        assert_results_flow(daemon, peer)


def test_tls_with_a_certificate_that_nobody_vouches_for_is_refused_in_plain_words(
    make_broker: MakeBroker, make_daemon: MakeDaemon, tls: Tls
) -> None:
    broker = make_broker(tls=tls).start()
    daemon = make_daemon(f'[mqtt.main]\nurl = "mqtts://127.0.0.1:{broker.port}"\n{HAR_IN}').launch()
    status = daemon.until(lambda status: "broker-unreachable" in codes(status), "the certificate is refused")
    assert "the certificate of 127.0.0.1" in status["brokers"]["main"]["error"]
    assert "is not trusted" in status["brokers"]["main"]["error"]


def test_mutual_tls(make_broker: MakeBroker, make_daemon: MakeDaemon, tls: Tls) -> None:
    broker = make_broker(tls=tls, extra="require_certificate true").start()
    files = f'ca_file = "{tls.ca}"\ncert_file = "{tls.cert}"\nkey_file = "{tls.key}"\n'
    daemon = make_daemon(f'[mqtt.main]\nurl = "mqtts://127.0.0.1:{broker.port}"\n{files}{HAR_IN}').start()
    assert daemon.stop() == 0


def test_user_and_password(make_broker: MakeBroker, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    broker = make_broker(users={"press-7": "s3cret"}).start()
    (tmp_path / "password").write_text("s3cret\n")
    login = f'username = "press-7"\npassword_file = "{tmp_path}/password"\n'
    daemon = make_daemon(f'[mqtt.main]\nurl = "mqtt://127.0.0.1:{broker.port}"\n{login}{HAR_IN}').start()
    with Peer(broker.port, daemon.out("har"), user="press-7", password="s3cret") as peer:
        assert_results_flow(daemon, peer)


def test_a_safety_pipeline_has_a_connection_of_its_own_beside_others(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    """Else messages that others leave unacknowledged would fill the broker's window, and it would drop those of `safety` at its end."""
    safety = pipeline("stop", on_topic("$FLEET/stop"), more='class = "safety"')
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in")) + safety, broker.port).start()
    assert set(daemon.status()["brokers"]) == {"main", "main+safety"}
    with Peer(broker.port, daemon.out("stop"), daemon.out("har")) as peer:
        peer.publish(f"{daemon.fleet}/stop", window_message("walking_01"))
        peer.publish(f"{daemon.fleet}/in", window_message("running_01"))
        assert [each["output"]["label"] for name in ("stop", "har") for each in peer.results(daemon.out(name))] == ["walking", "running"]
    assert {each["name"]: each["messages"] for each in daemon.status()["pipelines"]} == {"har": 1, "stop": 1}


def test_safety_pipelines_alone_share_the_one_connection(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("stop", on_topic("$FLEET/stop"), more='class = "safety"'), broker.port).start()
    assert set(daemon.status()["brokers"]) == {"main"}
