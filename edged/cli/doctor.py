"""`edged doctor`: what is wrong with this board and this installation, and how to mend it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edged.cli.columns import clean, painted, wide, wrap_words
from edged.cli.settings import config_option, json_option
from edged.cli.terminal import size, wants_colour
from edged.errors import EXIT_FAILED, EXIT_UNHEALTHY, OperatorError

if TYPE_CHECKING:
    from edged.doctor.examine import Place, Report
    from edged.doctor.finding import Finding

MAX_WIDTH = 100
VERSION = 1

EPILOG = """\b
Examples:
  edged doctor
  sudo edged doctor --config /etc/edged/edged.toml
  edged doctor --json | jq '.findings[] | select(.severity == "error")'

\b
Brokers are asked under a client id of its own: a running daemon stays connected.
Nothing is changed; what mends a finding stands below it, to be pasted into a shell.

\b
Exit code: 0 nothing must be mended (also with warnings and hints), 5 an error is shown,
1 there is none, but a check could not be done."""

_COLOURS = {"error": "red", "warning": "yellow", "hint": "cyan", "ok": "green"}
_INDENT = " " * 9
_LONGEST_TEXT = 1000
# A word of a command, its quoted parts whole: between two of these a line may be broken.
_WORD = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\]|['"\\])+""")


@click.command("doctor", epilog=EPILOG)
@config_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="Also show what is fine, a line each.")
def command(config: str | None, as_json: bool, show_all: bool) -> None:
    """Check this board and this installation; say what is wrong and how to mend it."""
    import msgspec

    from edged.doctor.examine import checks_of, examine

    place, before = _look(config)
    report = examine([*before, *checks_of(place)])
    if as_json:
        click.echo(msgspec.json.encode(as_values(report, place.config)))
    else:
        columns, _ = size(sys.stdout, MAX_WIDTH)
        click.echo(render(report, place.config, columns, show_all, wants_colour(sys.stdout, os.environ)), nl=False, color=True)
    if not report.healthy:
        raise SystemExit(EXIT_UNHEALTHY)
    if not report.complete:
        raise SystemExit(EXIT_FAILED)


def as_values(report: Report, config: Path | None) -> dict[str, Any]:
    """Give what `--json` shows; keys are only ever added to it."""
    from edged import __version__

    return {
        "v": VERSION,
        "version": __version__,
        "config": str(config) if config else None,
        "healthy": report.healthy,
        "complete": report.complete,
        "findings": report.findings,
        "silent": report.silent,
    }


def render(report: Report, config: Path | None, width: int, show_all: bool, colour: bool) -> str:
    """Write the findings, the worst first, in lines of at most `width` columns (40 at least), each ended by a newline."""
    from edged.doctor.examine import fine
    from edged.doctor.finding import OK

    width = max(width, 40)
    lines: list[str] = []
    for finding in report.findings:
        if finding.severity != OK or show_all:
            lines += _finding(finding, width, colour)
    if show_all and report.silent:
        lines += _line("", f"{', '.join(report.silent)}: nothing to see on this machine", width, colour)
    if not show_all and (names := fine(report)):
        lines += _line(OK, ", ".join(names), width, colour)
    lines += ["", *(painted(line, "dim", colour) for line in wrap_words(_foot(report, config), width))]
    return "\n".join(lines) + "\n"


def _finding(finding: Finding, width: int, colour: bool) -> list[str]:
    about = f"{finding.check} {clean(finding.subject)}".rstrip()
    code = f" [{finding.code}]" if finding.severity != "ok" else ""
    lines = _line(finding.severity, f"{about}: {clean(finding.text)[:_LONGEST_TEXT]}{code}", width, colour)
    if finding.advice:
        lines += wrap_words(clean(finding.advice)[:_LONGEST_TEXT], width, f"{_INDENT}→ ", f"{_INDENT}  ")
    if finding.fix:
        lines += [painted(line, "bold", colour) for line in broken(clean(finding.fix), width, f"{_INDENT}$ ", f"{_INDENT}  ")]
    return lines


def _line(severity: str, text: str, width: int, colour: bool) -> list[str]:
    first, *more = wrap_words(text, width, " " * 9, _INDENT)
    return [painted(severity, _COLOURS.get(severity, ""), colour) + first[len(severity) :], *more]


def broken(command: str, width: int, first: str, rest: str) -> list[str]:
    r"""Break a command into lines that a shell takes as one: at spaces, with a `\` at the end of each.

    A word that is too long for a line goes on at the very beginning of the next.
    """
    lines, line = [], first
    for word in _WORD.findall(command):
        gap = "" if line in (first, rest) else " "
        if line not in (first, rest) and wide(line + gap + word) > width - 2:
            lines.append(f"{line} \\")
            line, gap = rest, ""
        line += gap + word
        while wide(line) > width - 2 and "'" not in word:
            lines.append(f"{line[: width - 1]}\\")
            line = line[width - 1 :]
    return [*lines, line]


def _foot(report: Report, config: Path | None) -> str:
    counts = {severity: sum(each.severity == severity for each in report.findings) for severity in ("error", "warning", "hint")}
    said = [f"{n} {word}{'s' * (n != 1)}" for word, n in counts.items() if n]
    return f"{', '.join(said) or 'nothing to mend'} · {f'configuration {config}' if config else 'no configuration'}"


def _look(config: str | None) -> tuple[Place, list[Any]]:
    """Find and read the configuration; where that fails there is a check that says so, and the board's own checks go on."""
    from edged.board.tree import Tree
    from edged.clock import SystemClock
    from edged.config.load import find_config, load_config
    from edged.doctor.examine import Place
    from edged.doctor.finding import error, hint

    path, loaded, before = None, None, []
    try:
        path = find_config(config, os.environ, Path.cwd()).absolute()
        loaded = load_config(path, os.environ)
    except OperatorError as fault:
        asked = bool(config or os.environ.get("EDGED_CONFIG"))
        if path is None:
            make = error if asked else hint
            finding = make(fault.code, fault.text, fault.hint)
            before.append(("config", lambda: [finding]))
    return Place(Tree(), os.environ, SystemClock(), path, loaded), before
