"""Errors as families by who must act, each with a stable code and a next step.

The families answer one question: whose move is it?

    OperatorError   the configuration or the command line is wrong
    PublisherError  a model release is wrong
    BoardError      this machine lacks something: a file, space, a runtime
    PeerError       the other side of a line misbehaves: broker, firmware, daemon
    BugError        we are wrong

A code is lower-case words joined by dashes, the same in the CLI, the log and MQTT.
It never changes once released; the text may.
Any other exception that reaches a user is a bug in edged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_UNREACHABLE = 4
EXIT_UNHEALTHY = 5
EXIT_UNTRUSTED = 6
EXIT_NO_FIT = 7


class EdgedError(Exception):
    """Base of all errors that edged raises on purpose.

    `code` is stable, `text` says what is wrong, `hint` what to do next (may be empty).
    """

    family = "bug"
    exit_code = EXIT_FAILED

    def __init__(self, code: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """Give the error as the CLI's `--json`, the log and MQTT show it."""
        return {"family": self.family, "code": self.code, "text": self.text, "hint": self.hint}


class OperatorError(EdgedError):
    """The operator must act: configuration or command line."""

    family = "operator"
    exit_code = EXIT_CONFIG


class Cancelled(OperatorError):
    """Somebody asked to stop what was under way."""

    exit_code = EXIT_FAILED

    def __init__(self, text: str = "it was cancelled") -> None:
        super().__init__("cancelled", text)


class PublisherError(EdgedError):
    """The publisher of a release must act."""

    family = "publisher"


class Untrusted(PublisherError):
    """What came over a network is not signed by whom it should be, or not any more."""

    exit_code = EXIT_UNTRUSTED


class BoardError(EdgedError):
    """Something on this board is missing or full."""

    family = "board"


class DoesNotFit(BoardError):
    """A board that is too small for it."""

    exit_code = EXIT_NO_FIT


class PeerError(EdgedError):
    """The broker, the firmware or another process must act."""

    family = "peer"


class DaemonUnreachable(PeerError):
    """No daemon answers on the control socket."""

    exit_code = EXIT_UNREACHABLE


class BugError(EdgedError):
    """We must act."""

    family = "bug"

    @classmethod
    def of(cls, code: str, error: BaseException) -> BugError:
        """Wrap an exception that nobody expected; the text names the line it came from."""
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        place = f" in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""
        return cls(code, f"{type(error).__name__}{place}: {error}", "please report this, with the log and the input where you can")


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file: where, which, and what to write instead.

    `key` is the dotted path inside the file, `line` counts from 1 (0: not known).
    """

    file: str
    line: int
    key: str
    code: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        return f"{where}:{key} {self.text}" + (f"; {self.hint}" if self.hint else "")


class ConfigFaults(OperatorError):
    """A configuration file with faults; all of them are in `faults`."""

    def __init__(self, faults: list[Fault], file: str) -> None:
        super().__init__("config-faults", _count(faults, file), "mend the places above, then run `edged check`")
        self.faults = faults


class ReleaseFaults(PublisherError):
    """A release folder with faults; all of them are in `faults`."""

    def __init__(self, faults: list[Fault], file: str) -> None:
        super().__init__("release-faults", _count(faults, file), "mend the places above, then run `edged pack` again")
        self.faults = faults


_FAMILIES: dict[str, type[EdgedError]] = {each.family: each for each in (OperatorError, PublisherError, BoardError, PeerError, BugError)}
_NO_FIT = frozenset({"does-not-fit", "engine-missing"})


def error_of(family: str, code: str, text: str, hint: str) -> EdgedError:
    """Make an error again of what `as_dict` gave; one of a family that is not known here is the other side's."""
    error = _FAMILIES.get(family, PeerError)(code, text, hint)
    if code in _NO_FIT:
        error.exit_code = EXIT_NO_FIT
    return error


def _count(faults: list[Fault], file: str) -> str:
    return f"{len(faults)} fault{'s' * (len(faults) != 1)} in {file}"
