"""`edged models pin`: a release stays on the board."""

from __future__ import annotations

import click

from edged.cli.models.options import release_argument, state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Examples:
  edged models pin pump-anomaly 13
  edged models pin pump-anomaly 13 --off

Releases that are no longer needed are removed when the next update ends; a pinned one is not."""


@click.command("pin", epilog=EPILOG)
@click.argument("name")
@release_argument
@click.option("--off", is_flag=True, help="It may go again.")
@config_option
@socket_option
@state_option
@json_option
def command(name: str, release: int, off: bool, config: str | None, socket: str | None, state_dir: str | None, as_json: bool) -> None:
    """Keep a release on this board, or no longer."""
    from contextlib import closing

    import msgspec

    from edged.cli.columns import clean
    from edged.cli.models.board import open_board

    with closing(open_board(config, socket, state_dir)) as board:
        board.pin(name, release, not off)
    if as_json:
        click.echo(msgspec.json.encode({"model": name, "release": release, "pinned": not off}))
    else:
        click.echo(f"{clean(name)} {release} is {'no longer ' if off else ''}pinned")
