"""`edged models cancel`: an update under way ends."""

from __future__ import annotations

import click

from edged.cli.models.options import state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Example:
  edged models cancel pump-anomaly

A release that does not serve yet is dropped; one that serves and is being watched goes back to
the last good one. It may be installed again."""


@click.command("cancel", epilog=EPILOG)
@click.argument("name")
@config_option
@socket_option
@state_option
@json_option
def command(name: str, config: str | None, socket: str | None, state_dir: str | None, as_json: bool) -> None:
    """End the update of a model that is under way."""
    from contextlib import closing

    import msgspec

    from edged.cli.columns import clean
    from edged.cli.models.board import open_board

    with closing(open_board(config, socket, state_dir)) as board:
        board.cancel(name)
    if as_json:
        click.echo(msgspec.json.encode({"cancelled": {"model": name}}))
    else:
        click.echo(f"the update of {clean(name)} ends; `edged status` shows how")
