"""The demo: its sensors, what it makes of results, and the whole of it as a user starts it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import MS, SystemClock, iso
from edged.config.load import load_config
from edged.demo import settings as demo_settings
from edged.demo.pace import Pace
from edged.demo.recordings import Recording, load_recordings
from edged.demo.sender import MOST_WAITING, Sender
from edged.demo.sensor import Sensor
from edged.demo.tally import Scoreboard
from edged.errors import BoardError
from edged.service.ask import ask
from tests.waiting import PATIENCE_S, until

START_MS = 1_763_784_741_123
STILL = Recording("stationary", tuple((i, 0, 1000) for i in range(10)))
RUN = Recording("running", tuple((i, -i, 2000) for i in range(20)))


def sensor(first: int = 0) -> Sensor:
    return Sensor("band-1", [STILL, RUN], first, 26.0, START_MS)


# -- recordings and sensors


def test_the_recordings_are_two_of_each_activity_in_turns() -> None:
    recordings = load_recordings()
    assert [each.activity for each in recordings] == ["running", "stationary", "walking"] * 2
    assert {len(each.readings) for each in recordings} == {1000}


def test_a_message_carries_time_and_three_axes() -> None:
    assert json.loads(sensor().payload(26)) == {"ts": START_MS + 1000, "acc": {"x": 16, "y": -16, "z": 2000}}


def test_recordings_repeat_and_time_goes_on() -> None:
    one = sensor()
    assert [one.activity(number) for number in (0, 9, 10, 29, 30, 40)] == [
        "stationary",
        "stationary",
        "running",
        "running",
        "stationary",
        "running",
    ]
    times = [one.time_ms(number) for number in range(100)]
    assert {later - earlier for earlier, later in pairwise(times)} == {38, 39}


def test_sensors_begin_with_different_recordings() -> None:
    assert [sensor(first).activity(0) for first in range(3)] == ["stationary", "running", "stationary"]


@given(st.integers(0, 10**9))
def test_a_reading_is_found_again_by_its_time(number: int) -> None:
    one = sensor()
    assert one.number_at(one.time_ms(number)) == number


def test_a_span_has_an_activity_only_where_it_does_not_change() -> None:
    one = sensor()
    assert [one.activity_of(*span) for span in ((0, 9), (10, 29), (9, 10), (0, 39))] == ["stationary", "running", "", ""]


# -- pace


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 3000))
def test_the_pace_agrees_with_counting(samples: int, hop: int, sent: int) -> None:
    pace = Pace(samples, min(hop, samples), 26.0)
    ends = range(samples, sent + samples + 1, pace.hop)
    assert pace.completed(sent) == sum(end <= sent for end in ends)
    assert pace.missing(sent) == next(end for end in ends if end > sent) - sent
    assert 0 <= pace.share(sent) < 1


# -- the scoreboard


def result(label: str = "stationary", first: int = 0, samples: int = 10, name: str = "band-1") -> bytes:
    end = iso(sensor().time_ms(first + samples - 1) * MS)
    document = {
        "labels": {"hall": "hall-1", "sensor": name},
        "window": {"start": "", "end": end, "samples": samples},
        "output": {"label": label, "score": 0.9},
        "timing": {"queue_ms": 0.1, "infer_ms": 0.2, "total_ms": 0.5},
    }
    return json.dumps(document).encode()


def test_a_window_within_one_activity_is_judged() -> None:
    board = Scoreboard([sensor()])
    board.take(result("stationary"), 0)
    board.take(result("stationary", first=12), 0)
    (tally,) = board.tallies
    assert (tally.windows, tally.judged, tally.agreed, tally.right) == (2, 2, 1, False)


def test_a_window_over_a_change_is_counted_but_not_judged() -> None:
    board = Scoreboard([sensor()])
    board.take(result("running", first=5), 0)
    (tally,) = board.tallies
    assert (tally.windows, tally.judged, tally.right) == (1, 0, None)


def test_latency_is_from_the_last_reading_sent_to_the_result() -> None:
    board = Scoreboard([sensor()])
    for number in range(10):
        board.note_sent("band-1", number, number * 38 * MS)
    board.take(result(), 9 * 38 * MS + 4 * MS)
    total = board.total()
    assert (total.sent, total.windows) == (10, 1)
    assert total.latency.percentile(0.5) == pytest.approx(4, rel=0.1)
    assert total.inside.percentile(0.5) == pytest.approx(0.5, rel=0.1)


def test_a_result_of_readings_never_sent_has_no_latency() -> None:
    board = Scoreboard([sensor()])
    board.take(result(first=100), 5 * MS)
    assert board.total().latency.count() == 0


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b"[]", b'{"labels":5}', result(name="stranger"), result()[:-9]])
def test_what_is_not_a_result_of_ours_is_passed_over(payload: bytes) -> None:
    board = Scoreboard([sensor()])
    board.take(payload, 0)
    assert board.total().windows == 0


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_break_the_scoreboard(payload: bytes, place: int, byte: int) -> None:
    board = Scoreboard([sensor()])
    board.take(payload, 0)
    whole = bytearray(result())
    whole[place % len(whole)] = byte
    board.take(bytes(whole), 0)


# -- the sender


def test_sensors_take_turns_and_stop() -> None:
    sent: list[tuple[str, int]] = []
    enough = Event()

    def send(which: Sensor, number: int) -> None:
        sent.append((which.name, number))
        if len(sent) == 6:
            enough.set()

    sensors = [Sensor(name, [STILL], 0, 26.0, START_MS) for name in ("a", "b")]
    sender = Sender(sensors, 10_000.0, SystemClock(), send, lambda: 0)
    sender.start()
    assert enough.wait(PATIENCE_S)
    sender.stop()
    count = len(sent)
    assert sent[:6] == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert len(sent) == count


def test_sensors_wait_for_a_broker_that_is_behind() -> None:
    """As on a machine that is too slow for the speed asked for: nothing is dropped, time slips."""
    sent: list[int] = []
    asked = Event()
    waiting = [MOST_WAITING]

    def look() -> int:
        asked.set()
        return waiting[0]

    sender = Sender([sensor()], 10_000.0, SystemClock(), lambda _, number: sent.append(number), look)
    sender.start()
    assert asked.wait(PATIENCE_S)
    assert sent == []
    waiting[0] = 0
    until(lambda: len(sent) > 3, "readings after the broker caught up")
    sender.stop()
    assert sent == list(range(len(sent)))


# -- the configuration it keeps


def test_the_configuration_has_no_faults(tmp_path: Path) -> None:
    path = demo_settings.keep({"XDG_STATE_HOME": str(tmp_path)}, "edged", demo_settings.sensors_text())
    loaded = load_config(path, {})
    assert loaded.config.mqtt["main"].url == "embedded"
    assert (loaded.config.device.fleet, loaded.device_id) == ("demo", "demo")


def test_a_changed_configuration_is_left_alone(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    first = demo_settings.keep(environ, "edged", demo_settings.sensors_text())
    assert demo_settings.keep(environ, "edged", demo_settings.sensors_text()) == first
    first.write_text("mine")
    second = demo_settings.keep(environ, "edged", demo_settings.sensors_text())
    assert (first.read_text(), second.name) == ("mine", "edged-2.toml")
    assert demo_settings.keep(environ, "edged", demo_settings.sensors_text()) == second


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "edged").write_text("in the way")
    with pytest.raises(BoardError, match="cannot keep the demo's files") as caught:
        demo_settings.keep({"XDG_STATE_HOME": str(tmp_path)}, "edged", demo_settings.sensors_text())
    assert caught.value.code == "demo-folder"


# -- all of it, as a user starts it

needs_broker = pytest.importorskip("iotcore", reason="needs the embedded broker: pip install 'edged[demo]'")


class Running:
    """`edged demo` in a process group of its own, as a shell starts it, with its folders under one of the test's."""

    def __init__(
        self, folder: Path, *args: str, terminal: int | None = None, program: tuple[str, ...] = ("-m", "edged.cli.main", "demo")
    ) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EDGED")}
        environ |= {"TMPDIR": str(self.temporary), "XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1", "TERM": "xterm"}
        streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal} if terminal else {"stdout": -1, "stderr": -1}
        self.process = subprocess.Popen([sys.executable, *program, *args], env=environ, start_new_session=True, text=True, **streams)

    def socket(self) -> Path:
        """Wait until the sensors are about to send; give the daemon's control socket."""
        assert self.process.stderr
        for line in self.process.stderr:
            if found := re.search(r"--socket (\S+)", line):
                return Path(found[1])
        raise AssertionError(f"ended early: {self.process.wait()}")

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=PATIENCE_S)

    def leftovers(self) -> list[str]:
        """Name the processes that still have our folder in their environment, and files that should have gone."""
        mark = f"TMPDIR={self.temporary}".encode()
        processes = (name for name in os.listdir("/proc") if name.isdigit() and mark in _read(name, "environ").split(b"\0"))
        return [*map(str, self.temporary.iterdir()), *(_read(name, "cmdline").replace(b"\0", b" ").decode() for name in processes)]


