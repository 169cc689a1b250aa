"""`edged fit classifier` with a real language model: the head that it writes is the one that engine llama applies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="fits with scikit-learn: pip install 'edged[fit]'")
pytest.importorskip("tomlkit", reason="edits model.toml with tomlkit: pip install 'edged[fit]'")

from edged.engines.choose import open_engine
from edged.engines.head import Head
from edged.fitting.classifier import Order, fit_classifiers
from edged.models.manifest import load_release
from edged.models.packed import seal_file
from edged.packing.pack import pack
from edged.packing.use import text_use
from tests.smollm import needs_llama, smollm_path

MANIFEST = """\
name = "orders"
version = "1"
release = 1
task = "classify"

[input]
kind = "text"
template = "Order: {text}"

[output]
labels = ["oil", "air"]

[[variants]]
name = "smollm"
engine = "llama"
file = "smollm.gguf"
"""
OIL = ["oil leak at swing motor", "hydraulic hose leaking", "oil level low", "hose burst on boom", "change engine oil", "seal leaks oil"]
AIR = [
    "replace air cleaners",
    "air filter blocked",
    "cabin air con broken",
    "air cleaner dirty",
    "air compressor fault",
    "air dryer service",
]


def test_the_head_that_is_written_is_what_the_engine_applies(tmp_path: Path):
    needs_llama()
    folder, data = tmp_path / "orders", tmp_path / "data.csv"
    folder.mkdir()
    (folder / "model.toml").write_text(MANIFEST)
    shutil.copyfile(smollm_path(), folder / "smollm.gguf")
    data.write_text("\n".join(["text,label", *(f"{text},oil" for text in OIL), *(f"{text},air" for text in AIR)]))
    report = fit_classifiers(Order(data, folder, only="head", holdout=0.4), lambda part, done, of: None)
    (found,) = report.variants
    assert found.variant == "smollm-head"
    release = load_release(folder)
    variant = release.variant("smollm-head")
    use, path = text_use(release, variant), release.path_of(variant)
    assert use.head is not None
    head = Head.read(use.head, use.labels, seal_file(path).sha256)
    engine, embedder = open_engine(path, "llama", text=use), open_engine(path, "llama", text=replace(use, task="embed", head=None))
    try:
        scores = engine.scores([*OIL, *AIR])
        assert head.logits(embedder.vectors([*OIL, *AIR])) == pytest.approx(scores, abs=0.05)
    finally:
        engine.close()
        embedder.close()
    assert (scores.argmax(axis=1) == np.repeat([0, 1], 6)).mean() > 0.9  # these very rows were fitted
    ran = {each.variant: each.compared for each in pack(folder, lambda text: None).ran}
    assert ran["smollm-head"].agree == 1.0
