"""The configuration as frozen structs: names, units, defaults, bounds.

`docs/configuration.md` is made from this module: the docstring of a struct introduces its
table, the text in `Meta(description=…)` describes a key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

# \Z and not $, which also stands before a last newline.
NAME = r"^[a-z0-9][a-z0-9_-]{0,63}\Z"
NAME_WORDS = "lower-case letters, digits, - and _, at most 64, beginning with a letter or digit"
Name = Annotated[str, Meta(pattern=NAME, extra={"words": NAME_WORDS})]


def _about(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables share."""


class Device(_Base, frozen=True):
    """Which board this is."""

    fleet: Annotated[Name, _about("the fleet, part of every topic of edged's own")] = "local"
    id: Annotated[str, _about(f"this board, in {NAME_WORDS}; empty: the host name, made to fit")] = ""
    profile: Annotated[str, _about('`"auto"`, or the name of a device profile')] = "auto"
    state_dir: Annotated[
        str, _about("what must survive a restart; empty: /var/lib/edged, or the user's state folder without rights to it")
    ] = ""
    memory_budget_mib: Annotated[int, _about("memory for models, MiB; 0: from the profile", ge=0)] = 0


class Broker(_Base, frozen=True):
    """An MQTT broker. `[mqtt.main]` serves the board's own topics; sources and outputs may name others."""

    url: Annotated[str, _about('`mqtt://`, `mqtts://`, `ws://` or `wss://` host:port, or `"embedded"`: a broker of our own on loopback')]
    version: Annotated[Literal["auto", "5", "3.1.1"], _about("MQTT version; auto: what the broker speaks")] = "auto"
    username: Annotated[str, _about("user name; empty: none")] = ""
    password_file: Annotated[str, _about("file whose first line is the password")] = ""
    ca_file: Annotated[str, _about("certificates to trust; empty: the system's")] = ""
    cert_file: Annotated[str, _about("this board's certificate, for mutual TLS")] = ""
    key_file: Annotated[str, _about("the key of that certificate")] = ""
    keepalive_s: Annotated[int, _about("seconds between signs of life", ge=5, le=3600)] = 60


class Queue(_Base, frozen=True):
    """Between a source and its pipeline."""

    size: Annotated[int, _about("messages", ge=1, le=1_000_000)] = 1024
    full: Annotated[
        Literal["block", "drop-oldest", "drop-newest", "latest"],
        _about("what happens when it is full; `latest` keeps only the newest message of each topic"),
    ] = "drop-oldest"


class MqttSource(_Base, frozen=True, tag_field="type", tag="mqtt"):
    """Messages from a broker."""

    topic: Annotated[
        str, _about("topic; `{name}` stands for one level and becomes a label and part of the stream key; `+` for one level without a name")
    ]
    qos: Annotated[Literal[0, 1], _about("0: at most once; 1: at least once")] = 1
    broker: Annotated[Name, _about("a name under `[mqtt]`")] = "main"


class FileSource(_Base, frozen=True, tag_field="type", tag="file"):
    """Lines of a file, each one message."""

    path: Annotated[str, _about("the file; several with `*`")]
    follow: Annotated[bool, _about("go on with what is appended, also after rotation")] = False


class StdinSource(_Base, frozen=True, tag_field="type", tag="stdin"):
    """Lines of standard input, each one message."""


class SerialSource(_Base, frozen=True, tag_field="type", tag="serial"):
    """A microcontroller on a serial line: frames of the bridge protocol, which say what they hold, or lines as sketches print them.

    The decoder may be left out. Lines have the model's channels then, by name where there are names, else in their order.
    """

    port: Annotated[str, _about("the port, best by a name that stays: `/dev/edged/SERIAL`")]
    baud: Annotated[int, _about("bits a second, as the firmware has it; of no meaning on USB itself", ge=50, le=4_000_000)] = 115_200
    framing: Annotated[Literal["auto", "framed", "lines"], _about("what comes: frames, or lines; auto: by what comes")] = "auto"


class PipelineSource(_Base, frozen=True, tag_field="type", tag="pipeline"):
    """The results of another pipeline, as JSON."""

    name: Annotated[Name, _about("the other pipeline")]
    when: Annotated[Literal["always", "change", "alarm"], _about("which of its results")] = "always"


class JsonDecoder(_Base, frozen=True, tag_field="type", tag="json"):
    """JSON objects.

    A channel is a dotted path to a number, or to an array: many readings in one message. A list of objects is many readings too.
    """

    channels: Annotated[list[str], Meta(description="paths, in the order of the model's channels", min_length=1)]
    time: Annotated[str, _about("path of the event time; empty: arrival time")] = ""
    time_unit: Annotated[Literal["s", "ms", "us", "ns", "iso"], _about("unit of the event time")] = "ms"
    labels: Annotated[list[str], _about("paths whose text becomes a label and part of the stream key")] = []


