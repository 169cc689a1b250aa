"""Texts through the daemon: broker, files, standard input, chains, threads, and a stop while a text is worked on."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from edged.config import schema
from edged.errors import Cancelled
from edged.hold import Hold
from edged.models.manifest import load_release
from edged.records import Batch
from edged.service.ending import give_up_texts
from edged.service.parts import Lane as ServiceLane
from edged.service.progress import is_stuck
from edged.stream.worker import Worker
from tests.broker import Mosquitto
from tests.daemon import HAR, edged, on_topic, pipeline
from tests.lanes import Lane
from tests.linears import LABELS
from tests.peer import Peer
from tests.recordings import window_message
from tests.releases import changed
from tests.test_record_replay import record, replayed
from tests.text_lanes import PUMP, TEXT, UNKNOWN, VALVE, Opener, text_release, with_cascade
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

OF_TEXTS = '{ type = "text" }'
TO_FILE = '[ { type = "file", path = "out.jsonl" } ]'


def outcome(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "out.jsonl").read_text().splitlines()]


def test_texts_of_a_broker_are_classified_and_refused_ones_are_told_of(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    config = pipeline("orders", on_topic("$FLEET/{site}/order"), decoder=OF_TEXTS, model=text_release(tmp_path / "r"))
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.out("orders"), daemon.topic("evt/rejected")) as peer:
        for site, text in (("a", PUMP), ("b", VALVE), ("a", " ")):
            peer.publish(f"{daemon.fleet}/{site}/order", text)
        results = peer.results(daemon.out("orders"), 2)
        assert json.loads(peer.wait(daemon.topic("evt/rejected"))[0].payload)["reason"] == "empty-text"
    assert [(each["labels"], each["output"]["label"], each["clock"]) for each in results] == [
        ({"site": "a"}, "pump", "arrival"),
        ({"site": "b"}, "valve", "arrival"),
    ]
    status = daemon.until(lambda each: each["pipelines"][0]["messages"] == 3, "all texts are worked off")["pipelines"][0]
    assert (status["readings"], status["results"], status["rejected"]) == (2, 2, {"empty-text": 1})
    assert status["engine"].startswith("edged ")
    assert status["last_result"]["text"].startswith("valve 0.9")
    assert daemon.stop() == 0


def test_lines_of_a_file_and_of_standard_input_are_texts(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    release = text_release(tmp_path / "r")
    (tmp_path / "orders.txt").write_text(f"{PUMP}\n{VALVE}\n\n{PUMP}")
    source = f'{{ type = "file", path = "{tmp_path}/orders.txt" }}'
    daemon = make_daemon(pipeline("orders", source, decoder=OF_TEXTS, model=release, outputs=TO_FILE))
    assert daemon.launch().wait() == 0
    assert [each["output"]["label"] for each in outcome(daemon.folder)] == ["pump", "valve", "pump"]  # type: ignore[index]
    daemon = make_daemon(pipeline("orders", '{ type = "stdin" }', decoder=OF_TEXTS, model=release, outputs='[ { type = "stdout" } ]'))
    daemon.launch(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.process is not None
    out, _ = daemon.process.communicate(f"{VALVE}\n{PUMP}\n".encode())
    assert daemon.wait() == 0
    assert [json.loads(line)["output"]["label"] for line in out.splitlines()] == ["valve", "pump"]


def test_an_alarm_of_sensors_becomes_a_text_for_the_next_pipeline(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    alarm = ('activation = "none"', 'activation = "none"\nalarm = { label = "running", on = 0.9, off = 0.7 }')
    sensors = changed(HAR, tmp_path / "har", alarm, ("hop = 130", "hop = 260"))
    words = text_release(tmp_path / "r", given='render = "stuck at {output.score} in {labels.person}"\n')
    config = pipeline("har", on_topic("$FLEET/{person}"), model=sensors)
    config += pipeline("note", '{ type = "pipeline", name = "har", when = "alarm" }', decoder=OF_TEXTS, model=words)
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        for i, name in enumerate(("walking_01", "running_01")):
            peer.publish(f"{daemon.fleet}/ann", window_message(name, 1_795_351_772_000 + 10_000 * i))
        peer.results(daemon.out("har"), 2)
        results = peer.results(daemon.out("note"))
    assert [(each["labels"], each["output"]["label"]) for each in results] == [({"person": "ann"}, "valve")]
    assert daemon.stop() == 0


def test_a_result_without_the_field_is_refused_by_name(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    words = text_release(tmp_path / "r", given='render = "{output.anomaly}"\n')
    config = pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, model=text_release(tmp_path / "first"))
    config += pipeline("note", '{ type = "pipeline", name = "orders" }', decoder=OF_TEXTS, model=words)
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port) as peer:
        peer.publish(f"{daemon.fleet}/order", PUMP)
    status = daemon.until(lambda each: each["pipelines"][1]["rejected"], "the text is refused")
    assert status["pipelines"][1]["rejected"] == {"missing-field output.anomaly": 1}


def test_a_cascade_shows_in_the_status(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    config = pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, model=with_cascade(tmp_path / "r", second=0.99, per_hour=1))
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.out("orders")) as peer:
        for text in (PUMP, UNKNOWN, UNKNOWN):
            peer.publish(f"{daemon.fleet}/order", text)
        results = peer.results(daemon.out("orders"), 3)
    assert [(each["output"]["path"], each["output"]["band"]) for each in results] == [
        (["words"], "accept"),
        (["words", "large"], "abstain"),
        (["words"], "abstain"),
    ]
    status = daemon.pipeline("orders")
    assert status["cascade"]["stages"] == [
        {"name": "words", "asked": 3, "accepted": 1, "over_budget": 0, "failed": 0},
        {"name": "large", "asked": 1, "accepted": 0, "over_budget": 1, "failed": 0},
    ]
    assert status["cascade"]["bands"] == {"accept": 1, "escalate": 0, "abstain": 2}
    assert status["last_result"]["text"].endswith("(abstain)")


def test_check_and_run_name_both_sides_where_decoder_and_model_do_not_fit(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon(pipeline("orders", '{ type = "stdin" }', model=text_release(tmp_path / "r"), outputs=TO_FILE))
    assert daemon.launch().wait() != 0
    assert "the decoder json gives readings, orders takes texts" in daemon.tail()


def test_a_recording_of_texts_replays_to_the_same_bytes_each_time(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    release = with_cascade(tmp_path / "r", per_hour=1)
    daemon = make_daemon(pipeline("orders", '{ type = "stdin" }', decoder=OF_TEXTS, model=release, outputs='[ { type = "stdout" } ]'))
    record(daemon).communicate("\n".join((PUMP, UNKNOWN, VALVE, UNKNOWN)).encode(), timeout=PATIENCE_S)
    first = replayed(daemon)
    assert [each["output"]["path"] for each in map(json.loads, first.splitlines())] == [["words"], ["words", "large"], ["words"], ["words"]]
    assert replayed(daemon) == first


def test_a_recording_of_texts_can_be_simulated(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    release = text_release(tmp_path / "r")
    daemon = make_daemon(pipeline("orders", '{ type = "stdin" }', decoder=OF_TEXTS, model=release, outputs=TO_FILE))
    record(daemon).communicate("\n".join((PUMP, VALVE)).encode(), timeout=PATIENCE_S)
    args = ("--config", str(daemon.file), "--profile", "raspberry-pi-zero-2w", "--recording", "in.rec", "--json")
    done = edged("board", "simulate", *args, cwd=daemon.folder)
    ran = json.loads(done.stdout)["pipelines"][0]["ran"]
    assert (ran["messages"], ran["results"]) == (2, 2)


# -- threads, and the end ---------------------------------------------------------------------


class Working:
    """A lane whose model is at work on a text until it is let go, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.began, self.go_on, self.seen = threading.Event(), threading.Event(), threading.Event()
        self.opener = Opener(self._answer)
        self.lane = Lane(text_release(folder, task="generate", engine="llama"), TEXT, opener=self.opener)
        self.worker = Worker("text-lane")
        self.worker.add(self.lane.pipeline)
        self.worker.start()
        self.done: list[bool] = []

    def put(self, *texts: bytes) -> None:
        batch = Batch([b"in/a"] * len(texts), list(texts), 0, self.lane.clock.mono(), lambda: self.done.append(True), connection=1)
        self.lane.pipeline.inbox.put(batch)
        self.worker.wake()
        assert self.began.wait(PATIENCE_S)

    def _answer(self, text: str) -> str:
        self.began.set()
        while not self.go_on.wait(0.01):
            self.opener.opened[0].progress()
            self.seen.set()
        return text


