"""`edged serial monitor`: what a person with a new sensor sees, on real pseudo-terminals."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.cli.columns import wide
from edged.cli.main import main
from edged.cli.serial.ports import listed, stable_name
from edged.cli.serial.printing import values_of
from edged.cli.serial.screen import drawn
from edged.cli.serial.suggestion import suggestion
from edged.cli.serial.telling import told
from edged.cli.serial.troubles import troubles
from edged.cli.serial.watched import View
from edged.config.load import load_config
from firmware_bridge.messages import Channel, Event, Hello
from firmware_bridge.observation import Happened, Observation, PrintCame, Seen
from firmware_bridge.port import FoundPort, PortError
from tests.conftest import REPO
from tests.daemon import HAR
from tests.firmwares import VIBRO, FakeFirmware
from tests.waiting import PATIENCE_S

S = 1_000_000_000
MS = 1_000_000


class Bench:
    """An observation with a clock of its own, and what happened on it."""

    def __init__(self, framing: str = "auto") -> None:
        self.now = 100 * S
        self.observation = Observation(framing, self.now)
        self.happened: list[Happened] = []
        self.sent = b""

    def get(self, data: bytes, after_ns: int = 50 * MS) -> Bench:
        """Let time pass, then bytes come."""
        self.now += after_ns
        if data:
            self.happened += self.observation.receive(data, self.now)
        self.observation.wake(self.now)
        self.sent += self.observation.take()
        return self

    def seen(self) -> Seen:
        return self.observation.seen(self.now)

    def codes(self, baud: int = 115_200) -> list[str]:
        return [trouble.code for trouble in troubles(self.seen(), baud)]

    def view(self, error: PortError | None = None) -> View:
        return View("/dev/ttyACM0", 115_200, 12.0, error, 0, self.seen())

    def screen(self, width: int = 100) -> str:
        view = self.view()
        return "\n".join(drawn(view, [told(each, view) for each in self.happened], "/dev/edged/A1", width, False))


def framed(readings: int = 100, firmware: FakeFirmware | None = None, framing: str = "auto") -> Bench:
    """Give a bench on which a firmware said HELLO and sent readings for a while, a block each 100 ms."""
    firmware = firmware or FakeFirmware()
    bench = Bench(framing).get(firmware.start())
    for _ in range(readings // 2):
        bench.get(firmware.block(2), 2 * S // 26)
    return bench


def lines(*texts: str, framing: str = "auto", times: int = 1) -> Bench:
    """Give a bench on which a sketch printed lines, each 50 ms after the other; the first is the rest of one and lost."""
    bench = Bench(framing).get(b"rest\r\n")
    for text in texts * times:
        bench.get(f"{text}\r\n".encode())
    return bench


# What is seen.


def test_a_firmware_is_shown_with_its_channels_their_units_and_rates() -> None:
    seen = framed().seen()
    assert (seen.framing, seen.frames, seen.readings, seen.hello) == ("framed", 51, 100, VIBRO)
    assert seen.reading_rate == pytest.approx(26, rel=0.05)
    assert seen.rate_hz == pytest.approx(26, rel=0.05)
    assert [(each.name, each.unit, each.last) for each in seen.channels] == [("x", "mg", 0.5), ("y", "mg", 0.5), ("z", "mg", 0.5)]


def test_the_last_second_has_least_mean_and_greatest() -> None:
    firmware = FakeFirmware(Hello("f", "", "int16", 1_000_000, 100.0, 0, (Channel("up", "V", -2.0),)))
    bench = Bench().get(firmware.start()).get(firmware.samples([[1000]])).get(b"", S)
    for value in range(20):
        bench.get(firmware.samples([[value], [value + 100]]))
    (channel,) = bench.seen().channels
    assert (channel.last, channel.low, channel.high) == (-238, -238, 0)
    assert channel.mean == pytest.approx(-2 * 59.5)


@pytest.mark.parametrize(("kind", "value"), [("int16", -32768), ("int32", -(2**31)), ("float32", 0.25)])
def test_samples_of_each_kind(kind: Any, value: float) -> None:
    firmware = FakeFirmware(Hello("f", "", kind, 1000, 10.0, 0, (Channel("a", "", 2.0), Channel("b", "", 1.0))))
    bench = Bench().get(firmware.start()).get(firmware.samples([[0, 1], [value, 7]]))
    assert [each.last for each in bench.seen().channels] == [2 * value, 7]


def test_readings_that_are_no_numbers_do_not_hide_the_others() -> None:
    firmware = FakeFirmware(Hello("f", "", "float32", 1000, 10.0, 0, (Channel("a", "", 1.0), Channel("b", "", 1.0))))
    nan, inf = float("nan"), float("inf")
    bench = Bench().get(firmware.start()).get(firmware.samples([[1, nan], [3, inf], [nan, -inf]]))
    a, b = bench.seen().channels
    assert (a.low, a.mean, a.high) == (1, 2, 3)
    assert json.loads(_json(bench))["channels"][0]["last"] is None
    assert (b.low != b.low, b.last) == (True, -inf)
    assert "–" in bench.screen()


def _json(bench: Bench) -> str:
    import msgspec

    return msgspec.json.encode(values_of(bench.view(), "/dev/edged/A1")).decode()


def test_texts_and_events_are_told_as_they_come() -> None:
    firmware = FakeFirmware()
    bench = Bench().get(firmware.start() + firmware.text("started\x1b[2J") + firmware.event(Event(7, -5, "overrun")))
    view = bench.view()
    assert [told(each, view) for each in bench.happened] == [
        "HELLO   vibro 1.2, 3 channels of int16, 26 readings/s nominal, takes 2 results at a time: "
        "x in mg × 0.5, y in mg × 0.5, z in mg × 0.5",
        "TEXT    started?[2J",
        "EVENT   7 -5 overrun",
    ]


def test_lost_frames_restarts_and_damage_are_counted_by_name() -> None:
    firmware = FakeFirmware()
    bench = framed(20, firmware)
    firmware.lose(3)
    bench.get(firmware.block())
    bench.get(b"\x05garbage\x00")
    bench.get(firmware.start(session=0x4321)).get(firmware.block())
    counts = bench.seen().counts
    assert (counts["lost-frames"], counts["gaps"], counts["restarts"]) == (3, 1, 1)
    text = bench.screen()
    assert "lost 3 frames in 1 gap · 1 bad-stuffing" in text
    assert "1 restart" in text
    assert "HELLO   restarted: vibro" in text


def test_nothing_is_sent_before_frames_come() -> None:
    assert lines("1,2,3", "Ready?", times=50).sent == b""
    firmware = FakeFirmware()
    bench = Bench().get(b"")
    assert bench.sent == b""
    bench.get(firmware.block()).get(b"", 2 * S)
    firmware.receive(bench.sent)
    assert firmware.pings >= 1


@pytest.mark.parametrize(
    ("printed", "names", "separator", "width"),
    [
        (["1,-2,1003"], [], ",", 3),
        (["x,y,z", "1,2,3", "4,5,6"], ["x", "y", "z"], ",", 3),
        (["x:1\ty:2"], ["x", "y"], "\t", 2),
        (["1 2"], [], " ", 2),
        (["7"], [], " ", 1),
        (['{"ax": 1, "ay": 2, "id": "a"}'], ["ax", "ay"], "json", 2),
        (["[1, 2]"], [], "json", 2),
    ],
)
def test_what_the_columns_of_lines_look_like(printed: list[str], names: list[str], separator: str, width: int) -> None:
    seen = lines(*printed, times=10).seen()
    assert (seen.framing, seen.sketch.names, seen.sketch.separator, seen.sketch.width) == ("lines", names, separator, width)
    assert len(seen.channels) == width
    assert [each.name for each in seen.channels] == (names or [f"column {number}" for number in range(1, width + 1)])
    assert seen.counts == {"partial": 1}


def test_debug_prints_are_shown_and_are_no_readings() -> None:
    bench = lines("Battery is low", "1,2,3", "4,5,6", times=5)
    seen = bench.seen()
    assert (seen.readings, seen.lines, seen.sketch.prints, seen.sketch.last_print) == (10, 15, 5, "Battery is low")
    assert PrintCame("Battery is low") in bench.happened
    assert seen.reading_rate == pytest.approx(40 / 3, rel=0.1)
    assert "15 lines, 5 debug prints" in bench.screen()


def test_a_sketch_that_changes_its_columns_is_told() -> None:
    seen = lines("1,2,3", "1,2", times=4).seen()
    assert (seen.sketch.changes, seen.sketch.width, len(seen.channels)) == (7, 2, 2)


def test_a_column_that_only_rises_looks_like_a_clock() -> None:
    printed = [f"{1000 + 38 * n},{n % 7},{n % 5}" for n in range(40)]
    assert lines(*printed).seen().sketch.has_clock
    assert not lines(*(line.partition(",")[2] for line in printed)).seen().sketch.has_clock


def test_a_boot_log_before_the_frames_is_text_first_and_frames_then() -> None:
    bench = lines("rst:0x1 (POWERON_RESET)", "configsip: 0, SPIWP:0xee", "mode:DIO, clock div:1")
    assert bench.seen().framing == "lines"
    firmware = FakeFirmware()
    bench.get(b"entry\r\n\0" + firmware.start()).get(firmware.block())
    assert bench.seen().framing == "framed"
    assert [each.name for each in bench.seen().channels] == ["x", "y", "z"]


def test_another_firmware_that_prints_lines_is_found_out() -> None:
    bench = framed(20)
    for _ in range(200):
        bench.get(b"1,2,3\r\n")
    assert (bench.seen().framing, bench.codes()) == ("lines", [])


def test_a_port_that_was_opened_again_begins_anew_and_keeps_its_counts() -> None:
    firmware = FakeFirmware()
    bench = framed(20, firmware)
    bench.now += 10 * S
    bench.observation.opened(bench.now)
    assert (bench.seen().readings, bench.seen().reading_rate, bench.seen().channels) == (20, 0, ())
    bench.get(firmware.start()).get(firmware.block())
    assert bench.seen().readings == 30


# What is wrong.


def test_silence_is_told_after_three_seconds_with_what_to_look_at() -> None:
    bench = Bench().get(b"", 3 * S)
    assert bench.codes() == []
    bench.get(b"", S)
    (trouble,) = troubles(bench.seen(), 9600)
    assert (trouble.code, trouble.text) == ("serial-silent", "nothing arrives, for 4.0 s now")
    assert all(word in trouble.hint for word in ("power", "TX", "ground", "port"))


def test_a_firmware_that_fell_silent_is_told_from_one_that_never_spoke() -> None:
    bench = framed().get(b"", 4 * S)
    (trouble,) = troubles(bench.seen(), 9600)
    assert (trouble.code, trouble.text) == ("serial-silent", "nothing has arrived for 4.0 s")


def test_a_slow_sensor_is_not_silent_between_its_readings() -> None:
    bench = Bench()
    for _ in range(4):
        bench.get(b"21.5\r\n", 10 * S)
    assert bench.get(b"", 9 * S).codes() == []
    assert bench.get(b"", 25 * S).codes() == ["serial-silent"]


def test_garbage_is_a_wrong_baud_rate() -> None:
    bench, noise = Bench(), random.Random(1)
    for _ in range(60):
        bench.get(bytes(noise.choice(b"\x80\xfe\xf8\x1e\x9c\xe6") for _ in range(40)))
    (trouble,) = troubles(bench.seen(), 115_200)
    assert trouble.code == "serial-garbled"
    assert bench.seen().newest[-8:].hex(" ") in trouble.text
    assert "9600" in trouble.hint
    assert "115200" not in trouble.hint


def test_frames_where_lines_were_asked_for_and_the_other_way_round() -> None:
    assert framed(framing="lines").codes() == ["serial-other-framing"]
    bench = lines("1,2,3", times=10, framing="framed")
    assert bench.codes() == ["serial-other-framing"]
    assert "--framing lines" in bench.screen()


def test_a_firmware_that_cannot_hear_the_question_has_no_hello() -> None:
    firmware = FakeFirmware(answers=False)
    bench = Bench()
    for _ in range(50):
        bench.get(firmware.block())
    assert bench.codes() == ["serial-no-hello"]
    assert bench.seen().counts["no-hello"] == 50


def test_two_firmwares_on_a_line() -> None:
    one, other = FakeFirmware(session=1), FakeFirmware(session=2)
    bench = Bench().get(one.start()).get(other.start())
    for _ in range(40):
        bench.get(one.block(1)).get(other.block(1))
    assert "serial-two-senders" in bench.codes()


def test_damaged_frames_are_told_while_they_come() -> None:
    firmware, bench = FakeFirmware(), framed(10)
    for number in range(60):
        block = bytearray(firmware.block())
        if number % 3 == 0:
            block[12] ^= 0x40
        bench.get(bytes(block))
    assert "serial-damaged" in bench.codes()
    for _ in range(200):
        bench.get(firmware.block())
    assert "serial-damaged" not in bench.codes()


def test_lost_frames_on_a_line_that_is_full_want_a_higher_baud_rate() -> None:
    firmware = FakeFirmware(Hello("f", "", "int16", 1_000_000, 200.0, 0, VIBRO.channels))
    bench = Bench().get(firmware.start())
    for _ in range(60):
        firmware.lose(1)
        bench.get(firmware.block(10))
    (trouble,) = troubles(bench.seen(), 16_000)
    assert (trouble.code, "full" in trouble.text) == ("serial-frames-lost", True)
    (trouble,) = troubles(bench.seen(), 921_600)
    assert (trouble.code, "buffer" in trouble.hint) == ("serial-frames-lost", True)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.sampled_from(["auto", "framed", "lines"]), st.integers(40, 100))
def test_hostile_bytes_raise_nothing_and_steer_no_terminal(chunks: list[bytes], framing: str, width: int) -> None:
    bench = Bench(framing)
    for chunk in chunks:
        bench.get(chunk)
    for line in bench.screen(width).split("\n"):
        assert line.isprintable()
    assert json.loads(_json(bench))["bytes"] == sum(map(len, chunks))


def test_the_screen_fits_its_width() -> None:
    for bench in (Bench(), framed(), lines("a:1,b:2", "x" * 300, times=20)):
        for width in (40, 80, 100):
            view = bench.view()
            assert max(map(wide, drawn(view, [], "/dev/edged/A1", width, False))) <= width


# What to write into a configuration.


@pytest.mark.parametrize(
    ("bench", "decoder"),
    [
        (framed(), None),
        (framed(firmware=FakeFirmware(Hello("Ünit 7!", "", "int16", 1000, 26.0, 0, VIBRO.channels))), None),
        (lines("1,2,3", times=40), None),
        (lines("x:1,y:2,z:3", times=40), None),
        (lines('{"x": 1, "y": 2, "z": 3}', times=40), None),
        (lines(*(f"{n};1;2;3" for n in range(40))), "csv"),
    ],
)
def test_the_suggestion_is_a_configuration_that_edged_takes(bench: Bench, decoder: str | None, tmp_path: Path) -> None:
    text = suggestion(bench.seen(), "/dev/edged/A1", 9600)
    file = tmp_path / "edged.toml"
    text = text.replace('model = "MODEL"', f'model_dir = "{HAR}"\noutputs = [{{ type = "stdout" }}]')
    file.write_text(f'[device]\nstate_dir = "{tmp_path}"\n{text}')
    (pipeline,) = load_config(file, {}).config.pipelines
    assert (pipeline.source.port, pipeline.source.baud) == ("/dev/edged/A1", 9600)  # type: ignore[union-attr]
    assert type(pipeline.decoder).__name__ == ("CsvDecoder" if decoder else "BridgeDecoder")


def test_a_firmware_cannot_leave_the_comment_that_names_its_channels() -> None:
    channels = (Channel('x\nsource = "evil"', "", 1.0), Channel("y", "", 1.0))
    text = suggestion(framed(firmware=FakeFirmware(Hello('"\n[evil]', "", "int16", 1000, 26.0, 0, channels))).seen(), "/dev/a", 9600)
    assert [line.partition(" ")[0] for line in text.splitlines()] == ["[[pipelines]]", "name", "model", "source"]


def test_nothing_is_suggested_before_enough_is_known() -> None:
    assert suggestion(Bench().seen(), "/dev/a", 9600) == ""
    assert suggestion(lines("1,2", times=5).seen(), "/dev/a", 9600) == ""


# The command, on real pseudo-terminals.


class Board:
    """A firmware or sketch on a pseudo-terminal, which speaks by itself and answers; `link` is its port."""

    def __init__(self, link: Path, speak: Callable[[], bytes], firmware: FakeFirmware | None = None) -> None:
        self.link = link
        self._speak, self._firmware = speak, firmware
        self.plug()

    def plug(self) -> None:
        """Appear, under the same link."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self._slave))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def unplug(self) -> None:
        """Go away, with the link."""
        self._stop.set()
        self._thread.join()
        self.link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)

    def _run(self) -> None:
        while not self._stop.is_set():
            if select.select([self._master], [], [], 0.02)[0] and self._firmware:
                self._write(self._firmware.receive(os.read(self._master, 4096)))
            self._write(self._speak())

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:  # nobody reads: a real line loses it, too
            pass


