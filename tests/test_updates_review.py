"""Where the threads of updates meet, and where a release could be blamed for what it did not do."""

from __future__ import annotations

import gc
import json
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edged.board.sensors import Sensors
from edged.clock import NS, VirtualClock
from edged.config import schema
from edged.engines.choose import open_engine
from edged.errors import BoardError, Cancelled, EdgedError, PublisherError
from edged.fleet.confirm import Watched, judge
from edged.models.book import read_ledger
from edged.models.entries import Policy
from edged.models.manifest import Release, load_release
from edged.models.store import Store
from edged.mqtt.topics import DeviceTopics
from edged.records import Batch
from edged.service import control_path, rehearsal, serving
from edged.service.control_path import ControlPath
from edged.service.fleet_line import FleetLine
from edged.service.health import Conditions
from edged.service.judge import Judge
from edged.service.parts import Lane, Parts
from edged.service.progress import is_stuck
from edged.service.selection import selection_of
from edged.service.serving import Serving
from edged.service.voice import Voice
from edged.stream.build import Around, build_pipeline
from edged.stream.pipeline import Sink
from edged.stream.sources.mqtt import MqttSource
from edged.stream.worker import Worker
from tests.boards import Board, Releases, refused, until_cancelled
from tests.broker import Mosquitto
from tests.daemon import codes, on_topic
from tests.lanes import START_NS, Kept
from tests.peer import Peer
from tests.releases import twice
from tests.rollouts import asked, install, numbered, until_state, update_in
from tests.stores import renumber
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

XYZ = '{ type = "json", channels = ["x", "y", "z"], time = "ts" }'


# -- pipelines in this process: real models and workers, a clock that only the test moves --------------------------------------------


def never() -> bool:
    return False


class Lanes:
    """Two pipelines on release 1 of one model, each with a worker of its own, and what brings them to another."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.clock = VirtualClock(START_NS)
        self.clock.advance(NS)  # zero says that nothing is worked on
        self.opened: Callable[[Path], None] = lambda _: None
        self.releases = {number: self._made(folder / str(number), number) for number in (1, 2)}
        around = Around("device", "fleet", "run", self.clock, self._open, lambda *_: None)
        loaded: Any = SimpleNamespace(state_dir=folder / "state", config=None)
        self.parts = Parts(loaded, self.clock, "run", DeviceTopics("fleet", "device"), around=around)
        for i in range(count):
            self._add(f"lane{i}", around)
        self.serving = Serving(self.parts)

    def _made(self, folder: Path, number: int) -> Release:
        twice(folder, 1, 1)
        renumber(folder, number)
        return load_release(folder)

    def _add(self, name: str, around: Around) -> None:
        table = {"name": name, "model": "twice", "source": {"type": "mqtt", "topic": "in/{key}", "qos": 1}}
        options = msgspec.convert({**table, "decoder": {"type": "json", "channels": ["a"]}}, schema.Pipeline)
        worker = Worker(name)
        pipeline = build_pipeline(options, self.releases[1], [Sink(Kept(), "always")], worker.wake, around)
        self.parts.lanes.append(Lane(options, MqttSource("in/{key}", 1), pipeline, None, self.releases[1]))
        self.parts.workers.append(worker)
        worker.add(pipeline)
        worker.start()

    def _open(self, path: Path, *args: Any, **options: Any) -> Any:
        self.opened(path)
        return open_engine(path, *args, **options)

    def put(self, messages: int, lane: int = 0) -> None:
        pipeline = self.parts.lanes[lane].pipeline
        assert pipeline is not None
        pipeline.inbox.put(Batch([b"in/k"] * messages, [b'{"a": 1}'] * messages, self.clock.wall(), self.clock.mono()))

    def counters(self, lane: int = 0) -> Any:
        pipeline = self.parts.lanes[lane].pipeline
        assert pipeline is not None
        return pipeline.counters

    def worked_off(self, messages: int, lane: int = 0) -> None:
        until(lambda: self.counters(lane).results >= messages or None, "the messages are worked off")

    @contextmanager
    def held(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Hold the first pipeline up, at the delivery of one result."""
        pipeline = self.parts.lanes[0].pipeline
        assert pipeline is not None
        held, go_on = threading.Event(), threading.Event()

        def hold(*_: object) -> None:
            held.set()
            assert go_on.wait(PATIENCE_S)

        monkeypatch.setattr(pipeline.sinks[0].output, "deliver", hold)
        self.put(1)
        assert held.wait(PATIENCE_S)
        try:
            yield
        finally:
            go_on.set()

    def serve(self, number: int) -> None:
        self.serving.serve("twice", self.releases[number], 1.0, never)

    def running(self) -> list[int]:
        return [lane.pipeline.inference.model.release for lane in self.parts.lanes if lane.pipeline]

    def close(self) -> None:
        for worker, lane in zip(self.parts.workers, self.parts.lanes, strict=True):
            worker.stop(PATIENCE_S)
            assert lane.pipeline is not None
            lane.pipeline.close()


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[Lanes]:
    made = Lanes(tmp_path)
    yield made
    made.close()


