"""`edged fit cascade`: thresholds at which what a cascade accepts is right often enough."""

from __future__ import annotations

import click

from edged.cli.settings import json_option

EPILOG = """\b
Examples:
  edged fit cascade models/work-orders --data orders.csv --target 0.95
  edged fit cascade models/work-orders --data orders.csv --target 0.95 --stages words,head
  edged fit cascade --data orders.csv --target 0.9 --confidence 0.99 --json | jq .chosen

FILE holds labelled rows, as for `edged eval`, that no stage was fitted on: such as those that
`edged fit classifier --held-out` leaves. One half of them, told by a hash of each text, gives the
temperatures and proposes thresholds; the other half decides. At least the part --target of what is
accepted is then right, of all rows like these; the probability that this is not so is at most
1 - CONFIDENCE (exact binomial tests in an order that is fixed before).

Writes [cascade] and the variants' temperatures into model.toml, and cascade.svg beside it; run
`edged pack` after it. Exit code 1: the target is not shown, and the cascade abstains always."""


@click.command("cascade", epilog=EPILOG)
@click.argument("release", metavar="[RELEASE_DIR]", default=".")
@click.option("--data", required=True, metavar="FILE", help="Labelled rows.")
@click.option("--target", required=True, type=click.FloatRange(0.01, 0.9999), help="How much of what is accepted must be right.")
@click.option("--confidence", default=0.95, show_default=True, type=click.FloatRange(0.5, 0.9999), help="How sure that must be.")
@click.option("--stages", metavar="A,B,…", help="Variants, in this order. Default: those of [cascade], else all, the fastest first.")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="CSV: column of the text.")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="CSV: column of the label.")
@json_option
def command(release: str, data: str, target: float, confidence: float, stages: str | None, text: str, label: str, as_json: bool) -> None:
    """Find the thresholds of a cascade, with a stated bound, and write them into a release.

    Each stage is asked where the one before was not sure; where none is sure, the cascade abstains.
    """
    import os
    import sys
    from pathlib import Path

    import msgspec

    from edged.atomic import write_atomic
    from edged.cli.fit.cascade_lines import cascade_lines
    from edged.cli.rows import RowProgress
    from edged.cli.terminal import size, wants_colour
    from edged.errors import EXIT_FAILED
    from edged.fitting.labelled import read_labelled
    from edged.fitting.stages import fit_stages, write_stages
    from edged.fitting.svg import cascade_svg
    from edged.models.manifest import MANIFEST, load_release

    folder = Path(release)
    loaded = load_release(folder)
    rows = read_labelled(Path(data), loaded.manifest, text, label)
    progress = RowProgress()
    try:
        fit = fit_stages(loaded, rows, stages.split(",") if stages else [], target, confidence, progress.show)
    finally:
        progress.end()
    write_stages(folder, fit)
    picture = folder / "cascade.svg"
    write_atomic(picture, cascade_svg(fit, loaded.manifest.name).encode())
    if as_json:
        click.echo(msgspec.json.encode(fit))
    else:
        width, _ = size(sys.stdout, 100)
        click.echo("\n".join(cascade_lines(fit, width, wants_colour(sys.stdout, os.environ))), color=True)
        click.echo(f"wrote {folder / MANIFEST} and {picture}")
    if not fit.reached:
        sys.exit(EXIT_FAILED)
