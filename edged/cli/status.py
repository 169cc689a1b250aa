"""`edged status`: what runs, how well, and what is wrong."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import msgspec

from edged.cli.render import MAX_WIDTH, render
from edged.cli.settings import ask_daemon, config_option, json_option, socket_option
from edged.cli.terminal import size, wants_colour
from edged.errors import EXIT_UNHEALTHY
from edged.service.snapshot import is_healthy, read

EPILOG = """\b
Examples:
  edged status
  edged status --json | jq .pipelines
  edged status --socket /run/edged/control.sock

Exit code: 0 healthy (also with warnings), 5 an error is shown, 4 no daemon answers."""


@click.command("status", epilog=EPILOG)
@config_option
@socket_option
@json_option
def command(config: str | None, socket: str | None, as_json: bool) -> None:
    """Show what runs, how well, and what is wrong."""
    answer = ask_daemon("status", config, socket)
    if as_json:
        click.echo(msgspec.json.encode(answer))
    else:
        columns, _ = size(sys.stdout, MAX_WIDTH)
        click.echo(render(read(answer), columns, wants_colour(sys.stdout, os.environ)), nl=False, color=True)
    if not _healthy(answer):
        raise SystemExit(EXIT_UNHEALTHY)


def _healthy(answer: dict[str, Any]) -> bool:
    """Judge by the conditions alone: a newer daemon's other fields may not be ours to read."""
    return is_healthy(read({"health": answer.get("health", [])}))
