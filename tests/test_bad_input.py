"""What comes from outside and is wrong: it is counted by its reason, and what is right goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker import Mosquitto
from tests.conftest import DATA
from tests.daemon import HAR, XYZ_MS, Daemon, codes, edged, on_topic, pipeline
from tests.lanes import Lane
from tests.peer import Peer
from tests.recordings import START_MS, times_ms, window_message
from tests.releases import changed, twice
from tests.waiting import until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

PACKED = '{ type = "packed", layout = "<hhh", channels = ["x", "y", "z"] }'
FOUR = '{ type = "json", channels = ["v"] }'


@pytest.fixture(scope="module")
def served(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Peer]]:
    """Give one daemon for all bad messages, and a peer that hears its results and samples."""
    folder = tmp_path_factory.mktemp("bad-input")
    config = (
        pipeline("json", on_topic("$FLEET/json/{case}"))
        + pipeline("packed", on_topic("$FLEET/packed/{case}"), decoder=PACKED)
        + pipeline("tensor", on_topic("$FLEET/tensor/{case}"), decoder=FOUR, model=twice(folder / "twice", channels=1, samples=4))
    )
    daemon = Daemon(folder / "d", config, broker.port).start()
    with Peer(broker.port, daemon.topic("out/+"), daemon.topic("evt/rejected")) as peer:
        yield daemon, peer
    assert daemon.stop() == 0


def message(**changes: object) -> str:
    """Give one good reading with some of its keys changed, None to leave them out."""
    keys = {"ts": START_MS, "x": 1.0, "y": 2.0, "z": 3.0, **changes}
    return json.dumps({key: value for key, value in keys.items() if value is not None})


GOOD: dict[str, bytes | str] = {
    "json": window_message("walking_01"),
    "packed": b"\x10\x00\x20\x00\x30\x00" * 260,
    "tensor": '{"v": [1, 2, 3, 4]}',
}

BAD: dict[str, tuple[str, bytes | str, str]] = {
    "cut-off": ("json", message()[:-1], "malformed"),
    "not-json": ("json", "on fire", "malformed"),
    "not-utf8": ("json", b'{"ts": 1, "x": "\xff\xfe"}', "malformed"),
    "empty": ("json", "", "malformed"),
    "deep": ("json", "[" * 100_000, "malformed"),
    "nan": ("json", message(x=float("nan")), "malformed"),  # JSON has no NaN
    "infinity": ("json", message(x=float("inf")), "malformed"),
    "no-channel": ("json", message(z=None), "missing-channel z"),
    "null": ("json", '{"ts": 1, "x": null, "y": 2, "z": 3}', "wrong-type"),
    "text-for-a-number": ("json", message(y="2.0"), "wrong-type"),
    "truth-for-a-number": ("json", message(y=True), "wrong-type"),
    "number": ("json", "17", "wrong-type"),
    "beyond-double": ("json", message(x=0).replace("0,", "1e999,"), "out-of-range"),
    "beyond-float32": ("json", message(x=1e39), "out-of-range"),
    "uneven-arrays": ("json", message(x=[1, 2], y=[1, 2], z=[1]), "wrong-length"),
    "empty-arrays": ("json", message(x=[], y=[], z=[]), "wrong-length"),
    "no-time": ("json", message(ts=None), "bad-time"),
    "text-for-a-time": ("json", message(ts="yesterday"), "bad-time"),
    "time-of-no-year": ("json", message(ts=10**18), "bad-time"),
    "ten-megabytes": ("json", b"x" * 10_000_000, "too-large"),
    "half-a-record": ("packed", b"\x01" * 7, "wrong-length"),
    "no-record": ("packed", b"", "wrong-length"),
    "too-short-a-tensor": ("tensor", '{"v": [1, 2, 3]}', "wrong-length"),
    "too-long-a-tensor": ("tensor", '{"v": [1, 2, 3, 4, 5]}', "wrong-length"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_message_is_counted_and_the_next_good_one_gives_its_result(served: tuple[Daemon, Peer], case: str) -> None:
    daemon, peer = served
    name, payload, reason = BAD[case]
    before = daemon.pipeline(name)
    peer.publish(f"{daemon.fleet}/{name}/{case}", payload)
    peer.publish(f"{daemon.fleet}/{name}/{case}", GOOD[name])
    mine = until(lambda: heard(peer, daemon.out(name), case), "the result of the good message", daemon.tail)
    assert len(mine) == 1
    after = daemon.pipeline(name)
    assert after["rejected"].pop(reason) == before["rejected"].pop(reason, 0) + 1
    assert after["rejected"] == before["rejected"]
    assert after["results"] == before["results"] + 1
    assert after["messages"] == before["messages"] + 2
    # The daemon is not to blame: a warning for people, not an error for monitors.
    status = daemon.until(lambda status: "readings-rejected" in codes(status), "the condition is shown")
    assert {each["severity"] for each in status["health"]} == {"warning"}


def heard(peer: Peer, topic: str, case: str) -> list[dict[str, object]]:
    """Give the results of one case's stream."""
    results = [json.loads(each.payload) for each in peer.on(topic)]
    return [each for each in results if each["labels"] == {"case": case}]


