"""`edged fit classifier`: labels for texts, learnt from rows that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.fitting.classifier import Baseline, Report
    from edged.fitting.measure import Measured

_LABELS = 12  # that are named, the most frequent first

EPILOG = """\b
Examples:
  edged fit classifier --data orders.csv --into models/work-orders
  edged fit classifier --data orders.csv --into models/work-orders --held-out rest.csv
  edged fit classifier --data notes.csv --text note --label system --into models/notes --only words
  edged fit classifier --data orders.csv --into models/work-orders --json | jq '.variants[].accuracy'

FILE.csv has a header line and one row for each text, with its label. RELEASE_DIR is made where it
is not there yet. Into it come the variant `words` (words and pieces of words, engine linear), and
for each variant of engine llama one with a head on that model's embeddings.

A part of the rows is held out and only measured with: rows with equal texts together, each label
for itself. Then the final weights are fitted on all rows, and model.toml says so; with --held-out
they are not, and FILE gets the rows that `edged eval` and `edged fit cascade` can be given.
Golden texts, some of the held-out ones, become part of the release."""


@click.command("classifier", epilog=EPILOG)
@click.option("--data", required=True, metavar="FILE.csv", help="Labelled rows; fields apart by comma, semicolon or tab.")
@click.option("--into", required=True, metavar="RELEASE_DIR", help="The release folder.")
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="The column of the text.")
@click.option("--label", default="label", show_default=True, metavar="COLUMN", help="The column of the label.")
@click.option("--only", type=click.Choice(["words", "head"]), help="Fit only this.")
@click.option("--holdout", type=click.FloatRange(0.05, 0.5), default=0.2, show_default=True, metavar="PART", help="How much is held out.")
@click.option("--held-out", metavar="FILE.csv", help="Write the held-out rows there, and leave them out of the weights for good.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, metavar="N", help="Of the split.")
@json_option
def command(
    data: str, into: str, text: str, label: str, only: str | None, holdout: float, held_out: str | None, seed: int, as_json: bool
) -> None:
    """Fit classifiers of texts on labelled rows, and put them into a release."""
    from pathlib import Path

    from edged.cli.rows import RowProgress
    from edged.fitting.classifier import Order, fit_classifiers

    order = Order(Path(data), Path(into), text, label, only or "", holdout, seed, Path(held_out) if held_out else None)
    progress = RowProgress()
    try:
        report = fit_classifiers(order, progress.show)
    finally:
        progress.end()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(_lines(report, held_out)))


def _lines(report: Report, held_out: str | None) -> list[str]:
    import os
    import sys

    from edged.cli.columns import Cell, Column, clean, table, wrap, wrap_words
    from edged.cli.terminal import size, wants_colour
    from edged.cli.wording import count

    width, _ = size(sys.stdout, 100)
    labels = [clean(f"{label} {count(rows)}") for label, rows in report.labels.items()]
    shown = labels[:_LABELS] + [f"and {len(labels) - _LABELS} more"] * (len(labels) > _LABELS)
    lines = [f"{count(report.rows)} rows of {clean(report.data)}, {len(labels)} labels:", *wrap(shown, ", ", width)]
    odd = [*(f"left out: {count(rows)} rows {reason}" for reason, rows in report.left_out.items()), *report.notes]
    for note in odd:
        lines += wrap_words(clean(note), width, "! ")
    fitted = report.rows - report.held_out_rows
    held = f"{count(report.held_out_rows)} held out with {count(report.held_out_texts)} different texts"
    lines += ["", f"{count(fitted)} rows fitted, {held}"]
    titles = ("VARIANT", "ENGINE", "RIGHT", "ACCURACY", "95 % INTERVAL", "CALIBRATION ERROR", "TEMPERATURE", "FIT s")
    columns = [Column(title, right=i > 1, least=8 if not i else 0) for i, title in enumerate(titles)]
    rows = [_row(each) for each in report.variants] + [_baseline(report.baseline)]
    lines += table(columns, [[Cell(clean(text)) for text in row] for row in rows], width, wants_colour(sys.stdout, os.environ))
    weights = "all rows" if report.final_rows == report.rows else f"the {count(report.final_rows)} rows that were not held out"
    files = [f"{name} ({count(size)} bytes)" for name, size in report.bytes.items()]
    lines += ["", f"the final weights are of {weights}", *wrap([f"wrote into {report.folder}: model.toml", *files, "goldens"], ", ", width)]
    rest = held_out or "OTHER-ROWS.csv"
    return [*lines, f"next: edged eval {report.folder} --data {rest}; edged pack {report.folder}"]


def _row(found: Measured) -> tuple[str, ...]:
    right, accuracy, interval = _accuracy(found)
    return found.variant, found.engine, right, accuracy, interval, f"{found.ece:.1%}", f"{found.temperature:.3g}", f"{found.seconds:.1f}"


def _baseline(found: Baseline) -> tuple[str, ...]:
    return f"always `{found.label}`", "", *_accuracy(found), "", "", ""


def _accuracy(found: Measured | Baseline) -> tuple[str, str, str]:
    low, high = found.interval
    return f"{found.right:,} of {found.rows:,}", f"{found.accuracy:.1%}", f"{low:.1%} to {high:.1%}"
