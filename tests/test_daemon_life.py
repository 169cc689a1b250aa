"""The daemon's life: start, presence on the broker, what status and exit codes say, stop and death."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import Mosquitto, free_port
from tests.daemon import HAR, Daemon, codes, edged, on_topic, pipeline
from tests.peer import Peer
from tests.recordings import window_message
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

HAR_IN = pipeline("har", on_topic("$FLEET/in"))


# -- presence on the broker -------------------------------------------------------------------


def status_told(daemon: Daemon, port: int) -> dict[str, Any]:
    """Give the device's retained status, as somebody who comes later sees it."""
    payload = until(lambda: retained(daemon.topic("status"), port), "the status is retained")
    return dict(json.loads(payload))


def retained(topic: str, port: int) -> bytes | None:
    """Give what a newcomer is sent at once; None where it was published only now."""
    with Peer(port, topic) as peer:
        message = peer.wait(topic)[0]
    return message.payload if message.retain else None


def test_presence_is_online_then_offline_then_lost_and_sessions_rise(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    with Peer(broker.port, daemon.topic("status")) as watcher:
        told = [status_told(daemon, broker.port)]
        assert daemon.stop() == 0
        told.append(status_told(daemon, broker.port))
        daemon.start()
        watcher.wait(daemon.topic("status"), 3)
        told.append(status_told(daemon, broker.port))
        daemon.kill()
        watcher.wait(daemon.topic("status"), 4)
        told.append(status_told(daemon, broker.port))
        daemon.start()
        watcher.wait(daemon.topic("status"), 5)
        told.append(status_told(daemon, broker.port))
    assert [each["state"] for each in told] == ["online", "offline", "online", "lost", "online"]
    sessions = [each["session"] for each in told]
    assert sessions[0] == sessions[1] < sessions[2] == sessions[3] < sessions[4]
    assert sessions[0] == (1 << 32) + 1  # the first start, its first connection
    assert all(each["time"].startswith("20") for each in told)


def test_birth_is_retained_and_says_what_the_device_is(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    birth = json.loads(until(lambda: retained(daemon.topic("birth"), broker.port), "the birth is retained"))
    assert birth["session"] == status_told(daemon, broker.port)["session"]
    assert birth["pipelines"] == ["har"]
    assert birth["engines"]
    assert {"v", "version", "python", "machine", "board", "profile", "time"} <= set(birth)


def test_a_device_that_lost_its_broker_for_a_while_comes_back_with_a_higher_session(
    make_broker: MakeBroker, make_daemon: MakeDaemon
) -> None:
    broker = make_broker().start()
    daemon = make_daemon(HAR_IN, broker.port).start()
    before = status_told(daemon, broker.port)["session"]
    broker.kill()
    daemon.until(lambda status: status["brokers"]["main"]["state"] == "unreachable", "the broker is gone")
    broker.start()
    daemon.wait_connected()
    with Peer(broker.port, daemon.topic("status")) as peer:
        told = json.loads(peer.wait(daemon.topic("status"))[0].payload)
    assert told["state"] == "online"
    assert told["session"] > before
    assert told["session"] >> 32 == before >> 32 == 1  # still the first start


# -- status and its exit codes ----------------------------------------------------------------


def test_status_of_a_healthy_daemon_exits_0_and_of_an_unhealthy_one_5(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker().start()
    daemon = make_daemon(HAR_IN, broker.port).start()
    healthy = edged("status", "--config", str(daemon.file), "--json", cwd=daemon.folder)
    assert healthy.returncode == 0, healthy.stderr
    assert json.loads(healthy.stdout)["health"] == []
    broker.kill()
    daemon.until(lambda status: "broker-unreachable" in codes(status), "the broker is missed")
    unhealthy = edged("status", "--config", str(daemon.file), cwd=daemon.folder)
    assert unhealthy.returncode == 5
    assert f"nothing listens at 127.0.0.1:{broker.port}" in unhealthy.stdout.decode()


def test_status_without_a_daemon_exits_4(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    never = edged("status", "--config", str(daemon.file), cwd=daemon.folder)
    assert (never.returncode, never.stdout) == (4, b"")
    assert b"[daemon-not-reachable]" in never.stderr


def test_status_of_a_daemon_that_hangs_says_stuck_and_exits_4(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        stuck = edged("status", "--config", str(daemon.file), cwd=daemon.folder)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert stuck.returncode == 4
    assert b"[daemon-stuck]" in stuck.stderr
    assert str(daemon.process.pid).encode() in stuck.stderr
    assert daemon.stop() == 0


def test_a_pipeline_without_its_model_is_failed_and_the_others_run(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    config = HAR_IN + pipeline("pump", on_topic("$FLEET/pump")).replace("model_dir", "model = 'pump-anomaly'  # ")
    daemon = make_daemon(config, broker.port).start()
    assert daemon.pipeline("pump")["state"] == "failed"
    assert codes(daemon.status()) == {"pipeline-failed"}
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish(f"{daemon.fleet}/in", window_message("walking_01"))
        peer.wait(daemon.out("har"))
    assert edged("status", "--config", str(daemon.file), cwd=daemon.folder).returncode == 5
    # A stop that was asked for is a success: a supervisor must not count it as a crash.
    assert daemon.stop() == 0


# -- one daemon a socket, stop ----------------------------------------------------------------


def test_a_second_daemon_on_the_same_socket_is_refused_and_the_first_lives_on(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    assert daemon.process is not None
    session = status_told(daemon, broker.port)
    second = edged("run", "--config", str(daemon.file), cwd=daemon.folder)
    assert second.returncode == 3
    assert b"[already-running]" in second.stderr
    assert str(daemon.process.pid).encode() in second.stderr
    assert daemon.status()["pid"] == daemon.process.pid
    assert status_told(daemon, broker.port) == session
    assert daemon.stop() == 0
    daemon.start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_with_nothing_left_behind(broker: Mosquitto, make_daemon: MakeDaemon, number: int) -> None:
    daemon = make_daemon(HAR_IN, broker.port).start()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish_all(f"{daemon.fleet}/in", [window_message("walking_01")] * 3)
        peer.wait(daemon.out("har"))
        assert daemon.stop(number) == 0
    assert not daemon.socket.exists()
    assert len(daemon.logged("stopped")) == 1
    assert not daemon.logged("stopped-with-work-left")


def test_it_stops_although_its_broker_hangs_and_the_next_start_sends_what_is_left(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker().start()
    decoder = '{ type = "json", channels = ["x", "y", "z"] }'
    source = '{ type = "file", path = "in.jsonl", follow = true }'
    daemon = make_daemon(pipeline("har", source, decoder=decoder), broker.port).start()
    broker.signal(signal.SIGSTOP)
    (daemon.folder / "in.jsonl").write_text(window_message("walking_01") + "\n")
    daemon.until(lambda status: status["spool"]["results"] == 1, "the result waits for the broker")
    assert daemon.stop() == 0
    assert daemon.logged("stopped")[-1]["left_on_disk"] == 1
    broker.signal(signal.SIGCONT)
    (daemon.folder / "in.jsonl").unlink()
    with Peer(broker.port, daemon.out("har")) as peer:
        daemon.start()
        assert peer.results(daemon.out("har"))[0]["output"]["label"] == "walking"
        daemon.until(lambda status: status["spool"]["state"] == "empty", "nothing is left")


# -- metrics ----------------------------------------------------------------------------------


def test_the_metrics_endpoint_says_what_status_says(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="needs a parser of the format: pip install prometheus-client")
    port = free_port()
    daemon = make_daemon(f'[metrics]\nlisten = "127.0.0.1:{port}"\n{HAR_IN}', broker.port).start()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish_all(f"{daemon.fleet}/in", [window_message("walking_01"), "nonsense"])
        peer.wait(daemon.out("har"))
    daemon.until(lambda status: status["pipelines"][0]["rejected"], "the nonsense is counted")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        families = {family.name: family for family in parser.text_string_to_metric_families(answer.read().decode())}
    samples = {sample.name: sample for family in families.values() for sample in family.samples}
    assert samples["edged_readings_total"].value == 260
    assert samples["edged_results_total"].value == 1
    assert samples["edged_rejected_total"].value == 1
    assert samples["edged_rejected_total"].labels == {"pipeline": "har", "reason": "malformed"}
    assert samples["edged_broker_connected"].value == 1
    assert samples["edged_healthy"].value == 1


CSV = '{ type = "csv", channels = ["x", "y", "z"] }'


def test_a_run_that_could_not_write_its_results_says_so_in_its_exit_code(make_daemon: MakeDaemon) -> None:
    config = pipeline("har", '{ type = "stdin" }', decoder=CSV, outputs='[{ type = "file", path = "/dev/full" }]')
    daemon = make_daemon(config)
    with (HAR.parent / "recordings" / "walking_01_26Hz_4g_mg.csv").open("rb") as readings:
        assert daemon.launch(stdin=readings).wait() == 1
    assert daemon.logged("output-failing")
