"""Write what was fitted into a release's `model.toml`; comments, order and form of all the rest stay."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from edged.atomic import write_atomic
from edged.errors import OperatorError, PublisherError, ReleaseFaults
from edged.models.manifest import MANIFEST, parse_manifest, read_manifest

Table = MutableMapping[str, Any]


def edit_manifest(folder: Path, change: Callable[[Table], None], begin: str = "") -> None:
    """Have `change` edit the tables of a release's `model.toml`, which is replaced at once, or not at all.

    What `change` puts in may be plain Python values; `inline` makes a list of tables that stands on lines of its own.
    Where there is none, it begins with the text `begin`, if that is given.
    Raises PublisherError as `read_manifest`, ReleaseFaults where the file would have faults, OperatorError
    `fit-missing` and `cannot-write`.
    """
    tomlkit = _tomlkit()
    path = folder / MANIFEST
    try:
        document = tomlkit.parse(begin if begin and not path.exists() else read_manifest(path).decode())
    except ValueError as error:  # of UTF-8 or of TOML
        raise PublisherError("manifest-unreadable", f"{path} is not TOML: {error}", "`edged pack` says where") from None
    change(document)
    changed = f"{tomlkit.dumps(document).rstrip()}\n".encode()
    _refuse_faults(changed, path)
    try:
        write_atomic(path, changed, path.stat().st_mode & 0o777 if path.exists() else 0o644)
    except OSError as error:
        raise OperatorError("cannot-write", f"{path} cannot be written: {error.strerror}", "check its owner and mode") from None


def inline(tables: list[dict[str, Any]]) -> Any:
    """Make a list of tables such as `{ use = "words", accept = 0.9 }`, each of which is written on a line of its own."""
    tomlkit = _tomlkit()
    listed = tomlkit.array().multiline(True)
    for values in tables:
        listed.append(inline_table(values))
    return listed


def inline_table(values: dict[str, Any]) -> Any:
    """Make a table such as `{ file = "golden.npz", atol = 0.1 }`, which stands on one line."""
    table = _tomlkit().inline_table()
    table.update(values)
    return table


def add_table(listed: Any, values: dict[str, Any]) -> None:
    """Add a table to those of a list, in the form that the list has: `[[…]]`, or `[{ … }, …]`."""
    tomlkit = _tomlkit()
    if isinstance(listed, tomlkit.items.Array):
        listed.append(inline_table(values))
        return
    table = tomlkit.table()
    table.update(values)
    # An empty line belongs to the table above it: the one that is last so far has one if anything follows.
    (table if listed[-1].as_string().endswith("\n\n") else listed[-1]).add(tomlkit.nl())
    listed.append(table)


def _tomlkit() -> Any:
    try:
        import tomlkit
    except ImportError:
        hint = "install it: pip install 'edged[fit]'"
        raise OperatorError("fit-missing", "editing model.toml needs the Python package tomlkit", hint) from None
    return tomlkit


def _refuse_faults(data: bytes, path: Path) -> None:
    document, _ = parse_manifest(data, str(path))
    if document.faults:
        raise ReleaseFaults(sorted(document.faults, key=lambda fault: fault.line), str(path))
