"""`edged bench`: how fast this board is, with its own models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from edged.models.manifest import Release
    from edged.service.measure import PathSpeed, VariantSpeed

EPILOG = """\b
Examples:
  edged bench
  edged bench --model-dir models/pump
  edged bench --seconds 5 --json
  edged bench --predict
  edged bench --predict models/pump other/net.tflite

Measures each variant of the active models and of those the configuration uses in place
alone, then the path around the one that would run: decode, window, model, result.
Stop the daemon first: it shares the processor.

With --predict it holds what is predicted of each model, in each runtime that is installed,
against what it takes: time of one window, and memory in a process of its own. Its arguments
are .tflite files, and folders of them; without, the models above."""


@click.command("bench", epilog=EPILOG)
@config_option
@click.option("--model-dir", "model_dirs", multiple=True, metavar="DIR", help="Measure this release folder instead; may be repeated.")
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="How long each measurement takes.")
@click.option("--predict", is_flag=True, help="Hold predictions against measurements instead.")
@click.argument("places", nargs=-1, metavar="[FILE|DIR]...", type=click.Path(exists=True))
@json_option
def command(config: str | None, model_dirs: tuple[str, ...], seconds: float, predict: bool, places: tuple[str, ...], as_json: bool) -> None:
    """Measure the models and the data path on this board."""
    if places and not predict:
        raise click.UsageError("files and folders are for --predict; name a release folder with --model-dir")
    if predict:
        from edged.cli.predicted import show_predictions

        files = places or tuple(
            str(release.path_of(v)) for release in _releases(config, model_dirs) for v in release.here if v.engine == "tflite"
        )
        show_predictions(config, files, seconds, as_json)
        return
    _measure(_releases(config, model_dirs), seconds, as_json)


def _measure(releases: list[Release], seconds: float, as_json: bool) -> None:
    import msgspec

    from edged.cli.progress import Progress
    from edged.errors import EdgedError
    from edged.service.measure import measure_path, measure_variant

    progress = Progress("measuring ")
    variants: list[VariantSpeed] = []
    paths: list[PathSpeed] = []
    failed: dict[str, str] = {}
    for release in releases:
        for variant in release.here:
            name = f"{release.manifest.name} {release.manifest.release} {variant.name}"
            progress.show(name)
            try:
                variants.append(measure_variant(release, variant, seconds))
            except EdgedError as error:
                failed[name] = error.text
        path = f"the path of {release.manifest.name}"
        progress.show(path)
        try:
            paths.append(measure_path(release, seconds))
        except EdgedError as error:
            failed[path] = error.text
    progress.end()
    if as_json:
        click.echo(msgspec.json.encode({"variants": variants, "paths": paths, "failed": failed}))
    else:
        click.echo("\n".join(_lines(variants, paths, failed)))


def _releases(config: str | None, model_dirs: tuple[str, ...]) -> list[Release]:
    from edged.cli.settings import load
    from edged.errors import OperatorError
    from edged.models.manifest import load_release
    from edged.service.measure import releases_here

    if model_dirs:
        from pathlib import Path

        return [load_release(Path(folder)) for folder in model_dirs]
    loaded = load(config)
    found = releases_here(loaded.state_dir, [pipeline.model_dir for pipeline in loaded.config.pipelines if pipeline.model_dir])
    if not found:
        raise OperatorError(
            "no-models", "there is no model to measure", "install one with `edged models install DIR`, or name a --model-dir"
        )
    return found


def _lines(variants: list[VariantSpeed], paths: list[PathSpeed], failed: dict[str, str]) -> list[str]:
    from edged.cli.columns import Cell, Column, table

    titles = ("MODEL", "VARIANT", "LOAD ms", "P50 µs", "P95 µs", "IN A BATCH", "GMAC/s", "ENGINE")
    columns = [Column(title, right=2 <= i <= 6, least=12 if title == "ENGINE" else 0) for i, title in enumerate(titles)]
    lines = table(columns, [[Cell(text) for text in _row(each)] for each in variants], 100, False)
    lines += [""] if paths else []
    for path in paths:
        rate = f"{path.readings_per_s:,.0f} readings/s on one CPU, {path.us_per_reading:.1f} µs each"
        lines.append(f"path of {path.model} ({path.variant}), JSON in, JSON out, no broker: {rate}")
    lines += [f"{name} does not run here: {text}" for name, text in failed.items()]
    return lines


def _row(speed: VariantSpeed) -> tuple[Any, ...]:
    batched = f"{speed.batched_us:,.1f} × {speed.batch}" if speed.batched_us is not None else "–"
    return (
        f"{speed.model} {speed.release}", speed.variant, f"{speed.load_ms:,.1f}", f"{speed.p50_us:,.1f}", f"{speed.p95_us:,.1f}",
        batched, "–" if speed.gmacs is None else f"{speed.gmacs:.1f}", speed.engine,
    )  # fmt: skip
