"""Serial ports in a configuration: each fault by name at its place, and what is sound is let through without a port being there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edged.config.describe import describe
from edged.config.load import Loaded, Machine, load_config
from edged.config.schema import BridgeDecoder, SerialOutput, SerialSource
from edged.errors import ConfigFaults, Fault

PORT = '{ type = "serial", port = "/dev/edged/A1B2" }'
OUT = '{ type = "serial" }'
STDIN = '{ type = "stdin" }'
X = 'decoder = { type = "csv", channels = ["x"] }'


def pipeline(name: str, source: str, more: str = "", outputs: str = '{ type = "stdout" }') -> str:
    """Write a pipeline of up to six lines: header, name, model, source, outputs, and more."""
    return f'[[pipelines]]\nname = "{name}"\nmodel = "m"\nsource = {source}\noutputs = [{outputs}]\n{more}\n'


def serial(port: str = "/dev/ttyACM0", more: str = "") -> str:
    return f'{{ type = "serial", port = "{port}"{more} }}'


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Loaded:
    path = tmp_path / "edged.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ or {}, Machine(root=tmp_path, host="press-7", uid=1))


def faults_of(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[Fault]:
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path, text, environ)
    assert all(fault.text and fault.hint for fault in caught.value.faults)
    return caught.value.faults


SOUND = {
    "a port alone": pipeline("a", PORT),
    "a decoder of one's own": pipeline("a", PORT, X),
    "the default decoder by its name": pipeline("a", PORT, 'decoder = { type = "bridge" }'),
    "results to the own port": pipeline("a", PORT, outputs=OUT),
    "results to another pipeline's port": pipeline("a", PORT)
    + pipeline("b", STDIN, X, '{ type = "serial", port = "/dev/edged/../edged/A1B2" }'),
    "results of a chain to the port that it began with": pipeline("a", PORT)
    + pipeline("b", '{ type = "pipeline", name = "a" }', X, '{ type = "serial", port = "/dev/edged/A1B2", when = "alarm" }'),
    "a port for two": pipeline("a", serial(more=", baud = 9600")) + pipeline("b", serial(more=", baud = 9600")),
    "two ports with two rates": pipeline("a", serial("/dev/a", ", baud = 9600")) + pipeline("b", serial("/dev/b", ', framing = "lines"')),
    "frames that are known to be some": pipeline("a", serial(more=', framing = "framed"'), outputs=OUT),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_sound_is_let_through_and_no_port_has_to_be_there(tmp_path: Path, case: str) -> None:
    assert load(tmp_path, SOUND[case]).config.pipelines


FAULTS = {
    "no port": (pipeline("a", '{ type = "serial" }'), (4, "pipelines[0].source.port", "missing-key")),
    "empty port": (pipeline("a", serial("")), (4, "pipelines[0].source.port", "bad-path")),
    "port of blanks": (pipeline("a", serial("  ")), (4, "pipelines[0].source.port", "bad-path")),
    "port without its folder": (pipeline("a", serial("ttyACM0")), (4, "pipelines[0].source.port", "bad-path")),
    "port from the file's folder": (pipeline("a", serial("./port")), (4, "pipelines[0].source.port", "bad-path")),
    "port of another system": (pipeline("a", serial("COM3")), (4, "pipelines[0].source.port", "bad-path")),
    "port with a NUL": (pipeline("a", serial("/dev/a\\u0000b")), (4, "pipelines[0].source.port", "bad-path")),
    "baud of zero": (pipeline("a", serial(more=", baud = 0")), (4, "pipelines[0].source.baud", "bad-value")),
    "framing that is none": (pipeline("a", serial(more=', framing = "cobs"')), (4, "pipelines[0].source.framing", "bad-value")),
    "two rates for a port": (
        pipeline("a", serial()) + pipeline("b", serial("/dev//ttyACM0", ", baud = 9600")),
        (10, "pipelines[1].source.baud", "serial-clash"),
    ),
    "two framings for a port": (
        pipeline("a", serial(more=', framing = "framed"')) + pipeline("b", serial()),
        (10, "pipelines[1].source.framing", "serial-clash"),
    ),
    "three that differ": (
        pipeline("a", serial()) + pipeline("b", serial(more=", baud = 300")) + pipeline("c", serial(more=', framing = "lines"')),
        (10, "pipelines[1].source.baud", "serial-clash"),
        (16, "pipelines[2].source.framing", "serial-clash"),
    ),
    "results to a firmware that is not named": (pipeline("a", STDIN, X, OUT), (5, "pipelines[0].outputs[0]", "no-serial-source")),
    "results to a port that nobody reads": (
        pipeline("a", PORT, outputs='{ type = "serial", port = "/dev/ttyACM9" }'),
        (5, "pipelines[0].outputs[0].port", "no-serial-source"),
    ),
    "results of a chain to no port": (
        pipeline("a", PORT) + pipeline("b", '{ type = "pipeline", name = "a" }', X, OUT),
        (11, "pipelines[1].outputs[0]", "no-serial-source"),
    ),
    "results to a sketch": (
        pipeline("a", serial(more=', framing = "lines"'), outputs=OUT),
        (5, "pipelines[0].outputs[0]", "lines-take-no-results"),
    ),
    "results to another pipeline's sketch": (
        pipeline("a", serial(more=', framing = "lines"'))
        + pipeline("b", STDIN, X, '{ type = "stdout" }, { type = "serial", port = "/dev/ttyACM0" }'),
        (11, "pipelines[1].outputs[1]", "lines-take-no-results"),
    ),
    "no decoder for a file": (pipeline("a", STDIN), (1, "pipelines[0].decoder", "missing-key")),
    "no decoder for a chain": (
        pipeline("a", PORT) + pipeline("b", '{ type = "pipeline", name = "a" }'),
        (7, "pipelines[1].decoder", "missing-key"),
    ),
    "the decoder of serial lines for a file": (
        pipeline("a", STDIN, 'decoder = { type = "bridge" }'),
        (6, "pipelines[0].decoder", "no-serial-source"),
    ),
    # A source with a fault of its own may be the serial one that is missed.
    "a source of an unknown type, and results": (
        pipeline("a", '{ type = "serail", port = "/dev/ttyACM0" }', outputs=OUT)
        + pipeline("b", STDIN, X, '{ type = "serial", port = "/dev/ttyACM0" }'),
        (4, "pipelines[0].source.type", "unknown-kind"),
    ),
    "a port that is no text, and results": (
        pipeline("a", '{ type = "serial", port = 5 }', outputs='{ type = "serial", port = "/dev/ttyACM0" }'),
        (4, "pipelines[0].source.port", "bad-value"),
    ),
    "a rate that is none, and another": (
        pipeline("a", serial(more=', baud = "fast"')) + pipeline("b", serial(more=", baud = 9600")),
        (4, "pipelines[0].source.baud", "bad-value"),
    ),
    "a label that no serial line gives": (
        '[mqtt.main]\nurl = "mqtt://b"\n' + pipeline("a", PORT, outputs='{ type = "mqtt", topic = "a/{line}" }'),
        (7, "pipelines[0].outputs[0].topic", "bad-topic"),
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_each_fault_is_found_alone_at_its_place(tmp_path: Path, case: str) -> None:
    text, *expected = FAULTS[case]
    assert [(fault.line, fault.key, fault.code) for fault in faults_of(tmp_path, text)] == expected


def test_a_clash_names_both_sides(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, pipeline("fast", serial()) + pipeline("slow", serial(more=", baud = 9600")))
    assert fault.text == 'is 9600 here and 115200 in pipeline "fast", for the same port "/dev/ttyACM0"'


def test_a_missing_decoder_reads_as_any_missing_key(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, pipeline("a", STDIN))
    assert (fault.text, fault.hint) == ("is missing", "add `decoder = { … }`")


def test_ports_that_are_read_are_named_where_an_output_misses_them(tmp_path: Path) -> None:
    text = pipeline("a", serial("/dev/a")) + pipeline("b", serial("/dev/b"), outputs='{ type = "serial", port = "/dev/c" }')
    (fault,) = faults_of(tmp_path, text)
    assert fault.hint == 'ports with a source: "/dev/a", "/dev/b"'


def test_a_port_from_the_environment_is_judged_too_and_the_variable_named(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, pipeline("a", PORT), {"EDGED__PIPELINES__0__SOURCE__PORT": "ttyACM0"})
    assert (fault.key, fault.code) == ("EDGED__PIPELINES__0__SOURCE__PORT", "bad-path")


def test_a_port_is_neither_opened_nor_looked_at(tmp_path: Path) -> None:
    """A pipe that nobody writes to would keep whoever opens it for ever; opening a port resets many a board."""
    os.mkfifo(tmp_path / "port")
    source = load(tmp_path, pipeline("a", serial(str(tmp_path / "port")))).config.pipelines[0].source
    assert source == SerialSource(port=str(tmp_path / "port"))


def test_a_port_is_known_by_one_name_however_it_is_written(tmp_path: Path) -> None:
    text = pipeline("a", serial("//dev/ttyACM0"), outputs='{ type = "serial", port = "/dev/./x/../ttyACM0" }')
    (loaded,) = load(tmp_path, text).config.pipelines
    assert loaded.source == SerialSource(port="/dev/ttyACM0")
    assert loaded.outputs == [SerialOutput(port="/dev/ttyACM0")]


def test_a_pipeline_on_a_port_needs_no_decoder(tmp_path: Path) -> None:
    assert load(tmp_path, pipeline("a", PORT)).config.pipelines[0].decoder == BridgeDecoder()


def test_the_example_of_the_page_is_sound(tmp_path: Path) -> None:
    (example,) = re.findall(r"## Serial ports\n\n```toml\n(.*?)```", describe(), re.DOTALL)
    text = f'[mqtt.main]\nurl = "mqtt://broker"\n[[pipelines]]\nname = "a"\nmodel = "m"\n{example}'
    assert len(load(tmp_path, text).config.pipelines[0].outputs) == 2
