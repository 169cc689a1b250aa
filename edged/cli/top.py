"""`edged top`: the status, live."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

import click
import msgspec

from edged.cli.columns import clean, wrap_words
from edged.cli.render import MAX_WIDTH, render
from edged.cli.settings import ask_daemon, config_option, json_option, socket_option
from edged.cli.terminal import alternate_screen, frame, key, size, wants_colour
from edged.errors import EdgedError
from edged.service.snapshot import read

EVERY_S = 1.0
EPILOG = """\b
Examples:
  edged top
  edged top --count 10 > status.txt
  edged top --json | jq -c .memory

q or Ctrl-C ends it. Without a terminal it prints one status a second."""

Ask = Callable[[], dict[str, Any]]


@click.command("top", epilog=EPILOG)
@config_option
@socket_option
@json_option
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N times.")
def command(config: str | None, socket: str | None, as_json: bool, count: int | None) -> None:
    """Show the status live, once a second."""

    def ask() -> dict[str, Any]:
        return ask_daemon("status", config, socket)

    if sys.stdout.isatty() and not as_json:
        _live(ask, count)
    else:
        _stream(ask, as_json, count)


def _turns(count: int | None) -> Iterator[bool]:
    """Say of each turn whether it is the last."""
    turn = 0
    while True:
        turn += 1
        yield turn == count


def _stream(ask: Ask, as_json: bool, count: int | None) -> None:
    """Print one status a second; a daemon that does not answer ends it."""
    for last in _turns(count):
        answer = ask()
        click.echo(msgspec.json.encode(answer) if as_json else render(read(answer)))
        sys.stdout.flush()
        if last:
            return
        sleep(EVERY_S)


def _live(ask: Ask, count: int | None) -> None:
    """Draw until q, Ctrl-C or the last turn; a daemon that went away meanwhile is waited for."""
    answer: dict[str, Any] | EdgedError = ask()
    try:
        with alternate_screen(sys.stdout):
            for last in _turns(count):
                columns, lines = size(sys.stdout, MAX_WIDTH)
                sys.stdout.write(frame(_screen(answer, columns), lines))
                sys.stdout.flush()
                if last or key(EVERY_S) in ("q", "Q"):
                    return
                answer = _tried(ask)
    except KeyboardInterrupt:
        pass


def _tried(ask: Ask) -> dict[str, Any] | EdgedError:
    try:
        return ask()
    except EdgedError as error:
        return error


def _screen(answer: dict[str, Any] | EdgedError, columns: int) -> str:
    if isinstance(answer, EdgedError):
        return "\n".join(wrap_words(clean(f"{answer.text} [{answer.code}]; still trying, q ends"), columns))
    return render(read(answer), columns, wants_colour(sys.stdout, os.environ))
