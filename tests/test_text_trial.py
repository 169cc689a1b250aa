"""A candidate release for texts in its child process: sound ones are measured, hostile ones are ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.errors import PublisherError
from edged.fleet import trial
from edged.fleet.trial import Limits, Predicted
from tests.ggufs import number, strings, tiny, u32, working
from tests.smollm import needs_llama
from tests.test_trial import WALL_S, nothing_is_left, refused, tried
from tests.texts import CASCADE, LANGUAGE_MODEL, MANIFEST, words_file, write_release

__all__ = ["nothing_is_left"]  # for each test here, too


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "orders")


def test_a_sound_release_of_words_is_measured_and_compared(folder: Path):
    report = tried(folder, text=True, deadline_ms=1e6, predicted={"words": Predicted(ms=1e-9, mib=1e-6)})
    assert (report.variant, report.goldens, report.passed_over) == ("words", 4, {})
    assert report.engine.startswith("edged ")
    assert 0 < report.p50_ms <= report.p95_ms < 50
    assert report.windows > 20
    assert report.predicted_ratio is not None
    assert report.predicted_ratio > 1
    assert set(report.confined) >= {"cpu limit", "memory limit", "file limits"}


def test_goldens_that_differ_reject_the_release(folder: Path):
    with np.load(folder / "golden-words.npz") as file:
        np.savez(folder / "golden-words.npz", texts=file["texts"], outputs=file["outputs"] + 0.1)
    error = refused(folder, text=True)
    assert (type(error), error.code) == (PublisherError, "golden-differs")


def test_a_variant_whose_file_is_none_is_passed_over(tmp_path: Path):
    again = MANIFEST[MANIFEST.index("[[variants]]") :].replace('"words"', '"again"').replace("words.npz", "again.npz", 1)
    folder = write_release(tmp_path / "r", MANIFEST + again)
    words_file(folder / "again.npz")
    (folder / "words.npz").write_bytes(b"PK\x05\x06" + bytes(18))
    report = tried(folder, text=True)
    assert report.variant == "again"
    assert report.passed_over["words"].startswith("model-not-loadable")


def test_a_classifier_that_is_too_slow_for_its_pipeline_is_rejected(folder: Path):
    error = refused(folder, text=True, deadline_ms=1e-6)
    assert error.code == "too-slow"


# Language models: they run in the child itself, so a crash of the runtime is a crash of the trial, and of nothing else.


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    needs_llama()
    return write_release(tmp_path / "labels", MANIFEST + LANGUAGE_MODEL)


def test_a_language_model_is_measured_with_one_thread_and_told_for_all(labels: Path):
    report = tried(labels, text=True, variants=["labels"], speedups={"labels": 1000.0})
    assert (report.variant, report.engine.split()[0], report.goldens) == ("labels", "xllamacpp", 0)
    assert 0 < report.p50_ms <= report.p95_ms < 1
    assert 27 < report.pss_mib < 60, "that of its own process included"
    assert set(report.confined) >= {"cpu limit", "memory limit", "file limits"}


def test_all_stages_of_a_cascade_are_held_to_their_goldens(labels: Path):
    path = labels / "model.toml"
    path.write_text(path.read_text() + CASCADE)
    report = tried(labels, text=True, variants=["labels", "words"])
    assert (report.variant, report.goldens) == ("labels", 4)
    with np.load(labels / "golden-words.npz") as file:
        np.savez(labels / "golden-words.npz", texts=file["texts"], outputs=file["outputs"] + 0.1)
    assert refused(labels, text=True, variants=["labels", "words"]).code == "golden-differs"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"llama.attention.layer_norm_rms_epsilon": number("f32", -5.0)}, "trial-crashed"),  # an assertion of the runtime
        ({"tokenizer.ggml.tokens": strings(["a"] * 3)}, "trial-crashed"),  # the table is longer
        ({"llama.expert_count": u32(1)}, "trial-crashed"),
        ({"llama.rope.freq_base": number("f32", 0.0)}, "model-nan"),
    ],
    ids=["epsilon", "tokens", "experts", "nan"],
)
def test_a_forged_model_whose_header_is_sound_ends_in_the_trial(labels: Path, changes: dict[str, tuple[int, bytes]], code: str):
    (labels / "model.gguf").write_bytes(working(**changes))
    error = refused(labels, text=True, variants=["labels", "words"])
    assert (type(error), error.code) == (PublisherError, code), error.text


def test_weights_that_are_no_numbers_are_refused(labels: Path):
    (labels / "model.gguf").write_bytes(working(weights=b"\xff\xff\xff\x7f"))
    assert refused(labels, text=True, variants=["labels"]).code == "model-nan"


@pytest.mark.parametrize(
    "content", [working()[:-1000], tiny().write(), working(**{"llama.attention.head_count": u32(3)})], ids=["cut", "tensors", "heads"]
)
def test_a_model_that_does_not_load_is_passed_over_and_the_next_variant_is_tried(labels: Path, content: bytes):
    (labels / "model.gguf").write_bytes(content)
    report = tried(labels, text=True, variants=["labels", "words"])
    assert report.variant == "words"
    assert report.passed_over["labels"].startswith("model-not-loadable")


def test_a_model_that_takes_more_memory_than_it_may_is_ended(labels: Path):
    path = labels / "model.toml"
    path.write_text(path.read_text().replace('file = "model.gguf"', 'file = "model.gguf"\ncontext = 900000'))
    (labels / "model.gguf").write_bytes(working(**{"llama.context_length": u32(1_000_000)}))
    error = refused(labels, Limits(memory_mib=16, cpu_s=60, wall_s=WALL_S), text=True, variants=["labels"])
    assert error.code == "trial-memory", error.text


def test_where_no_runtime_loads_words_are_tried_all_the_same(labels: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "_installed", lambda text: [])
    report = tried(labels, text=True, variants=["labels", "words"])
    assert report.variant == "words"
    assert report.passed_over["labels"].startswith("engine-missing")