Plugged = Callable[..., Board]


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Plugged]:
    """Plug boards in; unplug them at the end."""
    boards: list[Board] = []

    def plug(speak: Callable[[], bytes], firmware: FakeFirmware | None = None) -> Board:
        boards.append(Board(tmp_path / "ttyACM0", speak, firmware))
        return boards[-1]

    yield plug
    for board in boards:
        if not board._stop.is_set():
            board.unplug()


def vibro(plugged: Plugged, **options: Any) -> tuple[Board, FakeFirmware]:
    firmware = FakeFirmware(**options)
    return plugged(lambda: firmware.samples([[2, -4, 2000]]), firmware), firmware


class Monitor:
    """The command as a process of its own; its lines are read one by one."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(_command(*args), cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._deadline = threading.Timer(PATIENCE_S, self.process.kill)
        self._deadline.start()
        self.lines: list[str] = []

    def until(self, wanted: Callable[[str], Any]) -> str:
        """Read lines until one is wanted; give it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            if wanted(self.lines[-1]):
                return self.lines[-1]
        raise AssertionError(f"ended before that came: {self.lines[-20:]} {self.end()}")

    def until_object(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        return json.loads(self.until(lambda line: wanted(json.loads(line))))  # type: ignore[no-any-return]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.end()[0]

    def end(self) -> tuple[int, str]:
        """Wait until it ends; give its exit code and what it said on standard error."""
        out, err = self.process.communicate()
        self._deadline.cancel()
        self.lines += out.decode().splitlines()
        return self.process.returncode, err.decode()


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "edged.cli.main", "serial", "monitor", *args]


