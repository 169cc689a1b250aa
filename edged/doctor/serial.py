"""Serial ports: are those there that pipelines read, may the daemon open them, and does something else hold them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.board.tree import Tree
from edged.doctor.account import READ, WRITE, Account, group_name
from edged.doctor.finding import ERROR, HINT, Finding, error, hint, ok, quoted

_PORTS = ("dev/ttyACM*", "dev/ttyUSB*", "dev/ttyAMA*", "dev/serial0")
_ON_BOARD = ("ttyAMA", "ttyS", "serial")
_KINDS = ("serial", "pty:slave")  # of /proc/tty/drivers
# They open each new USB port to see whether it is theirs, and hold it for seconds or for ever.
_GRABBERS = {
    "ModemManager": ("a modem", "sudo systemctl disable --now ModemManager"),
    "brltty": ("a braille display", "sudo apt remove brltty"),
}


@dataclass(frozen=True)
class Port:
    """One serial port: its path, and how the configuration calls it (empty: no pipeline reads it)."""

    path: str
    status: os.stat_result
    named: str = ""

    @property
    def name(self) -> str:
        """Give the kernel's name of it."""
        return os.path.basename(self.path)


def check_serial(tree: Tree, account: Account, named: Sequence[str]) -> Iterator[Finding]:
    """Judge the ports that are there, and those that the configuration names; none is opened: that resets many a board."""
    ports = _ports(tree, named)
    used = list({port.named: port for port in ports if port.named}.values())
    missing = [path for path in named if path not in {port.named for port in used}]
    if not ports and not missing:
        return
    running = {tree.text(path) for path in tree.find("proc/[0-9]*/comm")}
    faults = [
        *judge_missing(missing, ports),
        *judge_kinds(used, tree),
        *judge_rights(ports, account, {port.status.st_gid: group_name(port.status.st_gid, tree) for port in ports}),
        *judge_holders(used, tree),
        *judge_grabbers(ports, [name for name in _GRABBERS if name in running]),
        *judge_console(ports, tree),
    ]
    yield from faults
    if not faults:
        yield ok(f"{account.words} may use {_listed(ports)}")


def judge_missing(missing: Sequence[str], there: Sequence[Port]) -> Iterator[Finding]:
    """Say which ports of the configuration are not there, and which are."""
    others = f"; there are {_listed(there)}" if there else ""
    for path in missing:
        advice = f"plug the board in, or name another port{others}; `sudo dmesg` shows whether the system sees a board"
        yield error("serial-port-missing", "a pipeline reads this port, and it is not there", advice, subject=path)


def judge_kinds(used: Sequence[Port], tree: Tree) -> Iterator[Finding]:
    """Say which of the ports that pipelines read are no serial ports, by the kernel's list of drivers."""
    drivers = [line.split() for line in tree.lines("proc/tty/drivers")]
    for port in used:
        if not stat.S_ISCHR(port.status.st_mode) or (drivers and not _has_driver(port.status.st_rdev, drivers)):
            advice = "name a port: `ls -l /dev/serial/by-id` shows those on USB"
            yield error("serial-port-unusable", "a pipeline reads it, and it is not a serial port", advice, subject=port.named)


def judge_rights(ports: Sequence[Port], account: Account, groups: dict[int, str]) -> Iterator[Finding]:
    """Say which ports the account may not open, a finding for each group that would help; an error where a pipeline reads one."""
    closed = [port for port in ports if not account.may(port.status, READ | WRITE)]
    for gid, used in sorted({(port.status.st_gid, bool(port.named)) for port in closed}):
        group = groups[gid]
        names = _listed([port for port in closed if (port.status.st_gid, bool(port.named)) == (gid, used)])
        text = f"{account.words} may not use {names}"
        code, severity = "serial-port-not-allowed", ERROR if used else HINT
        if gid == 0:
            yield Finding(code, severity, text, "the port belongs to root alone: a udev rule gives it to a group", "ls -l /dev/tty*")
        elif account.service and account.uid is None:
            place = "/etc/systemd/system/edged.service.d/serial.conf"
            fix = f"printf '[Service]\\nSupplementaryGroups={group}\\n' | sudo install -Dm644 /dev/stdin {place}"
            yield Finding(code, severity, text, "let the unit name the group, then restart it", f"{fix} && sudo systemctl daemon-reload")
        else:
            advice = f"the ports are for group {group}; then {'restart the service' if account.service else 'log in again'}"
            yield Finding(code, severity, text, advice, f"sudo usermod -aG {quoted(group)} {quoted(account.name)}")


