"""Nothing computed is lost: results over outages, full disks, damaged files, kills; on a whole daemon with real brokers."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edged.clock import iso
from edged.service.blackbox import in_memory
from tests.broker import Mosquitto
from tests.daemon import Daemon, Status, codes, on_topic, pipeline
from tests.peer import Peer
from tests.recordings import START_MS, window_message
from tests.supervisor import Supervisor
from tests.waiting import until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

SOURCE = '{ type = "file", path = "in.jsonl", follow = true }'
WINDOW_MS = 10_000  # 260 readings at 26 Hz
PAGE = 4096


def window(number: int) -> str:
    """Give a message that is one window of its own; the same number gives the same result."""
    return window_message("walking_01", START_MS + number * 3 * WINDOW_MS)


def write(daemon: Daemon, first: int, last: int) -> None:
    """Append messages to the file that a pipeline follows."""
    with (daemon.folder / "in.jsonl").open("a") as file:
        file.writelines(window(number) + "\n" for number in range(first, last))


def following(make_daemon: MakeDaemon, port: int, more: str = "", config: str = "") -> Daemon:
    daemon = make_daemon(config + pipeline("har", SOURCE, more=more), port)
    (daemon.folder / "in.jsonl").touch()
    return daemon


def results_in(status: Status) -> int:
    return int(status["pipelines"][0]["results"])


def has_spool_fault(status: Status) -> bool:
    return any(code.startswith("spool-") for code in codes(status))


def with_subscriber(broker: Mosquitto, topic: str) -> Mosquitto:
    """Have a broker keep what comes on a topic for the client `ear`; it is stopped afterwards."""
    with Peer(broker.start().port, topic, client_id="ear"):
        pass
    broker.stop()
    return broker


def starts(results: list[dict[str, Any]]) -> list[str]:
    return [each["window"]["start"] for each in results]


def test_with_the_broker_up_nothing_is_written_to_disk(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    """Flash wears; counted by the kernel, which sees every write of the process to a file system."""
    daemon = following(make_daemon, broker.port).start()
    with Peer(broker.port, daemon.out("har")) as peer:
        write(daemon, 0, 3)
        peer.wait(daemon.out("har"), 3)
        written, files, lines = written_bytes(daemon), state_of(daemon), len(daemon.log)
        write(daemon, 3, 300)
        peer.wait(daemon.out("har"), 300)
        daemon.until(lambda status: status["spool"]["state"] == "empty", "all is acknowledged")
    logged = PAGE * (len(daemon.log) - lines)  # such as `deadline-missed`, where the machine is busy
    assert written_bytes(daemon) <= written + logged
    assert state_of(daemon) == files


def written_bytes(daemon: Daemon) -> int:
    assert daemon.process is not None
    io = Path(f"/proc/{daemon.process.pid}/io")
    if not io.exists():
        pytest.skip("needs /proc/PID/io (CONFIG_TASK_IO_ACCOUNTING) to count what is written")
    return int(dict(line.split(": ") for line in io.read_text().splitlines())["write_bytes"])


def state_of(daemon: Daemon) -> dict[str, tuple[int, int]]:
    files = [path for path in (daemon.folder / "state").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_results_of_a_killed_daemon_whose_broker_hung_come_after_the_next_start(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker().start()
    daemon = following(make_daemon, broker.port, "durable = true").start()
    broker.signal(signal.SIGSTOP)
    write(daemon, 0, 20)
    daemon.until(lambda status: status["spool"]["mib"] > 0 and results_in(status) == 20, "all are computed")
    until(lambda: rows_on_disk(daemon) == 20, "all are on disk", lambda: rows_on_disk(daemon))
    daemon.kill()
    (daemon.folder / "in.jsonl").write_text("")
    broker.signal(signal.SIGCONT)
    with Peer(broker.port, daemon.out("har")) as peer:
        daemon.start()
        results = peer.results(daemon.out("har"), 20)
        daemon.until(lambda status: status["spool"]["state"] == "empty", "the spool is empty")
    assert starts(results) == sorted(starts(results))
    assert len({each["id"] for each in results}) == 20


def rows_on_disk(daemon: Daemon) -> int:
    """Count the rows that are committed, in a copy: the daemon lets nobody else into its file."""
    copy = daemon.folder / "copy"
    copy.mkdir(exist_ok=True)
    for path in (daemon.folder / "state").glob("spool.db*"):
        shutil.copyfile(path, copy / path.name)
    with closing(sqlite3.connect(copy / "spool.db")) as file:
        return int(file.execute("SELECT count(*) FROM rows").fetchone()[0])


def test_a_broker_that_comes_after_the_daemon_gets_everything_in_order(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker(persistent=True)
    daemon = following(make_daemon, broker.port)
    with_subscriber(broker, daemon.out("har"))
    daemon.launch().until(lambda status: status["state"] == "running", "it runs without its broker")
    write(daemon, 0, 50)
    status = daemon.until(lambda status: results_in(status) == 50 and status["spool"]["state"] == "disk", "all are on disk")
    assert status["spool"]["results"] == 50
    broker.start()
    daemon.wait_connected()
    write(daemon, 50, 60)
    with Peer(broker.port, daemon.out("har"), client_id="ear") as peer:
        results = peer.results(daemon.out("har"), 60)
    assert starts(results) == sorted(starts(results))
    assert len({each["id"] for each in results}) == 60


def test_an_input_is_acknowledged_when_its_result_is_on_disk(broker: Mosquitto, make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    """The broker that results go to is away for long; the other one must not stop at 20 messages."""
    away = make_broker(persistent=True)
    config = f'[mqtt.floor]\nurl = "mqtt://127.0.0.1:{broker.port}"\n'
    daemon = make_daemon(config + pipeline("har", on_topic("$FLEET/in", ', broker = "floor"')), away.port)
    with_subscriber(away, daemon.out("har"))
    daemon.launch().until(lambda status: status["brokers"].get("floor", {}).get("state") == "connected", "the input is connected")
    with Peer(broker.port) as peer:
        peer.publish_all(f"{daemon.fleet}/in", map(window, range(100)))
    daemon.until(lambda status: results_in(status) == 100, "all are worked off")
    with Peer(away.start().port, daemon.out("har"), client_id="ear") as peer:
        assert len({each["id"] for each in peer.results(daemon.out("har"), 100)}) == 100


def test_an_input_whose_result_is_nowhere_safe_comes_again_after_a_kill(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    floor, away = make_broker(persistent=True).start(), make_broker()
    config = f'[mqtt.floor]\nurl = "mqtt://127.0.0.1:{floor.port}"\n[spool]\ncommit_ms = 60000\n'
    daemon = make_daemon(config + pipeline("har", on_topic("$FLEET/in", ', broker = "floor"')), away.port).launch()
    daemon.until(lambda status: status["brokers"].get("floor", {}).get("state") == "connected", "the input is connected")
    with Peer(floor.port) as peer:
        peer.publish_all(f"{daemon.fleet}/in", map(window, range(5)))
    daemon.until(lambda status: results_in(status) == 5, "all are computed, and in memory only")
    daemon.kill()
    away.start()
    with Peer(away.port, daemon.out("har")) as peer:
        daemon.start()
        assert len({each["id"] for each in peer.results(daemon.out("har"), 5)}) == 5


def test_a_damaged_spool_is_moved_aside_and_told_of(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = following(make_daemon, broker.port)
    (daemon.folder / "state").mkdir()
    (daemon.folder / "state" / "spool.db").write_bytes(b"not a database at all" * 1000)
    with Peer(broker.port, daemon.out("har"), daemon.topic("evt/health")) as peer:
        daemon.start()
        status = daemon.until(lambda status: "spool-moved-aside" in codes(status), "it is told of")
        [event] = [json.loads(each.payload) for each in peer.wait(daemon.topic("evt/health")) if b"moved-aside" in each.payload]
        write(daemon, 0, 1)
        peer.wait(daemon.out("har"))
    [told] = [each for each in status["health"] if each["code"] == "spool-moved-aside"]
    assert (told["severity"], event["over"], event["severity"]) == ("warning", False, "warning")
    moved = [
        path
        for path in (daemon.folder / "state").iterdir()
        if path.is_file() and path.name != "spool.db" and path.read_bytes()[:5] == b"not a"
    ]
    assert len(moved) == 1
    assert str(moved[0]) in told["text"]


def test_a_full_disk_is_a_condition_and_is_over_when_there_is_room(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker(persistent=True)
    daemon = following(make_daemon, broker.port)
    with_subscriber(broker, daemon.out("har"))
    daemon.launch().until(lambda status: status["state"] == "running", "it runs without its broker")
    assert daemon.process is not None
    _, most = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4096, most))  # no file of it may grow beyond
    write(daemon, 0, 40)
    daemon.until(lambda status: status["spool"]["state"] == "failing" and has_spool_fault(status), "it says that the disk fails")
    daemon.until(lambda status: results_in(status) == 40, "it goes on computing")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (most, most))
    daemon.until(lambda status: status["spool"]["state"] == "disk" and not has_spool_fault(status), "it writes again")
    with Peer(broker.start().port, daemon.out("har"), client_id="ear") as peer:
        assert len({each["id"] for each in peer.results(daemon.out("har"), 40)}) == 40
    assert daemon.status()["spool"]["dropped"] == {}


def test_a_state_folder_that_cannot_be_used_is_no_reason_not_to_start(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = following(make_daemon, broker.port)
    (daemon.folder / "state").write_text("a file where the folder should be")
    with Peer(broker.port, daemon.out("har")) as peer:
        daemon.start()
        daemon.until(lambda status: status["spool"]["state"] == "failing", "it says so")
        write(daemon, 0, 5)
        peer.wait(daemon.out("har"), 5)
        (daemon.folder / "state").unlink()
        daemon.until(lambda status: status["spool"]["state"] == "empty", "it is over once the folder can be made")


def test_a_spool_that_is_full_counts_what_it_drops_and_keeps_the_newest(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker(persistent=True)
    daemon = following(make_daemon, broker.port, config="[spool]\nmax_mib = 1\n")
    with_subscriber(broker, daemon.out("har"))
    daemon.launch().until(lambda status: status["state"] == "running", "it runs without its broker")
    write(daemon, 0, 2500)
    status = daemon.until(lambda status: results_in(status) == 2500 and status["spool"]["dropped"], "some are dropped")
    assert status["spool"]["results"] + status["spool"]["dropped"]["spool-full"] == 2500
    assert status["spool"]["mib"] <= 1
    with Peer(broker.start().port, daemon.out("har"), client_id="ear") as peer:
        status = daemon.until(lambda status: status["spool"]["state"] == "empty", "the rest went out")
        kept = 2500 - status["spool"]["dropped"]["spool-full"]
        results = peer.results(daemon.out("har"), kept)
    assert 500 < kept < 2500
    assert status["spool"]["dropped"].keys() == {"spool-full"}
    assert starts(results) == sorted(starts(results))
    assert starts(results)[-1] == iso((START_MS + 2499 * 3 * WINDOW_MS) * 1_000_000)


def test_partial_windows_survive_a_clean_stop(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    broker = make_broker(persistent=True).start()
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in")), broker.port).start()
    message = json.loads(window(0))
    halves = [{**message, **{c: message[c][part] for c in "xyz"}} for part in (slice(0, 130), slice(130, 260))]
    halves[1]["ts"] = message["ts"] + 5000  # 130 readings at 26 Hz
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish(f"{daemon.fleet}/in", json.dumps(halves[0]))
        daemon.until(lambda status: status["pipelines"][0]["readings"] == 130, "half a window is there")
        assert daemon.stop() == 0
        daemon.start()
        peer.publish(f"{daemon.fleet}/in", json.dumps(halves[1]))
        [result] = peer.results(daemon.out("har"))
    assert result["window"]["samples"] == 260
    assert daemon.pipeline("har")["dropped"] == {}


def test_readings_that_a_kill_took_are_counted_by_the_next_start(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    """They are in no window yet and acknowledged; where /run is in memory, their number outlives the process."""
    memory = Path("/dev/shm")
    if not in_memory(memory):
        pytest.skip("needs a file system in memory at /dev/shm")
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in")), broker.port)
    folder = Path(tempfile.mkdtemp(dir=memory))
    daemon.socket = folder / "s"
    daemon.environ = {"EDGED__CONTROL__SOCKET": str(daemon.socket)}
    try:
        daemon.start()
        message = json.loads(window(0))
        with Peer(broker.port) as peer:
            peer.publish(f"{daemon.fleet}/in", json.dumps({**message, **{c: message[c][:130] for c in "xyz"}}))
        daemon.until(lambda status: status["pipelines"][0]["readings"] == 130, "half a window is there")
        box = folder / "s.unfinished"
        until(lambda: (130).to_bytes(8, "little") in box.read_bytes(), "the tick has noted it")
        daemon.kill()
        daemon.start()
        assert daemon.pipeline("har")["dropped"] == {"crash": 130}
        assert "unclean-stop" in codes(daemon.status())
        assert daemon.stop() == 0
        assert not box.exists()
    finally:
        daemon.kill()
        shutil.rmtree(folder)


def test_a_model_that_hangs_starves_the_watchdog_and_the_daemon_is_restarted(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in"), more="deadline_ms = 100"), broker.port)
    stuck = daemon.folder / "stuck"
    daemon.module, daemon.environ = "tests.stuck", {"EDGED_STUCK_FILE": str(stuck)}
    with Supervisor(daemon, watchdog_s=3) as supervisor, Peer(broker.port, daemon.out("har")) as peer:
        daemon.wait_connected()
        supervisor.wait_for("READY=1")
        supervisor.wait_for("WATCHDOG=1", 3)
        stuck.touch()
        peer.publish(f"{daemon.fleet}/in", window(0))
        until(lambda: supervisor.silences, "the supervisor misses the watchdog's food", daemon.tail)
        stuck.unlink()
        supervisor.wait_for("READY=1", 2)
        [result] = peer.results(daemon.out("har"))  # the message was not acknowledged, and came again
    assert result["output"]["label"] == "walking"
    assert daemon.logged("pipeline-stuck")
    assert daemon.logged("no-progress")
    assert supervisor.silences[0] >= 3
    assert any(each.startswith("STATUS=") or "\nSTATUS=" in each for each in supervisor.heard)


def test_health_changes_are_events_with_rising_numbers(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in")), broker.port).start()
    with Peer(broker.port, daemon.topic("evt/health")) as peer:
        peer.publish_all(f"{daemon.fleet}/in", ["junk"])
        [event] = [json.loads(each.payload) for each in peer.wait(daemon.topic("evt/health"))]
    assert (event["v"], event["number"], event["code"], event["subject"]) == (1, 1, "readings-rejected", "har")


@pytest.mark.parametrize("gone", ["stop", "kill"])
def test_results_go_on_while_the_broker_is_away_and_all_arrive(make_broker: MakeBroker, make_daemon: MakeDaemon, gone: str) -> None:
    broker = make_broker(persistent=True, extra="autosave_interval 1\nautosave_on_changes true")
    daemon = following(make_daemon, broker.port)
    with_subscriber(broker, daemon.out("har")).start()
    daemon.start()
    with Peer(broker.port, daemon.out("har"), client_id="ear") as peer:
        write(daemon, 0, 10)
        peer.wait(daemon.out("har"), 10)
    getattr(broker, gone)()
    write(daemon, 10, 60)
    status = daemon.until(lambda status: results_in(status) == 60 and status["spool"]["state"] == "disk", "they are on disk")
    assert status["spool"]["results"] >= 50
    with Peer(broker.start().port, daemon.out("har"), client_id="ear") as peer:
        until(lambda: len({json.loads(each.payload)["id"] for each in peer.on(daemon.out("har"))}) >= 50, "all arrive")
    assert daemon.status()["spool"]["dropped"] == {}


def test_a_stop_amid_a_backlog_leaves_it_to_the_broker_and_keeps_the_windows(make_broker: MakeBroker, make_daemon: MakeDaemon) -> None:
    """A model that is slow, and thousands of messages that wait: they are not worked off before the end, and not lost."""
    broker = make_broker(persistent=True).start()
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/in"), more="deadline_ms = 2000"), broker.port)
    daemon.module, daemon.environ = "tests.stuck", {"EDGED_STUCK_FILE": "/nowhere", "EDGED_SLOW_S": "0.1"}
    daemon.start()
    with Peer(broker.port, daemon.out("har")) as peer:
        peer.publish_all(f"{daemon.fleet}/in", map(window, range(150)))
        daemon.until(lambda status: results_in(status) > 2, "it is at it")
        assert daemon.stop() == 0
        assert not daemon.logged("windows-not-kept")
        daemon.environ["EDGED_SLOW_S"] = "0"
        daemon.start()
        until(lambda: len({json.loads(each.payload)["id"] for each in peer.on(daemon.out("har"))}) >= 150, "all results", daemon.tail)
