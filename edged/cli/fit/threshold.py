"""`edged fit threshold`: the score where an anomaly begins, so that clean data seldom reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from pathlib import Path

    from edged.config import schema
    from edged.fitting.anomaly import ThresholdFit
    from edged.models.manifest import Manifest

EPILOG = """\b
Examples:
  edged fit threshold models/pump --data clean.csv
  edged fit threshold models/pump --data monday.csv --data tuesday.csv --time t --rate 0.0001
  edged fit threshold models/pump --data clean.rec --config edged.toml
  edged fit threshold models/pump --data windows.npz --json | jq .threshold

FILE is clean data, in which nothing is wrong: CSV with a reading a line (columns by a header line, else
the time, if any, and the channels), an .npz file with `windows` [n, samples, channels], or a recording of
`edged record`, decoded as the configuration says. Readings take the way they take on a board.

Writes `threshold` into model.toml; run `edged pack` after it. Exit code 1: too few windows to show
the rate; the threshold is then beyond all of them, and the rate that they do show is told."""


@click.command("threshold", epilog=EPILOG)
@click.argument("release", metavar="[RELEASE_DIR]", default=".")
@click.option("--data", "files", required=True, multiple=True, metavar="FILE", help="Clean data; may be repeated.")
@click.option(
    "--rate", default=0.001, show_default=True, type=click.FloatRange(1e-6, 0.5), help="Part of clean windows beyond it, at most."
)
@click.option("--confidence", default=0.95, show_default=True, type=click.FloatRange(0.5, 0.9999), help="How sure that must be.")
@click.option("--variants", metavar="A,B,…", help="Variants that it must hold for. Default: all.")
@click.option("--time", default="", metavar="COLUMN", help="CSV: column of the time. Default: none, no gaps.")
@click.option("--time-unit", default="ms", show_default=True, type=click.Choice(["s", "ms", "us", "ns", "iso"]), help="CSV: its unit.")
@config_option
@json_option
def command(
    release: str,
    files: tuple[str, ...],
    rate: float,
    confidence: float,
    variants: str | None,
    time: str,
    time_unit: str,
    config: str | None,
    as_json: bool,
) -> None:
    """Find the threshold of an anomaly score from clean data, with a stated bound on false alarms."""
    import sys
    from pathlib import Path

    import msgspec

    from edged.cli.rows import RowProgress
    from edged.errors import EXIT_FAILED
    from edged.fitting.anomaly import fit_release, load_unfitted, write_threshold
    from edged.fitting.clean import is_recording
    from edged.models.manifest import MANIFEST

    folder, paths = Path(release), [Path(file) for file in files]
    loaded = load_unfitted(folder)
    recorded = any(is_recording(path) for path in paths)
    options = _pipelines(config, loaded.manifest, folder) if recorded else [_csv(loaded.manifest, time, time_unit)]
    progress = RowProgress("bytes")
    try:
        fit = fit_release(loaded, variants.split(",") if variants else [], paths, options, rate, confidence, progress.show)
    finally:
        progress.end()
    write_threshold(folder, fit)
    if as_json:
        click.echo(msgspec.json.encode(fit))
    else:
        click.echo("\n".join([*_lines(fit, loaded.manifest), f"wrote {folder / MANIFEST}"]))
    if not fit.reached:
        sys.exit(EXIT_FAILED)


def _csv(manifest: Manifest, time: str, unit: str) -> schema.Pipeline:
    """Decode lines as the release's channels are called."""
    import msgspec

    from edged.config import schema

    decoder = {"type": "csv", "channels": manifest.input.channels, "time": time, "time_unit": unit}
    table = {"name": "data", "source": {"type": "stdin"}, "decoder": decoder, "model": manifest.name}
    return msgspec.convert(table, schema.Pipeline)


def _pipelines(config: str | None, manifest: Manifest, folder: Path) -> list[schema.Pipeline]:
    """Give the pipelines of the configuration that run this model."""
    from pathlib import Path

    from edged.cli.settings import load
    from edged.errors import OperatorError

    loaded = load(config)
    here = folder.resolve()
    found = [
        each
        for each in loaded.config.pipelines
        if each.model == manifest.name or (each.model_dir and Path(each.model_dir).resolve() == here)
    ]
    if not found:
        text = f"no pipeline of {loaded.path} runs the model {manifest.name}"
        raise OperatorError("no-such-pipeline", text, "a recording is decoded as its pipeline says: name that --config")
    return found


def _lines(fit: ThresholdFit, manifest: Manifest) -> list[str]:
    from edged.cli.columns import Cell, Column, clean, table, wrap_words
    from edged.cli.wording import count

    titles = ("WINDOWS", "MEDIAN", "HIGHEST" if fit.anomalous == "above" else "LOWEST", "THRESHOLD ALONE", "BEYOND IT")
    columns = [Column("VARIANT", least=8), *(Column(title, right=True) for title in titles)]
    rows = [
        (clean(each.variant), count(each.windows), f"{each.median:.6g}", f"{each.extreme:.6g}", f"{each.threshold:.6g}", count(each.beyond))
        for each in fit.variants
    ]
    lines = [*table(columns, [[Cell(text) for text in row] for row in rows], 100, False), ""]
    lines += [line for sentence in _sentences(fit, manifest) for line in wrap_words(sentence, 100)]
    odd = [f"left out: {count(n)} {reason}" for reason, n in fit.variants[0].left_out.items()]
    return [*lines, *(line for note in [*odd, *fit.notes] for line in wrap_words(clean(note), 100, "! "))]


def _sentences(fit: ThresholdFit, manifest: Manifest) -> Iterator[str]:
    from edged.cli.wording import count, duration

    sure, each = f"with {fit.confidence * 100:.4g} % confidence", ", whichever variant runs" if len(fit.variants) > 1 else ""
    yield f"threshold = {fit.threshold:.6g}: {sure}, at most {fit.most * 100:.4g} % of clean windows are beyond it{each}."
    if not fit.reached:
        windows = count(fit.variants[0].windows)
        yield f"{fit.rate * 100:.4g} % cannot be shown by {windows} windows: {count(fit.needed)} are needed at least."
    given = manifest.input
    if given.hop and given.rate_hz:
        seconds = given.hop / given.rate_hz / fit.most
        yield f"With a window every {given.hop / given.rate_hz:.3g} s that is at most one false alarm in {duration(seconds)}, in the mean."
