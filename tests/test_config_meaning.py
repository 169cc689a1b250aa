"""What the keys of a configuration mean together: each fault by name, and many at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.config.load import Loaded, Machine, load_config
from edged.errors import ConfigFaults

BROKER = '[mqtt.main]\nurl = "mqtt://broker"\n'
PIPELINE = """[[pipelines]]
name = "pump"
model = "m"
source = { type = "mqtt", topic = "plant/{line}/vib" }
decoder = { type = "json", channels = ["x"] }
"""


def load(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "edged.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {}, Machine(root=tmp_path, host="press-7", uid=1))


def faults_of(tmp_path: Path, text: str) -> list[tuple[int, str, str]]:
    """Load `text` and give line, key and code of each fault, in their order."""
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path, text)
    for fault in caught.value.faults:
        assert fault.text
        assert fault.hint
    return [(fault.line, fault.key, fault.code) for fault in caught.value.faults]


def changed(old: str, new: str) -> str:
    assert old in BROKER + PIPELINE
    return BROKER + PIPELINE.replace(old, new)


def test_the_base_of_these_cases_is_sound(tmp_path: Path) -> None:
    assert load(tmp_path, BROKER + PIPELINE).device_id == "press-7"


def decoder(text: str) -> str:
    return changed('{ type = "json", channels = ["x"] }', text)


def output(*texts: str) -> str:
    return BROKER + PIPELINE + f"outputs = [{', '.join(texts)}]\n"


def source(text: str) -> str:
    return changed('{ type = "mqtt", topic = "plant/{line}/vib" }', text)


def second(name: str, text: str, more: str = "") -> str:
    """Give a second pipeline."""
    return f'[[pipelines]]\nname = "{name}"\nmodel = "m"\nsource = {text}\ndecoder = {{ type = "json", channels = ["x"] }}\n{more}'


MQTT = '{ type = "mqtt", topic = "other" }'
CASES = {
    # names, model
    "duplicate name": (BROKER + PIPELINE + second("pump", MQTT), (9, "pipelines[1].name", "duplicate-name")),
    "no model": (changed('model = "m"\n', ""), (3, "pipelines[0]", "no-model")),
    "two models": (changed('model = "m"\n', 'model = "m"\nmodel_dir = "."\n'), (6, "pipelines[0].model_dir", "two-models")),
    "model with a path": (changed('model = "m"', 'model = "../m"'), (5, "pipelines[0].model", "bad-name")),
    "pipeline name": (changed('name = "pump"', 'name = "Pump"'), (4, "pipelines[0].name", "bad-value")),
    "device id": (BROKER + PIPELINE + '[device]\nid = "Press 7"\n', (9, "device.id", "bad-name")),
    "fleet": (BROKER + PIPELINE + '[device]\nfleet = "Plant"\n', (9, "device.fleet", "bad-value")),
    "endless deadline": (BROKER + PIPELINE + "deadline_ms = inf\n", (8, "pipelines[0].deadline_ms", "bad-value")),
    "no pipelines": (BROKER, (0, "pipelines", "missing-key")),
    "pipelines as one table": (BROKER + "[pipelines]\n", (3, "pipelines", "bad-value")),
    "a chain that waits": (
        BROKER + PIPELINE + second("next", '{ type = "pipeline", name = "pump" }', 'queue = { full = "block" }\n'),
        (13, "pipelines[1].queue.full", "queue-blocks"),
    ),
    # brokers
    "no broker for a source": (PIPELINE, (4, "pipelines[0].source.broker", "no-broker")),
    "no broker for the default output": (
        PIPELINE.replace('{ type = "mqtt", topic = "plant/{line}/vib" }', '{ type = "stdin" }'),
        (1, "pipelines[0].outputs[0].broker", "no-broker"),
    ),
    "unknown broker": (changed('/vib" }', '/vib", broker = "floor" }'), (6, "pipelines[0].source.broker", "unknown-broker")),
    "unknown broker of an output": (output('{ type = "mqtt", broker = "x" }'), (8, "pipelines[0].outputs[0].broker", "unknown-broker")),
    "broker name": (BROKER + PIPELINE + '[mqtt."Main Hall"]\nurl = "embedded"\n', (8, 'mqtt."Main Hall"', "bad-name")),
    "url": (BROKER.replace("mqtt://", "tcp://") + PIPELINE, (2, "mqtt.main.url", "bad-url")),
    "password in the url": (BROKER.replace("//", "//me:secret@") + PIPELINE, (2, "mqtt.main.url", "bad-url")),
    "password file missing": (
        BROKER + 'username = "u"\npassword_file = "none"\n' + PIPELINE,
        (4, "mqtt.main.password_file", "file-missing"),
    ),
    "password without user": (BROKER + 'password_file = "edged.toml"\n' + PIPELINE, (3, "mqtt.main.password_file", "no-username")),
    "ca file missing": (
        BROKER.replace("mqtt://", "mqtts://") + 'ca_file = "ca.pem"\n' + PIPELINE,
        (3, "mqtt.main.ca_file", "file-missing"),
    ),
    "ca file without TLS": (BROKER + 'ca_file = "edged.toml"\n' + PIPELINE, (3, "mqtt.main.ca_file", "tls-unused")),
    "certificate without key": (
        BROKER.replace("mqtt://", "wss://") + 'cert_file = "edged.toml"\n' + PIPELINE,
        (3, "mqtt.main.cert_file", "half-certificate"),
    ),
    "key without certificate": (
        BROKER.replace("mqtt://", "mqtts://") + 'key_file = "edged.toml"\n' + PIPELINE,
        (3, "mqtt.main.key_file", "half-certificate"),
    ),
    # topics
    "many levels in a source": (changed("{line}/vib", "#"), (6, "pipelines[0].source.topic", "bad-topic")),
    "label and decoder label": (
        decoder('{ type = "json", channels = ["x"], labels = ["line"] }'),
        (7, "pipelines[0].decoder.labels", "duplicate-name"),
    ),
    "wildcard in an output": (output('{ type = "mqtt", topic = "a/+" }'), (8, "pipelines[0].outputs[0].topic", "bad-topic")),
    "unknown label in an output": (output('{ type = "mqtt", topic = "a/{pump}" }'), (8, "pipelines[0].outputs[0].topic", "bad-topic")),
    "own results come back": (output('{ type = "mqtt", topic = "plant/{line}/vib" }'), (6, "pipelines[0].source.topic", "topic-loop")),
    "own results come back by a wildcard": (
        changed("plant/{line}/vib", "edged/1/{a}/+/{b}/{c}") + 'outputs = [{ type = "mqtt" }, { type = "stdout" }]\n',
        (6, "pipelines[0].source.topic", "topic-loop"),
        (6, "pipelines[0].source.topic", "topic-loop"),  # and edged's own events
    ),
    "another's results": (
        BROKER + PIPELINE + second("b", '{ type = "mqtt", topic = "edged/1/local/press-7/out/pump" }'),
        (11, "pipelines[1].source.topic", "topic-loop"),
    ),
    "another's results on the same broker by another name": (
        BROKER
        + '[mqtt.same]\nurl = "mqtt://broker"\n'
        + PIPELINE
        + second("b", '{ type = "mqtt", broker = "same", topic = "{a}/1/{b}/{c}/out/{d}" }'),
        (13, "pipelines[1].source.topic", "topic-loop"),
        (13, "pipelines[1].source.topic", "topic-loop"),
    ),
    "edged's own events": (
        changed("plant/{line}/vib", "edged/1/local/press-7/evt/rejected"),
        (6, "pipelines[0].source.topic", "topic-loop"),
    ),
    # chains, stdin, files
    "unknown pipeline": (source('{ type = "pipeline", name = "x" }'), (6, "pipelines[0].source.name", "unknown-pipeline")),
    "pipeline that reads itself": (source('{ type = "pipeline", name = "pump" }'), (6, "pipelines[0].source.name", "pipeline-loop")),
    "circle of pipelines": (
        source('{ type = "pipeline", name = "b" }')
        + second("b", '{ type = "pipeline", name = "c" }')
        + second("c", '{ type = "pipeline", name = "b" }'),
        (11, "pipelines[1].source.name", "pipeline-loop"),
    ),
    "two stdin sources": (source('{ type = "stdin" }') + second("b", '{ type = "stdin" }'), (11, "pipelines[1].source", "duplicate-stdin")),
    "source file missing": (source('{ type = "file", path = "none.csv" }'), (6, "pipelines[0].source.path", "file-missing")),
    "source files missing": (source('{ type = "file", path = "*.csv" }'), (6, "pipelines[0].source.path", "file-missing")),
    "source file is a folder": (source('{ type = "file", path = "." }'), (6, "pipelines[0].source.path", "file-missing")),
    "source file of no name": (source('{ type = "file", path = "" }'), (6, "pipelines[0].source.path", "file-missing")),
    "source file with a NUL": (source('{ type = "file", path = "*\\u0000" }'), (6, "pipelines[0].source.path", "file-missing")),
    "model folder missing": (changed('model = "m"', 'model_dir = "none"'), (5, "pipelines[0].model_dir", "file-missing")),
    "model folder is a file": (changed('model = "m"', 'model_dir = "edged.toml"'), (5, "pipelines[0].model_dir", "file-missing")),
    "model folder of a name too long": (
        changed('model = "m"', f'model_dir = "{"x" * 5000}"'),
        (5, "pipelines[0].model_dir", "file-missing"),
    ),
    "output folder missing": (output('{ type = "file", path = "none/out.jsonl" }'), (8, "pipelines[0].outputs[0].path", "file-missing")),
    "output file is a folder": (output('{ type = "file", path = "." }'), (8, "pipelines[0].outputs[0].path", "file-missing")),
    "two outputs to a file": (
        output('{ type = "file", path = "a" }', '{ type = "file", path = "./a" }'),
        (8, "pipelines[0].outputs[1].path", "duplicate-file"),
    ),
    "output to the source's file": (
        source('{ type = "file", path = "a", follow = true }') + 'outputs = [{ type = "file", path = "a" }]\n',
        (8, "pipelines[0].outputs[0].path", "file-loop"),
    ),
    "no output": (output(), (8, "pipelines[0].outputs", "no-output")),
    "trust anchor missing": (BROKER + PIPELINE + '[fleet]\nroot = "root.json"\n', (9, "fleet.root", "file-missing")),
    # decoders
    "channel twice": (decoder('{ type = "json", channels = ["x", "x"] }'), (7, "pipelines[0].decoder.channels[1]", "duplicate-name")),
    "channel of no name": (decoder('{ type = "json", channels = [""] }'), (7, "pipelines[0].decoder.channels[0]", "bad-value")),
    "channel not in columns": (
        decoder('{ type = "csv", channels = ["x"], columns = ["y"] }'),
        (7, "pipelines[0].decoder.channels[0]", "unknown-name"),
    ),
    "time not in columns": (
        decoder('{ type = "csv", channels = ["x"], columns = ["x"], time = "t" }'),
        (7, "pipelines[0].decoder.time", "unknown-name"),
    ),
    "separator": (decoder('{ type = "csv", channels = ["x"], separator = "\\n" }'), (7, "pipelines[0].decoder.separator", "bad-value")),
    "layout": (decoder('{ type = "packed", channels = ["x"], layout = "<z" }'), (7, "pipelines[0].decoder.layout", "bad-layout")),
    "fields of the layout": (
        decoder('{ type = "packed", channels = ["x"], layout = "<hh" }'),
        (7, "pipelines[0].decoder.layout", "wrong-count"),
    ),
    "names of the layout": (
        decoder('{ type = "packed", channels = ["x"], fields = ["x", "y"], layout = "<h" }'),
        (7, "pipelines[0].decoder.layout", "wrong-count"),
    ),
    "channel not in fields": (
        decoder('{ type = "packed", channels = ["x"], fields = ["y"], layout = "<h" }'),
        (7, "pipelines[0].decoder.channels[0]", "unknown-name"),
    ),
    "scale": (
        decoder('{ type = "packed", channels = ["x"], layout = "<h", scale = [1, 2] }'),
        (7, "pipelines[0].decoder.scale", "wrong-count"),
    ),
    "endless scale": (
        decoder('{ type = "packed", channels = ["x"], layout = "<h", scale = inf }'),
        (7, "pipelines[0].decoder.scale", "bad-value"),
    ),
    # the rest
    "listen": (BROKER + PIPELINE + '[metrics]\nlisten = "9464"\n', (9, "metrics.listen", "bad-address")),
    "long socket": (BROKER + PIPELINE + f'[control]\nsocket = "/{"x" * 120}"\n', (9, "control.socket", "bad-path")),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_found_alone_at_its_place(tmp_path: Path, case: str) -> None:
    text, *expected = CASES[case]
    assert faults_of(tmp_path, text) == expected


SOUND = {
    "embedded broker": BROKER.replace("mqtt://broker", "embedded") + PIPELINE,
    "no broker where nobody needs one": source('{ type = "stdin" }').removeprefix(BROKER) + 'outputs = [{ type = "stdout" }]\n',
    "another board's results": changed("plant/{line}/vib", "edged/1/local/press-8/out/pump"),
    "own topics on another broker": BROKER
    + '[mqtt.floor]\nurl = "mqtt://floor"\n'
    + PIPELINE
    + 'outputs = [{ type = "mqtt", broker = "floor", topic = "plant/{line}/vib" }]\n',
    "followed file that is not there yet": source('{ type = "file", path = "later.log", follow = true }'),
    "several files": source('{ type = "file", path = "*.toml" }'),
    "a device as a file": source('{ type = "file", path = "/dev/null" }'),
    "chain": BROKER + PIPELINE + second("b", '{ type = "pipeline", name = "pump" }', 'outputs = [{ type = "mqtt", topic = "b/{line}" }]\n'),
    "tags of influx in an output": decoder('{ type = "influx", channels = ["x"] }') + 'outputs = [{ type = "mqtt", topic = "b/{host}" }]\n',
    "labels of a decoder in an output": decoder('{ type = "csv", channels = ["x"], labels = ["host"] }')
    + 'outputs = [{ type = "mqtt", topic = "b/{host}/{line}" }]\n',
    "packed with time": decoder('{ type = "packed", channels = ["x", "y"], layout = "<Q2hx", time = "t", scale = [1, 2.5] }'),
    "two readers of one topic": BROKER + PIPELINE + second("b", '{ type = "mqtt", topic = "plant/{line}/vib" }'),
    "two stdouts": output('{ type = "stdout" }', '{ type = "stdout", when = "alarm" }'),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_unusual_but_sound_is_let_through(tmp_path: Path, case: str) -> None:
    assert load(tmp_path, SOUND[case]).config.pipelines


MANY = """\
[device]
fleet = "Plant A"
idd = "press-7"

