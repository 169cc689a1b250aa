"""`edged models remove`: a release leaves the board."""

from __future__ import annotations

import click

from edged.cli.models.options import release_argument, state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Example:
  edged models remove pump-anomaly 13

A release that serves, is the last good one, is pinned, or is on its way stays. What it was
rejected for is forgotten with it, so that it may be tried again."""


@click.command("remove", epilog=EPILOG)
@click.argument("name")
@release_argument
@config_option
@socket_option
@state_option
@json_option
def command(name: str, release: int, config: str | None, socket: str | None, state_dir: str | None, as_json: bool) -> None:
    """Remove a release that is not needed."""
    from contextlib import closing

    import msgspec

    from edged.cli.columns import clean
    from edged.cli.models.board import open_board

    with closing(open_board(config, socket, state_dir)) as board:
        board.remove(name, release)
    if as_json:
        click.echo(msgspec.json.encode({"removed": {"model": name, "release": release}}))
    else:
        click.echo(f"{clean(name)} {release} is removed")
