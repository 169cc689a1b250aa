"""`edged board simulate`: how a whole configuration would do on another board."""

from __future__ import annotations

import os
import sys

import click

from edged.cli.settings import config_option, json_option

MAX_WIDTH = 120

EPILOG = """\b
Examples:
  edged board simulate --profile raspberry-pi-4b-2gb --config edged.toml
  edged board simulate --profile raspberry-pi-zero-2w --streams 8
  edged board simulate --profile jetson-nano --recording morning.rec --json

Chooses the variants that the board would run, then lets messages come: from --recording as
they came, else at the rate that each release names. Without --profile, this board.
Nothing is run, and no network, heat or other program is simulated.
Exit code 7: there is a pipeline that the board has no variant for."""


@click.command("simulate", epilog=EPILOG)
@config_option
@click.option("--profile", metavar="NAME", help="The board, as a device profile; see `edged board show`. Default: this board.")
@click.option(
    "--recording", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Messages as they came, from `edged record`."
)
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=60.0, show_default=True, help="How much time is simulated.")
@click.option(
    "--streams", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Streams of each pipeline without a recording."
)
@json_option
def command(config: str | None, profile: str | None, recording: str | None, seconds: float, streams: int, as_json: bool) -> None:
    """Predict load, latency, drops and memory of a configuration on a board."""
    from pathlib import Path

    import msgspec

    from edged.board.inforce import board_here, board_of
    from edged.cli.board.expected import expected
    from edged.cli.board.outlook import lines
    from edged.cli.settings import load
    from edged.cli.terminal import size, wants_colour
    from edged.errors import EXIT_NO_FIT
    from edged.select.forecast import forecast
    from edged.select.measured import Measurements

    loaded = load(config)
    device, state_dir = loaded.config.device, loaded.state_dir
    board = board_of(profile) if profile else board_here(Path("/"), device.profile, state_dir)
    lanes = expected(loaded, streams, seconds, Path(recording) if recording else None)
    shown = forecast(lanes, board, device.memory_budget_mib, seconds, None if profile else Measurements(state_dir))
    if as_json:
        click.echo(msgspec.json.encode(shown))
    else:
        columns, _ = size(sys.stdout, MAX_WIDTH)
        click.echo("\n".join(lines(shown, max(columns, 40), wants_colour(sys.stdout, os.environ))), color=True)
    if any(each.refused for each in shown.pipelines):
        raise SystemExit(EXIT_NO_FIT)
