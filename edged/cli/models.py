"""`edged models`: the releases on this board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edged.cli.settings import config_option, json_option

if TYPE_CHECKING:
    from edged.models.store import Installed, Store

EPILOG = """\b
Examples:
  edged models list
  edged models install models/pump-anomaly
  edged models show pump-anomaly
  edged models remove pump-anomaly 13"""

MAX_WIDTH = 100

state_option = click.option("--state-dir", metavar="DIR", help="State folder. Default: the configuration's.")


@click.group("models", epilog=EPILOG)
def command() -> None:
    """List, show, install and remove models."""


@command.command("list", epilog="\b\nExample:\n  edged models list --json | jq '.[].name'")
@config_option
@state_option
@json_option
def list_(config: str | None, state_dir: str | None, as_json: bool) -> None:
    """List the releases on this board."""
    found = _store(config, state_dir).list()
    if as_json:
        _echo_json([_as_dict(installed) for installed in found])
    elif found:
        click.echo("\n".join(_table(found)))
    else:
        click.echo("no models; put one here with `edged models install DIR`")


@command.command("install", epilog="\b\nExample:\n  edged pack models/pump && edged models install models/pump")
@click.argument("folder", metavar="DIR")
@config_option
@state_option
@json_option
def install(folder: str, config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Install a packed release from a folder, and make it the active one."""
    from pathlib import Path

    installed = _store(config, state_dir).install(Path(folder))
    if as_json:
        _echo_json(_as_dict(installed))
    else:
        state = "active" if installed.active else "installed; a newer release is active"
        click.echo(f"{installed.name} {installed.release} is {state}")


@command.command("show", epilog="\b\nExample:\n  edged models show pump-anomaly")
@click.argument("name")
@config_option
@state_option
@json_option
def show(name: str, config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Show the active release of a model: where it comes from, what goes in and out, what it costs."""
    store = _store(config, state_dir)
    release, packed = store.active(name), store.packed(name)
    if as_json:
        _echo_json({"manifest": release.manifest, "digest": release.digest, "files": packed.files, "costs": packed.costs})
        return
    import os
    import sys

    from edged.cli.release import release_lines
    from edged.cli.terminal import size, wants_colour

    width, _ = size(sys.stdout, MAX_WIDTH)
    click.echo("\n".join(release_lines(release.manifest, packed.costs, width, wants_colour(sys.stdout, os.environ))), color=True)


@command.command("remove", epilog="\b\nExample:\n  edged models remove pump-anomaly 13")
@click.argument("name")
@click.argument("release", type=int)
@config_option
@state_option
@json_option
def remove(name: str, release: int, config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Remove a release that is not the active one."""
    _store(config, state_dir).remove(name, release)
    if as_json:
        _echo_json({"removed": {"name": name, "release": release}})
    else:
        click.echo(f"{name} {release} is removed")


def _store(config: str | None, state_dir: str | None) -> Store:
    """Open the store of `state_dir`, else of the configuration, else of a board that has none yet."""
    import os
    from pathlib import Path

    from edged.cli.settings import load
    from edged.config.defaults import SYSTEM_CONFIG, Machine, default_state_dir
    from edged.errors import OperatorError
    from edged.models.store import Store

    if state_dir:
        return Store(Path(state_dir))
    try:
        return Store(load(config).state_dir)
    except OperatorError as error:
        if error.code != "config-not-found" or config or os.environ.get("EDGED_CONFIG"):
            raise
        return Store(default_state_dir(Path("/") / SYSTEM_CONFIG, os.environ, Machine()))


def _echo_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(value))


def _as_dict(installed: Installed) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(installed), "folder": str(installed.folder)}


def _table(found: tuple[Installed, ...]) -> list[str]:
    import os
    import sys

    from edged.cli.columns import Cell, Column, clean, table
    from edged.cli.terminal import size, wants_colour
    from edged.cli.wording import amount

    columns = (
        Column("MODEL", least=8),
        Column("RELEASE", right=True),
        Column("VERSION", least=7),
        Column("TASK"),
        Column("STATE"),
        Column("KiB", right=True),
        Column("VARIANTS", least=8),
    )
    rows = [
        [
            Cell(each.name),
            Cell(str(each.release)),
            Cell(clean(each.version)),
            Cell(each.task),
            Cell("active" if each.active else "", "green"),
            Cell(amount(each.size / 1024)),
            Cell(clean(", ".join(each.variants))),
        ]
        for each in found
    ]
    width, _ = size(sys.stdout, MAX_WIDTH)
    return table(columns, rows, width, wants_colour(sys.stdout, os.environ))
