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
  edged pack models/pump-anomaly --into pump-anomaly-14.edgedpack
  edged pack models/pump-anomaly --json | jq .release.costs

DIR holds model.toml and the files it names. Every fault is reported, each with its line.
Goldens run on every runtime that is installed here. Exit code 1: faults, nothing written.
With --into the release is one file, which `edged models install` takes as it takes DIR."""


@click.command("pack", epilog=EPILOG)
@click.argument("folder", metavar="DIR")
@click.option("--into", metavar="FILE.edgedpack", help="Also write the release as one file; an older one is replaced.")
@json_option
def command(folder: str, into: str | None, as_json: bool) -> None:
    """Check a model release, run its goldens, count its costs, and write release.json."""
    from pathlib import Path

    from edged.models.source import FolderSource
    from edged.packing.into import check_target, pack_into
    from edged.packing.pack import pack

    def say(text: str) -> None:
        click.echo(f"{text} …", err=True)

    if into is not None:
        check_target(Path(into))
    report = pack(Path(folder), say)
    size = 0
    if into is not None:
        say(f"writing {into}")
        size = pack_into(FolderSource(Path(folder)), report.packed, Path(into))
    if as_json:
        import msgspec

        file = {} if into is None else {"file": {"path": into, "bytes": size}}
        click.echo(msgspec.json.encode({**_as_dict(report), **file}))
    else:
        click.echo("\n".join([*_lines(report), *([] if into is None else [f"wrote {into}, {size:,} bytes"])]))


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