def test_a_sample_of_what_was_refused_is_published(served: tuple[Daemon, Peer]) -> None:
    daemon, peer = served
    topic = f"{daemon.fleet}/json/sample"

    def sample() -> dict[str, object] | None:
        # At most one a second goes out for a pipeline, and other tests refuse messages too.
        peer.publish(topic, '{"ts": 1, "x": "a"}')
        samples = [json.loads(each.payload) for each in peer.on(daemon.topic("evt/rejected"))]
        return next((each for each in samples if each["topic"] == topic), None)

    found = until(sample, "a sample", daemon.tail)
    assert {key: found[key] for key in ("v", "pipeline", "bytes", "payload")} == {
        "v": 1,
        "pipeline": "json",
        "bytes": 19,
        "payload": '{"ts": 1, "x": "a"}',
    }
    assert (found["reason"], found["detail"]) == ("wrong-type", "x is text")


def test_late_and_duplicate_readings_are_dropped_and_the_stream_goes_on(served: tuple[Daemon, Peer]) -> None:
    daemon, peer = served
    topic, before = f"{daemon.fleet}/json/late", daemon.pipeline("json")["rejected"]
    times, still = times_ms(390), [1.0] * 260
    peer.publish(topic, message(ts=times[:260], x=still, y=still, z=still))
    peer.publish(topic, message(ts=times[259]))
    peer.publish(topic, message(ts=times[100]))
    peer.publish(topic, message(ts=times[0]))
    peer.publish(topic, message(ts=times[260:], x=still[:130], y=still[:130], z=still[:130]))
    until(lambda: len(heard(peer, daemon.out("json"), "late")) == 2, "both results", daemon.tail)
    after = daemon.pipeline("json")["rejected"]
    assert after["duplicate"] == before.get("duplicate", 0) + 1
    assert after["late"] == before.get("late", 0) + 2


# -- keys without end -------------------------------------------------------------------------


def test_a_hundred_thousand_keys_take_no_more_memory_than_a_thousand(tmp_path: Path) -> None:
    lane = Lane(twice(tmp_path / "twice", 1, 4, 4), {"type": "json", "channels": ["v"]}, max_streams=1000)
    streams = lane.pipeline.assembly.streams
    for first in range(0, 100_000, 500):
        lane.put(*((f"in/{first + i}", '{"v": 1}') for i in range(500)))
    assert len(streams.streams) == 1000
    assert len(streams._slots) == 1000
    assert streams.evicted == 99_000
    assert lane.counters.dropped == {"stream-let-go": 99_000}  # one reading of an unfinished window each
    lane.put(("in/a", '{"v": [1, 2, 3, 4]}'))
    assert lane.kept.results[-1].output == {"values": [2.0, 4.0, 6.0, 8.0]}


def test_more_keys_than_streams_through_the_broker_are_let_go_and_shown(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    release = twice(tmp_path / "twice", 1, 4, 4)
    config = pipeline("keys", on_topic("$FLEET/{key}"), decoder=FOUR, model=release, more="max_streams = 50")
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.out("keys")) as peer:
        for i in range(300):
            peer.publish_all(f"{daemon.fleet}/{i}", ['{"v": 1}'])
        peer.publish(f"{daemon.fleet}/last", '{"v": [1, 2, 3, 4]}')
        assert peer.results(daemon.out("keys"))[0]["output"] == {"values": [2.0, 4.0, 6.0, 8.0]}
    status = daemon.until(lambda status: "streams-let-go" in codes(status), "it is shown")
    assert status["pipelines"][0]["streams"] == 50
    keys = status["pipelines"][0]
    assert keys["dropped"]["stream-let-go"] == 251