@pytest.fixture
def working(tmp_path: Path) -> Working:
    return Working(tmp_path / "r")


def test_a_long_text_is_no_hang_as_long_as_the_engine_says_that_it_goes_on(working: Working) -> None:
    lane = ServiceLane(working.lane.pipeline.options, source=None, pipeline=working.lane.pipeline)  # type: ignore[arg-type]
    working.put(b"a")
    working.lane.clock.advance(3_600 * 10**9)
    working.seen.clear()
    assert working.seen.wait(PATIENCE_S)
    assert not is_stuck(lane, working.lane.clock)
    working.go_on.set()
    until(lambda: not working.lane.pipeline.busy_since, "the text is worked off")
    assert working.worker.stop(PATIENCE_S)


def test_a_text_that_does_not_go_on_is_a_hang_in_the_end(working: Working) -> None:
    lane = ServiceLane(working.lane.pipeline.options, source=None, pipeline=working.lane.pipeline)  # type: ignore[arg-type]
    lane.pipeline.busy_since = working.lane.clock.mono() + 1  # type: ignore[union-attr]
    working.lane.clock.advance(89 * 10**9)
    assert not is_stuck(lane, working.lane.clock)  # a process may be starting anew
    working.lane.clock.advance(2 * 10**9)
    assert is_stuck(lane, working.lane.clock)


