"""Find, read, override, fill in: from a file and an environment to a configuration or all its faults."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.config.defaults import Machine, fit_name
from edged.config.load import MAX_BYTES, Loaded, find_config, load_config, socket_of
from edged.config.schema import NAME, FileOutput, FileSource, MqttSource
from edged.errors import ConfigFaults, Fault, OperatorError

TEXT = """\
[mqtt.main]
url = "mqtt://broker"
[[pipelines]]
name = "pump"
model = "m"
source = { type = "mqtt", topic = "plant/{line}/vib" }
decoder = { type = "json", channels = ["x"] }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "edged.toml")


def write(path: Path, text: str = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(file: Path, **environ: str) -> Loaded:
    return load_config(file, environ, Machine(root=file.parent / "root", host="Press_7.plant.example", uid=1000))


def faults_of(file: Path, **environ: str) -> list[Fault]:
    with pytest.raises(ConfigFaults) as caught:
        load(file, **environ)
    return caught.value.faults


def error_of(path: Path) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        load(path)
    assert caught.value.hint
    return caught.value


# Where the file is


def test_the_places_are_searched_in_order_and_the_first_wins(tmp_path: Path) -> None:
    cwd, root = tmp_path / "cwd", tmp_path / "root"
    environ = {"HOME": str(tmp_path / "home")}

    system = write(root / "etc/edged/edged.toml")
    assert find_config(None, environ, cwd, root) == system
    home = write(tmp_path / "home/.config/edged/edged.toml")
    assert find_config(None, environ, cwd, root) == home
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert find_config(None, environ, cwd, root) == system
    user = write(tmp_path / "xdg/edged/edged.toml")
    assert find_config(None, environ, cwd, root) == user
    here = write(cwd / "edged.toml")
    assert find_config(None, environ, cwd, root) == here
    environ["EDGED_CONFIG"] = str(write(tmp_path / "named.toml"))
    assert find_config(None, environ, cwd, root) == tmp_path / "named.toml"
    assert find_config("edged.toml", environ, cwd, root) == here


def test_what_is_asked_for_by_name_is_not_replaced_by_another_file(tmp_path: Path) -> None:
    write(tmp_path / "edged.toml")
    for explicit, environ in (("none.toml", {}), (None, {"EDGED_CONFIG": "none.toml"})):
        with pytest.raises(OperatorError) as caught:
            find_config(explicit, environ, tmp_path, tmp_path)
        assert caught.value.code == "config-not-found"
        assert caught.value.text.endswith(f"looked for {tmp_path}/none.toml")


def test_without_a_file_all_places_are_listed(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        find_config(None, {"HOME": "/h", "EDGED_CONFIG": ""}, tmp_path, tmp_path / "root")
    assert caught.value.text.endswith(f"{tmp_path}/edged.toml, /h/.config/edged/edged.toml, {tmp_path}/root/etc/edged/edged.toml")
    assert caught.value.hint


# What cannot be read


def test_a_folder_a_missing_file_and_a_large_one_are_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    assert error_of(tmp_path).text == f"{tmp_path} is a folder"
    assert error_of(tmp_path / "none.toml").code == "config-not-found"
    assert error_of(tmp_path / "large.toml").code == "config-too-large"
    assert error_of(tmp_path / ("x" * 300)).code == "config-unreadable"
    assert error_of(tmp_path / "nul\0").code == "config-unreadable"


def test_a_file_without_the_right_to_read_is_told_plainly(file: Path) -> None:
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read every file")
    assert error_of(file).code == "config-unreadable"


def test_bytes_that_are_not_utf8_are_a_fault_with_their_line(file: Path) -> None:
    file.write_bytes(b'a = 1\nb = "\xff"\n')
    assert [(fault.line, fault.code) for fault in faults_of(file)] == [(2, "not-utf8")]


def test_a_byte_order_mark_and_windows_line_ends_are_taken(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load(file).config.pipelines[0].name == "pump"


def test_text_that_is_not_toml_is_one_fault(file: Path) -> None:
    assert [(fault.line, fault.code) for fault in faults_of(write(file, TEXT + "name = pump\n"))] == [(8, "not-toml")]


# The environment


def test_variables_replace_and_add_keys(file: Path) -> None:
    loaded = load(
        file,
        EDGED__MQTT__MAIN__URL="mqtts://other:1",
        EDGED__MQTT__MAIN__VERSION="5",
        edged__device__id="7",
        EDGED__SPOOL__MAX_MIB="16",
        EDGED__FLEET__GROUPS='["a", "b"]',
        EDGED__PIPELINES__0__SOURCE__TOPIC="a/{b}",
        EDGED__PIPELINES__0__OUTPUTS__0__TYPE="stdout",
        EDGED__PIPELINES__0__CLASS="safety",
        EDGED__PIPELINES__1='{ name = "b", model = "m", source = { type = "stdin" }, decoder = { type = "text" } }',
        EDGED_CONFIG="not a key",
    )
    config = loaded.config
    assert config.mqtt["main"].url == "mqtts://other:1"
    assert config.mqtt["main"].version == "5"  # wants a text: 5 is one
    assert loaded.device_id == "7"
    assert config.spool.max_mib == 16
    assert config.fleet.groups == ["a", "b"]
    assert isinstance(source := config.pipelines[0].source, MqttSource)
    assert source.topic == "a/{b}"
    assert config.pipelines[0].class_ == "safety"
    assert config.pipelines[1].name == "b"


def test_a_whole_configuration_may_come_from_the_environment(file: Path) -> None:
    variables = {
        "EDGED__PIPELINES__0__NAME": "p",
        "EDGED__PIPELINES__0__MODEL": "m",
        "EDGED__PIPELINES__0__SOURCE__TYPE": "stdin",
        "EDGED__PIPELINES__0__DECODER": '{ type = "csv", channels = ["x"] }',
        "EDGED__PIPELINES__0__OUTPUTS__0__TYPE": "stdout",
    }
    assert load(write(file, ""), **variables).config.pipelines[0].name == "p"


BAD_VARIABLES = {
    "EDGED__MQTT__MAIN__ULR": ("mqtt://b", "unknown-key", "did you mean `url`?"),
    "EDGED__MQTT__MAIN__KEEPALIVE_S": ("1", "bad-value", "write a whole number from 5 to 3600"),
    "EDGED__SPOOL__MAX_MIB": ("16 MiB", "bad-value", "write a whole number, at least 1"),
    "EDGED__MQTT__FLOOR__USERNAME": ("me", "missing-key", "add `url = …`, a text"),
    "EDGED__MQTT__MAIN__URL": ("tcp://b", "bad-url", "write `mqtt://`"),
    "EDGED__PIPELINES__3__NAME": ("x", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
    "EDGED__PIPELINES__FIRST__NAME": ("x", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
    "EDGED__PIPELINES__0__NAME__X": ("x", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
    "EDGED__": ("x", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
    "EDGED__DEVICE____ID": ("x", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
    "EDGED__LOG": ("info", "wrong-type", "write a table"),
    "EDGED__PIPELINES__0__SOURCE": ("{ type = 'mqtt' }", "missing-key", "add `topic = …`, a text"),
    "EDGED__DEVICE__ID": ("\udcff", "bad-variable", "write it as EDGED__TABLE__KEY, such as EDGED__MQTT__MAIN__URL"),
}


@pytest.mark.parametrize("name", BAD_VARIABLES)
def test_a_fault_from_a_variable_names_the_variable(file: Path, name: str) -> None:
    value, code, hint = BAD_VARIABLES[name]
    (fault,) = faults_of(file, **{name: value})
    assert (fault.file, fault.line, fault.key, fault.code, fault.hint) == ("environment", 0, name, code, hint)


def test_faults_of_the_file_come_before_those_of_the_environment(file: Path) -> None:
    faults = faults_of(write(file, TEXT + "x = 1\n"), EDGED__A="1")
    assert [fault.file for fault in faults] == [str(file), "environment"]


def test_a_value_cannot_bring_in_other_keys(file: Path) -> None:
    assert load(file, EDGED__MQTT__MAIN__USERNAME="1\n[device]\nid = 'x'").config.mqtt["main"].username.startswith("1\n")


# Paths and defaults


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path: Path) -> None:
    for name in ("pw", "ca", "cert", "key", "root.json", "in.csv"):
        write(tmp_path / name, "x")
    text = TEXT.replace("mqtt://", "mqtts://").replace(
        "[[pipelines]]",
        'username = "u"\npassword_file = "pw"\nca_file = "ca"\ncert_file = "cert"\nkey_file = "./key"\n'
        '[fleet]\nroot = "root.json"\n[device]\nstate_dir = "state"\n[control]\nsocket = "sock"\n[[pipelines]]',
    )
    text += '[[pipelines]]\nname = "b"\nmodel_dir = "."\nsource = { type = "file", path = "in.csv" }\n'
    text += 'decoder = { type = "csv", channels = ["x"] }\noutputs = [{ type = "file", path = "out" }, { type = "stdout" }]\n'
    loaded = load(write(tmp_path / "edged.toml", text))
    broker, pipeline = loaded.config.mqtt["main"], loaded.config.pipelines[1]
    assert [broker.password_file, broker.ca_file, broker.cert_file, broker.key_file] == [
        str(tmp_path / name) for name in ("pw", "ca", "cert", "key")
    ]
    assert loaded.config.fleet.root == str(tmp_path / "root.json")
    assert (loaded.state_dir, loaded.socket, pipeline.model_dir) == (tmp_path / "state", tmp_path / "sock", str(tmp_path))
    assert isinstance(pipeline.source, FileSource)
    assert pipeline.source.path == str(tmp_path / "in.csv")
    assert isinstance(pipeline.outputs[0], FileOutput)
    assert pipeline.outputs[0].path == str(tmp_path / "out")


def test_a_relative_path_to_the_file_gives_absolute_paths(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    assert load_config(Path("edged.toml"), {}).path == file


def test_the_system_folders_are_taken_where_they_can_be_made(file: Path) -> None:
    root = file.parent / "root"
    (root / "var/lib").mkdir(parents=True)
    (root / "run").mkdir()
    loaded = load(file, HOME="/home/pi", XDG_RUNTIME_DIR="/run/user/1000")
    assert (loaded.state_dir, loaded.socket) == (root / "var/lib/edged", root / "run/edged/control.sock")


def test_without_rights_the_user_folders_are_taken(file: Path) -> None:
    loaded = load(file, HOME="/home/pi", XDG_RUNTIME_DIR="/run/user/1000")
    assert (loaded.state_dir, loaded.socket) == (Path("/home/pi/.local/state/edged"), Path("/run/user/1000/edged/control.sock"))
    assert load(file, XDG_STATE_HOME="/state", HOME="/home/pi").state_dir == Path("/state/edged")
    assert load(file, XDG_STATE_HOME="not/absolute", HOME="/home/pi").state_dir == Path("/home/pi/.local/state/edged")


def test_without_a_home_or_a_runtime_folder_a_private_one_is_named(file: Path) -> None:
    private = file.parent / "root/tmp/edged-1000"
    loaded = load(file)
    assert (loaded.state_dir, loaded.socket) == (private, private / "control.sock")
    assert load(file, XDG_RUNTIME_DIR="/" + "x" * 100).socket == private / "control.sock"


def test_who_reads_the_system_file_asks_the_system_daemon_without_rights(tmp_path: Path) -> None:
    file = write(tmp_path / "etc/edged/edged.toml")
    socket = write(tmp_path / "run/edged/control.sock")
    (tmp_path / "var/lib/edged").mkdir(parents=True)
    folders = (socket.parent, tmp_path / "var/lib/edged")
    for folder in folders:
        folder.chmod(0o555)
    if os.access(socket.parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    loaded = load_config(file, {"HOME": "/h"}, Machine(root=tmp_path, host="a", uid=1))
    other = load_config(write(tmp_path / "edged.toml"), {"HOME": "/h"}, Machine(root=tmp_path, host="a", uid=1))
    for folder in folders:
        folder.chmod(0o755)
    assert (loaded.socket, loaded.state_dir) == (socket, folders[1])
    assert (other.socket, other.state_dir) == (tmp_path / "tmp/edged-1/control.sock", Path("/h/.local/state/edged"))


def test_the_socket_is_known_where_the_file_has_faults(file: Path) -> None:
    machine = Machine(root=file.parent, host="a", uid=1)
    write(file, '[control]\nsocket = "/run/here.sock"\n[pipelines]\nx = 1\n')
    assert socket_of(file, {}, machine) == Path("/run/here.sock")
    for broken in ("[control]\nsocket = 1\n", "control = 1\n", "not toml"):
        assert socket_of(write(file, broken), {}, machine) == file.parent / "tmp/edged-1/control.sock"


def test_the_host_name_is_made_to_fit(file: Path) -> None:
    assert load(file).device_id == "press_7"
    assert [fit_name(host) for host in ("raspberrypi", "Jörg's Pi.local", "-", "", "__a", "x" * 80)] == [
        "raspberrypi",
        "j-rg-s-pi",
        "board",
        "board",
        "a",
        "x" * 64,
    ]


@given(st.text())
def test_any_host_name_becomes_a_name(host: str) -> None:
    assert re.search(NAME, fit_name(host))
    assert fit_name(fit_name(host)) == fit_name(host)


# Any bytes


WORDS = [
    *(
        "pipelines",
        "mqtt",
        "main",
        "source",
        "decoder",
        "outputs",
        "type",
        "topic",
        "name",
        "model",
        "path",
        "layout",
        "channels",
        "scale",
        "url",
    ),
    *(
        '"mqtt"',
        '"json"',
        '"packed"',
        '"pipeline"',
        '"file"',
        '"pump"',
        '"<h"',
        '"a/{b}"',
        '"\\u0000"',
        '""',
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
    ),
    *(" = ", ",", "\n", ".", "0", "-1", "nan", "inf", "true", "1979-05-27", "9" * 5000, "[" * 300, "é", "\x00", "\r", "#", "'''", '"""'),
]


def judge(path: Path, data: bytes, environ: dict[str, str]) -> None:
    """Only a configuration or an OperatorError may come of any bytes."""
    path.write_bytes(data)
    with contextlib.suppress(OperatorError):
        load_config(path, environ, Machine(root=path.parent, host="a", uid=1))


fuzz = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=30).map(lambda words: "".join(words).encode()))
def test_any_bytes_give_a_configuration_or_faults(tmp_path: Path, data: bytes) -> None:
    judge(tmp_path / "edged.toml", data, {})


@fuzz
@given(st.data())
def test_any_change_to_a_configuration_gives_a_configuration_or_faults(tmp_path: Path, data: st.DataObject) -> None:
    text = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        tokens = re.split(r"(\W)", text)
        at = data.draw(st.integers(0, len(tokens) - 1))
        tokens[at] = data.draw(st.sampled_from(["", *WORDS, *set(tokens)]))
        text = "".join(tokens)
    judge(tmp_path / "edged.toml", text.encode(), {})


@fuzz
@given(st.data())
def test_any_value_in_place_of_any_other_gives_a_configuration_or_faults(tmp_path: Path, data: st.DataObject) -> None:
    """The text stays TOML, so that each check of meaning meets values of wrong types."""
    name = data.draw(st.sampled_from(VARIABLES))
    value = data.draw(
        st.sampled_from(["1", "-0.5", "nan", '""', '"\\u0000"', "[]", "[1]", "['a']", "[[]]", "{}", "{type = 'mqtt'}", "a/#", "2026-11-22"])
    )
    judge(tmp_path / "edged.toml", FULL.encode(), {name: value})


@fuzz
@given(st.dictionaries(st.text(alphabet="AB_0", max_size=9).map(lambda name: f"EDGED__PIPELINES__{name}"), st.text(max_size=9), max_size=3))
def test_any_variables_give_a_configuration_or_faults(tmp_path: Path, environ: dict[str, str]) -> None:
    judge(tmp_path / "edged.toml", FULL.encode(), environ)


FULL = """\
[device]
id = "press-7"
[mqtt.main]
url = "mqtt://broker:1883"
username = "a"
[[pipelines]]
name = "pump"
model = "m"
source = { type = "mqtt", topic = "plant/{line}/vib", qos = 1, broker = "main" }
decoder = { type = "packed", channels = ["x", "y"], fields = ["t", "x", "y"], layout = "<Qhh", scale = [0.5, 1], time = "t" }
outputs = [
    { type = "mqtt", topic = "edged/1/{fleet}/{device}/out/{pipeline}/{line}" },
    { type = "file", path = "out.jsonl" },
]
deadline_ms = 500
queue = { size = 4, full = "latest" }
[[pipelines]]
name = "next"
model_dir = "."
source = { type = "pipeline", name = "pump" }
decoder = { type = "csv", channels = ["a"], columns = ["a", "b"], labels = ["b"] }
[[pipelines]]
name = "lines"
model = "m"
source = { type = "file", path = "*.toml" }
decoder = { type = "influx", channels = ["a"] }
outputs = [{ type = "mqtt", topic = "x/{host}" }]
[fleet]
groups = ["a"]
[metrics]
listen = "127.0.0.1:9464"
[control]
socket = "/run/x"
"""


def _variables(path: tuple[str | int, ...], value: object) -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = ["EDGED__" + "__".join(map(str, path)).upper()] if path else []
    return here + [name for key, each in items for name in _variables((*path, key), each)]


def _values_of_full() -> dict[str, object]:
    from edged.config.check import Document

    return Document("", FULL).values


VARIABLES = _variables((), _values_of_full())


def test_the_text_that_is_changed_above_is_sound(tmp_path: Path) -> None:
    load(write(tmp_path / "edged.toml", FULL))


# The cost


def test_loading_imports_nothing_heavy(file: Path) -> None:
    """`edged status` goes through here and has a quarter of a second on a slow board."""
    code = (
        "import sys; from pathlib import Path; from edged.config.load import load_config\n"
        f"load_config(Path({str(file)!r}), {{}})\n"
        "print([name for name in ('numpy', 'paho', 'structlog', 'asyncio', 'socket', 'difflib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
