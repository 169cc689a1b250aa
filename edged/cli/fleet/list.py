"""`edged fleet list`: what is in a repository, and what ends soon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import dir_argument, echo_json, keys_option, open_repository
from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.publisher.inventory import Inventory

EPILOG = """\b
Examples:
  edged fleet list fleet
  edged fleet list fleet --json | jq '.releases[] | {model, release, ordered_by}'

Lines with ! are what ends within 14 days, and orders that no board can follow."""


@click.command("list", epilog=EPILOG)
@dir_argument
@keys_option
@json_option
def command(folder: str, keys: tuple[str, ...], as_json: bool) -> None:
    """List releases, orders and keys of the repository in DIR."""
    import os
    import sys

    from edged.cli.terminal import size, wants_colour

    repository = open_repository(folder, keys)
    from edged.publisher.inventory import inventory

    found = inventory(repository)
    if as_json:
        echo_json(found)
        return
    width, _ = size(sys.stdout, 100)
    click.echo("\n".join(_lines(found, folder, width, wants_colour(sys.stdout, os.environ))), color=True)


def _lines(found: Inventory, folder: str, width: int, colour: bool) -> list[str]:
    from edged.cli.columns import painted, wrap_words

    lines = [f"fleet {found.fleet}"]
    for warning in found.warnings:
        lines += [painted(line, "yellow", colour) for line in wrap_words(warning, width, "! ")]
    lines += (
        ["", *_releases(found, width, colour)] if found.releases else ["", f"no releases; bring one in: edged fleet add {folder} RELEASE"]
    )
    lines += ["", *_orders(found, width, colour)] if found.orders else ["", f"no orders; give some: edged fleet assign {folder} --help"]
    return [*lines, "", *_roles(found, width, colour)]


def _releases(found: Inventory, width: int, colour: bool) -> list[str]:
    from edged.cli.columns import Cell, Column, clean, table

    columns = [
        Column("MODEL", least=8),
        Column("RELEASE", right=True),
        Column("VERSION", least=7),
        Column("BYTES", right=True),
        Column("ORDERED BY", least=10),
    ]
    rows = [
        [
            Cell(each.model),
            Cell(str(each.release)),
            Cell(clean(each.version)),
            Cell(f"{each.size:,}"),
            Cell(", ".join(each.ordered_by) or "–"),
        ]
        for each in found.releases
    ]
    return table(columns, rows, width, colour)


def _orders(found: Inventory, width: int, colour: bool) -> list[str]:
    from edged.cli.columns import Cell, Column, table

    columns = [Column("ORDERS TO", least=9), Column("REV", right=True), Column("UNTIL"), Column("RELEASES", least=10)]
    rows = [
        [
            Cell(each.audience),
            Cell(str(each.rev)),
            Cell(f"{each.expires:%Y-%m-%d}"),
            Cell(", ".join(f"{m}={r}" for m, r in each.models.items()) or "–"),
        ]
        for each in found.orders
    ]
    return table(columns, rows, width, colour)


def _roles(found: Inventory, width: int, colour: bool) -> list[str]:
    from edged.cli.columns import Cell, Column, clean, table

    columns = [Column("ROLE"), Column("VERSION", right=True), Column("UNTIL"), Column("SIGN"), Column("KEYS", least=10)]
    rows = []
    for role in found.roles:
        keys = ", ".join(f"{keyid[:8]} {'in ' + clean(place) if place else 'not here'}" for keyid, place in role.keys.items())
        until = f"{role.expires:%Y-%m-%d}" if role.expires else "–"
        sign = f"{role.threshold} of {len(role.keys)}"
        rows.append([Cell(role.role), Cell(str(role.version or "–")), Cell(until), Cell(sign), Cell(keys)])
    return table(columns, rows, width, colour)
