"""`edged models show`: one release."""

from __future__ import annotations

import click

from edged.cli.models.options import state_option
from edged.cli.settings import config_option, json_option

EPILOG = """\b
Examples:
  edged models show pump-anomaly
  edged models show pump-anomaly 15
  edged models show pump-anomaly 15 --json | jq .trial"""


@click.command("show", epilog=EPILOG)
@click.argument("name")
@click.argument("release", type=click.IntRange(min=1), required=False)
@config_option
@state_option
@json_option
def command(name: str, release: int | None, config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Show a release: where it comes from, what goes in and out, what it costs, how its trial went.

    Without RELEASE, the one that serves.
    """
    import os
    import sys

    import msgspec

    from edged.cli.columns import clean, wrap_words
    from edged.cli.models.reading import place
    from edged.cli.models.trial_lines import trial_lines
    from edged.cli.release import release_lines
    from edged.cli.terminal import size, wants_colour
    from edged.models.active import active_release
    from edged.models.book import read_ledger
    from edged.models.manifest import ABSENT
    from edged.models.store import Store

    folder = place(config, state_dir).state_dir
    store = Store(folder)
    found = active_release(folder, name) if release is None else store.load(name, release)
    number = found.manifest.release
    absent = [each.name for each in found.manifest.variants if not found.has(each)]
    packed, report = store.packed(name, number), read_ledger(folder).of(name).reports.get(number)
    if as_json:
        shown = {"manifest": found.manifest, "digest": found.digest, "files": packed.files, "costs": packed.costs, "trial": report}
        click.echo(msgspec.json.encode(shown | {"absent": absent}))
        return
    width, _ = size(sys.stdout, 100)
    lines = release_lines(found.manifest, packed.costs, width, wants_colour(sys.stdout, os.environ))
    missing = [line for each in absent for line in wrap_words(f"variant {clean(each)}: {ABSENT}", width)]
    click.echo("\n".join([*lines, *missing, *trial_lines(report, width)]), color=True)