def test_json_tells_what_comes_an_object_a_line(plugged: Plugged) -> None:
    board, firmware = vibro(plugged)
    monitor = Monitor(str(board.link), "--json")
    hello = monitor.until_object(lambda each: each["kind"] == "hello")
    assert (hello["hello"]["firmware"], hello["session"], hello["restarted"]) == ("vibro", 0x1234, False)
    seen = monitor.until_object(lambda each: each["kind"] == "seen" and each["readings_per_s"] > 0)
    assert (seen["framing"], seen["state"], seen["troubles"]) == ("framed", "open", [])
    assert [(each["name"], each["unit"], each["mean"]) for each in seen["channels"]] == [("x", "mg", 1), ("y", "mg", -2), ("z", "mg", 1000)]
    assert 'type = "serial"' in seen["config"]
    assert monitor.interrupt() == 0
    assert firmware.pings >= 1
    assert all(json.loads(line)["at_s"] >= 0 for line in monitor.lines)


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_second(plugged: Plugged) -> None:
    texts = iter([b"Calibrating\r\n"])
    board = plugged(lambda: next(texts, b"ax:1.5,ay:-2\r\n"))
    monitor = Monitor(str(board.link), "--seconds", "3")
    code, err = monitor.end()
    assert (code, err) == (0, "")
    text = "\n".join(monitor.lines)
    assert "readings/s" in text
    assert "ax 1.5 · ay -2" in text
    assert f'source = {{ type = "serial", port = "{board.link}", baud = 115200 }}' in text
    assert "\x1b" not in text


