"""Metrics text, and the server that gives it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import OperatorError
from edged.service import metrics_server
from edged.service.metrics import CONTENT_TYPE, render
from edged.service.metrics_server import MetricsServer, parse_listen
from edged.service.snapshot import (
    BoardStatus,
    BrokerStatus,
    Condition,
    FleetStatus,
    LastResult,
    Latency,
    MemoryStatus,
    PipelineStatus,
    Snapshot,
    SpoolStatus,
)
from tests.waiting import PATIENCE_S

FULL = Snapshot(
    device="press-7",
    version="0.1.0",
    uptime_s=12.5,
    fleet=FleetStatus("plant-a"),
    board=BoardStatus("Raspberry Pi 4B", "raspberry-pi-4b-4gb", 54.0),
    memory=MemoryStatus(71.0, 512.0),
    brokers={"main": BrokerStatus(state="connected"), "floor": BrokerStatus(state="refused")},
    pipelines=[
        PipelineStatus(
            "pump",
            "running",
            "pump-anomaly",
            14,
            "1.4.0",
            "int8",
            "tflite",
            messages=10,
            readings=1_000_000_001,
            windows=7,
            results=6,
            rejected={"missing-channel acc.z": 212},
            dropped={"queue-full": 3},
            latency_ms=Latency(0.25, 0.5, 1.0),
            queue=4,
            streams=2,
            last_result=LastResult("2026-11-22T04:12:21.123Z", "score 9.7 < 12.3", 0.5),
        ),
        PipelineStatus("notes", "waiting"),
    ],
    spool=SpoolStatus("disk", 12, 0.5, 256, 30.0, {"full": 2}),
    health=[Condition("broker-refused", "error", text="bad password", subject="floor")],
)

GOLDEN = """\
# HELP edged_info Always 1; labels say what runs.
# TYPE edged_info gauge
edged_info{version="0.1.0",device="press-7",fleet="plant-a",profile="raspberry-pi-4b-4gb"} 1
# HELP edged_uptime_seconds Time since the daemon started.
# TYPE edged_uptime_seconds gauge
edged_uptime_seconds 12.5
# HELP edged_healthy 1 while no condition is an error.
# TYPE edged_healthy gauge
edged_healthy 0
# HELP edged_condition Always 1; a condition that holds now.
# TYPE edged_condition gauge
edged_condition{code="broker-refused",subject="floor",severity="error"} 1
# HELP edged_memory_pss_bytes Memory of the daemon and its children.
# TYPE edged_memory_pss_bytes gauge
edged_memory_pss_bytes 74448896
# HELP edged_memory_budget_bytes Memory that edged may take.
# TYPE edged_memory_budget_bytes gauge
edged_memory_budget_bytes 536870912
# HELP edged_board_temperature_celsius The hottest sensor of the board.
# TYPE edged_board_temperature_celsius gauge
edged_board_temperature_celsius 54
# HELP edged_broker_connected 1 while the broker is connected.
# TYPE edged_broker_connected gauge
edged_broker_connected{broker="main"} 1
edged_broker_connected{broker="floor"} 0
# HELP edged_pipeline_info Always 1; labels say what computes.
# TYPE edged_pipeline_info gauge
edged_pipeline_info{pipeline="pump",model="pump-anomaly",release="14",variant="int8",engine="tflite"} 1
edged_pipeline_info{pipeline="notes",model="",release="0",variant="",engine=""} 1
# HELP edged_pipeline_state Always 1; the state is a label.
# TYPE edged_pipeline_state gauge
edged_pipeline_state{pipeline="pump",state="running"} 1
edged_pipeline_state{pipeline="notes",state="waiting"} 1
# HELP edged_messages_total Messages received.
# TYPE edged_messages_total counter
edged_messages_total{pipeline="pump"} 10
edged_messages_total{pipeline="notes"} 0
# HELP edged_readings_total Readings accepted.
# TYPE edged_readings_total counter
edged_readings_total{pipeline="pump"} 1000000001
edged_readings_total{pipeline="notes"} 0
# HELP edged_windows_total Windows cut.
# TYPE edged_windows_total counter
edged_windows_total{pipeline="pump"} 7
edged_windows_total{pipeline="notes"} 0
# HELP edged_results_total Results computed.
# TYPE edged_results_total counter
edged_results_total{pipeline="pump"} 6
edged_results_total{pipeline="notes"} 0
# HELP edged_late_results_total Results after the pipeline's deadline.
# TYPE edged_late_results_total counter
edged_late_results_total{pipeline="pump"} 0
edged_late_results_total{pipeline="notes"} 0
# HELP edged_rejected_total Refused input, by reason.
# TYPE edged_rejected_total counter
edged_rejected_total{pipeline="pump",reason="missing-channel acc.z"} 212
# HELP edged_dropped_total Dropped by a limit, by reason.
# TYPE edged_dropped_total counter
edged_dropped_total{pipeline="pump",reason="queue-full"} 3
# HELP edged_latency_seconds Message in to result out, of late.
# TYPE edged_latency_seconds summary
edged_latency_seconds{pipeline="pump",quantile="0.5"} 0.00025
edged_latency_seconds{pipeline="pump",quantile="0.95"} 0.0005
edged_latency_seconds{pipeline="pump",quantile="0.99"} 0.001
# HELP edged_queue_messages Messages waiting for the pipeline.
# TYPE edged_queue_messages gauge
edged_queue_messages{pipeline="pump"} 4
edged_queue_messages{pipeline="notes"} 0
# HELP edged_streams Stream keys held.
# TYPE edged_streams gauge
edged_streams{pipeline="pump"} 2
edged_streams{pipeline="notes"} 0
# HELP edged_last_result_age_seconds Age of the newest result.
# TYPE edged_last_result_age_seconds gauge
edged_last_result_age_seconds{pipeline="pump"} 0.5
# HELP edged_spool_results Results waiting for a broker.
# TYPE edged_spool_results gauge
edged_spool_results 12
# HELP edged_spool_bytes Size of the results that wait.
# TYPE edged_spool_bytes gauge
edged_spool_bytes 524288
# HELP edged_spool_oldest_seconds Age of the oldest result that waits.
# TYPE edged_spool_oldest_seconds gauge
edged_spool_oldest_seconds 30
# HELP edged_spool_dropped_total Results given up, by reason.
# TYPE edged_spool_dropped_total counter
edged_spool_dropped_total{reason="full"} 2
"""


def test_the_text_is_as_it_was_when_somebody_built_a_dashboard_on_it() -> None:
    assert render(FULL) == GOLDEN


def test_an_empty_snapshot_has_only_what_is_known() -> None:
    names = {line.split("{")[0].split()[0] for line in render(Snapshot()).splitlines() if not line.startswith("#")}
    assert names == {"edged_info", "edged_uptime_seconds", "edged_healthy", "edged_spool_results", "edged_spool_bytes"}


def test_the_reference_parser_reads_back_every_sample() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    families = {family.name: family for family in parser.text_string_to_metric_families(render(FULL))}
    assert families["edged_readings"].type == "counter"
    assert families["edged_latency_seconds"].type == "summary"
    rejected = families["edged_rejected"].samples[0]
    assert (rejected.name, rejected.labels, rejected.value) == (
        "edged_rejected_total",
        {"pipeline": "pump", "reason": "missing-channel acc.z"},
        212,
    )


@given(st.text(max_size=30))
def test_any_text_in_a_label_is_read_back_by_the_reference_parser(text: str) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    rendered = render(Snapshot(health=[Condition("code", "error", subject=text)]))
    found = [s for f in parser.text_string_to_metric_families(rendered) for s in f.samples if s.name == "edged_condition"]
    assert [s.labels["subject"] for s in found] == [text.replace("\r", " ")]


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    server = MetricsServer("127.0.0.1:0", lambda: FULL)
    server.start()
    yield server
    server.stop()


def get(server: MetricsServer, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(*server.address, timeout=PATIENCE_S)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_metrics_over_http(server: MetricsServer) -> None:
    response, body = get(server, "/metrics")
    assert (response.status, response.headers["Content-Type"], body.decode()) == (200, CONTENT_TYPE, GOLDEN)
    response, body = get(server, "/metrics", "HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, str(len(GOLDEN)), b"")


def test_healthz_is_503_and_says_why_while_a_condition_is_an_error(server: MetricsServer) -> None:
    response, body = get(server, "/healthz?verbose")
    assert (response.status, body) == (503, b"broker-refused floor: bad password\n")


def test_healthz_is_200_with_warnings_only() -> None:
    server = MetricsServer("127.0.0.1:0", lambda: Snapshot(health=[Condition("hot", "warning")]))
    server.start()
    response, body = get(server, "/healthz")
    server.stop()
    assert (response.status, body) == (200, b"ok\n")


def test_other_paths_and_methods_are_refused(server: MetricsServer) -> None:
    assert get(server, "/")[0].status == 404
    assert get(server, "/metrics", "POST")[0].status == 501


def test_silent_connections_do_not_keep_others_out_for_long(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "MAX_SECONDS", 0.0)
    silent = [socket.create_connection(server.address) for _ in range(metrics_server.MAX_CONNECTIONS)]
    for connection in silent:
        connection.settimeout(PATIENCE_S)
        assert connection.recv(1) == b""
        connection.close()
    monkeypatch.undo()
    assert get(server, "/metrics")[0].status == 200


def test_more_connections_than_the_bound_are_closed_at_once(server: MetricsServer) -> None:
    silent = [socket.create_connection(server.address) for _ in range(metrics_server.MAX_CONNECTIONS)]
    with socket.create_connection(server.address, timeout=PATIENCE_S) as one_more:
        assert one_more.recv(1) == b""
    for connection in silent:
        connection.close()


def test_garbage_gets_an_error_and_does_not_stop_the_server(server: MetricsServer) -> None:
    with socket.create_connection(server.address, timeout=PATIENCE_S) as connection:
        connection.sendall(b"\x16\x03\x01\x00\xff\x00\r\n\r\n")
        assert b"400" in connection.recv(4096)
    assert get(server, "/metrics")[0].status == 200


def test_an_address_in_use_is_the_operators_to_mend(server: MetricsServer) -> None:
    with pytest.raises(OperatorError, match="another program listens") as caught:
        MetricsServer(f"127.0.0.1:{server.address[1]}", lambda: FULL)
    assert caught.value.code == "metrics-address-in-use"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(OperatorError) as caught:
        MetricsServer("192.0.2.1:0", lambda: FULL)
    assert caught.value.code == "metrics-address-refused"


def test_the_port_is_free_after_stop() -> None:
    first = MetricsServer("127.0.0.1:0", lambda: FULL)
    first.start()
    port = first.address[1]
    first.stop()
    second = MetricsServer(f"127.0.0.1:{port}", lambda: FULL)
    second.stop()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), (":9464", ("127.0.0.1", 9464)), ("[::1]:1", ("::1", 1)), ("0.0.0.0:0", ("0.0.0.0", 0))],
)
def test_listen_is_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize("listen", ["9464", "host", "host:", "host:http", "host:-1", "host:65536", "host:١", ""])
def test_a_listen_that_is_not_host_and_port_is_refused(listen: str) -> None:
    with pytest.raises(OperatorError, match="not host:port") as caught:
        parse_listen(listen)
    assert caught.value.code == "metrics-listen-malformed"
