"""What a check found: how bad it is, in plain words, and what mends it."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

OK = "ok"
HINT = "hint"
WARNING = "warning"
ERROR = "error"
SEVERITIES = (ERROR, WARNING, HINT, OK)  # the worst first

FAILED = "check-failed"  # the code of a check that could not be done

Detail = str | int | float | bool


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check says.

    `severity`: error (must be mended) | warning (will hurt one day) | hint (could be better) | ok.
    `subject` is the broker, pipeline or file it is about; empty: the board. `advice` says what
    to do in words, `fix` is a shell command that does it; either may be empty. `details` are
    the measured values, for programs. `check` is the check that found it.
    """

    code: str
    severity: str
    text: str
    advice: str = ""
    fix: str = ""
    subject: str = ""
    details: dict[str, Detail] = {}
    check: str = ""


class Trouble(Exception):
    """Ends a check early; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


def ok(text: str, subject: str = "", details: dict[str, Detail] | None = None) -> Finding:
    """Make the finding that all is well."""
    return Finding("ok", OK, text, subject=subject, details=details or {})


def hint(code: str, text: str, advice: str = "", fix: str = "", subject: str = "") -> Finding:
    """Make a finding that could be better."""
    return Finding(code, HINT, text, advice, fix, subject)


def warning(code: str, text: str, advice: str = "", fix: str = "", subject: str = "") -> Finding:
    """Make a finding that will hurt one day."""
    return Finding(code, WARNING, text, advice, fix, subject)


def error(code: str, text: str, advice: str = "", fix: str = "", subject: str = "") -> Finding:
    """Make a finding that must be mended."""
    return Finding(code, ERROR, text, advice, fix, subject)


def quoted(path: Path | str) -> str:
    """Write a path or name so that a shell takes it as one word."""
    return shlex.quote(str(path))
