"""`edged pack`: is a release sound, and what does it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.packing.pack import Report

EPILOG = """\b
Examples:
  edged pack models/pump-anomaly
  edged pack models/pump-anomaly --json | jq .release.costs

DIR holds model.toml and the files it names. Every fault is reported, each with its line.
Goldens run on every runtime that is installed here. Exit code 1: faults, nothing written."""


@click.command("pack", epilog=EPILOG)
@click.argument("folder", metavar="DIR")
@json_option
def command(folder: str, as_json: bool) -> None:
    """Check a model release, run its goldens, count its costs, and write release.json."""
    from pathlib import Path

    from edged.packing.pack import pack

    report = pack(Path(folder), lambda text: click.echo(f"{text} …", err=True))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(_as_dict(report)))
    else:
        click.echo("\n".join(_lines(report)))


def _as_dict(report: Report) -> dict[str, Any]:
    goldens = [
        {
            "variant": ran.variant,
            "runtime": str(ran.build),
            "rows": ran.compared.rows,
            "largest_difference": ran.compared.error,
            "agree": ran.compared.agree,
        }
        for ran in report.ran
    ]
    return {"path": str(report.path), "release": report.packed, "goldens": goldens}


def _lines(report: Report) -> list[str]:
    import os
    import sys

    from edged.cli.columns import clean
    from edged.cli.terminal import size, wants_colour
    from edged.cli.variants import variants_table

    width, _ = size(sys.stdout, 100)
    lines = [f"{report.packed.name} {clean(report.packed.version)}, release {report.packed.release}: no faults", ""]
    lines += variants_table(report.manifest, report.packed.costs, width, wants_colour(sys.stdout, os.environ))
    lines += ["", *(f"{ran.variant}: {ran.compared} on {ran.build}" for ran in report.ran)]
    lines += [
        f"! {variant.name}: no goldens, so no board can tell whether it computes it right"
        for variant in report.manifest.variants
        if variant.golden is None
    ]
    return [*lines, f"wrote {report.path}"]