class CborDecoder(JsonDecoder, frozen=True, tag_field="type", tag="cbor"):
    """CBOR maps, with the same keys as `json`."""


class CsvDecoder(_Base, frozen=True, tag_field="type", tag="csv"):
    """Lines of numbers. A header line is taken as column names; without one, columns are the time (if any), then the channels."""

    channels: Annotated[list[str], Meta(description="column names, in the order of the model's channels", min_length=1)]
    columns: Annotated[list[str], _about("names of all columns where the data has no header line")] = []
    separator: Annotated[str, Meta(description="between columns", min_length=1, max_length=1)] = ","
    time: Annotated[str, _about("column of the event time; empty: arrival time")] = ""
    time_unit: Annotated[Literal["s", "ms", "us", "ns", "iso"], _about("unit of the event time")] = "ms"
    labels: Annotated[list[str], _about("columns whose text becomes a label and part of the stream key")] = []


class PackedDecoder(_Base, frozen=True, tag_field="type", tag="packed"):
    """Binary records of one fixed layout, one or many in a message."""

    layout: Annotated[str, _about("as in Python's struct: byte order, then a letter a field, such as `<hhh`")]
    channels: Annotated[list[str], Meta(description="names of the fields that are channels", min_length=1)]
    fields: Annotated[list[str], _about("names of all fields; default: the time (if any), then the channels")] = []
    scale: Annotated[float | list[float], _about("factor from the stored number to the reading; one, or one a channel")] = 1.0
    time: Annotated[str, _about("field of the event time; empty: arrival time")] = ""
    time_unit: Annotated[Literal["s", "ms", "us", "ns"], _about("unit of the event time")] = "ms"


class InfluxDecoder(_Base, frozen=True, tag_field="type", tag="influx"):
    """InfluxDB line protocol; tags become labels and part of the stream key."""

    channels: Annotated[list[str], Meta(description="field names, in the order of the model's channels", min_length=1)]
    measurement: Annotated[str, _about("take only this measurement; empty: all")] = ""
    time_unit: Annotated[Literal["s", "ms", "us", "ns"], _about("unit of the timestamp")] = "ns"


class TextDecoder(_Base, frozen=True, tag_field="type", tag="text"):
    """Each message is one text, for models that take text; or JSON of which the model's release makes one, as its `render` says."""

    encoding: Annotated[Literal["utf-8", "latin-1"], _about("how the bytes are read")] = "utf-8"


class BridgeDecoder(_Base, frozen=True, tag_field="type", tag="bridge"):
    """What a serial line gives: a frame says what it holds; a line's columns are told by their names, or taken in the model's order."""


Format = Literal["json", "cloudevents", "influx"]
When = Literal["always", "change", "alarm"]

_WHEN = _about("`change`: label or alarm changed; `alarm`: while the alarm is on")
_FORMAT = _about("how a result is written")


class MqttOutput(_Base, frozen=True, tag_field="type", tag="mqtt"):
    """Results to a broker."""

    topic: Annotated[str, _about("`{fleet}`, `{device}`, `{pipeline}`, `{model}` and the source's labels may stand in it")] = (
        "edged/1/{fleet}/{device}/out/{pipeline}"
    )
    format: Annotated[Format, _FORMAT] = "json"
    qos: Annotated[Literal[0, 1], _about("0: at most once; 1: at least once")] = 1
    when: Annotated[When, _WHEN] = "always"
    broker: Annotated[Name, _about("a name under `[mqtt]`")] = "main"


class FileOutput(_Base, frozen=True, tag_field="type", tag="file"):
    """Results appended to a file, one a line."""

    path: Annotated[str, _about("the file; its folder must exist")]
    format: Annotated[Format, _FORMAT] = "json"
    when: Annotated[When, _WHEN] = "always"


class StdoutOutput(_Base, frozen=True, tag_field="type", tag="stdout"):
    """Results on standard output, one a line."""

    format: Annotated[Format, _FORMAT] = "json"
    when: Annotated[When, _WHEN] = "always"


class SerialOutput(_Base, frozen=True, tag_field="type", tag="serial"):
    """Results down to the firmware, as label, score and alarm; a slow firmware gets the newest."""

    port: Annotated[str, _about("a port that a serial source reads; empty: the pipeline's own")] = ""
    when: Annotated[When, _WHEN] = "always"


