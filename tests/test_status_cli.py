"""The command line: `edged`, `edged status`, `edged top`, and the screen they draw."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from types import ModuleType

import click
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged import __version__
from edged.cli import settings as cli_settings
from edged.cli.columns import Cell, Column, clean, fit, table, wide, wrap, wrap_words
from edged.cli.main import COMMANDS, main
from edged.cli.render import MAX_WIDTH, render
from edged.cli.terminal import frame, wants_colour
from edged.cli.wording import amount, duration
from edged.clock import SystemClock
from edged.errors import BoardError, ConfigFaults, DaemonUnreachable, Fault
from edged.service.control import ControlServer
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
    UpdateStatus,
    read,
)
from tests.conftest import REPO

PASSWORD_HINT = "check username and password_file in [mqtt.main] of /etc/edged/edged.toml"


def pump(**changes: object) -> PipelineStatus:
    pipeline = PipelineStatus(
        name="pump",
        state="running",
        model="pump-anomaly",
        release=14,
        version="1.4.0",
        variant="int8",
        engine="tflite",
        in_rate=1024.0,
        out_rate=8.0,
        latency_ms=Latency(0.31, 0.8, 1.1),
        last_result=LastResult("2026-11-22T04:12:21.123Z", "score 9.7 < 12.3", 0.21),
    )
    return msgspec.structs.replace(pipeline, **changes)


NOTES = PipelineStatus("notes", "waiting", "work-orders", 2, "1.0", "linear", "linear")


def board(**changes: object) -> Snapshot:
    snapshot = Snapshot(
        device="press-7",
        version="0.1.0",
        pid=4711,
        config="/etc/edged/edged.toml",
        uptime_s=3 * 86400 + 4 * 3600 + 100,
        state="running",
        fleet=FleetStatus("plant-a"),
        board=BoardStatus("Raspberry Pi 4B 4 GB", "raspberry-pi-4b-4gb", 54.2),
        memory=MemoryStatus(71.3, 512),
        brokers={"main": BrokerStatus("mqtts://broker.plant:8883", "connected", 3 * 86400 + 4 * 3600, "5")},
        spool=SpoolStatus("empty"),
        pipelines=[pump(), NOTES],
    )
    return msgspec.structs.replace(snapshot, **changes)


GOLDEN: dict[str, tuple[Snapshot, str]] = {}

GOLDEN["healthy"] = (
    board(),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d      spool  empty

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["updates and a filled spool"] = (
    board(fleet=FleetStatus("plant-a", "committed", 41), spool=SpoolStatus("disk", 1204, 3.14, 256, 60, {"spool-full": 7})),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d
spool  disk, 1,204 results, 3.1 of 256 MiB, dropped 7 spool-full      updates  committed, rev 41

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["wrong password"] = (
    board(
        brokers={"main": BrokerStatus("mqtts://broker.plant:8883", "refused", 42.0, "5", "bad user name or password")},
        spool=SpoolStatus("memory", 336, 0.2, 256),
        health=[
            Condition("broker-refused", "error", "", "the broker refuses user name or password of press-7", PASSWORD_HINT, "main", 42.0)
        ],
    ),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  refused 42 s
spool  memory, 336 results, 0.2 of 256 MiB
✗ main: the broker refuses user name or password of press-7 [broker-refused, 42 s]
  → check username and password_file in [mqtt.main] of /etc/edged/edged.toml

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["rejected readings"] = (
    board(
        pipelines=[pump(rejected={"missing-channel acc.z": 212, "malformed": 3}), NOTES],
        health=[
            Condition(
                "readings-rejected",
                "warning",
                "",
                "212 readings rejected in the last hour (missing channel acc.z)",
                "see evt/rejected",
                "pump",
                1200.0,
            )
        ],
    ),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d      spool  empty
! pump: 212 readings rejected in the last hour (missing channel acc.z) [readings-rejected, 20 min]
  → see evt/rejected

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –
pump: rejected 212 missing-channel acc.z, 3 malformed

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["stuck pipeline"] = (
    board(
        pipelines=[
            pump(
                state="stuck",
                in_rate=980.0,
                out_rate=0.0,
                queue=1024,
                dropped={"queue-full": 15_321},
                last_result=LastResult("", "score 9.7 < 12.3", 75.0),
            ),
            NOTES,
        ],
        health=[
            Condition("pipeline-stuck", "error", "", "no result for 75 s while 1,024 messages wait", "", "pump", 75.0),
            Condition(
                "queue-full",
                "warning",
                "",
                "15,321 messages dropped, the oldest first",
                "the model is too slow for this rate",
                "pump",
                60.0,
            ),
        ],
    ),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d      spool  empty
✗ pump: no result for 75 s while 1,024 messages wait [pipeline-stuck, 1 min 15 s]
! pump: 15,321 messages dropped, the oldest first [queue-full, 1 min]
  → the model is too slow for this rate

PIPELINE MODEL           VARIANT STATE   IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    stuck    980     0    0.3    1.1  15,321 score 9.7 < 1…, 1 min 15 s
notes    work-orders 2   linear  waiting    0     0      –      –       0 –
pump: dropped 15,321 queue-full

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["no results yet"] = (
    board(
        uptime_s=2.0,
        state="starting",
        brokers={"main": BrokerStatus("mqtt://localhost:1883", "connecting", 1.9)},
        pipelines=[PipelineStatus("pump", "waiting", "pump-anomaly", 14, "1.4.0", "int8", "tflite", in_place=True)],
        memory=MemoryStatus(38.0),
        health=[Condition("no-trust-anchor", "info", "", "no [fleet] root: pushes are not accepted", "", "", 1.9)],
    ),
    """\
