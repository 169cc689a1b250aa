"""The service: installed, switched on, running, and starting a program that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edged.board.commands import Run
from edged.board.tree import Tree
from edged.doctor.account import Account, account_of
from edged.doctor.finding import Finding, error, hint, ok, quoted, warning
from edged.doctor.unitfile import Unit, find_unit, packaged_unit
from edged.service.unit import UNIT

_LOG = "journalctl -u edged -n 50 --no-pager"
_INSTALL = "sudo edged service install"
_PROGRAM_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")
# Where edged is, what it may take, where its secrets are.
_OWN_TO_A_BOARD = {"ExecStart", "ExecStartPre", "ExecStopPost", "Environment", "LoadCredential"}
_OWN_TO_A_BOARD |= {"MemoryMax", "MemoryHigh", "ProtectHome", "BindReadOnlyPaths"}
_ASKED = ("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "NeedDaemonReload")


@dataclass(frozen=True)
class UnitState:
    """What systemd says of the unit, in its own words; empty where it does not."""

    load: str = ""
    active: str = ""
    sub: str = ""
    enabled: str = ""
    result: str = ""
    restarts: str = ""
    stale: bool = False


def check_unit(tree: Tree, run: Run, config: Path | None) -> Iterator[Finding]:
    """Judge the unit; a machine without systemd is passed over. `config` is the file that these checks read."""
    if not tree.has("run/systemd/system"):
        return
    unit = find_unit(tree)
    if unit is None:
        text = "edged is not a service of this board: it does not come back after a restart"
        yield hint("unit-missing", text, fix=_INSTALL)
        return
    # A masked unit is a link to /dev/null: there is nothing else in it to judge.
    state = read_state(tree, run) if unit.settings else UnitState(load="masked")
    faults = list(judge_state(state))
    if unit.settings:
        own = find_unit(tree, with_drop_ins=False) or unit
        faults += [*judge_program(unit, tree), *judge_user(unit, account_of(unit, tree)), *judge_text(own, packaged_unit())]
        faults += _other_config(unit, config)
    yield from faults
    if not faults:
        yield ok(f"{UNIT} is {state.enabled or 'installed'}{f' and {state.active}' if state.active else ''}")


def read_state(tree: Tree, run: Run) -> UnitState:
    """Ask systemd; where it does not answer, the links say whether the unit is switched on."""
    said = run(["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"])
    if not said:
        wanted = bool(tree.find(f"etc/systemd/system/*.wants/{UNIT}"))
        return UnitState(enabled="enabled" if wanted else "disabled")
    words = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    load, active, sub, enabled, result, restarts, stale = (words.get(key, "") for key in _ASKED)
    return UnitState(load, active, sub, enabled, result, restarts, stale == "yes")


def judge_state(state: UnitState) -> Iterator[Finding]:
    """Say what is wrong with the unit's life."""
    if state.load == "masked" or state.enabled == "masked":
        yield error("unit-masked", f"{UNIT} is masked: nothing may start it", fix="sudo systemctl unmask edged")
        return
    if state.load in ("bad-setting", "error"):
        yield error("unit-broken", f"systemd cannot read {UNIT} ({state.load})", fix="systemd-analyze verify edged.service")
        return
    if state.stale:
        yield hint("unit-stale", f"{UNIT} was changed, and systemd has not read it since", fix="sudo systemctl daemon-reload")
    if state.enabled in ("disabled", ""):
        yield warning("unit-not-enabled", f"{UNIT} does not start with the board", fix="sudo systemctl enable edged")
    if state.sub == "auto-restart":
        text = f"{UNIT} ends again and again ({state.restarts or 'some'} restarts, last: {state.result})"
        yield error("unit-restarting", text, "its log says why", _LOG)
    elif state.active == "failed":
        yield error("unit-failed", f"{UNIT} has failed ({state.result})", "its log says why", _LOG)
    elif state.active == "inactive":
        yield warning("unit-stopped", f"{UNIT} does not run", fix="sudo systemctl start edged")


def judge_program(unit: Unit, tree: Tree) -> Iterator[Finding]:
    """Say whether the program that the unit starts is there, and the Python behind it."""
    program = unit.command[0] if unit.command else ""
    places = [program.lstrip("/")] if program.startswith("/") else [f"{folder}/{program}" for folder in _PROGRAM_FOLDERS]
    found = next((place for place in places if program and tree.has(place)), None)
    if found is None:
        text = f"{unit.path} starts `{program}`, which is not there"
        yield error("unit-no-program", text, "install edged there, or let the unit be written anew", _INSTALL)
        return
    first = (tree.text(found) or "").split("\n", 1)[0]
    interpreter = first[2:].split()[0] if first.startswith("#!") and first[2:].split() else ""
    if interpreter.startswith("/") and not tree.has(interpreter.lstrip("/")):
        text = f"{program}, which {unit.path} starts, needs {interpreter}, which is not there"
        yield error("unit-no-python", text, "an update of the system may have removed it: make edged's environment anew", _INSTALL)


def judge_user(unit: Unit, account: Account) -> Iterator[Finding]:
    """Say whether the user that the unit names is there."""
    if account.uid is None and not unit.yes("DynamicUser"):
        text = f"{unit.path} runs as user {account.name}, who does not exist"
        yield error("unit-no-user", text, "let systemd make the users that packages want", "sudo systemd-sysusers")


def judge_text(installed: Unit, packaged: Unit) -> Iterator[Finding]:
    """Say which settings of the packaged unit the installed one has otherwise; what belongs to the board is left out."""
    keys = {key for key, _ in packaged.settings} - _OWN_TO_A_BOARD
    others = sorted(key for key in keys if installed.values(key) != packaged.values(key))
    if others:
        text = f"{installed.path} is not the unit of this version: {', '.join(others)}"
        advice = "let it be written anew; keep changes of your own in a drop-in (`systemctl edit edged`)"
        yield hint("unit-outdated", text, advice, _INSTALL)


def _other_config(unit: Unit, config: Path | None) -> Iterator[Finding]:
    command = unit.command
    named = command[command.index("--config") + 1 :][:1] if "--config" in command else []
    if config and named and Path(named[0]) != config.absolute():
        text = f"the service reads {named[0]}; these checks read {config}"
        yield hint("unit-other-config", text, fix=f"edged doctor --config {quoted(named[0])}")
