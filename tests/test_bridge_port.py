"""Serial ports, on real pseudo-terminals: bytes unchanged, one owner, unplugged, and each error in words."""

from __future__ import annotations

import fcntl
import grp
import os
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware_bridge import port as port_module
from firmware_bridge.port import FoundPort, Port, PortError, present
from firmware_bridge.port_node import holders
from tests.conftest import REPO
from tests.descriptors import descriptors
from tests.waiting import PATIENCE_S, until

NOBODY = 65534
_TIOCGEXCL = 0x80045440
ALL_BYTES = bytes(range(256))

# Another program that opens a port as the first argument says, and holds it until it is told to go.
_HOLD = """
import fcntl, os, sys, termios
fd = os.open(sys.argv[2], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(fd, fcntl.LOCK_EX) if sys.argv[1] == "flock" else fcntl.ioctl(fd, termios.TIOCEXCL)
print("held", flush=True)
sys.stdin.read()
"""


class Board:
    """The other end of a port: a pseudo-terminal that a test holds."""

    def __init__(self) -> None:
        self.fd, slave = os.openpty()
        self.path = os.ttyname(slave)
        os.close(slave)

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.fd, data) :]

    def hear(self, count: int) -> bytes:
        heard = b""
        while len(heard) < count:
            heard += os.read(self.fd, count - len(heard))
        return heard

    def unplug(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.unplug()


@contextmanager
def opened(path: str, baud: int = 115200) -> Iterator[Port]:
    port = Port.open(path, baud)
    try:
        yield port
    finally:
        port.close()


def refused(path: str, baud: int = 115200) -> PortError:
    """Give the error of a port that cannot be opened, which must leave nothing open."""
    before = descriptors()
    with pytest.raises(PortError) as raised:
        Port.open(path, baud)
    assert descriptors() - before == set()
    error = raised.value
    assert error.text
    assert error.hint
    assert str(error) == error.text
    return error


def read(port: Port, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = port.read(PATIENCE_S)
        assert more, f"only {len(got)} bytes of {count}"
        got += more
    return got


@contextmanager
def held(path: str, how: str) -> Iterator[int]:
    """Let another program hold a port; give its number."""
    command = [sys.executable, "-c", _HOLD, how, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            yield process.pid
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user without rights, where this test runs as root; else as who we are."""
    if os.geteuid() != 0:
        yield
        return
    if not Path("/").stat().st_mode & 0o001:
        pytest.skip("here other users than root may not even enter /: chmod 755 /")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


# Bytes.


def test_every_byte_comes_and_goes_unchanged(board: Board) -> None:
    with opened(board.path) as port:
        board.say(ALL_BYTES)
        assert read(port, 256) == ALL_BYTES
        assert port.write(ALL_BYTES) == 256
        assert board.hear(256) == ALL_BYTES


def test_nothing_is_echoed(board: Board) -> None:
    with opened(board.path) as port:
        board.say(b"hello\r\n")
        read(port, 7)
        port.write(b"x")
        assert board.hear(1) == b"x"


def test_what_another_program_had_set_is_undone(board: Board) -> None:
    fd = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    mode = termios.tcgetattr(fd)
    mode[0] |= (
        termios.BRKINT | termios.ICRNL | termios.INLCR | termios.ISTRIP | termios.IXON | termios.IXOFF | termios.PARMRK | termios.INPCK
    )
    mode[1] |= termios.OPOST | termios.ONLCR
    mode[2] |= termios.PARENB | termios.CSTOPB
    mode[3] |= termios.ICANON | termios.ECHO | termios.ISIG
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    with opened(board.path) as port:
        got = termios.tcgetattr(fd)
        assert not got[0] & (
            termios.BRKINT | termios.ICRNL | termios.INLCR | termios.ISTRIP | termios.IXON | termios.IXOFF | termios.PARMRK
        )
        assert not got[1] & termios.OPOST
        assert not got[2] & (termios.PARENB | termios.CSTOPB)
        assert not got[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        board.say(ALL_BYTES)
        assert read(port, 256) == ALL_BYTES
    os.close(fd)


def test_what_came_before_it_was_opened_is_lost(board: Board) -> None:
    fd = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    board.say(b"stale")
    with opened(board.path) as port:
        board.say(b"new")
        assert read(port, 3) == b"new"
    os.close(fd)


def test_one_read_gives_all_that_is_there(board: Board) -> None:
    with opened(board.path) as port:
        board.say(b"x" * 1000)
        until(lambda: _waiting(board.path) >= 1000, "all bytes are there")
        assert port.read(PATIENCE_S) == b"x" * 1000


def _waiting(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
    finally:
        os.close(fd)


def test_silence_gives_nothing(board: Board) -> None:
    with opened(board.path) as port:
        assert port.read(0) == b""
        assert port.read(0.001) == b""


def test_a_full_line_takes_nothing_and_nobody_waits(board: Board) -> None:
    said = bytes(range(256)) * 4096
    with opened(board.path) as port:
        count = sent = port.write(said)
        while count:
            count = port.write(said[sent:])
            sent += count
        assert 0 < sent < len(said)
        assert board.hear(sent) == said[:sent]
        assert port.write(b"") == 0
        assert port.write(b"more") == 4
        assert board.hear(4) == b"more"


# Linux, asm-generic/termbits.h: the settings with rates as numbers, in and out.
TERMIOS2 = "=4I20B2I"
TCGETS2 = 0x802C542A


@pytest.mark.parametrize("baud", [300, 9600, 74880, 115200, 250000, 921600, 2_000_000])
def test_usual_and_odd_baud_rates_are_set(board: Board, baud: int) -> None:
    with opened(board.path, baud):
        fd = os.open(board.path, os.O_RDWR | os.O_NOCTTY)
        settings = bytearray(struct.calcsize(TERMIOS2))
        fcntl.ioctl(fd, TCGETS2, settings)
        os.close(fd)
        assert struct.unpack(TERMIOS2, settings)[-2:] == (baud, baud)


# Waking and closing.


def test_a_read_that_waits_is_woken_by_another_thread(board: Board) -> None:
    with opened(board.path) as port:
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(port.read(10 * PATIENCE_S)))
        thread.start()
        port.wake()
        thread.join(PATIENCE_S)
        assert got == [b""]


def test_waking_twice_wakes_once_and_loses_no_bytes(board: Board) -> None:
    with opened(board.path) as port:
        port.wake()
        port.wake()
        assert port.read(10 * PATIENCE_S) == b""
        board.say(b"x")
        port.wake()
        assert read_past_wakes(port) == b"x"


def read_past_wakes(port: Port) -> bytes:
    return port.read(PATIENCE_S) or port.read(PATIENCE_S)


def test_a_closed_port_may_be_woken_and_closed_again_and_leaves_nothing_open(board: Board) -> None:
    before = descriptors()
    port = Port.open(board.path, 9600)
    port.close()
    port.close()
    port.wake()
    assert descriptors() - before == set()


def test_a_port_may_be_opened_again_after_closing(board: Board) -> None:
    for number in range(3):
        with opened(board.path) as port:
            board.say(bytes([number]))
            assert read(port, 1) == bytes([number])


# Unplugged.


def test_an_unplugged_port_is_lost_to_who_reads(board: Board) -> None:
    with opened(board.path) as port:
        board.unplug()
        with pytest.raises(PortError) as raised:
            port.read(PATIENCE_S)
        assert raised.value.code == "port-lost"
        assert board.path in raised.value.text


def test_an_unplugged_port_is_lost_to_who_waits(board: Board) -> None:
    with opened(board.path) as port:
        got: list[PortError] = []

        def wait() -> None:
            try:
                port.read(10 * PATIENCE_S)
            except PortError as error:
                got.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        board.unplug()
        thread.join(PATIENCE_S)
        assert [error.code for error in got] == ["port-lost"]


def test_an_unplugged_port_is_lost_to_who_writes_and_can_be_closed(board: Board) -> None:
    before = descriptors()
    port = Port.open(board.path, 115200)
    board.unplug()
    with pytest.raises(PortError) as raised:
        port.write(b"x")
    assert raised.value.code == "port-lost"
    port.close()
    assert descriptors() - before == set()


# Missing, held, not allowed, unusable.


@pytest.mark.parametrize("path", ["/dev/ttyNONE7", "/dev/null/ttyACM0", ""])
def test_a_port_that_is_not_there_is_missing(path: str) -> None:
    assert refused(path).code == "port-missing"


def test_a_link_to_an_unplugged_port_is_missing(tmp_path: Path) -> None:
    (tmp_path / "A1B2").symlink_to(tmp_path / "ttyACM0")
    assert refused(str(tmp_path / "A1B2")).code == "port-missing"


@pytest.mark.parametrize("path", ["/dev/null", "/", "/etc/passwd", "a\0b", "/dev/" + "x" * 5000])
def test_what_is_no_serial_port_is_unusable(path: str) -> None:
    assert refused(path).code == "port-unusable"


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(str(tmp_path / "pipe")).code == "port-unusable"


@pytest.mark.parametrize("baud", [0, -9600, 2**31, 10**30])
def test_an_impossible_baud_rate_is_told(board: Board, baud: int) -> None:
    error = refused(board.path, baud)
    assert error.code == "port-unusable"
    assert f"{baud} baud" in error.text
    assert "baud rate" in error.hint


def test_a_baud_rate_that_the_driver_makes_another_of_is_told(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    must_have_taken = port_module._must_have_taken
    monkeypatch.setattr(port_module, "_must_have_taken", lambda fd, baud: must_have_taken(fd, 12_000_000))
    error = refused(board.path, 9600)
    assert (error.code, "makes 9600 of it" in error.text) == ("port-unusable", True)


def test_a_second_opener_is_told_who_holds_it(board: Board) -> None:
    with opened(board.path):
        error = refused(board.path)
        assert error.code == "port-busy"
        assert f"(process {os.getpid()})" in error.text
        assert f"sudo fuser -v {board.path}" in error.hint
    with opened(board.path):
        pass


def test_a_link_to_a_port_that_is_held_names_its_holder(board: Board, tmp_path: Path) -> None:
    (tmp_path / "A1B2").symlink_to(board.path)
    with opened(board.path):
        assert f"(process {os.getpid()})" in refused(str(tmp_path / "A1B2")).text


def test_another_program_that_locked_the_port_is_named(board: Board) -> None:
    with held(board.path, "flock") as process:
        error = refused(board.path)
        assert error.code == "port-busy"
        assert f"(process {process})" in error.text


def test_another_program_that_keeps_all_others_out_makes_it_busy(board: Board) -> None:
    if os.geteuid() == 0:
        os.chmod(board.path, 0o666)
    with held(board.path, "excl"), as_nobody():
        assert refused(board.path).code == "port-busy"


def test_other_programs_are_kept_out_that_know_no_lock(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a real port: of a pseudo-terminal, see the test after this."""
    monkeypatch.setattr(port_module, "_PSEUDO_TERMINALS", ())
    with opened(board.path):
        fd = os.open(board.path, os.O_RDWR | os.O_NOCTTY) if os.geteuid() == 0 else -1
        if fd < 0:
            pytest.skip("only root can look at a port that is held so")
        assert int.from_bytes(fcntl.ioctl(fd, _TIOCGEXCL, b"\0\0\0\0"), sys.byteorder) == 1
        os.close(fd)


def test_a_pseudo_terminal_can_be_opened_again_after_a_holder_was_killed(board: Board) -> None:
    """The kernel would keep others out of it for as long as its other end is open."""
    if os.geteuid() == 0:
        os.chmod(board.path, 0o666)
    script = "import sys; from firmware_bridge.port import Port; Port.open(sys.argv[1], 9600); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script, board.path], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        holder.kill()
        holder.wait()
    with as_nobody(), opened(board.path):
        pass


def test_a_port_of_another_group_names_the_group_to_join(board: Board) -> None:
    """Its owner may not either, so that this is a test for any user."""
    if os.geteuid() == 0:
        os.chown(board.path, -1, next(each.gr_gid for each in grp.getgrall() if each.gr_gid))
    os.chmod(board.path, 0o060)
    group = grp.getgrgid(os.stat(board.path).st_gid).gr_name
    with as_nobody():
        error = refused(board.path)
    assert error.code == "port-not-allowed"
    assert group in error.text
    assert error.hint == f"`sudo usermod -aG {group} $USER`, then log in again"


def test_a_port_that_no_group_may_open_is_told_how_to_give_it_to_one(board: Board) -> None:
    os.chmod(board.path, 0)
    with as_nobody():
        error = refused(board.path)
    assert error.code == "port-not-allowed"
    assert f"sudo chgrp dialout {board.path}" in error.hint


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with as_nobody():
        error = refused(str(folder / "ttyACM0"))
    folder.chmod(0o700)
    assert error.code == "port-not-allowed"
    assert "folder" in error.text


def test_a_device_that_the_system_keeps_from_us_is_told(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("serial.Serial", forbidden)
    error = refused(board.path)
    assert (error.code, "DeviceAllow=" in error.hint) == ("port-not-allowed", True)


def test_a_port_without_hardware_is_told(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*args: object, **options: object) -> None:
        try:
            raise termios.error(5, "Input/output error")
        except termios.error as error:
            raise port_module.serial.SerialException(f"Could not configure port: {error}")  # noqa: B904  as pyserial does it

    monkeypatch.setattr("serial.Serial", dead)
    error = refused(board.path)
    assert (error.code, "no hardware" in error.text) == ("port-unusable", True)


# Who holds it.


def proc(folder: Path, processes: dict[str, tuple[str, list[str]]]) -> Path:
    for number, (name, targets) in processes.items():
        (folder / number / "fd").mkdir(parents=True)
        (folder / number / "comm").write_text(name + "\n")
        for fd, target in enumerate(targets):
            (folder / number / "fd" / str(fd)).symlink_to(target)
    return folder


def test_holders_are_named_in_order_and_others_are_not(tmp_path: Path) -> None:
    folder = proc(tmp_path, {"90": ("minicom", ["/dev/x", "/dev/ttyX7"]), "8": ("cat", ["/dev/ttyX7"]), "1": ("init", ["/dev/x"])})
    (folder / "self").mkdir()
    assert holders("/dev/ttyX7", folder) == "cat (process 8) and minicom (process 90)"


def test_a_holder_that_cannot_be_seen_is_another_program(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    assert holders("/dev/ttyX7", proc(tmp_path, {"6": ("init", [])})) == "another program"


def test_a_program_cannot_write_to_the_terminal_by_its_name(tmp_path: Path) -> None:
    assert holders("/dev/ttyX7", proc(tmp_path, {"6": ("\x1b[2Jevil\n", ["/dev/ttyX7"])})) == "?[2Jevil (process 6)"


# Which ports there are.


class Tree:
    """A made /dev and /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dev").mkdir()
        self.made = 0

    def port(self, name: str, product: str = "", maker: str = "", links: tuple[str, ...] = (), between: str = "") -> Tree:
        (self.root / "dev" / name).touch()
        for link in links:
            path = self.root / "dev" / link
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(self.root / "dev" / name, path.parent))
        self.made += 1
        usb = self.root / "sys" / "devices" / "pci0000:00" / "usb1" / f"1-{self.made}"
        device = usb / f"1-{self.made}:1.0" / between
        device.mkdir(parents=True)
        for file, text in (("product", product), ("manufacturer", maker)):
            if text:
                (usb / file).write_text(text + "\n")
        node = self.root / "sys" / "class" / "tty" / name
        node.mkdir(parents=True)
        (node / "device").symlink_to(os.path.relpath(device, node))
        return self


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_no_ports_are_none(tree: Tree, tmp_path: Path) -> None:
    assert present(tree.root) == []
    assert present(tmp_path / "missing") == []


def test_a_port_is_listed_with_the_link_that_stays_and_what_is_behind_it(tree: Tree) -> None:
    tree.port("ttyACM0", "Uno", "Arduino", ("serial/by-id/usb-Arduino_Uno_A1B2-if00", "edged/A1B2"))
    tree.port("ttyUSB0", "CP2102 USB to UART Bridge", "Silicon Labs", ("serial/by-id/usb-Silicon_Labs-if00",), between="ttyUSB0")
    assert present(tree.root) == [
        FoundPort("/dev/ttyACM0", "/dev/edged/A1B2", "Arduino Uno"),
        FoundPort("/dev/ttyUSB0", "/dev/serial/by-id/usb-Silicon_Labs-if00", "Silicon Labs CP2102 USB to UART Bridge"),
    ]


def test_a_product_that_names_its_maker_names_it_once(tree: Tree) -> None:
    tree.port("ttyACM0", "Arduino Nano", "Arduino").port("ttyACM1", "Pico")
    assert [port.description for port in present(tree.root)] == ["Arduino Nano", "Pico"]


def test_ports_are_in_order_of_their_numbers(tree: Tree) -> None:
    for name in ("ttyUSB10", "ttyACM11", "ttyUSB9", "ttyACM2", "ttyTHS1", "ttyAMA0", "ttyS0", "tty1", "console"):
        (tree.root / "dev" / name).touch()
    assert [port.path for port in present(tree.root)] == [
        f"/dev/{name}" for name in ("ttyACM2", "ttyACM11", "ttyAMA0", "ttyTHS1", "ttyUSB9", "ttyUSB10")
    ]


@pytest.mark.parametrize("behind", ["ttyAMA0", "ttyS0"])
def test_the_port_on_the_pins_of_a_raspberry_pi_is_listed_once(tree: Tree, behind: str) -> None:
    (tree.root / "dev" / behind).touch()
    (tree.root / "dev" / "serial0").symlink_to(behind)
    assert present(tree.root) == [FoundPort(f"/dev/{behind}", "/dev/serial0", "")]


def test_a_link_to_a_port_that_is_gone_is_nothing(tree: Tree) -> None:
    (tree.root / "dev" / "edged").mkdir()
    (tree.root / "dev" / "edged" / "A1B2").symlink_to("../ttyACM0")
    (tree.root / "dev" / "serial0").symlink_to("ttyS0")
    assert present(tree.root) == []


def test_a_device_cannot_write_to_the_terminal_by_its_name(tree: Tree) -> None:
    tree.port("ttyACM0", "\x1b[2J" + "x" * 5000, "ev\til")
    (port,) = present(tree.root)
    assert port.description.isprintable()
    assert len(port.description) < 250


def test_the_ports_of_this_machine_can_be_listed() -> None:
    assert all(isinstance(port, FoundPort) for port in present())