def _read(process: str, what: str) -> bytes:
    """Read of a process what /proc says of it; nothing where it has ended, or is not ours."""
    try:
        return Path("/proc", process, what).read_bytes()
    except OSError:
        return b""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a short path: a socket's path has at most 107 bytes."""
    return tmp_path_factory.mktemp("d")


def test_the_demo_runs_to_its_end_and_is_right(folder: Path) -> None:
    demo = Running(folder, "--seconds", "3", "--speed", "20", "--sensors", "3", "--json")
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    summary = json.loads(out)
    assert summary["results"] == summary["expected_windows"] > 0
    assert summary["right"] == summary["judged"] > 0
    assert summary["memory_pss_mib"] > 0
    assert summary["latency_ms"]["p50"] > 0
    assert Path(summary["config"]).is_relative_to(folder / "state")
    assert demo.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_with_the_summary_and_nothing_left(folder: Path, number: signal.Signals) -> None:
    """A terminal sends Ctrl-C to all of its processes, `timeout` its signal: only the demo may end by it."""
    demo = Running(folder, "--seconds", "600", "--speed", "20", "--json")
    socket = demo.socket()
    until(lambda: ask(socket, "status", PATIENCE_S)["pipelines"][0]["results"] > 0, "a first result")
    os.killpg(demo.process.pid, number)
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    summary = json.loads(out)
    assert summary["seconds"] < 600
    assert summary["memory_pss_mib"] > 0
    assert number != signal.SIGINT or summary["results"] == summary["expected_windows"], "the broker did not outlive Ctrl-C"
    assert demo.leftovers() == []