class Escalate(_Base, frozen=True):
    """Where a person or a bigger system is asked what the model's cascade is not sure of, and answers.

    A question is JSON with `id`, `text`, `guess` and `choices`; an answer is `{"id": "…", "label": "…"}`, and may say `by` whom.
    """

    topic: Annotated[str, _about("where questions go; `{fleet}`, `{device}`, `{pipeline}` and `{model}` may stand in it")]
    answers: Annotated[str, _about("where answers come from, with the same names")]
    wait_s: Annotated[float, _about("seconds in which an answer is taken", gt=0, le=86_400)] = 60.0
    broker: Annotated[Name, _about("a name under `[mqtt]`")] = "main"


Source = MqttSource | SerialSource | FileSource | StdinSource | PipelineSource
Decoder = JsonDecoder | CsvDecoder | PackedDecoder | CborDecoder | InfluxDecoder | TextDecoder | BridgeDecoder
Output = MqttOutput | SerialOutput | FileOutput | StdoutOutput


class Pipeline(_Base, frozen=True):
    """One data path. Give `model` or `model_dir`."""

    name: Annotated[Name, _about("its name in topics and in `edged status`")]
    source: Annotated[Source, _about("where readings or texts come from")]
    decoder: Annotated[Decoder, _about("how a message becomes readings, or a text; may be left out with a serial source")] = BridgeDecoder()
    model: Annotated[str, _about("name of an installed model")] = ""
    model_dir: Annotated[str, _about("a release folder used in place, for development")] = ""
    outputs: Annotated[list[Output], _about("where results go")] = msgspec.field(default_factory=lambda: [MqttOutput()])
    deadline_ms: Annotated[float, _about("a result should be out this many milliseconds after its last reading came in", gt=0)] = 500.0
    class_: Annotated[Literal["safety", "normal", "background"], _about("who goes first")] = msgspec.field(default="normal", name="class")
    queue: Annotated[
        Queue | None,
        _about(
            "the queue before the pipeline; left out: 1024 messages, and when full "
            "files, stdin and brokers at QoS 1 wait; other sources, and pipelines of class background, drop the oldest"
        ),
    ] = None
    escalate: Annotated[Escalate | None, _about("who is asked what a cascade is not sure of; left out: nobody")] = None
    durable: Annotated[bool, _about("write each result to disk within `spool.commit_ms`, also while the broker takes them")] = False
    max_streams: Annotated[int, _about("stream keys held at once; beyond it the least recently used is let go", ge=1, le=1_000_000)] = 4096


class Fleet(_Base, frozen=True):
    """Signed updates."""

    root: Annotated[str, _about("trust anchor: the fleet's `1.root.json`; without it no pushes are accepted")] = ""
    groups: Annotated[list[Name], _about("groups this board belongs to")] = []
    repositories: Annotated[
        list[str],
        Meta(
            description='where metadata, orders and models come from, the first that has them: `"mqtt"`, an `https://` address, a folder',
            min_length=1,
            max_length=8,
        ),
    ] = msgspec.field(default_factory=lambda: ["mqtt"])
    max_mib_per_day: Annotated[int, _about("download limit, MiB a day; 0: none", ge=0)] = 0


class Spool(_Base, frozen=True):
    """Results waiting for the broker."""

    max_mib: Annotated[int, _about("MiB", ge=1)] = 256
    full: Annotated[Literal["drop-oldest", "refuse"], _about("what happens when it is full")] = "drop-oldest"
    commit_ms: Annotated[int, _about("milliseconds between commits to disk", ge=1, le=60_000)] = 200


class Control(_Base, frozen=True):
    """The socket that `edged status` asks."""

    socket: Annotated[str, _about("path; empty: /run/edged/control.sock, or the user's runtime folder without rights to it")] = ""


class Metrics(_Base, frozen=True):
    """Prometheus text over HTTP."""

    listen: Annotated[str, _about('address and port, such as `"127.0.0.1:9464"`; empty: off')] = ""


class Log(_Base, frozen=True):
    """What the daemon says on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _about("least level shown")] = "info"
    format: Annotated[Literal["auto", "console", "json"], _about("auto: console on a terminal, JSON otherwise")] = "auto"


class Config(_Base, frozen=True):
    """The whole file."""

    pipelines: Annotated[list[Pipeline], Meta(description="the data paths", min_length=1)]
    device: Annotated[Device, _about("which board this is")] = Device()
    mqtt: Annotated[dict[str, Broker], _about("brokers by name")] = {}
    fleet: Annotated[Fleet, _about("signed updates")] = Fleet()
    spool: Annotated[Spool, _about("results waiting for the broker")] = Spool()
    control: Annotated[Control, _about("the control socket")] = Control()
    metrics: Annotated[Metrics, _about("Prometheus metrics")] = Metrics()
    log: Annotated[Log, _about("the daemon's log")] = Log()
