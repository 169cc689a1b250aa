"""`edged models rollback`: back to the last good release."""

from __future__ import annotations

import click

from edged.cli.models.options import state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Example:
  edged models rollback pump-anomaly

While a release is being watched, it goes back to the last good one; else to the good one before
that. There is no trial: it was good here. `edged models list` shows both."""


@click.command("rollback", epilog=EPILOG)
@click.argument("name")
@config_option
@socket_option
@state_option
@json_option
def command(name: str, config: str | None, socket: str | None, state_dir: str | None, as_json: bool) -> None:
    """Go back to the last good release, at once."""
    from contextlib import closing

    import msgspec

    from edged.cli.columns import clean
    from edged.cli.models.board import open_board
    from edged.cli.models.following import follow_rollback

    with closing(open_board(config, socket, state_dir)) as board:
        asked = board.rollback(name)
        follow_rollback(board, asked)
        if as_json:
            click.echo(msgspec.json.encode({"model": asked.model, "release": asked.release}))
        else:
            serves = "serves again" if board.has_daemon else "is active again: the daemon serves it from its next start on"
            click.echo(f"{clean(asked.model)} {asked.release} {serves}")
