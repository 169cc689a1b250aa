"""Write `docs/configuration.md` from the schema: `python -m edged.config.describe > docs/configuration.md`."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from edged.config.schema import Config
from edged.config.words import bare, is_struct, metas, struct_arms, wanted

EXAMPLE = """\
[device]
fleet = "plant-a"
id = "press-7"                  # default: the host name, made to fit

[mqtt.main]
url = "mqtts://broker.plant:8883"
username = "press-7"
password_file = "/etc/edged/mqtt.password"

[[pipelines]]
name = "pump"
model = "pump-anomaly"
source = { type = "mqtt", topic = "plant/{line}/pump/{pump}/vib", qos = 1 }
decoder = { type = "json", channels = ["acc.x", "acc.y", "acc.z"], time = "ts", time_unit = "ms" }
outputs = [
    { type = "mqtt", topic = "edged/1/{fleet}/{device}/out/{pipeline}", format = "json", qos = 1, when = "always" },   # the default
]
deadline_ms = 500
class = "normal"
queue = { size = 1024, full = "drop-oldest" }

[spool]
max_mib = 256
full = "drop-oldest"
commit_ms = 200

[control]
socket = "/run/edged/control.sock"

[metrics]
listen = "127.0.0.1:9464"

[log]
level = "info"
format = "auto"                 # console on a terminal, JSON otherwise
"""

_INTRO = """\
# Configuration

One file, `edged.toml`, says where readings come from and where results go.
What belongs to a model (its window, its preprocessing, its labels, its thresholds) is not here: it travels with the model.
The format is [TOML](https://toml.io).

`edged check` reads the file and reports every fault at once, each with its line and what to write instead.
Nothing starts while there is a fault.

## Where the file is looked for

The first of these is taken:

1. what `--config` names
2. what the environment variable `EDGED_CONFIG` names
3. `edged.toml` in the current folder
4. `edged/edged.toml` in the user's configuration folder (`$XDG_CONFIG_HOME`, else `~/.config`)
5. `/etc/edged/edged.toml`

Paths in the file that do not begin with `/` are taken from the folder of the file.

## Keys from the environment

Every key can be set by a variable. It begins with `EDGED__`, and two underscores part the levels.
Capitals do not matter. A number is an index into a list, counted from 0.

| variable | key |
|---|---|
| `EDGED__MQTT__MAIN__URL=mqtt://localhost:1883` | `url` in `[mqtt.main]` |
| `EDGED__PIPELINES__0__MODEL=pump-anomaly` | `model` in the first `[[pipelines]]` |
| `EDGED__FLEET__GROUPS='["line-3"]'` | `groups` in `[fleet]` |

A value is read as TOML where it is TOML, else as text. A fault in it names the variable.

## An example

```toml
"""

_REFERENCE = """\
```

## Reference

A key that is needed has no default.
"""

_LABELS = """\
## Labels and stream keys

One topic can carry the readings of many machines. Each of them is a stream with windows of its own.
Labels tell the streams apart. They come from

- the topic: `plant/{line}/pump/{pump}/vib` takes in `plant/a/pump/7/vib` and gives the labels `line` = `a` and `pump` = `7`;
- the message: the `labels` of a `json`, `cbor` or `csv` decoder, and the tags of `influx`.

The labels together are the stream key, which stands in each result: `"key": "line=a/pump=7"`.
A name in a topic fills a whole level. It has letters, digits and `_`, and does not begin with a digit.
`fleet`, `device`, `pipeline` and `model` are taken.
A level written `+` may be anything and gives no label: the topics that differ only there are one stream.
`#` is not taken, because a stream key has a fixed number of labels.

Labels may stand in the topic of an output: `plant/{line}/pump/{pump}/state`.
An output must not write to a topic that a source of the same broker reads: results would come back as readings.
To let one pipeline read the results of another, use a source of type `pipeline`.

`max_streams` limits how many streams a pipeline holds at once.
Beyond it, the one that was silent longest is let go, with its unfinished window.
"""

_SERIAL = """\
## Serial ports

```toml
source = { type = "serial", port = "/dev/edged/A1B2" }
outputs = [{ type = "mqtt" }, { type = "serial", when = "change" }]
```

A port is named by its whole path. `/dev/ttyACM0` may be another board after the next start; the names under `/dev/edged` stay
with the board, and so do those under `/dev/serial/by-id`. The port need not be there: it is opened when the board is plugged in.

Several pipelines may read one port. It has one `baud` and one `framing`, so they must say the same of it (`serial-clash`).
A pipeline with another source names its decoder; the default is for serial sources alone.

A `serial` output goes to the firmware on the pipeline's own port, or on one that another pipeline reads (`no-serial-source`).
A sketch that prints lines takes no results: an output to a port with `framing = "lines"` is refused (`lines-take-no-results`).
"""


def describe() -> str:
    """Give the whole page."""
    return "\n".join([_INTRO + EXAMPLE + _REFERENCE, *_tables(), _LABELS, _SERIAL])


def _tables() -> Iterator[str]:
    for field in structs.fields(Config):
        type_ = bare(field.type)
        item = typing.get_args(type_)[-1] if typing.get_args(type_) else type_
        header = {list: f"[[{field.name}]]", dict: f"[{field.name}.NAME]"}.get(typing.get_origin(type_), f"[{field.name}]")
        yield from tables(f"### `{header}`", item)


def tables(heading: str, struct: Any, tag: str = "") -> Iterator[str]:
    """Give the table of a struct, then those of the tables inside it."""
    rows = [f'| `{struct.__struct_config__.tag_field}` | `"{tag}"` | | |'] if tag else []
    rows += [_row(field) for field in structs.fields(struct)]
    head = "| key | value | default | |\n|---|---|---|---|\n"
    yield f"{heading}\n\n{inspect.getdoc(struct)}\n\n{head}" + "\n".join(rows) + "\n"
    for field in structs.fields(struct):
        inner = _inner(field.type)
        for arm in inner:
            tag = arm.__struct_config__.tag if len(inner) > 1 else ""
            kind = f" of {arm.__struct_config__.tag_field} `{tag}`" if tag else ""
            yield from tables(f"#### `{field.encode_name}`{kind}", arm, tag)


def _inner(annotation: Any) -> list[Any]:
    """Give the structs that a key holds, directly or in a list."""
    type_ = bare(annotation)
    if typing.get_origin(type_) is list:
        type_ = typing.get_args(type_)[0]
    return [bare(type_)] if is_struct(bare(type_)) else struct_arms(type_)


def _row(field: structs.FieldInfo) -> str:
    about = " ".join(meta.description for meta in metas(field.type) if meta.description)
    return "| " + " | ".join([f"`{field.encode_name}`", wanted(field.type), _default(field), about]) + " |"


def _default(field: structs.FieldInfo) -> str:
    if field.required:
        return "needed"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "left out" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """Write a default as TOML, with the keys of a table only where they are not its own defaults."""
    if isinstance(value, list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        return f'{{ type = "{tag}" }}' if tag else "{}"
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    sys.stdout.write(describe())