def test_a_stop_gives_up_the_text_that_is_worked_on_and_leaves_it_to_the_broker(working: Working) -> None:
    lane = ServiceLane(working.lane.pipeline.options, source=None, pipeline=working.lane.pipeline)  # type: ignore[arg-type]
    working.put(b"a", b"b", b"c", b"d", b"e", b"f")
    give_up_texts([lane])
    assert working.worker.stop(PATIENCE_S)
    assert (working.done, working.lane.kept.results) == ([], [])
    assert working.lane.pipeline.last_error is None
    working.lane.pipeline.close()


def test_texts_that_no_broker_keeps_are_counted_at_a_stop(tmp_path: Path) -> None:
    def stop(text: str) -> str:
        if text == "stop":
            raise Cancelled
        return text

    lane = Lane(text_release(tmp_path / "r", task="generate", engine="llama"), TEXT, opener=Opener(stop, batch=2))
    lane.put_texts("a", "b", "stop", "c", "d")
    assert (len(lane.kept.results), lane.counters.dropped) == (2, {"stopped": 3})


def test_texts_that_wait_at_a_stop_are_counted_too_but_for_those_that_a_broker_keeps(working: Working) -> None:
    pipeline = working.lane.pipeline
    working.put(b"a")
    for done in (None, None, lambda: working.done.append(True)):
        pipeline.inbox.put(Batch([b"in/a"] * 2, [b"b", b"c"], 0, 0, done))
    pipeline.stopping = True
    assert working.worker.stop(PATIENCE_S)
    assert (pipeline.counters.dropped, working.done, pipeline.inbox.waiting) == ({"stopped": 4}, [], 0)
    pipeline.close()


def test_a_model_is_changed_in_the_middle_of_a_batch_of_texts(tmp_path: Path) -> None:
    release = text_release(tmp_path / "r", task="generate", engine="llama")
    changes = []

    def answer(text: str) -> str:
        if text == "b":
            changes.append(lane.pipeline.swap(lane.around.load(lane.pipeline.options, load_release(release))))
        return text

    opener = Opener(answer, batch=2)
    lane = Lane(release, TEXT, opener=opener)
    done: list[bool] = []
    hold = Hold(lambda: done.append(True))
    payloads: list[bytes | None] = [b"a", b"b", b"c", b"d", b"e"]
    lane.pipeline.process(Batch([b"in/a"] * 5, payloads, 0, 0, hold.release))
    assert [each.over for each in changes] == [True]
    assert [each.output["text"] for each in lane.kept.results] == ["a", "b", "c", "d", "e"]
    assert [each.asked for each in opener.opened] == [[["a", "b"]], [["c", "d"], ["e"]]]
    assert [each.closed for each in opener.opened] == [True, False]
    assert (done, lane.pipeline.busy_since) == ([True], 0)
    assert len({each.id for each in lane.kept.results}) == 5