[mqtt.main]
url = "mqtt://me:secret@broker"
keepalive_s = 1

[[pipelines]]
name = "pump"
model = "m"
model_dir = "release"
source = { type = "mqtt", topic = "plant/#", qos = 2 }
decoder = { type = "jsn", channels = ["x"] }

[[pipelines]]
name = "pump"
source = { type = "mqtt", topic = "edged/1/{f}/{d}/out/{p}", broker = "floor" }
decoder = { type = "packed", channels = ["x", "x"], layout = "<h" }
outputs = [
    { type = "mqtt", topic = "a/{nobody}" },
    { type = "file", path = "missing/out.jsonl" },
]
queue = { size = 0 }

[[pipelines]]
name = "last"
model = "m"
source = { type = "pipeline", name = "first" }
decoder = 5
deadline_ms = "soon"

[metrics]
listen = "here"

[log]
level = "loud"
"""


def test_many_faults_of_form_and_meaning_are_all_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    assert faults_of(tmp_path, MANY) == [
        (2, "device.fleet", "bad-value"),
        (3, "device.idd", "unknown-key"),
        (6, "mqtt.main.url", "bad-url"),
        (7, "mqtt.main.keepalive_s", "bad-value"),
        (12, "pipelines[0].model_dir", "two-models"),
        (12, "pipelines[0].model_dir", "file-missing"),
        (13, "pipelines[0].source.qos", "bad-value"),
        (13, "pipelines[0].source.topic", "bad-topic"),
        (14, "pipelines[0].decoder.type", "unknown-kind"),
        (16, "pipelines[1]", "no-model"),
        (17, "pipelines[1].name", "duplicate-name"),
        (18, "pipelines[1].source.broker", "unknown-broker"),
        (19, "pipelines[1].decoder.channels[1]", "duplicate-name"),
        (19, "pipelines[1].decoder.layout", "wrong-count"),
        (21, "pipelines[1].outputs[0].topic", "bad-topic"),
        (22, "pipelines[1].outputs[1].path", "file-missing"),
        (24, "pipelines[1].queue.size", "bad-value"),
        (29, "pipelines[2].source.name", "unknown-pipeline"),
        (30, "pipelines[2].decoder", "bad-value"),
        (31, "pipelines[2].deadline_ms", "bad-value"),
        (34, "metrics.listen", "bad-address"),
        (37, "log.level", "bad-value"),
    ]


def test_a_fault_reads_as_one_line_that_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path, changed('name = "pump"', 'name = "Pump 1"'))
    assert str(caught.value.faults[0]) == (
        f'{tmp_path}/edged.toml:4: pipelines[0].name: "Pump 1" does not fit; '
        "write a text of lower-case letters, digits, - and _, at most 64, beginning with a letter or digit"
    )


def test_a_password_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path, BROKER.replace("//", "//me:secret@") + PIPELINE)
    assert "secret" not in "".join(map(str, caught.value.faults))
