"""`edged models activate`: a release that is on the board comes into service."""

from __future__ import annotations

import click

from edged.cli.models.options import policy_options, release_argument, state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Examples:
  edged models activate pump-anomaly 13
  edged models activate pump-anomaly 13 --wait --windows 1000"""


@click.command("activate", epilog=EPILOG)
@click.argument("name")
@release_argument
@policy_options
@config_option
@socket_option
@state_option
@json_option
def command(
    name: str,
    release: int,
    shadow: int | None,
    windows: int | None,
    seconds: float | None,
    wait: bool,
    config: str | None,
    socket: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Bring a release that is on this board into service, through its trial again."""
    from edged.cli.models.bringing import bring
    from edged.cli.models.options import policy_of

    policy = policy_of(windows, seconds, shadow)
    bring(lambda board: board.activate(name, release, policy), (config, socket, state_dir), wait, as_json)
