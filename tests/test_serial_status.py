"""Serial ports in the snapshot, on the screen, in the metrics and among the conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.cli.columns import wide
from edged.cli.render import MAX_WIDTH, render
from edged.cli.render_serial import serial_lines
from edged.clock import NS, VirtualClock
from edged.config import schema
from edged.errors import BoardError, OperatorError
from edged.models.manifest import load_release
from edged.service.health import Conditions
from edged.service.judge import Judge
from edged.service.metrics import render as metrics
from edged.service.parts import Lane, Parts
from edged.service.serial_health import port_faults
from edged.service.serial_status import SerialRates, SerialStatus, serial_status
from edged.service.snapshot import Snapshot, read
from edged.stream.sources.serial_errors import as_edged
from edged.stream.sources.serial_line import SerialState
from edged.stream.sources.stdin import StdinSource
from firmware_bridge.messages import Channel
from firmware_bridge.port import PortError
from tests.conftest import REPO
from tests.daemon import HAR, Daemon, Status, pipeline
from tests.firmwares import VIBRO, FakeFirmware
from tests.serial_ports import SerialCable
from tests.waiting import until

PORT = "/dev/edged/A1B2"
START = 1_000 * NS
SOUND = SerialState(
    port=PORT,
    baud=115_200,
    state="open",
    since_ns=START,
    error=None,
    framing="framed",
    hello=VIBRO,
    counts={},
    frames=100,
    lines=0,
    readings=2_600,
    bytes=18_000,
    last_event="7 -5 overrun",
    last_text="started",
    garbled=False,
    silent_s=0.1,
    two_senders=False,
    accuracy_ms=0.4,
    drift_ppm=-12.5,
    unplugged=0,
    results_sent=3,
)
SKETCH = replace(SOUND, framing="lines", hello=None, frames=0, lines=500, readings=0, accuracy_ms=None, drift_ppm=None)
CONFIGURATION = {"bad-path", "missing-key"}  # codes that faults of any file have, each with its line and what to write instead
LOSSES = {"lost-frames": 3, "gaps": 1, "bad-crc": 2, "restarts": 1}


def codes(state: SerialState, after_s: float = 60.0, rates: tuple[float, ...] = (26.0,)) -> list[str]:
    """Give the codes of what is wrong some seconds after the port was opened."""
    return [fault.code for fault in port_faults(state, rates, state.since_ns + round(after_s * NS))]


# -- the snapshot ---------------------------------------------------------------------------------


def test_the_status_has_all_that_a_line_knows() -> None:
    status = serial_status(replace(SOUND, counts=LOSSES, unplugged=1), None, START + 90 * NS)
    assert status == SerialStatus(
        port=PORT,
        state="open",
        since_s=90.0,
        framing="framed",
        baud=115_200,
        firmware="vibro",
        firmware_version="1.2",
        channels={"x": "mg", "y": "mg", "z": "mg"},
        rate_hz=26.0,
        readings=2_600,
        frames=100,
        bytes=18_000,
        faults=LOSSES,
        lost_frames=3,
        gaps=1,
        restarts=1,
        unplugged=1,
        silent_s=0.1,
        accuracy_ms=0.4,
        drift_ppm=-12.5,
        results_sent=3,
        last_event="7 -5 overrun",
        last_text="started",
    )


def test_the_status_survives_the_wire_and_knows_no_more_than_the_port_did() -> None:
    snapshot = Snapshot(serial=[serial_status(SOUND, None, START), serial_status(SKETCH, None, START)])
    assert read(msgspec.json.decode(msgspec.json.encode(snapshot))) == snapshot
    assert read({"serial": [{"port": PORT}]}).serial == [SerialStatus(PORT)]


def test_an_error_of_the_port_is_there_in_its_own_words() -> None:
    error = BoardError("serial-port-missing", "there is no /dev/edged/A1B2", "plug it in")
    status = serial_status(replace(SOUND, state="failing", error=error, hello=None, framing=""), None, START)
    assert (status.state, status.error, status.firmware, status.channels, status.rate_hz) == ("failing", error.text, "", {}, None)


def test_a_firmware_is_not_named_any_more_where_a_sketch_took_its_place() -> None:
    status = serial_status(replace(SKETCH, hello=VIBRO), None, START)
    assert (status.firmware, status.channels, status.rate_hz) == ("", {}, None)


def test_rates_are_per_second_over_the_last_ten() -> None:
    rates = SerialRates(START)
    for second in range(1, 61):
        rates.observe(replace(SOUND, readings=26 * second, frames=2 * second, lines=5 * second), START + second * NS)
    status = serial_status(SOUND, rates, START + 60 * NS)
    assert (status.reading_rate, status.frame_rate, status.line_rate) == (26.0, 2.0, 5.0)


# -- the screen -----------------------------------------------------------------------------------

AT_WORK = SerialStatus(PORT, "open", 3 * 86_400.0, "", "framed", 115_200, "vibro", "1.2", reading_rate=26.1)


def test_a_port_is_one_line_and_what_was_lost_a_second() -> None:
    lossy = msgspec.structs.replace(AT_WORK, faults=LOSSES, lost_frames=3, gaps=1, restarts=1, unplugged=1)
    assert serial_lines([AT_WORK, lossy], MAX_WIDTH, False) == [
        "serial  /dev/edged/A1B2  115200  framed  vibro 1.2  26.1/s  open 3 d",
        "serial  /dev/edged/A1B2  115200  framed  vibro 1.2  26.1/s  open 3 d",
        "  lost 3 frames in 1 gap, 2 bad-crc, 1 restart, unplugged 1×",
    ]


def test_a_sketch_has_the_rate_of_its_lines_and_its_first_half_line_is_no_loss() -> None:
    sketch = SerialStatus("/dev/ttyUSB0", "open", 70.0, "", "lines", 9600, line_rate=99.7, faults={"partial": 1, "not-text": 0})
    assert serial_lines([sketch], MAX_WIDTH, False) == ["serial  /dev/ttyUSB0  9600  lines  99.7/s  open 1 min"]


def test_a_port_that_fails_has_no_rate_and_is_red() -> None:
    gone = msgspec.structs.replace(AT_WORK, state="failing", since_s=12.0, error="there is no /dev/edged/A1B2")
    assert serial_lines([gone], MAX_WIDTH, True) == ["serial  /dev/edged/A1B2  115200  framed  vibro 1.2  \x1b[31mfailing 12 s\x1b[0m"]


def test_a_long_name_is_cut_and_the_state_is_not() -> None:
    (line,) = serial_lines([msgspec.structs.replace(AT_WORK, port="/dev/serial/by-id/usb-" + "x" * 100)], MAX_WIDTH, False)
    assert wide(line) == MAX_WIDTH
    assert line.endswith("…  115200  framed  vibro 1.2  26.1/s  open 3 d")


def test_ports_stand_behind_the_brokers_and_before_what_is_wrong() -> None:
    lines = render(Snapshot(device="press-7", serial=[AT_WORK])).splitlines()
    assert lines[1:3] == ["serial  /dev/edged/A1B2  115200  framed  vibro 1.2  26.1/s  open 3 d", ""]


any_text = st.text(max_size=40) | st.sampled_from(["\x1b[2J\x1b]0;owned\x07", "泵" * 20, "a\r\nb\tc", "\u202eabc"])


@settings(max_examples=60)
@given(any_text, any_text, st.integers(-5, 130), st.floats(0, 1e12), st.integers(0, 10**15))
def test_a_firmware_neither_steers_the_terminal_nor_widens_the_screen(a: str, b: str, width: int, number: float, n: int) -> None:
    port = SerialStatus(a, b, number, a, b, n, a, b, {a: b}, number, reading_rate=number, line_rate=number, faults={a: n, b: n})
    port.lost_frames, port.gaps, port.restarts, port.unplugged, port.last_text, port.last_event = n, n, n, n, a, b
    screen = render(Snapshot(serial=[port]), width).split("\n")
    assert all(line.isprintable() for line in screen)
    assert max(map(wide, screen)) <= max(width, 20)


# -- metrics --------------------------------------------------------------------------------------


def test_metrics_count_by_port_and_reason() -> None:
    status = serial_status(replace(SOUND, counts=LOSSES, unplugged=2), None, START)
    samples = [line for line in metrics(Snapshot(serial=[status, SerialStatus("/dev/b", "failing")])).splitlines() if "{port=" in line]
    assert samples == [
        'edged_serial_connected{port="/dev/edged/A1B2"} 1',
        'edged_serial_connected{port="/dev/b"} 0',
        'edged_serial_readings_total{port="/dev/edged/A1B2"} 2600',
        'edged_serial_readings_total{port="/dev/b"} 0',
        'edged_serial_frames_total{port="/dev/edged/A1B2"} 100',
        'edged_serial_frames_total{port="/dev/b"} 0',
        'edged_serial_lines_total{port="/dev/edged/A1B2"} 0',
        'edged_serial_lines_total{port="/dev/b"} 0',
        'edged_serial_bytes_total{port="/dev/edged/A1B2"} 18000',
        'edged_serial_bytes_total{port="/dev/b"} 0',
        'edged_serial_faults_total{port="/dev/edged/A1B2",reason="lost-frames"} 3',
        'edged_serial_faults_total{port="/dev/edged/A1B2",reason="gaps"} 1',
        'edged_serial_faults_total{port="/dev/edged/A1B2",reason="bad-crc"} 2',
        'edged_serial_faults_total{port="/dev/edged/A1B2",reason="restarts"} 1',
        'edged_serial_unplugged_total{port="/dev/edged/A1B2"} 2',
        'edged_serial_unplugged_total{port="/dev/b"} 0',
    ]


# -- what is wrong with a port ----------------------------------------------------------------------


@pytest.mark.parametrize("state", [SOUND, SKETCH, replace(SOUND, state="waiting", hello=None, framing="", silent_s=None)])
def test_a_sound_port_has_no_condition(state: SerialState) -> None:
    assert codes(state) == []


@pytest.mark.parametrize("code", ["serial-port-missing", "serial-port-not-allowed", "serial-port-busy", "serial-port-lost"])
def test_what_a_port_says_is_an_error_with_its_own_code_text_and_hint(code: str) -> None:
    error = OperatorError(code, "what is wrong", "what to do")
    (fault,) = port_faults(replace(SOUND, state="failing", error=error, silent_s=None), (26.0,), START)
    assert (fault.code, fault.severity, fault.text, fault.hint) == (code, "error", "what is wrong", "what to do")


def test_bytes_of_another_baud_rate_are_garbled_and_nothing_else() -> None:
    (fault,) = port_faults(replace(SOUND, garbled=True, framing="", hello=None, frames=0), (26.0,), START + 60 * NS)
    assert (fault.code, fault.severity) == ("serial-garbled", "error")
    assert "115200" in fault.text


@pytest.mark.parametrize(
    ("rate_hz", "silent_s", "silent"), [(26.0, 4.9, False), (26.0, 5.1, True), (0.5, 19.0, False), (0.5, 21.0, True), (0.01, 900.0, False)]
)
def test_an_open_port_is_silent_after_five_seconds_or_ten_readings(rate_hz: float, silent_s: float, silent: bool) -> None:
    framed = replace(SOUND, silent_s=silent_s, hello=replace(VIBRO, rate_hz=rate_hz))
    assert codes(framed) == (["serial-silent"] if silent else [])
    assert codes(replace(SKETCH, silent_s=silent_s), rates=(26.0, rate_hz)) == (["serial-silent"] if silent else [])


def test_lines_for_a_model_of_texts_come_when_they_come() -> None:
    assert codes(replace(SKETCH, silent_s=86_400.0), rates=()) == []


def test_a_firmware_that_was_asked_who_it_is_and_says_nothing_is_silent_whatever_the_model() -> None:
    assert codes(replace(SOUND, hello=None, frames=0, silent_s=6.0), rates=()) == ["serial-silent"]


def test_frames_without_a_hello_are_an_error_after_some_patience() -> None:
    state = replace(SOUND, hello=None)
    assert codes(state, after_s=4.0) == []
    assert codes(state, after_s=6.0) == ["serial-no-hello"]


def test_lines_on_a_port_that_is_to_speak_frames_are_told_as_such() -> None:
    (fault,) = port_faults(replace(SOUND, hello=None, frames=0), (), START + 6 * NS)
    assert (fault.code, 'framing = "lines"' in fault.hint) == ("serial-no-hello", True)


def test_two_senders_are_a_warning_since_the_first_is_listened_to() -> None:
    (fault,) = port_faults(replace(SOUND, two_senders=True), (26.0,), START + 60 * NS)
    assert (fault.code, fault.severity) == ("serial-two-senders", "warning")


# -- conditions of a daemon -------------------------------------------------------------------------


@dataclass
class Line:
    """A line that says what a test wants."""

    says: SerialState

    def state(self) -> SerialState:
        return self.says


class Board:
    """The judge of a daemon whose one pipeline reads one port; its model wants x, y and z at 26 Hz."""

    def __init__(self, says: SerialState = SOUND, **options: Any) -> None:
        self.clock = VirtualClock(START)
        table = {"name": "moves", "model_dir": str(HAR), "source": {"type": "serial", "port": PORT}, **options}
        self.lane = Lane(msgspec.convert(table, schema.Pipeline), StdinSource(self.clock), release=load_release(HAR))
        self.line = Line(says)
        self.parts = Parts(None, self.clock, "", None, lanes=[self.lane])  # type: ignore[arg-type]
        self.parts.serial_lines[PORT] = self.line  # type: ignore[assignment]
        self.conditions = Conditions(self.clock)
        updates: Any = SimpleNamespace(fault=None, bug=None, bad_lines=0, stale={}, stuck="", pushes=None, pushes_fault=None)
        self.judge = Judge(self.parts, self.conditions, updates)

    def look(self, **changes: Any) -> dict[str, str]:
        """Judge the line as changed; give the conditions with their subjects."""
        self.line.says = replace(self.line.says, **changes)
        self.judge.look()
        return {each.code: each.subject for each in self.conditions.list()}


def test_a_condition_of_a_port_holds_while_it_does_and_keeps_its_since() -> None:
    board = Board()
    assert board.look() == {}
    error = BoardError("serial-port-lost", "/dev/edged/A1B2 was unplugged", "plug it in again")
    assert board.look(state="failing", error=error) == {"serial-port-lost": PORT}
    board.clock.advance(7 * NS)
    assert board.look() == {"serial-port-lost": PORT}
    assert board.conditions.list()[0].for_s == 7.0
    missing = BoardError("serial-port-missing", "there is no /dev/edged/A1B2", "plug it in")
    assert board.look(error=missing) == {"serial-port-missing": PORT}
    assert board.look(state="open", error=None) == {}


def test_a_tick_notes_the_rates_of_each_port() -> None:
    board = Board()
    for second in range(12):
        board.look(readings=26 * second)
        board.clock.advance(NS)
    assert board.parts.serial_rates[PORT].rates()[0] == pytest.approx(26.0, rel=0.01)


def test_a_firmware_with_other_channels_is_an_error_of_the_pipeline_that_names_both_sides() -> None:
    board = Board()
    hello = replace(VIBRO, channels=(Channel("temperature", "°C", 0.1),))
    assert board.look(hello=hello) == {"channels-do-not-match": "moves"}
    (condition,) = board.conditions.list()
    assert condition.severity == "error"
    assert condition.text.startswith("the firmware vibro 1.2 sends 1 channels (temperature)")
    assert "x, y, z" in condition.text
    assert board.look(hello=VIBRO) == {}


def test_a_firmware_that_was_unplugged_is_held_against_no_model() -> None:
    board = Board(replace(SOUND, hello=replace(VIBRO, rate_hz=104.0)))
    assert board.look() == {"rate-does-not-match": "moves"}
    error = BoardError("serial-port-lost", "/dev/edged/A1B2 was unplugged", "plug it in again")
    assert board.look(state="failing", error=error) == {"serial-port-lost": PORT}


def test_a_firmware_with_another_rate_is_an_error_of_the_pipeline() -> None:
    board = Board()
    assert board.look(hello=replace(VIBRO, rate_hz=104.0)) == {"rate-does-not-match": "moves"}


def test_what_a_firmware_said_is_not_held_against_a_sketch_nor_against_lines_with_a_decoder() -> None:
    other = replace(VIBRO, rate_hz=104.0)
    assert Board().look(hello=other, framing="lines") == {}
    assert Board(decoder={"type": "csv", "channels": ["x", "y", "z"]}).look(hello=other) == {}


def test_a_line_at_the_models_rate_is_silent_by_it() -> None:
    assert Board(SKETCH).look(silent_s=6.0) == {"serial-silent": PORT}


def test_every_code_of_a_serial_port_has_a_line_for_people() -> None:
    documents = "".join(path.read_text(encoding="utf-8") for path in (REPO / "docs").glob("*.md"))
    ours = [REPO / "edged" / "service" / "serial_health.py", REPO / "edged" / "config" / "serial_lines.py"]
    found = {code for path in ours for code in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', path.read_text(encoding="utf-8"))}
    ports = re.findall(r'PortError\(\s*"([a-z-]+)"', (REPO / "firmware_bridge" / "port.py").read_text(encoding="utf-8"))
    found |= {as_edged(PortError(code, "", "")).code for code in ports}
    assert {"serial-port-busy", "serial-silent", "serial-clash"} <= found
    assert {code for code in found - CONFIGURATION if f"`{code}`" not in documents} == set()


# -- with a daemon ----------------------------------------------------------------------------------


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[SerialCable]:
    cable = SerialCable(tmp_path / "sensor", FakeFirmware())
    yield cable
    cable.close()


def told(status: Status) -> list[tuple[str, str]]:
    """Give severity and subject of what a daemon says of serial ports, and of sources at large."""
    return [(each["severity"], each["subject"]) for each in status["health"] if each["code"].startswith(("serial-", "source-"))]


def test_a_daemon_says_how_its_port_is_and_what_to_do_when_it_goes(cable: SerialCable, tmp_path: Path) -> None:
    source = f'{{ type = "serial", port = "{cable.path}" }}'
    text = pipeline("moves", source, decoder='{ type = "bridge" }', outputs='[{ type = "stdout" }]')
    daemon = Daemon(tmp_path / "d", text).launch()
    try:
        firmware = cable.firmware
        assert firmware is not None
        daemon.until(lambda status: [each["state"] for each in status["serial"]] == ["open"], "the port is open")

        def flows() -> bool:
            cable.say(firmware.block)
            return bool(daemon.status()["serial"][0]["readings"])

        until(flows, "readings come", daemon.status)
        status = daemon.status()
        (port,) = status["serial"]
        assert (port["firmware"], port["framing"], port["channels"]) == ("vibro", "framed", {"x": "mg", "y": "mg", "z": "mg"})
        assert told(status) == []
        cable.unplug()
        assert told(daemon.until(told, "it is told")) == [("error", str(cable.path))]
        cable.plug()
        daemon.until(lambda status: not told(status) and status["serial"][0]["unplugged"] == 1, "it is back")
        assert daemon.stop() == 0
    finally:
        daemon.kill()
