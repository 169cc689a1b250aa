"""Ask for an update, follow it, say how it ended: what install, activate and rollback share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import click
import msgspec

from edged.cli.models.board import Asked, Board, open_board
from edged.cli.models.following import bring_into_service, in_service_words

Where = tuple[str | None, str | None, str | None]  # --config, --socket, --state-dir


def bring(ask: Callable[[Board], Asked], where: Where, wait: bool, as_json: bool) -> None:
    """Raises what `ask` and `bring_into_service` raise."""
    with closing(open_board(*where)) as board:
        asked = ask(board)
        if asked.serves:
            told = {"model": asked.model, "release": asked.release, "state": "serves", "update": None}
            click.echo(msgspec.json.encode(told) if as_json else f"{asked.model} {asked.release} serves already")
            return
        update = bring_into_service(board, asked, wait)
        if as_json:
            click.echo(msgspec.json.encode({"model": update.model, "release": update.release, "state": update.state, "update": update}))
            return
        if wait and not board.has_daemon:
            click.echo("no daemon runs, so nobody can wait for a commit", err=True)
        click.echo(in_service_words(board, update))