# -- a change of the release, and a clean stop ------------------------------------------------


def smoothed(folder: Path, release: int = 1, **options: str) -> Lane:
    output = 'smooth = { op = "mean", windows = 4 }\nalarm = { label = "valve", on = 0.4, off = 0.2 }\n'
    text_release(folder, output=output, **options)
    manifest = (folder / "model.toml").read_text().replace("release = 1\n", f"release = {release}\n")
    (folder / "model.toml").write_text(manifest)
    return Lane(folder, TEXT)


def test_smoothing_and_alarm_of_texts_go_on_after_a_clean_stop(tmp_path: Path) -> None:
    straight = smoothed(tmp_path / "a")
    straight.put_texts(PUMP, VALVE, VALVE, PUMP)
    first, second = smoothed(tmp_path / "a"), smoothed(tmp_path / "a")
    first.put_texts(PUMP, VALVE)
    carried = msgspec.msgpack.decode(msgspec.msgpack.encode(first.pipeline.carry()), type=type(first.pipeline.carry()))
    second.pipeline.go_on(carried)
    second.put_texts(VALVE, PUMP)
    assert second.counters.dropped == {}
    both = [*first.kept.outgoing, *second.kept.outgoing]
    assert [(each.result.output, each.result.alarm, each.changed) for each in both] == [
        (each.result.output, each.result.alarm, each.changed) for each in straight.kept.outgoing
    ]


@pytest.mark.parametrize("over_gap", [False, True])
def test_a_new_release_begins_smoothing_anew_and_loses_no_text(tmp_path: Path, over_gap: bool) -> None:
    lane = smoothed(tmp_path / "a")
    lane.put_texts(VALVE, VALVE)
    smoothed(tmp_path / "b", release=2)
    release = load_release(tmp_path / "b")

    def load() -> object:
        return lane.around.load(lane.pipeline.options, release)

    change = lane.pipeline.swap_over_gap(load, load) if over_gap else lane.pipeline.swap(load())  # type: ignore[arg-type]
    lane.pipeline.take()
    assert change.error is None
    lane.put_texts(PUMP)
    last = lane.kept.results[-1]
    assert (last.model.release, last.output["label"], last.alarm) == (2, "pump", False)
    assert lane.counters.dropped == {}


def test_a_release_that_renders_otherwise_is_decoded_otherwise_after_the_swap(tmp_path: Path) -> None:
    def write(folder: Path, render: str) -> Path:
        return text_release(folder, task="generate", engine="llama", given=f'render = "{render}"\n')

    lane = Lane(write(tmp_path / "a", "one {a}"), TEXT, opener=Opener(lambda text: text))
    lane.put_texts('{"a": 1}')
    lane.pipeline.swap(lane.around.load(lane.pipeline.options, load_release(write(tmp_path / "b", "two {a}"))))
    lane.pipeline.take()
    lane.put_texts('{"a": 1}')
    assert [each.output["text"] for each in lane.kept.results] == ["one 1", "two 1"]


def test_a_release_of_windows_does_not_take_the_place_of_one_of_texts(tmp_path: Path) -> None:
    lane = Lane(text_release(tmp_path / "r"), TEXT)
    options = msgspec.structs.replace(lane.pipeline.options, decoder=schema.JsonDecoder(channels=["x", "y", "z"]))
    other = lane.around.load(options, load_release(HAR))
    with pytest.raises(Exception, match="the decoder text gives texts, har takes readings"):
        lane.pipeline.swap(other)
    other.close()
    lane.put_texts(PUMP)
    assert lane.kept.results[0].output["label"] == LABELS[0]


def test_check_takes_a_configuration_of_texts(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon(pipeline("orders", '{ type = "stdin" }', decoder=OF_TEXTS, model=text_release(tmp_path / "r"), outputs=TO_FILE))
    done = edged("check", "--config", str(daemon.file), cwd=daemon.folder)
    assert done.returncode == 0, done.stderr