def judge_holders(used: Sequence[Port], tree: Tree) -> Iterator[Finding]:
    """Say which programs other than the daemon have a port open that a pipeline reads, as far as this user may see it."""
    if not used:
        return
    opened = {(pid, link) for pid in tree.find("proc/[0-9]*") for link in _open_files(tree, pid)}
    for port in used:
        device = "/" + os.path.relpath((tree.root / port.path.lstrip("/")).resolve(), tree.root.resolve())
        for pid in sorted(pid for pid, link in opened if link == device and not _is_daemon(tree, pid)):
            text = f"{tree.text(pid / 'comm') or 'a program'} (process {pid.name}) has it open, and a pipeline reads it"
            yield error("serial-port-busy", text, "end that program: one alone can read a port", subject=port.named)


def judge_grabbers(ports: Sequence[Port], running: Sequence[str]) -> Iterator[Finding]:
    """Say which running programs take USB ports."""
    usb = [port for port in ports if port.name.startswith(("ttyACM", "ttyUSB"))]
    if not usb:
        return
    for name in running:
        text = f"{name} runs: it opens {_listed(usb)} when a board is plugged in, and garbles what it sends"
        for_what, fix = _GRABBERS[name]
        yield hint("serial-grabbed", text, f"without {for_what} you do not need it", fix)


def judge_console(ports: Sequence[Port], tree: Tree) -> Iterator[Finding]:
    """Say whether the kernel talks and a login waits on the board's own port."""
    named = [word.removeprefix("console=").split(",")[0] for word in tree.command_line() if word.startswith("console=")]
    console = next((name for name in named if name.startswith(_ON_BOARD)), "")
    names = {port.name for port in ports}
    # serial0 is the kernel's word for whichever port is on the pins.
    if console and (console in names or (console == "serial0" and any(name.startswith("ttyAMA") for name in names))):
        text = f"the kernel's console is on the serial port {console}: its words and a login mix with what a sensor sends"
        if tree.has("usr/bin/raspi-config"):
            yield hint("serial-console", text, fix="sudo raspi-config nonint do_serial_cons 1 && sudo reboot")
        else:
            yield hint("serial-console", text, f"take `console={console}…` out of the kernel's command line, in the boot loader's settings")


def _ports(tree: Tree, named: Sequence[str]) -> list[Port]:
    """Give the ports that are there, under the configuration's names where it has some, and what else it names."""
    there = {path: status for path in named if (status := _status(tree, path))}
    paths = [f"/{path}" for pattern in _PORTS for path in tree.find(pattern)]
    found = [Port(path, status, _name_of(status, there)) for path in paths if (status := _status(tree, path))]
    others = there.keys() - {port.named for port in found}
    return [*found, *(Port(path, there[path], path) for path in sorted(others))]


def _name_of(status: os.stat_result, there: dict[str, os.stat_result]) -> str:
    return next((path for path, each in there.items() if os.path.samestat(each, status)), "")


def _status(tree: Tree, path: str) -> os.stat_result | None:
    try:
        return (tree.root / path.lstrip("/")).stat()
    except (OSError, ValueError):  # a link that leads nowhere
        return None


def _has_driver(number: int, drivers: Sequence[Sequence[str]]) -> bool:
    """Say whether a device of this number is a serial port or the end of a pseudo-terminal; `drivers` are rows of /proc/tty/drivers."""
    rows = [(major, *_span(minors)) for *_, major, minors, kind in (row for row in drivers if len(row) > 2) if kind in _KINDS]
    return any(major == str(os.major(number)) and first <= os.minor(number) <= last for major, first, last in rows)


def _span(minors: str) -> tuple[int, int]:
    """Read `64` or `64-67`."""
    first, _, last = minors.partition("-")
    return (int(first), int(last or first)) if first.isdecimal() and (last or first).isdecimal() else (0, -1)


def _open_files(tree: Tree, pid: Path) -> Iterator[str]:
    """Give what a process has open; nothing of other users' processes, unless we are root."""
    return (link for file in tree.find(f"{pid}/fd/*") if (link := _target(tree.root / file)))


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""


def _is_daemon(tree: Tree, pid: Path) -> bool:
    """Say whether a process is `edged run`."""
    words = (tree.text(pid / "cmdline") or "").split("\0")
    return "run" in words and any(os.path.basename(word) in ("edged", "edged.cli.main") for word in words[:4])


def _listed(ports: Sequence[Port]) -> str:
    shown = list(dict.fromkeys(port.named or port.path for port in ports))
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