def test_messages_of_a_topic_that_was_in_the_configuration_once_are_counted(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    """The broker keeps the subscriptions of the daemon's session over a change of the configuration."""
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/old")), broker.port).start()
    assert daemon.stop() == 0
    daemon.file.write_text(daemon.file.read_text().replace(f"{daemon.fleet}/old", f"{daemon.fleet}/new"))
    daemon.start()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish(f"{daemon.fleet}/old", window_message("running_01"))
        peer.publish(f"{daemon.fleet}/new", window_message("walking_01"))
        assert [each["output"]["label"] for each in peer.results(daemon.out("har"))] == ["walking"]
    assert daemon.pipeline("har")["rejected"] == {"unknown-topic": 1}


# -- models -----------------------------------------------------------------------------------


def test_models_that_cannot_run_fail_alone_each_with_its_reason(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    releases = {
        "custom-op": changed(HAR, tmp_path / "custom-op"),
        "cut-off": changed(HAR, tmp_path / "cut-off"),
        "no-model": changed(HAR, tmp_path / "no-model"),
        "misfit": changed(HAR, tmp_path / "misfit", ("samples = 260", "samples = 250")),
        "bad-manifest": changed(HAR, tmp_path / "bad-manifest", ('task = "classify"', 'task = "guess"')),
    }
    whole = (HAR / "har_float.tflite").read_bytes()
    (releases["custom-op"] / "har_float.tflite").write_bytes((DATA / "broken" / "audio_preprocessor_int8.tflite").read_bytes())
    (releases["cut-off"] / "har_float.tflite").write_bytes(whole[: len(whole) // 2])
    (releases["no-model"] / "har_float.tflite").write_bytes(b"not a model")
    config = "".join(pipeline(name, on_topic(f"$FLEET/{name}"), model=folder) for name, folder in releases.items())
    daemon = make_daemon(config + pipeline("sound", on_topic("$FLEET/sound")), broker.port).start()
    with Peer(broker.port, daemon.out("sound")) as peer:
        peer.publish(f"{daemon.fleet}/sound", window_message("walking_01"))
        peer.wait(daemon.out("sound"))
    status = daemon.until(lambda status: len(status["health"]) == len(releases), "each has a condition")
    assert {each["name"]: each["state"] for each in status["pipelines"]} == {**dict.fromkeys(releases, "failed"), "sound": "running"}
    said = {each["subject"]: f"{each['text']}; {each['hint']}" for each in status["health"]}
    assert "SignalWindow" in said["custom-op"]
    assert "[250, 3]" in said["misfit"]
    assert "[260, 3]" in said["misfit"]
    assert "model.toml:4: task:" in said["bad-manifest"]
    assert all("har_float.tflite" in said[name] for name in ("cut-off", "no-model"))


def test_pack_refuses_a_release_whose_golden_it_does_not_compute(tmp_path: Path) -> None:
    import numpy as np

    release = changed(HAR, tmp_path / "release")
    with np.load(release / "golden-fp32.npz") as held:
        inputs, outputs = held["inputs"], held["outputs"]
    np.savez(release / "golden-fp32.npz", inputs=inputs, outputs=outputs[::-1])
    refused = edged("pack", str(release), cwd=tmp_path)
    assert refused.returncode == 1
    assert b"golden" in refused.stderr
    assert not (release / "release.json").exists()


# -- configuration ----------------------------------------------------------------------------

TEN_FAULTS = """\
[device]
id = "Press 7"
[mqtt.main]
url = "http://broker"
keepalive_s = 1
[[pipelines]]
name = "Pump"
model_dir = "nowhere"
source = { type = "mqtt", topic = "plant/#" }
decoder = { type = "json", channels = [] }
deadline_ms = -1
colour = "red"
[[pipelines]]
name = "second"
source = { type = "pipeline", name = "third" }
decoder = { type = "json", channels = ["x"], time_unit = "fortnight" }
"""


def test_all_faults_of_a_configuration_are_reported_at_once_and_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "edged.toml").write_text(TEN_FAULTS)
    checked = edged("check", "--config", "edged.toml", cwd=tmp_path)
    assert checked.returncode == 3
    faults = [line for line in checked.stderr.decode().splitlines() if line.startswith(str(tmp_path / "edged.toml"))]
    lines = [int(fault.split(":")[1]) for fault in faults]
    assert lines == sorted(lines)
    assert {2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16} <= set(lines)
    assert len(faults) >= 10
    ran = edged("run", "--config", "edged.toml", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (3, checked.stderr)
    as_json = edged("check", "--config", "edged.toml", "--json", cwd=tmp_path)
    assert len(json.loads(as_json.stdout)["error"]["faults"]) == len(faults)


# -- brokers ----------------------------------------------------------------------------------


def test_a_broker_that_comes_later_is_found_and_results_flow(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker()
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in")), broker.port).launch()
    status = daemon.until(lambda status: "broker-unreachable" in codes(status), "nobody there")
    assert status["brokers"]["main"]["error"] == f"nothing listens at 127.0.0.1:{broker.port}"
    broker.start()
    daemon.wait_connected()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish(f"{daemon.fleet}/in", window_message("walking_01"))
        peer.wait(daemon.out("har"))
    daemon.until(lambda status: codes(status) == set(), "all is well")


def test_results_made_while_the_broker_was_away_reach_it_later(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker()
    source = '{ type = "file", path = "in.jsonl", follow = true }'
    daemon = make_daemon(pipeline("har", source), broker.port).launch()
    daemon.until(lambda status: status["brokers"]["main"]["state"] == "unreachable", "nobody there")
    (daemon.folder / "in.jsonl").write_text(window_message("walking_01") + "\n")
    status = daemon.until(lambda status: status["spool"]["results"] == 1, "the result waits")
    assert status["spool"]["state"] in ("memory", "disk")
    broker.start()
    with Peer(broker.port, daemon.out("har")) as peer:
        assert len(peer.wait(daemon.out("har"))) == 1


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
def test_a_wrong_password_is_said_plainly(make_broker: MakeBroker, make_daemon: MakeDaemon, tmp_path: Path, version: str) -> None:
    broker = make_broker(users={"press-7": "right"}).start()
    (tmp_path / "password").write_text("wrong\n")
    login = f'username = "press-7"\npassword_file = "{tmp_path}/password"\nversion = "{version}"\n'
    config = f'[mqtt.main]\nurl = "mqtt://127.0.0.1:{broker.port}"\n{login}' + pipeline("har", on_topic("$FLEET/in"))
    daemon = make_daemon(config).launch()
    daemon.until(lambda status: "broker-refused" in codes(status), "the refusal")
    shown = edged("status", "--config", str(daemon.file), cwd=daemon.folder, COLUMNS="200")
    assert shown.returncode == 5
    assert b"refuses user press-7: wrong user name or password" in b" ".join(shown.stdout.split())
    assert b"wrong\n" not in shown.stdout  # and the password itself is not said
    assert daemon.stop() == 0


# -- a full disk ------------------------------------------------------------------------------


def test_a_full_disk_is_shown_and_results_go_on_when_there_is_room_again(
    broker: Mosquitto, make_daemon: MakeDaemon, tiny_disk: Path
) -> None:
    decoder = XYZ_MS.replace(', time = "ts"', "")
    outputs = f'[ {{ type = "file", path = "{tiny_disk}/out.jsonl" }}, {{ type = "mqtt" }} ]'
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in"), decoder=decoder, outputs=outputs), broker.port).start()
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * (TINY - 4096))
    with Peer(broker.port, daemon.out("har")) as peer:

        def one_more() -> bool:
            peer.publish(f"{daemon.fleet}/in", window_message("walking_01"))
            return "disk-full" in daemon.pipeline("har")["dropped"]

        until(one_more, "the disk is full", daemon.tail)
        status = daemon.until(lambda status: "output-failing" in codes(status), "it is shown")
        assert f"{tiny_disk}/out.jsonl cannot be written: the disk is full" in {each["text"] for each in status["health"]}
        ballast.unlink()
        one_more()
        daemon.until(lambda status: "output-failing" not in codes(status), "it is over")
        lost = daemon.pipeline("har")["dropped"]["disk-full"]
        everywhere = daemon.pipeline("har")["results"]
        assert len(peer.wait(daemon.out("har"), everywhere)) == everywhere  # the broker got them all
    results = [json.loads(line) for line in (tiny_disk / "out.jsonl").read_text().splitlines()]
    assert len(results) == everywhere - lost


TINY = 64 << 10


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of TINY bytes."""
    import os
    import subprocess

    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TINY}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
