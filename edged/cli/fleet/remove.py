"""`edged fleet remove`: a release leaves the repository."""

from __future__ import annotations

import click

from edged.cli.fleet.options import dir_argument, echo_json, keys_option, open_repository
from edged.cli.models.options import release_argument
from edged.cli.settings import json_option

EPILOG = """\b
Examples:
  edged fleet remove fleet pump-anomaly 12
  edged fleet remove fleet pump-anomaly 12 --keys /media/stick && edged fleet publish fleet --broker URL

Boards refuse it once they have the new metadata. Where it runs it goes on running, until another is
ordered. Files that no other release has are removed. Needs the keys of targets, snapshot and timestamp."""


@click.command("remove", epilog=EPILOG)
@dir_argument
@click.argument("model")
@release_argument
@keys_option
@json_option
def command(folder: str, model: str, release: int, keys: tuple[str, ...], as_json: bool) -> None:
    """Take a release out of the repository in DIR."""
    repository = open_repository(folder, keys)
    from edged.publisher.removal import remove

    removed = remove(repository, model, release)
    if as_json:
        echo_json(removed)
        return
    click.echo(f"removed {model} {release}, {removed.freed:,} bytes freed")
    for audience in removed.ordered:
        kind, _, name = audience.partition(":")
        option = "--device" if kind == "dev" else "--group"
        click.echo(f"! {audience} still has orders for it; give others: edged fleet assign {folder} {option} {name} {model}=RELEASE")
    click.echo(f"publish it: edged fleet publish {folder} --broker URL")