press-7 · fleet plant-a · starting for 2.0 s · Raspberry Pi 4B 4 GB · 54 °C · memory 38 MiB
broker  main  mqtt://localhost:1883  connecting 1.9 s      spool  empty
· no [fleet] root: pushes are not accepted [no-trust-anchor, 1.9 s]

PIPELINE MODEL                    VARIANT STATE   IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 in place int8    waiting    0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["an update on its way"] = (
    board(
        updates=[
            UpdateStatus(
                "har", 15, "1.5.0", "fetch", "fetch 12 of 40 MiB", since_s=5.0, attempt=1, attempts=3, left_s=3.2, windows_needed=100
            ),
            UpdateStatus("pump-anomaly", 14, state="committed", since_s=90_000.0),
        ]
    ),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d      spool  empty      updates  har 15 fetch
↻ har 15: fetch 12 of 40 MiB, 3.2 s left (attempt 1 of 3)

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["updates that wait, are watched and were refused"] = (
    board(
        updates=[
            UpdateStatus(
                "har", 15, state="wait", blocked_by="needs 300 MiB, 120 free", retry_in_s=20.0, attempt=1, attempts=3, code="no-space"
            ),
            UpdateStatus(
                "notes", 3, state="confirm", windows_done=40, windows_needed=100, seconds_left=25.0, waits_for="40 of 100 windows"
            ),
            UpdateStatus(
                "pump-anomaly",
                15,
                state="rolled_back",
                code="latency-breach",
                text="31 of 400 results came after the pipeline's deadline",
                hint="give the next release another number, when it is mended",
                family="publisher",
                since_s=4000.0,
            ),
            UpdateStatus("old", 2, state="rejected", code="model-nan", text="long ago", since_s=90_000.0),
            UpdateStatus("fresh", 9, state="rejected", code="cancelled", text="somebody cancelled it", family="operator", since_s=3.0),
        ]
    ),
    """\
press-7 · fleet plant-a · running for 3 d 4 h · Raspberry Pi 4B 4 GB · 54 °C · memory 71 of 512 MiB
broker  main  mqtts://broker.plant:8883  connected 3 d
spool  empty      updates  har 15 wait, notes 3 confirm, pump-anomaly 15 rolled back, …
↻ har 15: waits: needs 300 MiB, 120 free; again in 20 s (attempt 1 of 3)
↻ notes 3: serves, watched: 40 of 100 windows, 25 s left
! pump-anomaly 15 was rolled back: 31 of 400 results came after the pipeline's deadline
  [latency-breach, 1 h 6 min]
  → give the next release another number, when it is mended
· fresh 9 was rejected: somebody cancelled it [cancelled, 3.0 s]

PIPELINE MODEL           VARIANT STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
pump     pump-anomaly 14 int8    running 1,024   8.0    0.3    1.1       0 score 9.7 < 12.3, 0.2 s
notes    work-orders 2   linear  waiting     0     0      –      –       0 –

edged 0.1.0 · process 4711 · /etc/edged/edged.toml
""",
)

GOLDEN["very long names"] = (
    board(
        device="d" * 64,
        fleet=FleetStatus("f" * 64),
        config="/etc/" + "c" * 200,
        board=BoardStatus("b" * 150),
        brokers={
            "n" * 64: BrokerStatus("mqtts://" + "u" * 200 + ":8883", "connected", 5.0),
            "floor": BrokerStatus("mqtt://floor:1883", "disconnected", 5.0),
        },
        pipelines=[pump(name="p" * 64, model="m" * 64, variant="v" * 64, last_result=LastResult("", "l" * 64 + " 0.97", 0.2))],
        health=[Condition("c" * 30, "error", "", "w" * 120 + " and words" * 5, "h" * 120, "p" * 64, 3.0)],
    ),
    """\
dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd
fleet ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff · running for 3 d 4 h
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…
memory 71 of 512 MiB
broker  nnnnnnnnnnnnnnnnnnn…  mqtts://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu…  connected 5.0 s
broker  floor  mqtt://floor:1883  disconnected 5.0 s
spool  empty
✗ pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp:
  wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww
  wwwwwwwwwwwwwwwwwwwwww and words and words and words and words and words
  [cccccccccccccccccccccccccccccc, 3.0 s]
  → hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh
    hhhhhhhhhhhhhhhhhhhhhhhh

PIPELINE     MODEL        VARIANT     STATE    IN/S OUT/S P50 ms P99 ms DROPPED LAST RESULT, AGE
ppppppppppp… mmmmmmmm… 14 vvvvvvvvvv… running 1,024   8.0    0.3    1.1       0 llllllllllll…, 0.2 s

edged 0.1.0 · process 4711
/etc/cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc…
""",
)

GOLDEN["missing fields"] = (
    read({"device": "press-7", "pipelines": [{"name": "pump"}], "brokers": {"main": {}}, "health": [{"code": "odd", "severity": "fatal"}]}),
    """\
press-7 · running for 0.0 s
broker  main  unknown
· [odd]

PIPELINE  MODEL  VARIANT  STATE  IN/S  OUT/S  P50 ms  P99 ms  DROPPED  LAST RESULT, AGE
pump      –      –        –         0      0       –       –        0  –

""",
)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_the_screen(name: str) -> None:
    snapshot, golden = GOLDEN[name]
    assert render(snapshot) == golden
    assert max(wide(line) for line in golden.splitlines()) <= MAX_WIDTH


@pytest.mark.parametrize("name", list(GOLDEN))
def test_colours_change_no_character(name: str) -> None:
    snapshot, golden = GOLDEN[name]
    coloured = render(snapshot, colour=True)
    assert coloured != golden
    assert re.sub(r"\x1b\[\d+m", "", coloured) == golden


def test_what_is_wrong_comes_before_the_pipelines_and_the_worst_in_red() -> None:
    lines = render(GOLDEN["stuck pipeline"][0], colour=True).splitlines()
    at = {word: next(i for i, line in enumerate(lines) if word in line) for word in ("pipeline-stuck", "queue-full, ", "PIPELINE")}
    assert at["pipeline-stuck"] < at["queue-full, "] < at["PIPELINE"]
    assert lines[at["pipeline-stuck"]].startswith("\x1b[31m✗")
    assert lines[at["queue-full, "]].startswith("\x1b[33m!")


any_text = st.text(max_size=40) | st.sampled_from(
    ["\x1b[2J\x1b]0;owned\x07", "泵泵泵泵泵泵泵", "a\r\nb\tc", "e\u0301" * 20, "\u202eabc", "\udcff"]
)


@settings(max_examples=60)
@given(any_text, any_text, st.integers(-5, 130), st.floats(0, 1e12), st.integers(0, 10**15))
def test_text_from_outside_neither_steers_the_terminal_nor_widens_the_screen(a: str, b: str, width: int, number: float, n: int) -> None:
    pipeline = pump(name=a, state=b, model=b, variant=a, rejected={a: n}, in_rate=number, last_result=LastResult(b, a, number))
    snapshot = board(
        device=a,
        config=b,
        uptime_s=number,
        brokers={a: BrokerStatus(b, a, number)},
        pipelines=[pipeline, NOTES],
        spool=SpoolStatus(b, n, number, dropped={a: n}),
        fleet=FleetStatus(a, b, n),
        health=[Condition(a, b, text=a + b, hint=b, subject=a, for_s=number)],
        updates=[
            UpdateStatus(a, n, b, state, b, a, a + b, b, 3.0, n, n, blocked, left_s=number, retry_in_s=number, waits_for=b)
            for state in (a, "wait", "fetch", "confirm", "rejected", "rolled_back", "committed")
            for blocked in ("", a)
        ],
    )
    screen = render(snapshot, width)
    assert all(line.isprintable() for line in screen.split("\n"))
    assert max(map(wide, screen.split("\n"))) <= max(width, 20)


def test_nothing_that_is_wrong_is_cut() -> None:
    condition = Condition("broken", "error", text="word " * 60 + "x" * 150 + "泵" * 70, subject="pump")
    joined = "".join(render(board(health=[condition]), 40).split())
    assert "x" * 150 + "泵" * 70 in joined


# Words and columns.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.21, "0.2 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (75, "1 min 15 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
        (86400 * 1000, "1000 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.04, "0.04"), (0.31, "0.3"), (8, "8.0"), (99.94, "99.9"), (99.96, "100"), (1024.4, "1,024"), (-3, "-3.0")],
)
def test_amounts(value: float | None, text: str) -> None:
    assert amount(value) == text


@given(any_text, st.integers(0, 30))
def test_fit_never_exceeds_the_width_and_says_when_it_cuts(text: str, width: int) -> None:
    text = clean(text)
    fitted = fit(text, width)
    assert wide(fitted) <= width
    assert fitted == text or width == 0 or fitted.endswith("…")


@given(st.lists(any_text), st.integers(2, 40))
def test_wrapped_words_keep_every_character(texts: list[str], width: int) -> None:
    text = clean(" ".join(texts))
    lines = wrap_words(text, width, "", "")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(wide(line) <= width for line in lines)


def test_parts_are_wrapped_between_not_within() -> None:
    assert wrap(["one", "two", "three"], " · ", 9) == ["one · two", "three"]


def test_a_narrow_table_cuts_the_widest_first_and_then_leaves_columns_out() -> None:
    columns = [Column("A", least=3), Column("B", right=True), Column("C", least=3)]
    rows = [[Cell("short"), Cell("7"), Cell("x" * 30, tail=", 1 s")]]
    assert table(columns, rows, 40, False)[1] == f"short 7 {'x' * 26}…, 1 s"
    assert table(columns, rows, 6, False) == ["A   B", "sh… 7"]


def test_colour_is_for_terminals_and_for_those_who_want_it() -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    assert wants_colour(Terminal(), {"TERM": "xterm"})  # type: ignore[arg-type]
    assert not wants_colour(Terminal(), {"TERM": "dumb"})  # type: ignore[arg-type]
    assert not wants_colour(Terminal(), {"NO_COLOR": "1"})  # type: ignore[arg-type]
    with tempfile.TemporaryFile("w") as file:
        assert not wants_colour(file, {})


def test_a_frame_is_cut_to_the_terminal_and_says_so() -> None:
    drawn = frame("\n".join(f"line {i}" for i in range(10)) + "\n", 4)
    assert [line.split("\x1b[K")[0] for line in drawn.removeprefix("\x1b[H").split("\r\n")] == [
        "line 0",
        "line 1",
        "line 2",
        "… 7 more lines",
    ]
    assert "more" not in frame("a\nb\n", 2)


# The command.


class Served:
    """A daemon's control socket that gives `snapshot`."""

    def __init__(self, path: Path, snapshot: Snapshot) -> None:
        self.path = path
        self.snapshot = snapshot
        self._server = ControlServer(path, {"status": lambda _: self.snapshot}, SystemClock())
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._server.poll(0.01)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a short path, and an environment that leads nowhere else."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.chdir(name)
        for variable in ("EDGED_CONFIG", "NO_COLOR"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("HOME", name)
        monkeypatch.setenv("XDG_CONFIG_HOME", f"{name}/config")
        yield Path(name)
        monkeypatch.chdir(REPO)


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    served = Served(folder / "s", board())
    yield served
    served.close()


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "edged.cli.main", *args]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUTF8": "1", **more}


def test_status_is_0_when_healthy(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", str(served.path)]) == 0
    assert capsys.readouterr() == (GOLDEN["healthy"][1], "")


def test_status_is_5_with_an_error_and_0_with_a_warning(served: Served) -> None:
    served.snapshot = GOLDEN["wrong password"][0]
    assert main(["status", "--socket", str(served.path)]) == 5
    assert main(["status", "--json", "--socket", str(served.path)]) == 5
    served.snapshot = GOLDEN["rejected readings"][0]
    assert main(["status", "--socket", str(served.path)]) == 0


def test_status_as_json_is_the_snapshot_as_the_daemon_gave_it(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--socket", str(served.path)]) == 0
    assert json.loads(capsys.readouterr().out) == msgspec.to_builtins(served.snapshot)


def test_status_is_4_without_a_daemon_and_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", "nowhere"]) == 4
    assert capsys.readouterr() == (
        "",
        "edged: no daemon answers: there is no socket nowhere [daemon-not-reachable]\n"
        "  → start it: `systemctl start edged`, or `edged run`; or name its socket with --socket, its configuration with --config\n",
    )


def test_status_is_4_with_a_stuck_daemon_and_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_settings, "ANSWER_S", 0.05)
    server = ControlServer(folder / "s", {}, SystemClock())
    assert main(["status", "--socket", "s"]) == 4
    server.close()
    assert f"the daemon (process {os.getpid()}) is there, but did not answer" in capsys.readouterr().err


def test_an_error_is_json_too_where_json_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", "nowhere", "--json"]) == 4
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "daemon-not-reachable"
    assert "[daemon-not-reachable]" in err


SOUND = """
[control]
socket = "s"
[[pipelines]]
name = "pump"
model = "pump-anomaly"
source = { type = "stdin" }
decoder = { type = "json", channels = ["x"] }
outputs = [{ type = "stdout" }]
"""


@pytest.mark.parametrize("text", [SOUND, SOUND.replace("channels", "chanels")], ids=["sound", "faulty"])
def test_status_finds_the_socket_through_the_configuration_even_a_faulty_one(
    served: Served, folder: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "edged.toml").write_text(text)
    assert main(["status"]) == 0
    assert capsys.readouterr().out.startswith("press-7")


def test_without_an_answer_it_says_which_configuration_led_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "edged.toml").write_text(SOUND)
    assert main(["status"]) == 4
    assert f"{folder}/edged.toml" in capsys.readouterr().err


def test_a_configuration_asked_for_by_name_must_be_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", "other.toml"]) == 3
    assert "config-not-found" in capsys.readouterr().err


def test_of_several_places_the_one_that_answers_is_taken_and_the_likeliest_explains(folder: Path) -> None:
    served = Served(folder / "runtime" / "s", board())
    assert cli_settings.ask_first("status", [folder / "nowhere", served.path])["device"] == "press-7"
    served.close()
    with pytest.raises(DaemonUnreachable, match="nowhere"):
        cli_settings.ask_first("status", [folder / "nowhere", served.path])


def test_there_is_always_a_default_place() -> None:
    places = cli_settings.default_sockets()
    assert places
    assert all(place.is_absolute() and place.name == "control.sock" for place in places)


def test_a_snapshot_that_cannot_be_read_is_an_error_but_still_json(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.snapshot = {"pipelines": 7}  # type: ignore[assignment]
    assert main(["status", "--socket", str(served.path)]) == 1
    assert "[snapshot-unreadable]" in capsys.readouterr().err
    assert main(["status", "--json", "--socket", str(served.path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"pipelines": 7}


def test_status_imports_nothing_heavy(served: Served) -> None:
    script = "import sys; from edged.cli.main import main; code = main(sys.argv[1:]); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    args = [sys.executable, "-c", script, "status", "--socket", str(served.path)]
    run = subprocess.run(args, capture_output=True, text=True, env=environment(), check=True)
    heavy = {"numpy", "paho", "structlog", "asyncio", "logging", "http.server", "tflite_runtime", "ai_edge_litert", "cbor2"}
    assert heavy & set(run.stderr.split()) == set()


def test_help_imports_no_command() -> None:
    script = "import sys; from edged.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True)
    assert {f"edged.cli.{name}" for name in COMMANDS} & set(run.stderr.split()) == set()
    assert all(f"  {name} " in run.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_listed_command_is_there_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: edged {name} ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edged {__version__}\n"


def test_usage_errors_are_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert "No such command 'dance'" in capsys.readouterr().err
    assert main(["status", "--nope"]) == 2
    assert main(["top", "--count", "0"]) == 2


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Let `edged status` raise what the test puts into the list."""
    errors: list[BaseException] = []

    @click.command("status")
    @cli_settings.json_option
    def command(as_json: bool) -> None:
        raise errors[0]

    module = ModuleType("edged.cli.status")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return errors


def test_all_faults_of_a_configuration_are_shown_one_a_line(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    faults = [
        Fault("e.toml", 3, "mqtt.main.url", "wrong-type", "is a number", "write a text"),
        Fault("e.toml", 0, "", "syntax", "is odd\x1b[2J"),
    ]
    failing.append(ConfigFaults(faults, "e.toml"))
    assert main(["status", "--json"]) == 3
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "e.toml:3: mqtt.main.url: is a number; write a text",
        "e.toml: is odd?[2J",
        "edged: 2 faults in e.toml [config-faults]",
        "  → mend the places above, then run `edged check`",
    ]
    assert [fault["code"] for fault in json.loads(out)["error"]["faults"]] == ["wrong-type", "syntax"]


def test_an_error_has_no_traceback_unless_debug(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(BoardError("disk-full", "no space in /var/lib/edged", "free some"))
    assert main(["status"]) == 1
    assert capsys.readouterr().err == "edged: no space in /var/lib/edged [disk-full]\n  → free some\n"
    assert main(["--debug", "status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_any_other_exception_is_called_a_fault_of_edged(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyError("x"))
    assert main(["status", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert err.startswith("edged: KeyError: 'x' [internal]\n  → this is a fault of edged")
    assert json.loads(out)["error"]["family"] == "bug"


def test_ctrl_c_is_130(failing: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyboardInterrupt())
    assert main(["status"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (3, 3), ("text", 1)])
def test_a_command_may_exit_with_its_own_code(failing: list[BaseException], code: object, expected: int) -> None:
    failing.append(SystemExit(code))
    assert main(["status"]) == expected


@pytest.mark.parametrize("args", [["status"], ["top"], ["top", "--json"]])
def test_a_reader_that_goes_away_is_no_error(served: Served, args: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        command(*args, "--socket", str(served.path)), stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, b"")


def test_a_terminal_that_is_not_utf8_gets_question_marks(served: Served) -> None:
    env = environment(PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    run = subprocess.run(command("status", "--socket", str(served.path)), capture_output=True, env=env, check=True)
    assert run.stdout.startswith("press-7 · fleet plant-a".encode("latin-1"))
    assert b"?      ?       0 ?" in run.stdout


# Live.


def test_top_without_a_terminal_prints_statuses(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--count", "1", "--socket", str(served.path)]) == 0
    assert capsys.readouterr().out == GOLDEN["healthy"][1] + "\n"


def test_top_as_json_is_a_snapshot_a_line(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edged.cli.top.EVERY_S", 0.0)
    assert main(["top", "--json", "--count", "3", "--socket", str(served.path)]) == 0
    assert [json.loads(line)["device"] for line in capsys.readouterr().out.splitlines()] == ["press-7"] * 3


def test_top_is_4_without_a_daemon(folder: Path) -> None:
    assert main(["top", "--socket", "nowhere"]) == 4


class OnTerminal:
    """A command on a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self._master, slave = pty.openpty()
        env = environment(TERM="xterm")
        self.process = subprocess.Popen(command(*args), stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> None:
        while text not in self.seen:
            assert self._read(), f"ended before {text!r}: {self.seen}"

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._master)
        return self.process.wait()

    def _read(self) -> bool:
        try:
            part = os.read(self._master, 65536)
        except OSError:
            return False
        self.seen += part.decode("utf-8", "replace")
        return bool(part)


def test_status_on_a_terminal_has_colours_unless_unwanted(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = OnTerminal("status", "--socket", str(served.path))
    assert terminal.end() == 0
    assert "\x1b[32mrunning\x1b[0m" in terminal.seen
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = OnTerminal("status", "--socket", str(served.path))
    assert terminal.end() == 0
    assert "\x1b" not in terminal.seen


def test_top_draws_on_a_screen_of_its_own_and_q_ends_it(served: Served) -> None:
    terminal = OnTerminal("top", "--socket", str(served.path))
    terminal.read_until("pump-anomaly")
    terminal.type("q")
    assert terminal.end() == 0
    assert terminal.seen.startswith("\x1b[?1049h\x1b[?25l\x1b[H")
    assert terminal.seen.endswith("\x1b[?25h\x1b[?1049l")
    assert "q" not in terminal.seen.split("\x1b[J")[-1]


def test_ctrl_c_ends_top_well(served: Served) -> None:
    terminal = OnTerminal("top", "--socket", str(served.path))
    terminal.read_until("pump-anomaly")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert terminal.seen.endswith("\x1b[?25h\x1b[?1049l")


def test_top_waits_for_a_daemon_that_restarts(folder: Path) -> None:
    path = folder / "s"
    served = Served(path, board())
    terminal = OnTerminal("top", "--socket", str(path))
    terminal.read_until("pump-anomaly")
    served.close()
    terminal.read_until("still trying")
    served = Served(path, board(device="press-8"))
    terminal.read_until("press-8")
    terminal.type("q")
    assert terminal.end() == 0
    served.close()
