"""The serial ports that are there, for who does not know yet which one it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from edged.cli.columns import Cell, Column, clean, table, wrap_words
from edged.cli.terminal import size, wants_colour

if TYPE_CHECKING:
    from firmware_bridge.port import FoundPort

MAX_WIDTH = 100
_COLUMNS = (Column("PORT", least=12), Column("NAME THAT STAYS", least=20), Column("WHAT IT IS", least=12))


def show(ports: Sequence[FoundPort], as_json: bool) -> None:
    """Print the ports; as JSON an object for each."""
    if as_json:
        for port in ports:
            click.echo(msgspec.json.encode({"port": port.path, "stable": port.stable or None, "description": port.description or None}))
        return
    width, _ = size(sys.stdout, MAX_WIDTH)
    click.echo("\n".join(listed(ports, width, wants_colour(sys.stdout, os.environ))), color=True)


def listed(ports: Sequence[FoundPort], width: int, colour: bool) -> list[str]:
    """Give the lines for people: a table, and how to go on."""
    if not ports:
        return wrap_words(
            "no serial port is here: plug the microcontroller in with a cable that carries data; `sudo dmesg` says why, at its end",
            width,
        )
    rows = [[Cell(clean(port.path)), Cell(clean(port.stable) or "–"), Cell(clean(port.description) or "–")] for port in ports]
    best = next((port for port in ports if port.stable), ports[0])
    return [*table(_COLUMNS, rows, width, colour), "", f"Go on with: edged serial monitor {clean(best.stable or best.path)}"]


def stable_name(path: str, ports: Sequence[FoundPort]) -> str:
    """Give the name of a port that stays over a replug, for a configuration; where there is none the path, from the root."""
    real = os.path.realpath(path)
    return next((port.stable for port in ports if port.stable and os.path.realpath(port.path) == real), os.path.abspath(path))