def test_ctrl_c_while_it_starts_ends_it_cleanly(folder: Path) -> None:
    demo = Running(folder, "--json")
    until(lambda: any(demo.temporary.iterdir()), "the demo's own folder")
    os.killpg(demo.process.pid, signal.SIGINT)
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert json.loads(out)["readings"] == 0
    assert demo.leftovers() == []


def test_a_daemon_that_dies_is_said_with_its_last_words(folder: Path) -> None:
    demo = Running(folder, "--seconds", "600", "--json")
    os.kill(ask(demo.socket(), "status", PATIENCE_S)["pid"], signal.SIGKILL)
    out, err = demo.end()
    assert demo.process.returncode == 1
    assert "[demo-daemon-ended]" in err
    assert "started" in err, "the daemon's own log"
    assert json.loads(out)["error"]["code"] == "demo-daemon-ended"
    assert demo.leftovers() == []


def test_on_a_terminal_it_shows_the_sensors_and_q_ends_it(folder: Path) -> None:
    master, slave = pty.openpty()
    demo = Running(folder, "--seconds", "600", "--speed", "20", terminal=slave)
    os.close(slave)
    shown = read_until(master, "1.00")
    assert "WINDOW FULL IN" in shown
    os.write(master, b"q")
    rest = read_until(master, "run --config")
    demo.process.wait(PATIENCE_S)
    os.close(master)
    assert demo.process.returncode == 0
    assert "none lost" in rest
    assert 'change  url = "embedded"' in rest
    assert demo.leftovers() == []


def read_until(terminal: int, text: str) -> str:
    """Read what the terminal shows until `text` is in it."""
    seen = b""
    while text.encode() not in seen:
        seen += os.read(terminal, 1 << 16)
    return seen.decode(errors="replace")


def test_elsewhere_it_says_a_line_now_and_then(folder: Path) -> None:
    demo = Running(folder, "--seconds", "1", "--sensors", "1")
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert "the first results come after 10 s" in out
    assert "0 results · the first in 10 s" in out
    assert "\x1b" not in out
