"""Reading `model.toml`: what is taken, every way to be wrong, and hostile folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edged.errors import BugError, EdgedError, PublisherError, ReleaseFaults
from edged.models.manifest import load_release, parse_manifest
from edged.preprocess.ops import Scale

REPO = Path(__file__).parent.parent
HAR = REPO / "edged" / "demo" / "har"
TEXT = (HAR / "model.toml").read_text()
ANOMALY = (REPO / "tests" / "data" / "ad01" / "model.toml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HAR, tmp_path / "har"))


def faults_of(text: str) -> list[tuple[str, str]]:
    document, _ = parse_manifest(text.encode(), "model.toml")
    return [(fault.code, fault.key) for fault in document.faults]


def edited(old: str, new: str, text: str = TEXT) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_release_gives_its_parts_and_the_paths_of_its_files(folder: Path):
    release = load_release(folder)
    manifest = release.manifest
    assert (manifest.name, manifest.version, manifest.release, manifest.task) == ("har", "1.0.0", 1, "classify")
    assert (manifest.input.samples, manifest.input.hop, manifest.input.rate_hz) == (260, 130, 26.0)
    assert manifest.input.preprocess == [Scale(factor=0.00025)]
    assert manifest.output.labels == ["stationary", "walking", "running"]
    variant = release.variant("fp32")
    assert release.path_of(variant) == folder / "har_float.tflite"
    assert variant.golden
    assert release.path_of_file(variant.golden.file) == folder / "golden-fp32.npz"


@pytest.mark.parametrize("name", ["ad01", "kws"])
def test_the_releases_of_the_tests_are_sound(data: Path, name: str):
    assert load_release(data / name).manifest.variants


def test_the_digest_is_that_of_the_file(folder: Path):
    before = load_release(folder).digest
    assert before == load_release(HAR).digest
    (folder / "model.toml").write_text(TEXT + "\n")
    assert load_release(folder).digest != before


def test_an_unknown_variant_names_the_known_ones(folder: Path):
    with pytest.raises(PublisherError) as caught:
        load_release(folder).variant("int8")
    assert caught.value.code == "no-such-variant"
    assert "fp32" in caught.value.hint
    with pytest.raises(BugError):
        load_release(folder).path_of_file("/etc/passwd")


VARIANT = '[[variants]]\nname = "fp32"\nengine = "tflite"\nfile = "har_float.tflite"\n'
TWENTY = str([f"c{i}" for i in range(20)])
ALARM = 'alarm = {{ label = "{}", on = {}, off = {} }}\n'


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        (edited('name = "har"', 'name = "Har"'), "bad-value", "name"),
        (edited('name = "har"', 'name = "har\\n"'), "bad-value", "name"),
        (edited('name = "har"', 'name = "../har"'), "bad-value", "name"),
        (edited("release = 1", "release = 0"), "bad-value", "release"),
        (edited("release = 1", "release = 99999999999999999999999"), "bad-value", "release"),
        (edited("release = 1\n", ""), "missing-key", "release"),
        (edited('task = "classify"', 'task = "guess"'), "bad-value", "task"),
        (edited("samples = 260 ", "samples = 0 "), "bad-value", "input.samples"),
        (edited("samples = 260 ", "samples = 1000000000 "), "bad-value", "input.samples"),
        (edited("samples = 260 ", "samples = 1000000 ").replace('["x", "y", "z"]', TWENTY), "too-large", "input.samples"),
        (edited("hop = 130", "hop = 0"), "bad-value", "input.hop"),
        (edited("hop = 130", "hop = -1"), "bad-value", "input.hop"),
        (edited("hop = 130\n", ""), "missing-key", "input.hop"),
        (edited("rate_hz = 26.0", "rate_hz = 0"), "bad-value", "input.rate_hz"),
        (edited("rate_hz = 26.0", "rate_hz = nan"), "bad-value", "input.rate_hz"),
        (edited("rate_hz = 26.0\n", ""), "missing-key", "input.rate_hz"),
        (edited('["x", "y", "z"]', "[]"), "bad-value", "input.channels"),
        (edited('["x", "y", "z"]', '["x", "y", "x"]'), "duplicate", "input.channels[2]"),
        (edited('["x", "y", "z"]', '["x", "y", " "]'), "bad-value", "input.channels[2]"),
        (edited('["x", "y", "z"]', '["x", "y", "\\u001b[31m"]'), "bad-value", "input.channels[2]"),
        (edited('kind = "window"', 'kind = "tensor"'), "wrong-kind", "input.hop"),
        (edited('kind = "window"', 'kind = "text"'), "wrong-kind", "input.samples"),
        (edited("0.00025", '"a"'), "bad-value", "input.preprocess[0].factor"),
        (edited('op = "scale"', 'op = "scal"'), "unknown-kind", "input.preprocess[0].op"),
        (edited('labels = ["stationary", "walking", "running"]\n', ""), "missing-key", "output.labels"),
        (edited('"walking", "running"]', '"walking", "walking"]'), "duplicate", "output.labels[2]"),
        (edited("[output]\n", "[output]\nthreshold = 3.0\n"), "wrong-task", "output.threshold"),
        (edited("[output]\n", "[output]\n" + ALARM.format("flying", 0.9, 0.7)), "unknown-label", "output.alarm.label"),
        (edited("[output]\n", "[output]\nalarm = { on = 0.9, off = 0.7 }\n"), "unknown-label", "output.alarm.label"),
        (edited("[output]\n", "[output]\n" + ALARM.format("running", 0.6, 0.7)), "bad-value", "output.alarm.on"),
        (edited("[output]\n", "[output]\n" + ALARM.format("running", "inf", 0.7)), "not-finite", "output.alarm.on"),
        (edited("[output]\n", '[output]\nsmooth = { op = "mean", windows = 0 }\n'), "bad-value", "output.smooth.windows"),
        (edited("threshold = 10.74\n", "", ANOMALY), "missing-key", "output.threshold"),
        (edited("threshold = 10.74\n", "threshold = nan\n", ANOMALY), "not-finite", "output.threshold"),
        (edited("[output]\n", '[output]\nlabels = ["a"]\n', ANOMALY), "wrong-task", "output.labels"),
        (edited("[output]\n", "[output]\n" + ALARM.format("a", 2, 1), ANOMALY), "wrong-task", "output.alarm.label"),
        (edited("[output]\n", '[output]\nsmooth = { op = "vote", windows = 3 }\n', ANOMALY), "wrong-task", "output.smooth.op"),
        (edited('"above"\n', '"below"\nalarm = { on = 2, off = 1 }\n', ANOMALY), "bad-value", "output.alarm.on"),
        (edited('task = "classify"', 'task = "regress"'), "wrong-task", "output.labels"),
        (TEXT + VARIANT, "duplicate", "variants[1].name"),
        (edited('engine = "tflite"', 'engine = "onnx"'), "bad-value", "variants[0].engine"),
        (edited(", atol = 1e-4", ""), "missing-key", "variants[0].golden"),
        (edited("atol = 1e-4", "atol = -1"), "bad-value", "variants[0].golden.atol"),
        (edited("atol = 1e-4", "agree = 1.5"), "bad-value", "variants[0].golden.agree"),
        (edited("minimum = 0.9", "minimum = 0.999"), "excludes-all", "quality.minimum"),
        (edited("[quality]", "[qualitty]"), "unknown-key", "qualitty"),
        (TEXT + "[[variants]]\n", "missing-key", "variants[1].name"),
        (TEXT[: TEXT.index("[[variants]]")], "missing-key", "variants"),
        (edited('name = "har"', 'name = "har"\nname = "other"'), "not-toml", ""),
        (edited("[output]", "[input]"), "not-toml", ""),
    ],
)  # fmt: skip
def test_one_fault_is_found_and_placed(text: str, code: str, key: str):
    assert (code, key) in faults_of(text)


def test_a_sound_manifest_has_no_faults():
    assert faults_of(TEXT) == []
    assert faults_of(ANOMALY) == []
    assert faults_of(edited('"above"\n', '"below"\nalarm = { on = 1, off = 2 }\n', ANOMALY)) == []
    assert faults_of(edited("minimum = 0.9", "minimum = 0.999\nhigher_is_better = false")) == []


def test_all_faults_come_at_once_with_their_lines(folder: Path):
    text = edited("hop = 130", "hop = 0").replace('"walking", "running"]', '"walking", "walking"]').replace('file = "har_', 'file = "no_')
    (folder / "model.toml").write_text(text.replace("release = 1", "release = 0"))
    with pytest.raises(ReleaseFaults) as caught:
        load_release(folder)
    faults = caught.value.faults
    assert [fault.code for fault in faults] == ["bad-value", "bad-value", "duplicate", "file-missing"]
    lines = text.splitlines()
    assert [lines[fault.line - 1].split()[0] for fault in faults] == ["release", "hop", "labels", "file"]
    assert faults[0].file == str(folder / "model.toml")


def test_a_fault_in_one_key_does_not_hide_or_cause_another():
    text = edited("[output]\n", "[output]\n" + ALARM.format("running", 0.6, 0.7)).replace('"walking", "running"]', "3]")
    assert set(faults_of(text)) == {("bad-value", "output.labels[1]"), ("bad-value", "output.alarm.on")}


@pytest.mark.parametrize(
    "name", ["../har_float.tflite", "/etc/passwd", "sub/har.tflite", "", ".", "..", ".hidden", "a b", "a\\\\b", "x\\n", "ü", "x" * 200]
)
def test_file_names_that_are_not_plain_are_refused(folder: Path, name: str):
    for old in ("har_float.tflite", "golden-fp32.npz"):
        (folder / "model.toml").write_text(edited(f'file = "{old}"', f'file = "{name}"'))
        with pytest.raises(ReleaseFaults) as caught:
            load_release(folder)
        assert [fault.code for fault in caught.value.faults] == ["bad-file-name"]


@pytest.mark.parametrize("name", ["model.toml", "release.json", "Release.JSON"])
def test_a_variant_cannot_take_the_place_of_the_releases_own_files(name: str):
    assert faults_of(edited('file = "har_float.tflite"', f'file = "{name}"')) == [("bad-file-name", "variants[0].file")]


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path):
    (folder / "har_float.tflite").rename(tmp_path / "elsewhere")
    (folder / "har_float.tflite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseFaults) as caught:
        load_release(folder)
    assert [fault.code for fault in caught.value.faults] == ["file-outside"]


def test_a_link_within_the_folder_is_taken(folder: Path):
    (folder / "har_float.tflite").rename(folder / "v1.tflite")
    (folder / "har_float.tflite").symlink_to("v1.tflite")
    assert load_release(folder).manifest.variants


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop"])
def test_what_is_not_a_regular_file_is_refused(folder: Path, kind: str):
    path = folder / "har_float.tflite"
    path.unlink()
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path.name)}[kind]()
    with pytest.raises(ReleaseFaults) as caught:
        load_release(folder)
    assert [fault.code for fault in caught.value.faults] == ["file-unreadable"]


def test_a_folder_without_a_manifest_says_so(tmp_path: Path):
    with pytest.raises(PublisherError, match="there is no"):
        load_release(tmp_path)
    os.mkfifo(tmp_path / "model.toml")
    with pytest.raises(PublisherError, match="is not a file"):
        load_release(tmp_path)


def test_a_manifest_that_is_too_long_or_no_text_is_refused(folder: Path):
    (folder / "model.toml").write_bytes(b"#" * (1 << 20))
    with pytest.raises(PublisherError, match="longer than 256 KiB"):
        load_release(folder)
    (folder / "model.toml").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(ReleaseFaults) as caught:
        load_release(folder)
    assert [fault.code for fault in caught.value.faults] == ["not-utf8"]


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a." * 50_000 + "a = 1", "[" + "a." * 50_000 + "a]", '"a" . ' * 9_000 + "a = 1"])
def test_text_that_costs_a_parser_quadratic_time_or_its_stack_is_refused(text: str):
    assert [code for code, _ in faults_of(text)] == ["not-toml"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_bytes_raise_anything_but_our_errors(data: st.DataObject):
    manifest = bytearray(TEXT.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(manifest)))
        manifest[at : at + data.draw(st.integers(0, 20))] = data.draw(
            st.one_of(
                st.binary(max_size=8),
                st.sampled_from([b"[", b"]", b"{}", b"= nan", b'""', b"[[variants]]\n", b"1979-05-27", b"-1", b"inf"]),
            )
        )
    try:
        document, built = parse_manifest(bytes(manifest), "model.toml")
    except EdgedError:
        return
    assert built is not None or document.faults
