"""`edged eval`: what every variant of a release is worth on labelled rows."""

from __future__ import annotations

import click

from edged.cli.settings import json_option

EPILOG = """\b
Examples:
  edged eval models/work-orders --data orders.csv
  edged eval models/work-orders --data orders.csv --text note --label system
  edged eval models/work-orders --data orders.csv --variants words,head
  edged eval models/pump --data labelled.npz --json | jq '.variants[].accuracy'

FILE is a CSV file with columns `text` and `label` for a release that classifies texts. For one on
windows it is an .npz file with `windows` [n, samples, channels] and `labels` [n], or for anomaly
`anomalous` [n], 0 or 1: numbers as the decoder gives them. Take rows that the model was not made
with. Times are of this machine, stop the daemon first. Exit code 7: no variant runs here."""


@click.command("eval", epilog=EPILOG)
@click.argument("release", metavar="RELEASE_DIR")
@click.option("--data", required=True, metavar="FILE", help="Labelled rows.")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="CSV: column of the text.")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="CSV: column of the label.")
@click.option("--variants", metavar="A,B,…", help="Only these. Default: all.")
@json_option
def command(release: str, data: str, text: str, label: str, variants: str | None, as_json: bool) -> None:
    """Compare the variants of a release: accuracy, calibration, speed, size, memory.

    For every variant that runs here, and for the release's cascade, it says how often the answer is right, with the
    interval that so many rows give; precision and recall of each label; the calibration error; what one input takes; and
    which is the smallest variant that meets the release's minimum.
    """
    from pathlib import Path

    import msgspec

    from edged.cli.rows import RowProgress
    from edged.errors import DoesNotFit
    from edged.fitting.evaluate import evaluate
    from edged.fitting.labelled import read_labelled
    from edged.models.manifest import load_release

    loaded = load_release(Path(release))
    rows = read_labelled(Path(data), loaded.manifest, text, label)
    progress = RowProgress()
    try:
        found = evaluate(loaded, rows, variants.split(",") if variants else [], progress.show)
    finally:
        progress.end()
    if not found.variants:
        why = "; ".join(f"{name}: {text}" for name, text in found.failed.items())
        raise DoesNotFit(
            "does-not-fit", f"no variant of {found.model} runs here: {why}", "install what is missing, or name other --variants"
        )
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    import os
    import sys

    from edged.cli.evaluated import evaluation_lines
    from edged.cli.terminal import size, wants_colour

    width, _ = size(sys.stdout, 100)
    click.echo("\n".join(evaluation_lines(found, width, wants_colour(sys.stdout, os.environ))), color=True)
