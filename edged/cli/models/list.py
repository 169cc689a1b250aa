"""`edged models list`: which releases are here, and why each serves or does not."""

from __future__ import annotations

import click

from edged.cli.models.options import state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Examples:
  edged models list
  edged models list --json | jq '.models[] | {name, active, last_good}'

Without a daemon it shows what the next start would serve."""


@click.command("list", epilog=EPILOG)
@config_option
@socket_option
@state_option
@json_option
def command(config: str | None, socket: str | None, state_dir: str | None, as_json: bool) -> None:
    """List the models of this board, and say of each release why it serves or does not."""
    import os
    import sys

    import msgspec

    from edged.cli.models.blocks import inventory_lines
    from edged.cli.models.reading import inventory_of
    from edged.cli.terminal import size, wants_colour

    inventory, answer = inventory_of(config, socket, state_dir)
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    width, _ = size(sys.stdout, 100)
    click.echo("\n".join(inventory_lines(inventory, width, wants_colour(sys.stdout, os.environ))), color=True)