def test_a_replug_is_told_and_gone_on_with(plugged: Plugged) -> None:
    board, _ = vibro(plugged)
    monitor = Monitor(str(board.link), "--json")
    monitor.until_object(lambda each: each["kind"] == "seen" and each["readings"] > 10)
    board.unplug()
    lost = monitor.until_object(lambda each: each["kind"] == "lost")
    assert lost["error"]["code"] == "serial-port-lost"
    assert monitor.until_object(lambda each: each["kind"] == "seen")["state"] == "waiting"
    board.plug()
    monitor.until_object(lambda each: each["kind"] == "opened")
    seen = monitor.until_object(lambda each: each["kind"] == "seen" and each["readings_per_s"] > 0)
    assert (seen["state"], seen["unplugged"]) == ("open", 1)
    assert monitor.interrupt() == 0


def test_a_port_that_another_program_holds_is_busy(plugged: Plugged) -> None:
    board, _ = vibro(plugged)
    monitor = Monitor(str(board.link), "--json")
    monitor.until_object(lambda each: each["kind"] == "seen")
    code, err = Monitor(str(board.link)).end()
    assert code == 3
    assert "[serial-port-busy]" in err
    assert "`edged status` shows what comes there" in err
    assert monitor.interrupt() == 0


def test_a_port_that_is_not_there_is_an_error_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serial", "monitor", str(tmp_path / "ttyUSB7"), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "serial-port-missing"
    assert "ttyUSB7 is not there" in said.err


