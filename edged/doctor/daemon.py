"""The running daemon: does it answer, and what does it say of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edged.doctor.finding import ERROR, HINT, WARNING, Finding, error, hint, ok
from edged.errors import DaemonUnreachable, EdgedError
from edged.service import snapshot
from edged.service.ask import ask

ANSWER_S = 3.0

_SEVERITIES: Mapping[str, str] = {snapshot.ERROR: ERROR, snapshot.WARNING: WARNING}


def check_daemon(socket: Path) -> Iterator[Finding]:
    """Ask at the control socket; the daemon's conditions are findings, under their own codes."""
    try:
        status = snapshot.read(ask(socket, "status", ANSWER_S))
    except DaemonUnreachable as fault:
        if fault.code != "daemon-not-reachable":
            yield error(fault.code, fault.text, fault.hint)
        elif _stands(socket):
            yield hint("daemon-not-reachable", fault.text, fault.hint)
        else:
            yield hint("daemon-not-running", f"no daemon runs: there is no {socket}", "start it: `systemctl start edged`, or `edged run`")
        return
    except EdgedError as fault:  # a snapshot that cannot be read, or an error of the daemon
        yield error(fault.code, fault.text, fault.hint, "sudo systemctl restart edged")
        return
    for condition in status.health:
        text = f"the daemon says: {condition.text}"
        yield Finding(condition.code, _SEVERITIES.get(condition.severity, HINT), text, condition.hint, "edged status", condition.subject)
    if not status.health:
        yield ok(f"the daemon runs (process {status.pid}) and is healthy")


def _stands(path: Path) -> bool:
    """Say whether something is there; what this user may not see into counts."""
    try:
        return path.exists()
    except OSError:
        return True
