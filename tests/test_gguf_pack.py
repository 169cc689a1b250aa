"""`edged pack` of models for text: costs from the header, and every fault by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.errors import Fault, ReleaseFaults
from edged.models.gguf import parse_gguf
from edged.models.gguf_costs import costs_of_header
from edged.models.packed import parse_packed
from edged.packing.pack import pack
from tests.ggufs import tiny

MANIFEST = """name = "tickets"
version = "1"
release = 1
task = "classify"
[input]
kind = "text"
[output]
labels = ["leak", "noise"]
[[variants]]
name = "q4"
engine = "llama"
file = "tiny.gguf"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.toml").write_text(MANIFEST)
    (tmp_path / "tiny.gguf").write_bytes(tiny().write())
    return tmp_path


def faults(folder: Path) -> list[Fault]:
    with pytest.raises(ReleaseFaults) as caught:
        pack(folder, lambda text: None)
    assert not (folder / "release.json").exists()
    return caught.value.faults


def only(folder: Path) -> Fault:
    found = faults(folder)
    assert len(found) == 1, found
    return found[0]


def test_a_model_for_text_is_packed_with_the_costs_of_its_header(folder: Path):
    report = pack(folder, lambda text: None)
    assert report.ran == ()
    assert report.packed.costs == {"q4": costs_of_header(parse_gguf(tiny().write()))}
    assert parse_packed(report.path.read_bytes(), "release.json") == report.packed


def test_a_file_that_is_cut_short_is_a_fault_of_its_line(folder: Path):
    (folder / "tiny.gguf").write_bytes(tiny().write()[:-1])
    fault = only(folder)
    assert (fault.code, fault.key, fault.line) == ("gguf-malformed", "variants[0].file", 12)


def test_a_part_of_a_model_is_none(folder: Path):
    (folder / "tiny.gguf").write_bytes(b"GGUF\x01" + bytes(100))
    assert only(folder).code == "gguf-unsupported"


def test_another_engine_beside_it_waits_for_a_later_version(folder: Path):
    with (folder / "model.toml").open("a") as file:
        file.write('[[variants]]\nname = "words"\nengine = "linear"\nfile = "tiny.gguf"\n')
    fault = only(folder)
    assert (fault.code, fault.key) == ("engine-missing", "variants[1].engine")


def test_goldens_for_text_wait_for_a_later_version(folder: Path):
    np.savez(folder / "golden.npz", inputs=np.zeros(1), outputs=np.zeros(1))
    with (folder / "model.toml").open("a") as file:
        file.write('golden = { file = "golden.npz", atol = 0.1 }\n')
    assert only(folder).code == "golden-unsupported"


def test_a_task_on_texts_wants_texts(folder: Path):
    (folder / "model.toml").write_text(
        MANIFEST.replace('"classify"', '"generate"')
        .replace('[output]\nlabels = ["leak", "noise"]\n', "")
        .replace('"text"', '"tensor"\nchannels = ["a"]\nsamples = 1')
    )
    assert {fault.code for fault in faults(folder)} == {"wrong-task", "wrong-engine"}
