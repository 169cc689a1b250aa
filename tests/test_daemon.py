"""The daemon end to end: real recordings through a real broker, into every kind of output."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.stream.decoders.times import iso_ns
from tests.broker import Mosquitto
from tests.daemon import HAR, Status, codes, on_topic, pipeline, pipeline_in
from tests.peer import Peer, properties_of
from tests.recordings import ALL, START_MS, WINDOWS, label_of, messages, readings, times_ms, window_message
from tests.releases import changed, twice

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

HAR_DATA = Path(__file__).parent / "data" / "har"
WHENS = {"always": 5, "change": 3, "alarm": 2}


def test_recordings_sent_reading_by_reading_come_out_as_what_was_done(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/{line}/wrist/{person}/acc")), broker.port).start()
    with Peer(broker.port, daemon.out("har")) as peer:
        for name in ALL:
            peer.publish_all(f"{daemon.fleet}/b/wrist/{name}/acc", messages(name))
        results = peer.results(daemon.out("har"), len(ALL) * WINDOWS)
        status = daemon.until(lambda status: status["spool"]["results"] == 0, "the broker has all results")
    times = times_ms(1000)
    for name in ALL:
        found = [each for each in results if each["labels"] == {"line": "b", "person": name}]
        assert [each["output"]["label"] for each in found] == [label_of(name)] * WINDOWS
        assert [milliseconds(each["window"]["start"]) for each in found] == times[0 : 1000 - 259 : 130]
        assert [milliseconds(each["window"]["end"]) for each in found] == times[259::130]
        assert all(each["time"] == each["window"]["end"] and each["window"]["samples"] == 260 for each in found)
        assert {each["key"] for each in found} == {f"line=b/person={name}"}
    assert len({each["id"] for each in results}) == len(results) == len(ALL) * WINDOWS
    assert results[0]["model"] == {"name": "har", "version": "1.0.0", "release": 1, "variant": "fp32", "engine": "tflite"}
    assert (results[0]["v"], results[0]["device"], results[0]["pipeline"]) == (1, "press-7", "har")
    assert_adds_up(status, readings=6000, windows=36)


def milliseconds(iso: str) -> int:
    time = iso_ns(iso)
    assert time is not None
    return time // 1_000_000


def assert_adds_up(status: Status, readings: int, windows: int) -> None:
    har = pipeline_in(status, "har")
    assert (har["messages"], har["readings"], har["windows"], har["results"]) == (readings, readings, windows, windows)
    assert (har["rejected"], har["dropped"], har["queue"], har["streams"]) == ({}, {}, 0, len(ALL))
    assert (har["state"], har["model"], har["release"], har["variant"], har["in_place"]) == ("running", "har", 1, "fp32", True)
    assert har["last_result"]["text"].startswith("walking")
    assert 0 < har["latency_ms"]["p50"] <= har["latency_ms"]["p95"] <= har["latency_ms"]["p99"]
    assert (status["spool"]["state"], status["spool"]["dropped"], status["health"]) == ("empty", {}, [])


def test_a_result_has_the_same_id_after_a_restart_when_the_readings_have_the_same_times(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    arrival = '{ type = "json", channels = ["x", "y", "z"] }'
    source = on_topic("$FLEET/acc")
    daemon = make_daemon(pipeline("har", source) + pipeline("arrival", source, decoder=arrival), broker.port)
    found: list[dict[str, list[Any]]] = []
    for _ in range(2):
        daemon.start()
        with Peer(broker.port, daemon.topic("out/+")) as peer:
            peer.publish_all(f"{daemon.fleet}/acc", [window_message("walking_01"), window_message("running_01", START_MS + 10_000)])
            found.append({name: peer.results(daemon.out(name), 3) for name in ("har", "arrival")})
        daemon.kill()  # after a clean stop it would know the readings again, and drop them as old
    first, second = found
    assert {each["id"] for each in first["har"]} == {each["id"] for each in second["har"]}
    assert len({each["id"] for each in first["har"]}) == 3
    assert "clock" not in first["har"][0]
    # Without event time a result only has the time it came at: it must not look like an old one.
    assert not {each["id"] for each in first["arrival"]} & {each["id"] for each in second["arrival"]}
    assert first["arrival"][0]["clock"] == "arrival"


def test_a_pipeline_reads_the_results_of_another_with_their_labels(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    second = twice(tmp_path / "twice", channels=2, samples=2, hop=1, rate_hz=0.2)
    scores = '{ type = "json", channels = ["output.scores.walking", "output.scores.running"], time = "time", time_unit = "iso" }'
    config = pipeline("har", on_topic("$FLEET/{person}")) + pipeline(
        "next", '{ type = "pipeline", name = "har" }', decoder=scores, model=second
    )
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        for i, name in enumerate(["walking_01", "running_01"]):
            for person in ("ann", "bob"):
                peer.publish(f"{daemon.fleet}/{person}", window_message(name, START_MS + 10_000 * i))
        scores_of = [each["output"]["scores"] for each in peer.results(daemon.out("har"), 6) if each["labels"] == {"person": "ann"}]
        results = peer.results(daemon.out("next"), 4)
    assert {each["key"] for each in results} == {"person=ann", "person=bob"}
    ann = [each for each in results if each["labels"] == {"person": "ann"}]
    expected = [2 * scores[label] for scores in scores_of for label in ("walking", "running")]
    for each, values in zip(ann, (expected[0:4], expected[2:6])):
        assert each["output"]["values"] == pytest.approx(values, rel=1e-5)  # results have six digits


def test_outputs_get_what_their_when_asks_for(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    alarm = ('activation = "none"', 'activation = "none"\nalarm = { label = "running", on = 0.9, off = 0.7 }')
    release = changed(HAR, tmp_path / "release", alarm, ("hop = 130", "hop = 260"))
    outputs = "[" + ", ".join(f'{{ type = "mqtt", topic = "{{fleet}}/{when}/{{person}}", when = "{when}" }}' for when in WHENS) + "]"
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in/{person}"), model=release, outputs=outputs), broker.port).start()
    with Peer(broker.port, *(f"{daemon.fleet}/{when}/ann" for when in WHENS)) as peer:
        for i, name in enumerate(["walking_01", "running_01", "running_02", "walking_01", "walking_02"]):
            peer.publish(f"{daemon.fleet}/in/ann", window_message(name, START_MS + 10_000 * i))
        heard = {when: peer.results(f"{daemon.fleet}/{when}/ann", count) for when, count in WHENS.items()}
        daemon.until(lambda status: status["spool"]["results"] == 0, "the broker has all results")
        assert len(peer.messages) == sum(WHENS.values())
    labels = {when: [each["output"]["label"] for each in results] for when, results in heard.items()}
    assert labels["always"] == ["walking", "running", "running", "walking", "walking"]
    assert labels["change"] == ["walking", "running", "walking"]
    assert labels["alarm"] == ["running", "running"]
    assert [each["alarm"] for each in heard["always"]] == [False, True, True, False, False]


def test_each_format_reaches_a_subscriber_of_either_mqtt_version(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    formats = ("json", "cloudevents", "influx")
    outputs = (
        "["
        + ", ".join(
            f'{{ type = "mqtt", topic = "{{fleet}}/{each}/{broker}", format = "{each}", broker = "{broker}" }}'
            for each in formats
            for broker in ("main", "old")
        )
        + "]"
    )
    old = f'[mqtt.old]\nurl = "mqtt://127.0.0.1:{broker.port}"\nversion = "3.1.1"\n'
    daemon = make_daemon(old + pipeline("har", on_topic("$FLEET/in/{person}"), outputs=outputs), broker.port).start()
    assert {name: each["version"] for name, each in daemon.status()["brokers"].items()} == {"main": "5", "old": "3.1.1"}
    with Peer(broker.port, f"{daemon.fleet}/+/+") as peer:
        peer.publish(f"{daemon.fleet}/in/ann", window_message("walking_01"))
        got = {(each, which): peer.wait(f"{daemon.fleet}/{each}/{which}")[0] for each in formats for which in ("main", "old")}
    plain = json.loads(got["json", "main"].payload)
    assert plain["output"]["label"] == "walking"
    assert got["json", "old"].payload == got["json", "main"].payload
    assert properties_of(got["json", "main"])["ContentType"] == "application/json"

    structured = json.loads(got["cloudevents", "old"].payload)
    attributes = {
        "specversion": "1.0",
        "id": plain["id"],
        "source": "edged/press-7/har",
        "type": "dev.edged.result.v1",
        "time": plain["time"],
    }
    assert structured == {**attributes, "datacontenttype": "application/json", "subject": "person=ann", "data": plain}
    binary = got["cloudevents", "main"]
    assert json.loads(binary.payload) == plain
    assert dict(properties_of(binary)["UserProperty"]) == {**attributes, "subject": "person=ann"}
    assert properties_of(binary)["ContentType"] == "application/json"

    line = got["influx", "main"].payload.decode()
    assert line == got["influx", "old"].payload.decode()
    head, fields, time = line.split(" ")
    assert head == "har,device=press-7,model=har,person=ann,variant=fp32"
    assert fields.startswith(f'release=1i,latency_ms={plain["timing"]["total_ms"]!r},label="walking",score=')
    assert int(time) == iso_ns(plain["time"])


def test_file_and_stdout_get_the_results_that_the_broker_gets(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    outputs = '[ { type = "mqtt" }, { type = "file", path = "out.jsonl" }, { type = "stdout", format = "influx" } ]'
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in"), outputs=outputs), broker.port)
    with (daemon.folder / "stdout").open("wb") as stdout:
        daemon.launch(stdout=stdout)
    daemon.wait_connected()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish_all(f"{daemon.fleet}/in", messages("running_01"))
        results = peer.results(daemon.out("har"), WINDOWS)
    assert daemon.stop() == 0
    assert [json.loads(line) for line in (daemon.folder / "out.jsonl").read_text().splitlines()] == results
    lines = (daemon.folder / "stdout").read_text().splitlines()
    assert [int(line.split(" ")[2]) for line in lines] == [iso_ns(each["time"]) for each in results]


def test_whole_files_run_to_their_end_and_the_daemon_with_them(make_daemon: MakeDaemon) -> None:
    decoder = '{ type = "csv", channels = ["x", "y", "z"] }'
    source = f'{{ type = "file", path = "{HAR_DATA}/*.csv" }}'
    daemon = make_daemon(pipeline("har", source, decoder=decoder, outputs='[ { type = "file", path = "out.jsonl" } ]'))
    assert daemon.launch().wait() == 0
    results = [json.loads(line) for line in (daemon.folder / "out.jsonl").read_text().splitlines()]
    assert len(results) == len(ALL) * WINDOWS
    for each in results:
        assert each["output"]["label"] == label_of(each["labels"]["file"])
    assert daemon.logged("stopped")[0]["results"] == len(results)


def test_standard_input_runs_to_its_end_and_the_daemon_with_it(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    daemon.launch(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.process is not None
    out, _ = daemon.process.communicate("\n".join(messages("walking_02")).encode())
    assert daemon.wait() == 0
    assert [json.loads(line)["output"]["label"] for line in out.splitlines()] == ["walking"] * WINDOWS


def test_source_and_output_may_be_on_different_brokers(broker: Mosquitto, make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    floor = make_broker().start()
    config = f'[mqtt.floor]\nurl = "mqtt://127.0.0.1:{floor.port}"\n'
    source = on_topic("$FLEET/in", ', broker = "floor"')
    daemon = make_daemon(config + pipeline("har", source, outputs='[ { type = "mqtt", topic = "$FLEET/out" } ]'), broker.port).start()
    with Peer(broker.port, f"{daemon.fleet}/out") as here, Peer(floor.port, f"{daemon.fleet}/out") as there:
        here.publish(f"{daemon.fleet}/in", window_message("running_01"))  # nobody reads it on this broker
        there.publish(f"{daemon.fleet}/in", window_message("walking_01"))
        assert [each["output"]["label"] for each in here.results(f"{daemon.fleet}/out")] == ["walking"]
        assert there.messages == []
    assert set(daemon.status()["brokers"]) == {"main", "floor"}
    assert daemon.pipeline("har")["messages"] == 1


def test_packed_csv_and_influx_messages_say_the_same_as_json(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    decoders = {
        "packed": '{ type = "packed", layout = "<hhh", channels = ["x", "y", "z"] }',
        "csv": '{ type = "csv", channels = ["x", "y", "z"] }',
        "influx": '{ type = "influx", channels = ["x", "y", "z"], time_unit = "ms" }',
        "json": '{ type = "json", channels = ["x", "y", "z"] }',
    }
    config = "".join(pipeline(name, on_topic(f"$FLEET/{name}"), decoder=decoder) for name, decoder in decoders.items())
    daemon = make_daemon(config, broker.port).start()
    rows = readings("walking_01")[:260]
    payloads: dict[str, bytes | str] = {
        "packed": rows.astype("<i2").tobytes(),
        "csv": "\n".join(",".join(map(str, row)) for row in rows.tolist()),
        "influx": "\n".join(f"acc x={x},y={y},z={z} {ts}" for ts, (x, y, z) in zip(times_ms(260), rows.tolist())),
        "json": window_message("walking_01"),
    }
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        for name, payload in payloads.items():
            peer.publish(f"{daemon.fleet}/{name}", payload)
        outputs = {name: peer.results(daemon.out(name))[0]["output"] for name in payloads}
    assert outputs["json"]["label"] == "walking"
    assert all(output == outputs["json"] for output in outputs.values())
    assert codes(daemon.status()) == set()
