"""`edged models install`: a release from a folder or a file comes into service."""

from __future__ import annotations

from pathlib import Path

import click

from edged.cli.models.options import policy_options, state_option
from edged.cli.settings import config_option, json_option, socket_option

EPILOG = """\b
Examples:
  edged pack models/pump && edged models install models/pump
  edged models install pump-anomaly-15.edgedpack --wait
  edged models install models/pump --shadow 200 --windows 1000 --seconds 3600

Returns when it serves and is being watched. With errors, too few windows or late results it goes
back by itself. Ctrl-C cancels it before it serves. Without a daemon it is done here, and the
daemon's next start serves it. Exit codes: 0 it serves, 1 refused, 3 to be asked for otherwise,
4 the daemon does not answer, 7 it does not fit this board."""


@click.command("install", epilog=EPILOG)
@click.argument("source", metavar="DIR|FILE.edgedpack")
@policy_options
@config_option
@socket_option
@state_option
@json_option
def command(
    source: str,
    shadow: int | None,
    windows: int | None,
    seconds: float | None,
    wait: bool,
    config: str | None,
    socket: str | None,
    state_dir: str | None,
    as_json: bool,
) -> None:
    """Bring a release into service: fetch, verify, try it in a process of its own, swap, watch."""
    from edged.cli.models.bringing import bring
    from edged.cli.models.options import policy_of

    policy = policy_of(windows, seconds, shadow)
    bring(lambda board: board.install(Path(source), policy), (config, socket, state_dir), wait, as_json)
