"""A candidate release for texts in its child process: sound ones are measured, hostile ones are ended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edged.errors import PublisherError
from edged.fleet.trial import Predicted
from tests.test_trial import nothing_is_left, refused, tried
from tests.texts import MANIFEST, words_file, write_release

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
