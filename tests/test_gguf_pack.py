"""`edged pack` of models for text: costs from the header, and every fault by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.engines.choose import open_engine
from edged.engines.text import TextUse
from edged.errors import BoardError, Fault, ReleaseFaults
from edged.models.gguf import parse_gguf
from edged.models.gguf_costs import costs_of_header
from edged.models.packed import parse_packed
from edged.packing import texts as texts_module
from edged.packing.pack import pack
from tests.ggufs import tiny, working
from tests.smollm import needs_llama
from tests.texts import head_file

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
    (tmp_path / "tiny.gguf").write_bytes(working())
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
    needs_llama()
    report = pack(folder, lambda text: None)
    assert report.ran == (), "it has no goldens"
    assert report.packed.costs == {"q4": costs_of_header(parse_gguf(working()))}
    assert parse_packed(report.path.read_bytes(), "release.json") == report.packed


def test_goldens_of_a_language_model_run_and_are_held_to(folder: Path):
    needs_llama()
    use = TextUse("classify", labels=("leak", "noise"))
    engine = open_engine(folder / "tiny.gguf", "llama", text=use)
    texts = ["pump leaks", "a loud noise"]
    outputs = engine.scores(texts)
    engine.close()
    np.savez(folder / "golden.npz", texts=np.array(texts), outputs=outputs)
    with (folder / "model.toml").open("a") as file:
        file.write('golden = { file = "golden.npz", atol = 0.001 }\n')
    (ran,) = pack(folder, lambda text: None).ran
    assert (ran.variant, ran.build.package, ran.compared.rows) == ("q4", "xllamacpp", 2)
    np.savez(folder / "golden.npz", texts=np.array(texts), outputs=outputs + 1)
    (folder / "release.json").unlink()
    fault = only(folder)
    assert (fault.code, fault.key) == ("golden-differs", "variants[0].golden")


def test_a_model_whose_header_is_sound_and_that_does_not_load_is_a_fault(folder: Path):
    needs_llama()
    (folder / "tiny.gguf").write_bytes(tiny().write())
    fault = only(folder)
    assert (fault.code, fault.key) == ("model-not-loadable", "variants[0].file")
    assert "xllamacpp" in fault.text


def test_without_a_runtime_goldens_cannot_be_run(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts_module, "text_builds", list)
    with pytest.raises(BoardError) as caught:
        pack(folder, lambda text: None)
    assert (caught.value.code, caught.value.hint) == ("engine-missing", "pip install 'edged[text]'")
    assert not (folder / "release.json").exists()


def test_a_head_of_another_model_is_a_fault(folder: Path):
    needs_llama()
    path = folder / "model.toml"
    path.write_text(path.read_text() + 'head = "head.npz"\n')
    head_file(folder / "head.npz", ("leak", "noise"), folder / "tiny.gguf", width=32)
    assert pack(folder, lambda text: None).packed.costs["q4"].arena_bytes == 32 * 4 * 4 + 2 * 8
    (folder / "release.json").unlink()
    (folder / "tiny.gguf").write_bytes(working(seed=2))
    assert only(folder).code == "head-mismatch"


def test_a_file_that_is_cut_short_is_a_fault_of_its_line(folder: Path):
    (folder / "tiny.gguf").write_bytes(tiny().write()[:-1])
    fault = only(folder)
    assert (fault.code, fault.key, fault.line) == ("gguf-malformed", "variants[0].file", 12)


def test_a_part_of_a_model_is_none(folder: Path):
    (folder / "tiny.gguf").write_bytes(b"GGUF\x01" + bytes(100))
    assert only(folder).code == "gguf-unsupported"


def test_a_task_on_texts_wants_texts(folder: Path):
    (folder / "model.toml").write_text(
        MANIFEST.replace('"classify"', '"generate"')
        .replace('[output]\nlabels = ["leak", "noise"]\n', "")
        .replace('"text"', '"tensor"\nchannels = ["a"]\nsamples = 1')
    )
    assert {fault.code for fault in faults(folder)} == {"wrong-task", "wrong-engine"}
