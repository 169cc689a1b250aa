"""`edged fleet init`: keys and an empty repository, in one command."""

from __future__ import annotations

import click

from edged.cli.fleet.options import dir_argument, echo_json, new_passphrase, require_signing
from edged.cli.settings import json_option

EPILOG = """\b
Examples:
  edged fleet init fleet --fleet plant-a
  edged fleet init fleet --fleet plant-a --passphrase
  edged fleet init fleet --fleet plant-a --root-keys 3 --root-threshold 2

Makes a key for each role: root says which keys hold, targets signs releases, snapshot and timestamp say what is
newest, director signs orders. Root and targets are needed now and then: move their files to a medium
that you keep apart, and name it with --keys when they are. Without --passphrase, a passphrase for these two
is taken from EDGED_FLEET_PASSPHRASE where that is set. Take six words or more: who has the file can guess fast."""


@click.command("init", epilog=EPILOG)
@dir_argument
@click.option("--fleet", metavar="NAME", required=True, help="Name of the fleet, as in [device] of the boards' configuration.")
@click.option("--root-keys", metavar="N", type=click.IntRange(1, 16), default=1, help="How many root keys to make. Default: 1.")
@click.option("--root-threshold", metavar="M", type=click.IntRange(1, 16), default=1, help="How many of them must sign. Default: 1.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase for the keys of root and targets.")
@json_option
def command(folder: str, fleet: str, root_keys: int, root_threshold: int, passphrase: bool, as_json: bool) -> None:
    """Make the keys and the repository of a fleet in DIR."""
    import re
    from pathlib import Path

    from edged.config.schema import NAME, NAME_WORDS
    from edged.errors import OperatorError

    if not re.match(NAME, fleet):
        raise OperatorError("bad-name", f"{fleet!r} is no name of a fleet", f"write {NAME_WORDS}")
    require_signing()
    from edged.clock import SystemClock
    from edged.publisher.repository import create

    words = new_passphrase(passphrase)
    repository = create(Path(folder), fleet, SystemClock(), root_keys=root_keys, root_threshold=root_threshold, passphrase=words)
    if as_json:
        echo_json({"path": folder, "fleet": fleet, "root": str(repository.layout.metadata / "1.root.json"), "protected": bool(words)})
        return
    keys = repository.layout.keys
    safe = "those of root and targets need the passphrase" if words else "they have no passphrase: who reads them can sign"
    click.echo(
        f"made the repository of fleet {fleet} in {folder}\n"
        f"keys are in {keys}; {safe}\n"
        f"move {keys}/root-*.pem and {keys}/targets-*.pem to a medium that you keep apart, and copy them\n"
        "\n"
        "On every board:\n"
        f"  copy {repository.layout.metadata / '1.root.json'} to /etc/edged/root.json\n"
        '  and write into its edged.toml:  [fleet]  root = "/etc/edged/root.json"\n'
        "\n"
        "Next:\n"
        f"  edged fleet add {folder} RELEASE\n"
        f"  edged fleet assign {folder} --device ID MODEL=RELEASE\n"
        f"  edged fleet serve {folder} --broker URL"
    )
