"""The daemon end to end: real recordings through a real broker, into every kind of output."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edged.stream.decoders.times import iso_ns
from tests.broker import Make as MakeBroker
from tests.broker import Mosquitto
from tests.daemon import Daemon, Make, Status, is_connected, on_topic, pipeline, pipeline_in
from tests.peer import Peer
from tests.recordings import ALL, START_MS, WINDOWS, label_of, messages, times_ms, window_message

pytest_plugins = ["tests.broker", "tests.daemon"]

# An alarm at "running", as a release has it; the weights are the demo's.
ALARM = 'activation = "none"\nalarm = { label = "running", on = 0.9, off = 0.7 }\n'


def done(count: int, name: str = "har") -> Any:
    """Give the condition that a pipeline has made `count` results, and the broker has them."""
    return lambda status: pipeline_in(status, name)["results"] >= count and status["spool"]["results"] == 0


@pytest.fixture
def alarming(tmp_path: Path, data: Path) -> Path:
    """Give a release that raises an alarm when somebody runs."""
    from tests.daemon import HAR

    folder = tmp_path / "release"
    folder.mkdir()
    for name in ("har_float.tflite", "golden-fp32.npz"):
        (folder / name).write_bytes((HAR / name).read_bytes())
    text = (HAR / "model.toml").read_text()
    assert 'activation = "none"' in text
    (folder / "model.toml").write_text(re.sub(r'activation = "none".*\n', ALARM, text))
    return folder


# -- what comes out ---------------------------------------------------------------------------


def test_recordings_sent_reading_by_reading_come_out_as_what_was_done(broker: Mosquitto, make_daemon: Make) -> None:
    daemon = make_daemon("", broker.port)
    topic = f"{daemon.fleet}/{{line}}/wrist/{{person}}/acc"
    daemon = make_daemon(pipeline("har", on_topic(topic)), broker.port).start()
    with Peer(broker.port, daemon.out("har")) as peer:
        for name in ALL:
            peer.publish_all(f"{daemon.fleet}/b/wrist/{name}/acc", messages(name))
        results = peer.results(daemon.out("har"), len(ALL) * WINDOWS)
        status = daemon.until(done(len(ALL) * WINDOWS), "all results are out")
    by_person: dict[str, list[Any]] = {name: [] for name in ALL}
    for result in results:
        assert result["key"] == f"line=b/person={result['labels']['person']}"
        assert result["labels"]["line"] == "b"
        by_person[result["labels"]["person"]].append(result)
    times = times_ms(1000)
    for name, found in by_person.items():
        assert [each["output"]["label"] for each in found] == [label_of(name)] * WINDOWS
        assert [iso_ns(each["window"]["start"]) // 1_000_000 for each in found] == times[0 : 1000 - 259 : 130]
        assert [iso_ns(each["window"]["end"]) // 1_000_000 for each in found] == times[259::130]
        assert all(each["time"] == each["window"]["end"] and each["window"]["samples"] == 260 for each in found)
    assert len({each["id"] for each in results}) == len(results)
    assert results[0]["model"] == {"name": "har", "version": "1.0.0", "release": 1, "variant": "fp32", "engine": "tflite"}
    assert (results[0]["v"], results[0]["device"], results[0]["pipeline"]) == (1, "press-7", "har")
    assert_adds_up(status, readings=6000, windows=36)


def assert_adds_up(status: Status, readings: int, windows: int) -> None:
    har = pipeline_in(status, "har")
    assert (har["messages"], har["readings"], har["windows"], har["results"]) == (readings, readings, windows, windows)
    assert (har["rejected"], har["dropped"], har["queue"], har["streams"]) == ({}, {}, 0, len(ALL))
    assert (har["state"], har["model"], har["release"], har["variant"], har["in_place"]) == ("running", "har", 1, "fp32", True)
    assert har["last_result"]["text"].startswith("walking")
    assert 0 < har["latency_ms"]["p50"] <= har["latency_ms"]["p95"] <= har["latency_ms"]["p99"]
    assert status["spool"] == {"state": "empty", "results": 0, "mib": 0.0, "max_mib": 0.0, "oldest_s": None, "dropped": {}}
    assert status["health"] == []


def test_a_result_has_the_same_id_after_a_restart_when_the_readings_have_the_same_times(broker: Mosquitto, make_daemon: Make) -> None:
    daemon = make_daemon("", broker.port)
    topic = f"{daemon.fleet}/acc"
    arrival = '{ type = "json", channels = ["x", "y", "z"] }'
    config = pipeline("har", on_topic(topic)) + pipeline("arrival", on_topic(topic), decoder=arrival)
    daemon = make_daemon(config, broker.port)
    found: list[dict[str, list[Any]]] = []
    for _ in range(2):
        daemon.start()
        with Peer(broker.port, daemon.topic("out/+")) as peer:
            peer.publish_all(topic, [window_message("walking_01"), window_message("running_01", START_MS + 10_000)])
            found.append({name: peer.results(daemon.out(name), 2) for name in ("har", "arrival")})
        assert daemon.stop() == 0
    first, second = found
    assert [each["id"] for each in first["har"]] == [each["id"] for each in second["har"]]
    assert "clock" not in first["har"][0]
    # Without event time a result only has the time it came at: it must not look like an old one.
    assert not {each["id"] for each in first["arrival"]} & {each["id"] for each in second["arrival"]}
    assert first["arrival"][0]["clock"] == "arrival"


def test_one_pipeline_reads_the_results_of_another_with_their_labels(broker: Mosquitto, make_daemon: Make, alarming: Path) -> None:
    daemon = make_daemon("", broker.port)
    tensor = alarming / "model.toml"
    config = pipeline("har", on_topic(f"{daemon.fleet}/{{person}}"), model=alarming)
    # What a person did, six windows long, looked at as a signal: only the plumbing counts here.
    scores = '{ type = "json", channels = ["output.scores.stationary", "output.scores.walking", "output.scores.running"] }'
    second = alarming.parent / "second"
    second.mkdir()
    (second / "har_float.tflite").write_bytes((alarming / "har_float.tflite").read_bytes())
    short = tensor.read_text().replace("samples = 260", "samples = 2").replace("hop = 130", "hop = 1").replace('name = "har"', 'name = "next"')
    repeated = 'preprocess = [ { op = "stats", of = ["mean"], by = "channel" } ]'
    (second / "model.toml").write_text(re.sub(r"preprocess = .*", repeated, short))
    daemon = make_daemon(config + pipeline("next", '{ type = "pipeline", name = "har" }', decoder=scores, model=second), broker.port)
    daemon.start()
    failed = pipeline_in(daemon.status(), "next")
    assert failed["state"] == "failed"


def test_outputs_get_what_their_when_asks_for(broker: Mosquitto, make_daemon: Make, alarming: Path) -> None:
    outputs = """[
      { type = "mqtt", topic = "{fleet}/always/{person}" },
      { type = "mqtt", topic = "{fleet}/change/{person}", when = "change" },
      { type = "mqtt", topic = "{fleet}/alarm/{person}", when = "alarm", qos = 0 },
    ]"""
    outputs = " ".join(outputs.split())
    fleet = make_daemon("", broker.port).fleet
    daemon = make_daemon(pipeline("har", on_topic(f"{fleet}/in/{{person}}"), model=alarming, outputs=outputs), broker.port).start()
    done_in_turn = ["walking_01", "running_01", "running_02", "stationary_01", "running_01"]
    with Peer(broker.port, f"{fleet}/always/+", f"{fleet}/change/+", f"{fleet}/alarm/+") as peer:
        for i, name in enumerate(done_in_turn):
            peer.publish(f"{fleet}/in/ann", window_message(name, START_MS + 10_000 * i))
        labels = {
            when: [each["output"]["label"] for each in peer.results(f"{fleet}/{when}/ann", count)]
            for when, count in {"always": 9, "change": 1, "alarm": 1}.items()
        }
        daemon.until(done(9), "all results are out")
    assert labels["always"] == []
