"""`firmware_bridge` without edged: its README and its example do what they say where `import edged` fails."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware_bridge.messages import Event
from tests.conftest import REPO
from tests.firmwares import FakeFirmware
from tests.waiting import PATIENCE_S

README = REPO / "firmware_bridge" / "README.md"
_BLOCK = re.compile(r"^<!-- (?:run|file: (?P<file>[\w.]+)) -->\n```\w+\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {block["file"]: block["body"] for block in _BLOCK.finditer(README.read_text(encoding="utf-8")) if block["file"]}
COMMANDS = [block["body"].strip() for block in _BLOCK.finditer(README.read_text(encoding="utf-8")) if not block["file"]]


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Give a folder with the package and the README's files, where edged cannot be imported."""
    (tmp_path / "firmware_bridge").symlink_to(REPO / "firmware_bridge")
    (tmp_path / "edged").mkdir()
    (tmp_path / "edged" / "__init__.py").write_text('raise ImportError("edged is not on this machine")\n')
    for name, body in FILES.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    return tmp_path


def run(folder: Path, command: str) -> subprocess.Popen[str]:
    """Start a command of the README, with this Python."""
    words = shlex.split(command.replace("python3", shlex.quote(sys.executable)))
    assert words[0] == "PYTHONPATH=."
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen(words[1:], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Give the lines up to the first with `wanted`, then end it with Ctrl-C."""
    timer = threading.Timer(PATIENCE_S, process.kill)
    timer.start()
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line.rstrip("\n"))
        if wanted in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    timer.cancel()
    assert seen, err
    assert wanted in seen[-1], f"{seen} {err}"
    return seen


@contextmanager
def spoken(firmware: FakeFirmware, fd: int) -> Iterator[None]:
    """Let a firmware speak and answer on a file descriptor."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set() and _speak(firmware, fd):
            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _speak(firmware: FakeFirmware, fd: int) -> bool:
    """Answer, and send a block; say whether the other end is there."""
    try:
        answer = firmware.receive(os.read(fd, 4096)) if select.select([fd], [], [], 0.02)[0] else b""
        os.write(fd, answer + firmware.samples([[2, -4, 2000], [2, -4, 2000]]))
    except BlockingIOError:  # nobody reads: a real line loses it, too
        pass
    except OSError:
        return False
    return True


@contextmanager
def on_port(firmware: FakeFirmware) -> Iterator[str]:
    """Give the path of a port on which a firmware speaks."""
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    os.set_blocking(master, False)
    try:
        with spoken(firmware, master):
            yield os.ttyname(slave)
    finally:
        os.close(master)
        os.close(slave)


def test_edged_cannot_be_imported_here(alone: Path) -> None:
    process = run(alone, 'PYTHONPATH=. python3 -c "import edged"')
    assert "edged is not on this machine" in process.communicate()[1]


@pytest.mark.parametrize("module", sorted(path.stem for path in (REPO / "firmware_bridge").glob("*.py")))
def test_each_module_is_imported_without_edged(alone: Path, module: str) -> None:
    process = run(alone, f'PYTHONPATH=. python3 -c "import firmware_bridge.{module}"')
    assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_the_example_prints_who_speaks_and_readings_with_their_times(alone: Path) -> None:
    (command,) = [each for each in COMMANDS if "example.py" in each]
    with on_port(FakeFirmware()) as port:
        seen = read_until(run(alone, command.replace("/dev/ttyACM0", port)), "mg")
    assert seen[0] == "HELLO vibro 1.2, 26 readings a second"
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6}  x 1 mg  y -2 mg  z 1000 mg", seen[-1])


def test_the_example_tells_texts_and_events(alone: Path) -> None:
    firmware = FakeFirmware()
    script = "from firmware_bridge.example import words; from firmware_bridge.link import BoardLink; import sys; link = BoardLink(); "
    script += "print([line for came in link.receive(sys.stdin.buffer.read(), 1) for line in words(came, 0)][1:])"
    data = firmware.start() + firmware.text("started") + firmware.event(Event(7, -5, "overrun"))
    env = {**os.environ, "PYTHONPATH": str(alone)}
    done = subprocess.run([sys.executable, "-c", script], cwd=alone, env=env, input=data, capture_output=True)
    assert (done.stdout, done.stderr) == (b"""["TEXT 'started'", "EVENT 7 -5 'overrun'"]\n""", b"")


def test_the_example_says_what_is_wrong_with_a_port_and_how_it_is_called(alone: Path) -> None:
    process = run(alone, "PYTHONPATH=. python3 firmware_bridge/example.py /dev/ttyNONE7")
    _, err = process.communicate()
    assert (process.returncode, err.splitlines()[0]) == (1, "/dev/ttyNONE7 is not there")
    process = run(alone, "PYTHONPATH=. python3 firmware_bridge/example.py")
    assert "Usage:" in process.communicate()[1]
    assert process.returncode == 2


def test_the_link_works_over_a_transport_of_ones_own(alone: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = run(alone, f"PYTHONPATH=. python3 over_tcp.py 127.0.0.1 {server.getsockname()[1]}")
        line, _ = server.accept()
        firmware = FakeFirmware()
        with line, spoken(firmware, line.fileno()):
            read_until(process, "readings, the last at")
    assert firmware.pings >= 1


def test_plain_lines_are_split(alone: Path) -> None:
    (command,) = [each for each in COMMANDS if "plain_lines.py" in each]
    out, err = run(alone, command).communicate()
    assert (out.splitlines(), err) == (["['x', 'y', 'z'] None", "None [b'1.5', b'-2', b'1003']", "None None"], "")


def test_every_command_of_the_readme_is_run_here() -> None:
    assert len(COMMANDS) == 2
    assert {*FILES} == {"over_tcp.py", "plain_lines.py"}