def test_seconds_over_a_silent_line_end_with_5(plugged: Plugged) -> None:
    board = plugged(lambda: b"")
    monitor = Monitor(str(board.link), "--seconds", "4")
    assert monitor.end() == (5, "")
    assert "[serial-silent]" in "\n".join(monitor.lines)


class OnTerminal:
    """The command on a pseudo-terminal, as a person has it."""

    def __init__(self, *args: str) -> None:
        self._master, slave = pty.openpty()
        env = {**os.environ, "TERM": "xterm"}
        self.process = subprocess.Popen(_command(*args), cwd=REPO, stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self._deadline = threading.Timer(PATIENCE_S, self.process.kill)
        self._deadline.start()
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> None:
        while text not in self.seen:
            assert self._read(), f"ended before {text!r}: {self.seen[-2000:]}"

    def end(self) -> int:
        while self._read():
            pass
        self._deadline.cancel()
        os.close(self._master)
        return self.process.wait()

    def _read(self) -> bool:
        try:
            part = os.read(self._master, 65536)
        except OSError:
            return False
        self.seen += part.decode("utf-8", "replace")
        return bool(part)


@pytest.mark.parametrize("ends", ["q", "SIGINT", "SIGTERM"])
def test_a_terminal_is_drawn_on_and_left_as_it_was(plugged: Plugged, ends: str) -> None:
    board, _ = vibro(plugged)
    terminal = OnTerminal(str(board.link))
    terminal.read_until("vibro 1.2")
    terminal.read_until("1000")
    if ends == "q":
        terminal.type("q")
    else:
        terminal.process.send_signal(getattr(signal, ends))
    assert terminal.end() == 0
    assert terminal.seen.startswith("\x1b[?1049h")
    _, _, left = terminal.seen.partition("\x1b[?25h\x1b[?1049l")
    assert left.startswith("[[pipelines]]\r\n")


# Ports.


def test_ports_are_listed_with_the_name_that_stays_and_how_to_go_on() -> None:
    ports = [FoundPort("/dev/ttyACM0", "/dev/serial/by-id/usb-Arduino-if00", "Arduino Uno"), FoundPort("/dev/ttyAMA0", "", "")]
    text = "\n".join(listed(ports, 100, False))
    assert "/dev/ttyACM0  /dev/serial/by-id/usb-Arduino-if00  Arduino Uno" in text
    assert text.endswith("Go on with: edged serial monitor /dev/serial/by-id/usb-Arduino-if00")
    assert stable_name("/dev/ttyACM0", ports) == "/dev/serial/by-id/usb-Arduino-if00"
    assert stable_name("/dev/ttyAMA0", ports) == "/dev/ttyAMA0"


def test_no_port_at_all_says_what_to_do() -> None:
    assert "plug the microcontroller in" in "\n".join(listed([], 100, False))


def test_without_a_port_it_lists_and_opens_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("firmware_bridge.port.present", lambda: [FoundPort("/dev/ttyACM0", "", "")])
    assert main(["serial", "monitor"]) == 0
    assert "/dev/ttyACM0" in capsys.readouterr().out
    assert main(["serial", "monitor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"port": "/dev/ttyACM0", "stable": None, "description": None}


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serial", "monitor", "--help"]) == 0
    assert "edged serial monitor /dev/ttyACM0" in capsys.readouterr().out
