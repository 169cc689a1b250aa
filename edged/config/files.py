"""The files and folders that a configuration names: where they are, and whether they are there.

Only what is missing for certain is a fault. What this user may not see may well be there for
the user that the daemon runs as.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, structs

from edged.config.check import Document
from edged.config.places import Path as KeyPath
from edged.config.schema import Config, FileOutput, FileSource, Fleet, Output, Pipeline, SerialOutput, SerialSource, Source
from edged.config.words import show

T = TypeVar("T", bound=Struct)
E = TypeVar("E", Source, Output)

_BROKER_FILES = ("password_file", "ca_file", "cert_file", "key_file")


def resolve(config: Config, folder: Path) -> Config:
    """Give the configuration with each relative path made absolute, taken from `folder`.

    Parts that are None, in a draft, stay so.
    """
    return structs.replace(
        config,
        device=_at(config.device, folder, "state_dir"),
        mqtt=config.mqtt and {name: _at(broker, folder, *_BROKER_FILES) for name, broker in config.mqtt.items()},
        fleet=_resolve_fleet(config.fleet, folder),
        control=_at(config.control, folder, "socket"),
        pipelines=config.pipelines and [_resolve_pipeline(each, folder) for each in config.pipelines],
    )


def _resolve_fleet(fleet: Fleet, folder: Path) -> Fleet:
    if fleet is None or fleet.repositories is None:
        return _at(fleet, folder, "root")
    return structs.replace(_at(fleet, folder, "root"), repositories=[_repository(each, folder) for each in fleet.repositories])


def _repository(repository: str, folder: Path) -> str:
    is_place = repository and repository != "mqtt" and "://" not in repository
    return str(folder / repository) if is_place else repository


def _resolve_pipeline(pipeline: Pipeline, folder: Path) -> Pipeline:
    if pipeline is None:
        return pipeline
    source = _resolve_end(pipeline.source, folder)
    outputs = pipeline.outputs and [_resolve_end(each, folder) for each in pipeline.outputs]
    return structs.replace(_at(pipeline, folder, "model_dir"), source=source, outputs=outputs)


def _resolve_end(end: E, folder: Path) -> E:
    if isinstance(end, (SerialSource, SerialOutput)):
        # One port has one name from here on. A relative one stays as it is: no port lies beside the configuration.
        return structs.replace(end, port=_plain(end.port)) if end.port and end.port.startswith("/") and "\0" not in end.port else end
    return _at(end, folder, "path") if isinstance(end, (FileSource, FileOutput)) else end


def _plain(path: str) -> str:
    return "/" + os.path.normpath(path).lstrip("/")  # it keeps two slashes at the beginning


def _at(table: T, folder: Path, *keys: str) -> T:
    if table is None:
        return table
    return structs.replace(table, **{key: str(folder / getattr(table, key)) for key in keys if getattr(table, key)})


def check_files(config: Config, document: Document) -> None:
    """Note each file or folder that `config`, a resolved draft, needs and that is not there."""
    for place, path in _needed_files(config):
        if problem := _missing(path, stat.S_ISREG, "a file"):
            document.fault(place, "file-missing", problem, "put it there, or mend the path")
    for i, pipeline in enumerate(config.pipelines or []):
        if pipeline is None:
            continue
        if pipeline.model_dir and (problem := _missing(pipeline.model_dir, stat.S_ISDIR, "a folder")):
            document.fault(("pipelines", i, "model_dir"), "file-missing", problem, "give a folder with a model.toml")
        if isinstance(pipeline.source, FileSource) and (problem := _no_input(pipeline.source)):
            hint = "mend the path; with `follow = true` the file may come later"
            document.fault(("pipelines", i, "source", "path"), "file-missing", problem, hint)
        for k, output in enumerate(pipeline.outputs or []):
            if isinstance(output, FileOutput) and (problem := _no_room(output.path)):
                document.fault(("pipelines", i, "outputs", k, "path"), "file-missing", problem, "name a file in a folder that is there")


def _needed_files(config: Config) -> Iterator[tuple[KeyPath, str]]:
    for name, broker in (config.mqtt or {}).items():
        for key in _BROKER_FILES:
            if broker is not None and getattr(broker, key):
                yield ("mqtt", name, key), getattr(broker, key)
    if config.fleet is not None and config.fleet.root:
        yield ("fleet", "root"), config.fleet.root


def _no_input(source: FileSource) -> str:
    if source.path is None:
        return ""
    if not source.path.strip() or "\0" in source.path:
        return "is not a path"
    if source.follow:
        return ""
    if "*" not in source.path:
        return "" if _is_readable_kind(source.path) else _missing(source.path, stat.S_ISREG, "a file")
    import glob  # late: few files use it

    return "" if next(glob.iglob(source.path), None) else f"{show(source.path)}: no file has such a name"


def _is_readable_kind(path: str) -> bool:
    """A pipe or a device can be read line by line as well."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _no_room(path: str | None) -> str:
    if path is None:
        return ""
    if problem := _missing(os.path.dirname(path), stat.S_ISDIR, "a folder"):
        return problem
    return f"{show(path)} is a folder" if os.path.isdir(path) else ""


def _missing(path: str, is_kind: Callable[[int], bool], noun: str) -> str:
    """Say that there is no such file, or nothing where there is one or nobody can tell."""
    if path.startswith("/run/credentials/"):  # systemd puts them there while the service runs, and for it alone
        return ""
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # a NUL
        return "is not a path"
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return f"{show(path)} does not exist"
        return f"{show(path)} is not a path" if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else ""
    return "" if is_kind(mode) else f"{show(path)} is not {noun}"
