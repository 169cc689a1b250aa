"""The configuration that the demo runs, and where it is kept for its user to change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec

from edged.atomic import write_atomic
from edged.config.defaults import user_folder
from edged.errors import BoardError

RELEASE = Path(__file__).parent / "har"
FLEET = DEVICE = "demo"
PIPELINE = "activity"
HALL = "hall-1"


def topic_of(sensor: str) -> str:
    """Give the topic that a sensor of the demo sends to."""
    return f"demo/{HALL}/{sensor}/acc"


def sensors_text() -> str:
    """Give the configuration of the demo of sensors: one pipeline on an embedded broker."""
    return f"""\
# Made by `edged demo`. To use it with your own broker and sensors, change `url`, and `topic` if
# your sensors send elsewhere. A sensor sends {{"ts":1763784741123,"acc":{{"x":-12,"y":1061,"z":996}}}},
# milliseconds since 1970 and mg, 26 times a second. `edged check --config THIS-FILE` checks it.

[device]
fleet = "{FLEET}"
id = "{DEVICE}"

[mqtt.main]
url = "embedded"

[[pipelines]]
name = "{PIPELINE}"
model_dir = {quoted(RELEASE)}
source = {{ type = "mqtt", topic = "{topic_of("{sensor}").replace(HALL, "{hall}")}" }}
decoder = {{ type = "json", channels = ["acc.x", "acc.y", "acc.z"], time = "ts", time_unit = "ms" }}
# Results go to edged/1/{FLEET}/{DEVICE}/out/{PIPELINE}: that is the default of `outputs`.
"""


def keep(environ: Mapping[str, str], name: str, text: str) -> Path:
    """Write a configuration into the user's state folder as `name`.toml and give its path.

    A file there that its user has changed is left alone: the new one is `name`-2.toml, and so
    on. Raises BoardError(`demo-folder`).
    """
    with complaining(folder := folder_of(environ)):
        folder.mkdir(parents=True, exist_ok=True)
        return _kept(folder, name, text.encode())


def folder_of(environ: Mapping[str, str]) -> Path:
    """Give the folder in which the demos keep what they leave to their user."""
    return (user_folder(environ, "XDG_STATE_HOME", ".local/state") or Path(tempfile.gettempdir(), f"edged-{os.getuid()}")) / "demo"


@contextmanager
def complaining(folder: Path) -> Iterator[None]:
    """Raise BoardError(`demo-folder`) where files cannot be written there."""
    try:
        yield
    except OSError as error:
        where = f"cannot keep the demo's files in {folder}: {error.strerror or error}"
        raise BoardError("demo-folder", where, "set XDG_STATE_HOME to a folder that you may write in") from None


def _kept(folder: Path, name: str, data: bytes) -> Path:
    names = (f"{name}.toml" if number == 1 else f"{name}-{number}.toml" for number in count(1))
    path = next(path for path in map(folder.joinpath, names) if not path.exists() or path.read_bytes() == data)
    if not path.exists():
        write_atomic(path, data)
    return path


def quoted(path: Path) -> str:
    """Write a path as a TOML string; JSON's escapes are among TOML's."""
    return msgspec.json.encode(str(path)).decode()
