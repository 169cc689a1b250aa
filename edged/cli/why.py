"""`edged why`: which variant of each model runs, and why not the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edged.cli.settings import config_option, json_option, socket_option

if TYPE_CHECKING:
    from edged.board.inforce import Board
    from edged.config import schema
    from edged.errors import EdgedError
    from edged.models.manifest import Release
    from edged.select.measured import Lookup
    from edged.select.why import Answer

MAX_WIDTH = 120

EPILOG = """\b
Examples:
  edged why
  edged why pump-7
  edged why --board raspberry-pi-4b-1gb
  edged why --board jetson-nano --model-dir models/pump --model-dir models/fan

A running daemon says what it chose and what it measured. With --board or --model-dir, or
where no daemon runs, the choice is made here, from the configuration and the models that
are installed; with --model-dir from these folders alone, and no configuration is needed.
ms and MiB are predicted for one window of one stream, MEASURED is what they really took here.

Exit code: 0 every pipeline has a variant, 7 one has none, also because its model is not here."""


@click.command("why", epilog=EPILOG)
@click.argument("pipeline", required=False)
@click.option("--board", "profile", metavar="PROFILE", help="Answer for another kind of board; a wrong name lists them.")
@click.option("--model-dir", "model_dirs", multiple=True, metavar="DIR", help="Answer for this release folder; may be repeated.")
@config_option
@socket_option
@json_option
def command(
    pipeline: str | None, profile: str | None, model_dirs: tuple[str, ...], config: str | None, socket: str | None, as_json: bool
) -> None:
    """Say which variant of each model runs, and why not the others."""
    import msgspec

    from edged.cli.reasons import render
    from edged.cli.terminal import size, wants_colour
    from edged.errors import EXIT_NO_FIT

    answer = None if profile or model_dirs else _of_daemon(config, socket)
    answer = answer or _made_here(config, profile, model_dirs, pipeline)
    without = _without_variant(answer, pipeline)
    if as_json:
        rows = [row for row in answer.rows if pipeline in (None, row.pipeline)]
        click.echo(msgspec.json.encode(msgspec.structs.replace(answer, rows=rows)))
    else:
        columns, _ = size(sys.stdout, MAX_WIDTH)
        click.echo(render(answer, max(columns, 20), wants_colour(sys.stdout, os.environ), pipeline), nl=False, color=True)
    if without:
        raise SystemExit(EXIT_NO_FIT)


def _of_daemon(config: str | None, socket: str | None) -> Answer | None:
    """Ask the daemon; None where none runs. Raises DaemonUnreachable, PeerError(`answer-unreadable`)."""
    import msgspec

    from edged.cli.settings import ask_daemon
    from edged.errors import PeerError
    from edged.select.why import Answer
    from edged.service.ask import NobodyListens

    try:
        return msgspec.convert(ask_daemon("why", config, socket), Answer)
    except NobodyListens:
        if socket:
            raise
        return None
    except msgspec.ValidationError as error:
        text = f"the daemon's answer is no choice that this version understands: {error}"
        raise PeerError("answer-unreadable", text, "daemon and command may be of different versions: restart the daemon") from None


def _made_here(config: str | None, profile: str | None, model_dirs: tuple[str, ...], only: str | None) -> Answer:
    """Choose here, for this board or another one. A pipeline whose model cannot be read is refused, and the others are answered for.

    Raises what reading it raises where it is the only one, or the one that is asked for.
    """
    import msgspec

    from edged.board.inforce import board_of
    from edged.cli.settings import load
    from edged.errors import EdgedError
    from edged.select.choose import choose
    from edged.select.demand import Wanted, costs_of_release, demands, limits_of
    from edged.select.why import answer

    other = board_of(profile) if profile else None  # first: a name that is none is said at once
    missing: dict[str, EdgedError] = {}
    if model_dirs:
        lanes, budget = list(_of_folders(model_dirs)), 0
    else:
        loaded = load(config)
        found = [(each, _release(each, loaded.state_dir)) for each in loaded.config.pipelines]
        missing = {each.name: error for each, error in found if isinstance(error, EdgedError)}
        lanes = [(each, release) for each, release in found if not isinstance(release, EdgedError)]
        budget = loaded.config.device.memory_budget_mib
    if missing and (only in missing or not lanes):
        raise missing[only] if only in missing else next(iter(missing.values()))
    board, measured = (other, None) if other else _this_board(config)
    wanted = [Wanted(options, release, costs_of_release(release)) for options, release in lanes]
    demanded, limits = demands(wanted, board, measured), limits_of(board, budget)
    made = answer(board.profile.name, demanded, limits, choose(demanded, limits))
    return msgspec.structs.replace(made, refusals=made.refusals | {name: error.as_dict() for name, error in missing.items()})


def _this_board(config: str | None) -> tuple[Board, Lookup]:
    from edged.cli.board.here import board_and_state
    from edged.select.measured import Measurements

    board, state_dir = board_and_state(config)
    return board, Measurements(state_dir)


def _of_folders(model_dirs: tuple[str, ...]) -> Iterator[tuple[schema.Pipeline, Release]]:
    """Give a pipeline for each folder, as one would be without any setting; it is called as its model."""
    from edged.config import schema
    from edged.models.manifest import load_release

    taken: dict[str, int] = {}
    for folder in model_dirs:
        release = load_release(Path(folder))
        name = release.manifest.name
        taken[name] = taken.get(name, 0) + 1
        called = name if taken[name] == 1 else f"{name} ({taken[name]})"
        yield schema.Pipeline(name=called, source=schema.StdinSource(), decoder=schema.TextDecoder(), model=name), release


def _release(options: schema.Pipeline, state_dir: Path) -> Release | EdgedError:
    """Give the release of a pipeline, or why it cannot be read."""
    from edged.errors import EdgedError
    from edged.models.active import active_release
    from edged.models.manifest import load_release

    try:
        return load_release(Path(options.model_dir)) if options.model_dir else active_release(state_dir, options.model)
    except EdgedError as error:
        return error


def _without_variant(answer: Answer, pipeline: str | None) -> list[str]:
    """Name the pipelines that have no variant, of all or of the one; OperatorError(`no-such-pipeline`) where there is no such one."""
    from edged.errors import OperatorError

    chosen = dict.fromkeys([*(row.pipeline for row in answer.rows), *answer.refusals], False)
    chosen |= {row.pipeline: True for row in answer.rows if row.chosen}
    if pipeline is not None and pipeline not in chosen:
        raise OperatorError("no-such-pipeline", f"there is no pipeline `{pipeline}`", f"one of: {', '.join(chosen)}")
    return [name for name, has_one in chosen.items() if pipeline in (None, name) and not has_one]
