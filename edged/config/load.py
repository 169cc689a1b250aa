"""Find the configuration file, read it with the environment over it, and report all its faults at once.

The same few steps each time: find, read, put the environment over it, check the form, check
the meaning, fill in what depends on the machine. Imports nothing heavy: `edged status` goes
through here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.config import environment
from edged.config.check import Document
from edged.config.defaults import SYSTEM_CONFIG, Machine, default_socket, default_state_dir, fit_name, user_folder
from edged.config.files import resolve
from edged.config.meaning import check_meaning
from edged.config.schema import Config
from edged.errors import ConfigFaults, Fault, OperatorError

__all__ = ["Loaded", "Machine", "find_config", "load_config", "socket_of"]

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Loaded:
    """A configuration without faults.

    Paths in `config` are absolute. `state_dir`, `socket` and `device_id` are what the file
    says or, where it says nothing, the default for this user and machine.
    """

    config: Config
    path: Path
    state_dir: Path
    socket: Path
    device_id: str


def find_config(explicit: str | None, environ: Mapping[str, str], cwd: Path, root: Path = Path("/")) -> Path:
    """Give the file to read: `--config`, EDGED_CONFIG, ./edged.toml, the user's, the system's.

    What is asked for by name is taken alone. Raises OperatorError(`config-not-found`), which
    lists the places looked at.
    """
    user = user_folder(environ, "XDG_CONFIG_HOME", ".config")
    if asked := explicit or environ.get("EDGED_CONFIG"):
        places = [cwd / asked]
    else:
        places = [cwd / "edged.toml", *([user / "edged.toml"] if user else []), root / SYSTEM_CONFIG]
    for place in places:
        if os.path.lexists(place):
            return place
    listed = ", ".join(map(str, places))
    hint = "write one there (the least is a `[[pipelines]]` with name, model, source and decoder), or see `edged demo` run without one"
    raise OperatorError("config-not-found", f"there is no configuration; looked for {listed}", hint)


def load_config(path: Path, environ: Mapping[str, str], machine: Machine | None = None) -> Loaded:
    """Read and check the configuration at `path`; passwords are not read.

    Raises ConfigFaults with every fault of the file and of the `EDGED__…` variables, in the
    order of lines; OperatorError(`config-not-found`, `config-unreadable`, `config-too-large`)
    where there is no text to judge.
    """
    path, machine = path.absolute(), machine or Machine()
    document, draft = _read(path, environ)
    device_id = (draft and draft.device and draft.device.id) or fit_name(machine.host)
    if draft is not None:
        check_meaning(draft, device_id, document)
    if draft is None or document.faults:
        raise ConfigFaults(sorted(document.faults, key=lambda fault: _order(fault, document)), str(path))
    return Loaded(
        config=draft,
        path=path,
        state_dir=Path(draft.device.state_dir) if draft.device.state_dir else default_state_dir(path, environ, machine),
        socket=_socket(draft, path, environ, machine),
        device_id=device_id,
    )


def socket_of(path: Path, environ: Mapping[str, str], machine: Machine | None = None) -> Path:
    """Give the control socket that the file at `path` means, also where the file has faults.

    `edged status` must reach a running daemon whose file was broken after it started.
    Raises OperatorError as `load_config` does where there is no text.
    """
    path, machine = path.absolute(), machine or Machine()
    _, draft = _read(path, environ)
    return _socket(draft, path, environ, machine)


def _socket(draft: Config | None, path: Path, environ: Mapping[str, str], machine: Machine) -> Path:
    given = draft.control.socket if draft and draft.control else None
    return Path(given) if given else default_socket(path, environ, machine)


def _read(path: Path, environ: Mapping[str, str]) -> tuple[Document, Config | None]:
    """Give the document, its faults of form noted in it, and a draft with resolved paths."""
    data = _bytes_of(path)
    try:
        document = Document(str(path), data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        document = Document(str(path), "")
        line = data.count(b"\n", 0, error.start) + 1
        document.faults.append(Fault(str(path), line, "", "not-utf8", "is not UTF-8 text", "save the file as UTF-8"))
    if document.faults:
        return document, None
    environment.apply(environ, document)
    draft = document.draft(Config)
    return document, draft and resolve(draft, path.parent)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise OperatorError("config-not-found", f"there is no {path}", "mend the path") from None
    except IsADirectoryError:
        raise OperatorError("config-unreadable", f"{path} is a folder", f"name the file: {path / 'edged.toml'}") from None
    except PermissionError:
        raise OperatorError(
            "config-unreadable", f"this user may not read {path}", "run it as a user who may, or change the file's mode"
        ) from None
    except (OSError, ValueError) as error:
        raise OperatorError(
            "config-unreadable", f"{path} cannot be read: {getattr(error, 'strerror', None) or error}", "mend the path"
        ) from None
    if len(data) > MAX_BYTES:
        raise OperatorError("config-too-large", f"{path} is longer than {MAX_BYTES >> 10} KiB", "this is not a configuration of edged")
    return data


def _order(fault: Fault, document: Document) -> tuple[bool, int, str]:
    return fault.file != document.file, fault.line, fault.key
