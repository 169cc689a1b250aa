"""`edged fleet rotate`: a role gets new keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import dir_argument, echo_json, keys_option, new_passphrase, open_repository
from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.publisher.rotation import Rotated

EPILOG = """\b
Examples:
  edged fleet rotate fleet timestamp --keys /media/stick
  edged fleet rotate fleet root --keys /media/stick --passphrase
  edged fleet rotate fleet snapshot --keys /media/stick --compromised

Needs the keys of root; for targets, snapshot and timestamp also theirs; for director those of targets. Boards follow
from the old root to the new one by themselves, however late they come. Old key files are renamed
.retired. A root that ends soon is renewed by rotating it."""


@click.command("rotate", epilog=EPILOG)
@dir_argument
@click.argument("role", type=click.Choice(["root", "targets", "snapshot", "timestamp", "director"]))
@click.option("--compromised", is_flag=True, help="Somebody else may have had the old key: also say what else to do.")
@click.option(
    "--passphrase", is_flag=True, help="Ask for a passphrase for the new key of root or targets, also where the old one had none."
)
@keys_option
@json_option
def command(folder: str, role: str, compromised: bool, passphrase: bool, keys: tuple[str, ...], as_json: bool) -> None:
    """Replace the keys of a ROLE in the repository in DIR by new ones."""
    repository = open_repository(folder, keys)
    from edged.publisher.repository import OFFLINE
    from edged.publisher.rotation import rotate

    protected = passphrase or repository.keyring.is_protected(role, repository.stand().keys_of(role)[0])
    words = new_passphrase(protected) if role in OFFLINE else ""
    rotated = rotate(repository, role, words)
    if as_json:
        echo_json(
            {
                "role": role,
                "made": [str(path) for path in rotated.made],
                "retired": [str(path) for path in rotated.retired],
                "elsewhere": rotated.elsewhere,
                "root": rotated.root,
                "signed": rotated.signed,
            }
        )
        return
    click.echo("\n".join([*_lines(rotated, folder, bool(words)), *(_aftermath(role, folder, rotated.root) if compromised else [])]))


def _lines(rotated: Rotated, folder: str, protected: bool) -> list[str]:
    safe = "with the passphrase" if protected else "without a passphrase"
    lines = [f"new key of {rotated.role}, {safe}: {path}" for path in rotated.made]
    lines += [f"old key: {path}; destroy it, and its copies" for path in rotated.retired]
    lines += [f"old key {name} is not here: destroy it where it is" for name in rotated.elsewhere]
    lines += [f"signed anew: the orders to {', '.join(rotated.signed)}"] if rotated.signed else []
    lines += ["move the new key to the medium that you keep apart"] if rotated.role in ("root", "targets") else []
    return [*lines, f"publish it: edged fleet publish {folder} --broker URL"]


_ONLINE = [
    "Versions far ahead of yours may have been signed: boards begin to count anew under the new key, by themselves.",
    "`edged fleet watch` shows boards that still do not believe you.",
]


def _aftermath(role: str, folder: str, root: int) -> list[str]:
    """Say what else to do when somebody else may have signed."""
    common = [
        "",
        "Somebody else may have signed with the old key. Publish now: boards stop to believe it when they have the new metadata.",
        "Change the passwords and certificates of the machine and the broker that were entered.",
    ]
    theirs = {
        "root": [
            "Rotate all other roles too: who had root could have named keys of his own for each.",
            "Boards that were given another root meanwhile refuse yours, and new boards would believe the thief's:",
            f"when all roles are rotated, copy the newest root, now {folder}/public/metadata/{root}.root.json, to them as root.json,",
            "and restart edged there.",
        ],
        "targets": [f"Look whether every release is yours: edged fleet list {folder}. Remove those that are not, and give other orders."],
        "snapshot": _ONLINE,
        "timestamp": _ONLINE,
        "director": ["Orders that the thief signed are no longer believed; yours count again, whatever numbers he used."],
    }
    return [*common, *theirs[role]]
