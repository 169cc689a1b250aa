"""Serial ports: may the daemon open them, and does something else hold them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edged.board.tree import Tree
from edged.doctor.account import READ, WRITE, Account, group_name
from edged.doctor.finding import HINT, WARNING, Finding, hint, ok, quoted

_PORTS = ("dev/ttyACM*", "dev/ttyUSB*", "dev/ttyAMA*", "dev/serial0")
_ON_BOARD = ("ttyAMA", "ttyS", "serial")
# They open each new USB port to see whether it is theirs, and hold it for seconds or for ever.
_GRABBERS = {
    "ModemManager": ("a modem", "sudo systemctl disable --now ModemManager"),
    "brltty": ("a braille display", "sudo apt remove brltty"),
}


@dataclass(frozen=True)
class Port:
    """One serial port and what it may be used for."""

    name: str
    status: os.stat_result


def check_serial(tree: Tree, account: Account, used: bool) -> Iterator[Finding]:
    """Judge the ports that are there; `used` says that the configuration reads one."""
    ports = [Port(path.name, status) for pattern in _PORTS for path in tree.find(pattern) if (status := _status(tree, str(path)))]
    if not ports:
        return
    running = {tree.text(path) for path in tree.find("proc/[0-9]*/comm")}
    faults = [
        *judge_rights(ports, account, used, {port.status.st_gid: group_name(port.status.st_gid, tree) for port in ports}),
        *judge_grabbers(ports, [name for name in _GRABBERS if name in running]),
        *judge_console(ports, tree),
    ]
    yield from faults
    if not faults:
        yield ok(f"{account.words} may use {_listed(ports)}")


def judge_rights(ports: Sequence[Port], account: Account, used: bool, groups: dict[int, str]) -> Iterator[Finding]:
    """Say which ports the account may not open, a finding for each group that would help."""
    closed = [port for port in ports if not account.may(port.status, READ | WRITE)]
    for gid in sorted({port.status.st_gid for port in closed}):
        group = groups[gid]
        names = _listed([port for port in closed if port.status.st_gid == gid])
        text = f"{account.words} may not use {names}"
        code, severity = "serial-not-allowed", WARNING if used else HINT
        if gid == 0:
            yield Finding(code, severity, text, "the port belongs to root alone: a udev rule gives it to a group", "ls -l /dev/tty*")
        elif account.service and account.uid is None:
            place = "/etc/systemd/system/edged.service.d/serial.conf"
            fix = f"printf '[Service]\\nSupplementaryGroups={group}\\n' | sudo install -Dm644 /dev/stdin {place}"
            yield Finding(code, severity, text, "let the unit name the group, then restart it", f"{fix} && sudo systemctl daemon-reload")
        else:
            advice = f"the ports are for group {group}; then {'restart the service' if account.service else 'log in again'}"
            yield Finding(code, severity, text, advice, f"sudo usermod -aG {quoted(group)} {quoted(account.name)}")


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


def _status(tree: Tree, path: str) -> os.stat_result | None:
    try:
        return (tree.root / path).stat()
    except OSError:  # a link that leads nowhere
        return None


def _listed(ports: Sequence[Port]) -> str:
    shown = [f"/dev/{port.name}" for port in ports[:4]]
    return ", ".join(shown) + (f" and {len(ports) - 4} more" if len(ports) > 4 else "")
