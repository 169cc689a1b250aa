"""`edged fleet add`: packed releases come into the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import dir_argument, echo_json, keys_option, open_repository
from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.cli.progress import Progress
    from edged.publisher.intake import Added

_WORTH_TELLING = 16 << 20  # bytes; less is there in a moment

EPILOG = """\b
Examples:
  edged pack models/pump-anomaly && edged fleet add fleet models/pump-anomaly
  edged fleet add fleet pump-anomaly-14.edgedpack --keys /media/stick

A release is a folder that `edged pack` went over, or a file .edgedpack. All of them come in, or none. Another
content under a number that is there is refused: numbers only rise. Needs the keys of targets, snapshot
and timestamp. No board takes it before it is ordered: see `edged fleet assign`."""


@click.command("add", epilog=EPILOG)
@dir_argument
@click.argument("releases", metavar="RELEASE...", nargs=-1, required=True)
@keys_option
@json_option
def command(folder: str, releases: tuple[str, ...], keys: tuple[str, ...], as_json: bool) -> None:
    """Bring packed releases into the repository in DIR, and sign."""
    from contextlib import ExitStack
    from pathlib import Path

    from edged.cli.progress import Progress

    repository = open_repository(folder, keys)
    from edged.models.source import source_of
    from edged.publisher.intake import add

    progress = Progress("copying ")
    try:
        with ExitStack() as open_:
            sources = []
            for each in releases:
                sources.append(source_of(Path(each)))
                open_.callback(sources[-1].close)
            added = add(repository, sources, lambda done, total: _show(progress, done, total), lambda: False)
    finally:
        progress.end()
    if as_json:
        echo_json({"releases": added})
    else:
        click.echo(
            "\n".join([*map(_line, added), f"order it: edged fleet assign {folder} --device ID {added[-1].model}={added[-1].release}"])
        )


def _show(progress: Progress, done: int, total: int) -> None:
    if total >= _WORTH_TELLING:
        progress.show(f"{done >> 20:,} of {total >> 20:,} MiB, {done / total:.0%}")


def _line(added: Added) -> str:
    from edged.cli.columns import clean

    what = f"{added.model} {added.release} ({clean(added.version)}, {added.size:,} bytes)"
    return f"added {what}" if added.new else f"{what} is there already"