def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(what: str, need_mib: float) -> None:
        raise BoardError("memory-short", f"{what}: none is left", "wait")

    monkeypatch.setattr(serving, "check_available", none)


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "over gaps"])
def test_where_one_of_two_pipelines_does_not_go_over_the_other_goes_back(
    lanes: Lanes, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = lanes.parts.lanes[1].pipeline
    assert second is not None
    if beside:

        def refuse(_: object) -> None:
            raise BoardError("swap-timeout", "it does not come to an end", "wait")

        monkeypatch.setattr(second, "swap", refuse)
    else:
        short_of_memory(monkeypatch)
        opened: list[Path] = []

        def once(path: Path) -> None:
            opened.append(path)
            if len(opened) == 2:
                raise PublisherError("model-not-loadable", "it does not load", "pack it again")

        lanes.opened = once
    with pytest.raises(EdgedError):
        lanes.serve(2)
    monkeypatch.undo()
    assert lanes.running() == [2, 1]
    lanes.serve(1)
    assert lanes.running() == [1, 1]
    assert [lane.release.manifest.release for lane in lanes.parts.lanes if lane.release] == [1, 1]


def test_results_that_waited_for_a_swap_over_a_gap_are_no_breach_of_the_deadline(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch)

    def arrive(_: Path) -> None:
        lanes.opened = lambda _: None
        lanes.put(50)
        lanes.clock.advance(5 * NS)

    lanes.opened = arrive
    lanes.serve(2)
    lanes.worked_off(50)
    until(lambda: lanes.counters().late_results == 50 or None, "they are late")
    assert judge(lanes.serving.watched("twice"), Policy()).why is None
    lanes.put(100)
    lanes.worked_off(150)
    assert lanes.serving.watched("twice").late == 0


def test_results_that_are_late_after_the_backlog_is_worked_off_still_count(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes.serve(2)
    lanes.serving.watched("twice")

    pipeline = lanes.parts.lanes[0].pipeline
    assert pipeline is not None
    scores = pipeline.inference.scores

    def slowly(*args: Any) -> Any:
        lanes.clock.advance(NS)
        return scores(*args)

    monkeypatch.setattr(pipeline.inference, "scores", slowly)
    for i in range(20):
        lanes.put(1)
        lanes.worked_off(i + 1)
    why = judge(lanes.serving.watched("twice"), Policy()).why
    assert why is not None
    assert why.code == "latency-breach"


def test_a_backlog_after_a_restart_is_no_breach_of_the_deadline(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Serving(lanes.parts)  # as a daemon does that starts with a release under watch
    started.watched("twice")
    with lanes.held(monkeypatch):
        lanes.put(500)
        lanes.clock.advance(60 * NS)
        started.watched("twice")
    lanes.worked_off(501)
    assert judge(started.watched("twice"), Policy()).why is None
    lanes.put(10)
    lanes.worked_off(511)
    seen = started.watched("twice")
    assert (seen.late, seen.behind) == (0, False)
    assert seen.windows == 511


def test_an_output_that_hangs_is_not_held_against_the_model(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes.serve(2)
    with lanes.held(monkeypatch):
        lanes.clock.advance(60 * NS)
        assert is_stuck(lanes.parts.lanes[0], lanes.clock)
        assert judge(lanes.serving.watched("twice"), Policy()).why is None


def test_many_swaps_leave_no_descriptor_and_no_thread_behind(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    def held() -> tuple[int, int]:
        gc.collect()  # what earlier tests left is not to go in between
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    lanes.serve(2)
    before = held()
    for i in range(50):
        lanes.serve(1 + i % 2)
        if i == 25:
            short_of_memory(monkeypatch)
    # A leak shows as more; what others close meanwhile may make it fewer.
    assert [now > then for now, then in zip(held(), before, strict=True)] == [False, False]
    assert lanes.running() == [2, 2]


def test_taking_the_model_away_gives_way_to_a_stop(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    with lanes.held(monkeypatch), pytest.raises(Cancelled):
        lanes.serving.stop("twice", lambda: True)


# -- the control path -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "state", Releases(tmp_path / "releases")).start()


def test_an_install_right_after_a_cancel_while_a_release_is_brought_in(board: Board) -> None:
    board.commit(1)

    def cancel_and_install(cancelled: Callable[[], bool]) -> None:
        board.agent.cancel("twice")
        assert cancelled()
        board.install(3)
        raise Cancelled

    board.ports.script["serve"] = [cancel_and_install]
    board.install(2)
    board.settle()
    assert board.ended() == (3, "committed", "")
    assert "rolled_back" in board.path()


def test_an_update_that_waits_is_cancelled_while_another_ones_trial_runs(board: Board) -> None:
    board.ports.script["fitting"] = [BoardError("memory-short", "memory is short", "wait")]
    board.install(1, "other")
    board.until("wait", "other")
    board.ports.script["trial"] = [until_cancelled(lambda: board.agent.cancel("other"))]
    board.install(1)
    board.until("committed")
    assert board.ended("other") == (1, "rejected", "cancelled")
    assert board.update().attempt == 1


def test_a_shadow_that_waits_for_readings_lets_another_model_go_first(board: Board) -> None:
    board.ports.script["shadow"] = [until_cancelled(lambda: board.install(1, "other"))]
    board.policy = Policy(windows=100, seconds=60, shadow=10)
    board.install(1)
    board.policy = Policy(windows=100, seconds=60)
    board.settle()
    assert board.ended("other") == board.ended() == (1, "committed", "")
    activated = [entry.model for entry in board.entries if getattr(entry, "state", "") == "activate"]
    assert activated == ["other", "twice"]
    assert board.update().attempt == 1


def test_a_running_release_that_hangs_is_not_held_against_the_one_that_was_to_replace_it(board: Board) -> None:
    board.commit(1)
    board.ports.script["serve"] = [BoardError("swap-timeout", "a pipeline did not come to the end of a batch", "see the status")]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rolled_back", "swap-timeout")
    board.install(2)
    board.settle()
    assert board.ended() == (2, "committed", "")


def test_a_release_that_was_asked_for_is_neither_removed_nor_swept_away(board: Board) -> None:
    board.commit(1, 2)
    board.agent.activate("twice", 1, Policy())
    assert refused(lambda: board.agent.remove("twice", 1)).code == "release-staged"
    board.agent.pin("twice", 2, True)
    board.book.note(msgspec.convert({"type": "removed", "model": "twice", "release": 1}, control_path.Entry))  # no longer the previous one
    board.agent.updates._collect()
    board.settle()
    assert board.ended() == (1, "committed", "")


def test_a_rehearsal_for_which_the_board_lacks_a_process_waits(board: Board) -> None:
    board.ports.script["rehearse"] = [BoardError("rehearsal-no-start", "no process can be started", "wait")]
    board.install(1)
    board.settle(steps=3000)
    assert board.ended() == (1, "committed", "")


def test_a_rehearsal_whose_process_cannot_be_started_is_an_error_of_the_board(monkeypatch: pytest.MonkeyPatch, lanes: Lanes) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(rehearsal.subprocess, "Popen", none)
    config = schema.Config(pipelines=[lane.options for lane in lanes.parts.lanes])
    loaded: Any = SimpleNamespace(config=config, state_dir=lanes.parts.loaded.state_dir, device_id="device")
    with pytest.raises(BoardError) as caught:
        rehearsal.rehearse(loaded, [], never)
    assert caught.value.code == "rehearsal-no-start"


def test_releases_stay_where_the_journal_that_named_them_is_lost(board: Board) -> None:
    board.commit(1, 2)
    board.stop()
    (board.state_dir / "models" / "journal").unlink()
    board.start()
    assert {each.release for each in Store(board.state_dir).releases()} == {1, 2}
    board.restart()
    board.agent.activate("twice", 2, Policy())
    board.settle()
    assert board.ended() == (2, "committed", "")
    assert {each.release for each in Store(board.state_dir).releases()} == {1, 2}


def test_what_cannot_be_swept_away_does_not_keep_updates_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Board(tmp_path / "state", Releases(tmp_path / "releases")).open()

    def fail(*_: object) -> int:
        raise BoardError("store-unwritable", "the disk fails", "check it")

    monkeypatch.setattr(made.store, "collect", fail)
    made.agent.updates.begin()
    monkeypatch.undo()
    made.install(1)
    made.settle()
    assert made.ended() == (1, "committed", "")


class Unlucky:
    """What a control path asks of a configuration."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.config = schema.Config(pipelines=[])


def control_path_of(loaded: Any, clock: VirtualClock) -> ControlPath:
    topics = DeviceTopics("plant", "press-7")
    rng = random.Random(1)
    line, voice = FleetLine(topics, [], clock, rng), Voice(topics, lambda _: None, lambda: None)
    return ControlPath(loaded, clock, rng, selection_of(loaded.state_dir, "auto", 0), Sensors(loaded.state_dir), line, voice)


def test_a_bug_in_a_step_is_told_and_the_next_step_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock(START_NS)
    loaded: Any = Unlucky(tmp_path)
    updates = control_path_of(loaded, clock)
    assert updates.agent is not None
    steps, told = [], threading.Event()

    def step() -> float:
        steps.append(1)
        if len(steps) > 1:
            told.set()
        raise ZeroDivisionError

    monkeypatch.setattr(updates.agent.updates, "step", step)
    monkeypatch.setattr(control_path, "AFTER_BUG_S", 0.01)
    updates.start(Parts(loaded, clock, "run", DeviceTopics("fleet", "device")))
    assert told.wait(PATIENCE_S)
    assert updates.alive
    bug = until(lambda: updates.bug, "it is told")
    assert "ZeroDivisionError" in bug.text
    updates.stop()
    updates.end(clean=True)


def test_a_stop_while_the_fleet_thread_is_held_up_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Any = Unlucky(tmp_path)
    updates = control_path_of(loaded, VirtualClock(START_NS))
    assert updates.agent is not None
    held, go_on = threading.Event(), threading.Event()

    def step() -> float:
        held.set()
        assert go_on.wait(PATIENCE_S)
        return 3600.0

    monkeypatch.setattr(updates.agent.updates, "step", step)
    monkeypatch.setattr(control_path, "STOP_S", 0.0)
    updates.start(Parts(loaded, updates._clock, "run", DeviceTopics("fleet", "device")))
    try:
        assert held.wait(PATIENCE_S)
        updates.stop()
        updates.end(clean=True)
        assert not control_path.read_ledger(tmp_path).running
    finally:
        go_on.set()
        updates._thread.join()


def test_a_release_is_judged_by_what_it_did_and_not_by_one_result(lanes: Lanes) -> None:
    assert judge(Watched(windows=1, errors=1, pipelines=1), Policy()).why is None


# -- with a daemon ----------------------------------------------------------------------------------------------------------------


def har(name: str, model: str = "har", topic: str = "a") -> str:
    source = on_topic("$FLEET/" + topic)
    return f'\n[[pipelines]]\nname = "{name}"\nmodel = "{model}"\nsource = {source}\ndecoder = {XYZ}\n'


def test_a_release_is_not_blamed_for_other_pipelines_nor_for_a_configuration_that_was_changed(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(har("moves") + har("also", topic="b") + har("other", model="never-came", topic="c"), broker.port).start()
    daemon.file.write_text("this = [is no configuration")
    install(daemon, numbered(tmp_path / "har1", 1), windows=0, seconds=0.0)
    until_state(daemon, "committed", 1)
    assert {each["name"]: each["release"] for each in daemon.status()["pipelines"]} == {"moves": 1, "also": 1, "other": 0}


def test_the_first_release_of_all_that_is_undone_is_followed_by_a_better_one(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(har("moves"), broker.port).start()
    install(daemon, numbered(tmp_path / "har1", 1), windows=1000)
    until_state(daemon, "confirm", 1)
    asked(daemon, "cancel", model="har")
    until_state(daemon, "rolled_back", 1)
    status = daemon.until(lambda status: "pipeline-failed" in codes(status), "the pipeline has no model")
    assert status["pipelines"][0]["state"] == "failed"
    install(daemon, numbered(tmp_path / "har2", 2), windows=0, seconds=0.0)
    until_state(daemon, "committed", 2)
    daemon.until(lambda status: not codes(status) & {"pipeline-failed", "rollback-failing"}, "all is well")
    assert daemon.stop() == 0


def test_a_variant_that_did_not_load_is_told_until_another_release_serves(lanes: Lanes) -> None:
    conditions = Conditions(lanes.clock)
    updates: Any = SimpleNamespace(fault=None, bug=None, bad_lines=0, stale={}, stuck="", pushes=None, pushes_fault=None)
    judge_ = Judge(lanes.parts, conditions, updates)
    assert lanes.parts.around is not None
    lanes.parts.around.not_loaded[("lane0", "int8")] = PublisherError("model-not-loadable", "it does not load", "pack it again")
    judge_.look()
    assert [each.code for each in conditions.list()] == ["variant-not-loaded"]
    lanes.serve(2)
    judge_.look()
    assert conditions.list() == []


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("program", ["edged.trial", "edged.service.rehearsal"])
def test_an_end_while_a_child_runs_leaves_nobody_and_goes_on(
    program: str, how: str, make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(har("moves"), broker.port).start()
    assert daemon.process is not None
    pid = daemon.process.pid
    install(daemon, numbered(tmp_path / "har1", 1), windows=0, seconds=0.0)
    child = until(lambda: children_of(pid, program), "the child runs")
    if how == "stop":
        assert daemon.stop() == 0
    else:
        daemon.kill()
    until(lambda: not any(program in command_of(each) for each in child), "no child is left")
    daemon.start()
    until_state(daemon, "committed", 1)
    assert update_in(daemon.status())["attempt"] == (2 if (program, how) == ("edged.trial", "kill") else 1)


def children_of(pid: int, program: str) -> list[str]:
    """Give the processes that the threads of another started, and that run `program`."""
    try:
        found = " ".join((task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()).split()
    except FileNotFoundError:
        return []
    return [each for each in found if program in command_of(each)]


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_pipeline_of_another_class_gets_its_first_model_while_the_broker_is_away(
    make_daemon: MakeDaemon, make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker()
    broker.start()
    daemon = make_daemon(har("moves") + har("guard", topic="b") + 'class = "safety"\n', broker.port).start()
    broker.stop()
    install(daemon, numbered(tmp_path / "har1", 1), windows=2, seconds=0.0)
    until_state(daemon, "confirm", 1)
    broker.start()
    daemon.wait_connected()
    for topic, name in (("a", "moves"), ("b", "guard")):
        with Peer(broker.port, daemon.out(name)) as peer:
            walk(peer, f"{daemon.fleet}/{topic}")
            assert peer.results(daemon.out(name), 1)[0]["model"]["release"] == 1
    until_state(daemon, "committed", 1)


def walk(peer: Peer, topic: str) -> None:
    """Publish the readings of one window."""
    for i in range(260):
        peer.publish(topic, json.dumps({"ts": 1_795_351_772_000 + 38 * i, "x": i % 97, "y": 2, "z": 3}).encode())


def test_a_failure_is_forgotten_when_the_pipelines_that_it_was_about_change(
    make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(har("moves") + "deadline_ms = 0.000001\n", broker.port).start()
    folder = numbered(tmp_path / "har1", 1)
    install(daemon, folder)
    assert until_state(daemon, "rejected", 1)["code"] == "does-not-fit"
    assert daemon.stop() == 0
    daemon.file.write_text(daemon.file.read_text().replace("0.000001", "500"))
    daemon.start()
    install(daemon, folder)
    until_state(daemon, "confirm", 1)


@pytest.mark.parametrize("stage", ["shadow", "confirm"])
def test_a_stop_while_readings_are_waited_for_goes_on_at_the_next_start(
    stage: str, make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path
) -> None:
    daemon = make_daemon(har("moves"), broker.port).start()
    install(daemon, numbered(tmp_path / "har1", 1), windows=0, seconds=0.0)
    until_state(daemon, "committed", 1)
    install(daemon, numbered(tmp_path / "har2", 2), windows=5, seconds=0.0, shadow=5 if stage == "shadow" else 0)
    daemon.until(lambda status: stage in update_in(status)["stage"] and update_in(status)["release"] == 2, "it waits")
    assert daemon.stop() == 0
    daemon.start()
    daemon.until(lambda status: stage in update_in(status)["stage"], "it waits again")
    assert update_in(daemon.status())["attempt"] == 1
    assert daemon.status()["models"][0]["release"] == (1 if stage == "shadow" else 2)


def test_a_forced_stop_is_not_counted_as_a_crash_of_what_is_new(make_daemon: MakeDaemon, broker: Mosquitto, tmp_path: Path) -> None:
    daemon = make_daemon(har("moves") + "deadline_ms = 60000\n", broker.port)
    daemon.module, stuck = "tests.stuck", tmp_path / "stuck"
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(str(tmp_path / "n"))
    supervisor.settimeout(PATIENCE_S)
    daemon.environ = {"EDGED_STUCK_FILE": str(stuck), "NOTIFY_SOCKET": str(tmp_path / "n")}
    daemon.start()
    install(daemon, numbered(tmp_path / "har1", 1), windows=1000)
    until_state(daemon, "confirm", 1)
    stuck.touch()
    with Peer(broker.port) as peer:
        walk(peer, f"{daemon.fleet}/a")
        daemon.until(lambda status: status["pipelines"][0]["readings"] == 260, "it is in the model")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    while b"STOPPING=1" not in supervisor.recv(4096):
        pass
    assert daemon.stop() == 128 + signal.SIGTERM
    supervisor.close()
    assert not read_ledger(daemon.folder / "state").running
