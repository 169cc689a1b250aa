"""`edged fit classifier`: what is learnt, how it is measured, what it does to a release, and what it refuses."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("sklearn", reason="fits with scikit-learn: pip install 'edged[fit]'")
pytest.importorskip("tomlkit", reason="edits model.toml with tomlkit: pip install 'edged[fit]'")

from edged.cli.main import main
from edged.engines.base import Build
from edged.engines.choose import open_engine
from edged.engines.head import Head
from edged.engines.linear import LinearEngine
from edged.engines.text import TextUse
from edged.errors import EdgedError
from edged.fitting.classifier import Order, Report, fit_classifiers
from edged.fitting.logistic import fit_head, fit_words
from edged.fitting.measure import accuracy_interval
from edged.fitting.rows import read_rows
from edged.models.manifest import Release, Variant, load_release, parse_manifest
from edged.packing.pack import pack
from tests.conftest import DATA, REPO

ORDERS = DATA / "excavators" / "orders.csv"
WIDTH = 24


def quiet(part: str, done: int, of: int) -> None:
    assert 0 <= done <= of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give every tenth of the excavators' orders: enough to learn from, and quick."""
    lines = ORDERS.read_text().splitlines()
    path = tmp_path_factory.mktemp("data") / "orders.csv"
    path.write_text("\n".join([lines[0], *lines[1::10]]))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give 60 rows that are easily told apart."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.csv"
    rows = [
        f"{word} {place} {i},{label}"
        for word, label in (("leak", "oil"), ("filter", "air"))
        for place in ("boom", "cab")
        for i in range(15)
    ]
    path.write_text("\n".join(["text,label", *rows]))
    return path


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Release, Path]:
    """Fit words with rows left out for good; give the report, the release and the file of the rest."""
    folder = tmp_path_factory.mktemp("fitted")
    rest = folder / "rest.csv"
    report = fit_classifiers(Order(data, folder / "Work Orders 2", held_out=rest), quiet)
    return report, load_release(folder / "Work Orders 2"), rest


def linear_of(release: Release) -> LinearEngine:
    return LinearEngine(release.path_of(release.variant("words")), TextUse("classify", labels=tuple(release.manifest.output.labels)))


def test_a_release_is_made_where_there_is_none_and_can_be_packed(fitted):
    report, release, _ = fitted
    manifest = release.manifest
    assert (manifest.name, manifest.release, manifest.task, manifest.input.kind) == ("work-orders-2", 1, "classify", "text")
    assert manifest.output.labels == sorted(report.labels)
    assert manifest.quality is not None
    assert "held-out rows of orders.csv" in manifest.quality.dataset
    (ran,) = pack(release.folder, lambda text: None).ran
    assert (ran.variant, ran.compared.rows) == ("words", 16)
    assert ran.compared.error < 1e-4


def test_the_accuracy_is_that_of_the_boards_engine_on_rows_it_has_not_seen(fitted):
    report, release, rest = fitted
    rows = read_rows(rest, "text", "label")
    labels = release.manifest.output.labels
    right = int((linear_of(release).scores(rows.texts).argmax(axis=1) == [labels.index(label) for label in rows.labels]).sum())
    (words,) = report.variants
    assert (words.right, words.rows) == (right, len(rows.texts)) == (right, report.held_out_rows)
    assert release.variant("words").quality == round(right / len(rows.texts), 4)
    assert words.interval[0] < words.accuracy < words.interval[1]
    assert words.accuracy > report.baseline.accuracy + 0.2
    assert release.variant("words").temperature == words.temperature


def test_no_text_is_on_both_sides_and_nothing_is_lost(fitted, data: Path):
    report, _, rest = fitted
    whole, held_out = read_rows(data, "text", "label"), read_rows(rest, "text", "label")
    count = {text: held_out.texts.count(text) for text in set(held_out.texts)}
    assert all(whole.texts.count(text) == n for text, n in count.items())
    assert report.rows == len(whole.texts) == report.final_rows + len(held_out.texts)
    assert 0.1 < len(held_out.texts) / report.rows < 0.3


def test_the_manifest_says_what_the_weights_are_of(fitted, data: Path, tiny: Path, tmp_path: Path):
    _, release, _ = fitted
    fit = release.manifest.provenance["fit"]
    assert (fit["data"], fit["sha256"]) == ("orders.csv", hashlib.sha256(data.read_bytes()).hexdigest())
    assert fit["weights"] == "of the rows that were not held out"
    report = fit_classifiers(Order(tiny, tmp_path / "all"), quiet)
    assert load_release(tmp_path / "all").manifest.provenance["fit"]["weights"] == "of all rows, after measuring"
    assert report.final_rows == report.rows


def test_the_same_rows_and_seed_give_the_same_files(tiny: Path, tmp_path: Path):
    for folder in ("one", "two"):
        fit_classifiers(Order(tiny, tmp_path / folder), quiet)
    for name in ("words.npz", "golden-words.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_is_odd_about_the_rows_is_said(fitted, tmp_path: Path):
    report, _, _ = fitted
    assert any(note.startswith("rows that repeat the text of another: ") for note in report.notes)
    assert any("few rows" in note and "Hydraulic Cylinders" in note for note in report.notes)
    assert any("unbalanced" in note for note in report.notes)
    path = tmp_path / "odd.csv"
    rows = [f"oil leak {i},oil" for i in range(12)] + [f"air filter {i},air" for i in range(12)]
    path.write_text("\n".join(["text,label", *rows, "same,oil", " SAME ,air", ",oil", f"{'long ' * 500},air"]))
    odd = fit_classifiers(Order(path, tmp_path / "odd"), quiet)
    assert odd.left_out == {"without a text": 1}
    assert any(note.startswith("texts with more than one label: 1") for note in odd.notes)
    assert any(note.startswith("texts longer than max_chars = 2000 were cut, as on a board: 1") for note in odd.notes)


def test_rows_with_equal_texts_make_the_interval_no_narrower():
    assert accuracy_interval(40, ["a"] * 20 + [f"text {i}" for i in range(30)]) == pytest.approx(
        accuracy_interval(25, [f"text {i}" for i in range(31)]), abs=0.02
    )
    assert accuracy_interval(40, [f"text {i}" for i in range(50)])[0] > accuracy_interval(40, ["a"] * 20 + [f"t {i}" for i in range(30)])[0]


# Releases that are there.

WRITTEN = """\
# Our orders.
name = "orders"          # as the site calls them
version = "7"
release = 7
task = "classify"

[quality]
metric = "accuracy"
minimum = 0.5   # below it a person sorts

[input]
kind = "text"
template = "Order: {text}"

[output]
labels = ["oil", "air"]  # the order of the panel

[[variants]]
name = "small"
engine = "llama"
file = "small.gguf"
context = 256
quality = 0.3   # whole labels scored

[[variants]]
name = "words"
engine = "linear"
file = "words.npz"  # fitted

[cascade]        # words first
stages = [{ use = "words", accept = 0.9 }, { use = "small", accept = 0.5 }]
"""


class Llama:
    """Embeds a text by the hashes of its words, and applies heads as engine llama does."""

    build, batch = Build("llama", "fake", "1", "cpu"), 8
    calls: list[int] = []  # noqa: RUF012

    def __init__(self, path: Path, use: TextUse) -> None:
        assert path.name == "small.gguf"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self._use = use
        self._head = Head.read(use.head, use.labels, sha256) if use.head else None

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        assert (self._use.task, self._use.prompt.template) == ("embed", "Order: {text}")
        self.calls.append(len(texts))
        return self._embedded(texts)

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        assert self._head is not None
        return self._head.logits(self._embedded(texts))

    def close(self) -> None:
        self._use = TextUse("generate")

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = np.full((len(texts), WIDTH), 1e-3, np.float32)
        for row, text in zip(found, texts):
            for word in text.lower().split():
                row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % WIDTH] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def opener(path: Path, engine: str, *, text: TextUse) -> Any:
    return Llama(path, text) if engine == "llama" else open_engine(path, engine, text=text)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    folder.mkdir()
    (folder / "model.toml").write_text(WRITTEN)
    (folder / "small.gguf").write_bytes(b"GGUF of nothing")
    return folder


def changed(release: Path, old: str, new: str) -> Path:
    assert old in WRITTEN
    (release / "model.toml").write_text(WRITTEN.replace(old, new))
    return release


def variants_of(release: Path) -> dict[str, Variant]:
    _, manifest = parse_manifest((release / "model.toml").read_bytes(), "")
    assert manifest is not None
    return {variant.name: variant for variant in manifest.variants}


def test_a_head_is_fitted_on_each_language_model_and_what_people_wrote_stays(release: Path, tiny: Path):
    Llama.calls.clear()
    report = fit_classifiers(Order(tiny, release), quiet, opener)
    assert [each.variant for each in report.variants] == ["words", "small-head"]
    assert all(each.accuracy > report.baseline.accuracy for each in report.variants)
    assert max(Llama.calls) <= Llama.batch
    assert sum(Llama.calls) == len(set(read_rows(tiny, "text", "label").texts))
    head = load_release(release).variant("small-head")
    assert (head.engine, head.file, head.head, head.context) == ("llama", "small.gguf", "head-small.npz", 256)
    assert head.golden is not None
    assert head.golden.agree == 0.9
    text, at = (release / "model.toml").read_text(), 0
    for line in filter(None, WRITTEN.splitlines()):
        assert line in text[at:]
        at = text.index(line, at) + len(line)
    assert any("[cascade]" in note for note in report.notes)
    assert any("quality of small was not measured" in note for note in report.notes)


def test_fitting_again_changes_what_it_wrote_and_adds_nothing(release: Path, tiny: Path):
    fit_classifiers(Order(tiny, release), quiet, opener)
    before = (release / "model.toml").read_text()
    fit_classifiers(Order(tiny, release), quiet, opener)
    assert (release / "model.toml").read_text() == before
    fit_classifiers(Order(tiny, release, only="words", seed=2), quiet, opener)
    assert (release / "model.toml").read_text() != before
    assert [*variants_of(release)] == ["small", "words", "small-head"]


def test_a_head_whose_language_model_is_no_variant_of_its_own_keeps_its_name(release: Path, tiny: Path):
    changed(release, "context = 256\n", 'head = "h.npz"\n')
    fit_classifiers(Order(tiny, release, only="head"), quiet, opener)
    assert {name: variant.head for name, variant in variants_of(release).items()} == {"small": "h.npz", "words": ""}


def test_a_list_of_variants_on_one_line_stays_one(release: Path, tiny: Path):
    lines = WRITTEN[: WRITTEN.index("[[variants]]")].replace(
        "[quality]", 'variants = [{ name = "small", engine = "llama", file = "small.gguf" }]\n[quality]'
    )
    (release / "model.toml").write_text(lines)
    fit_classifiers(Order(tiny, release), quiet, opener)
    assert [*variants_of(release)] == ["small", "words", "small-head"]
    assert "[[variants]]" not in (release / "model.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "code", "text"),
    [
        ('"oil", "air"', '"oil", "water"', "labels-differ", "it lacks `air` and it has `water`"),
        ('"accuracy"', '"f1"', "release-not-for-this", "`f1`"),
        ('engine = "linear"\nfile = "words.npz"', 'engine = "llama"\nfile = "small.gguf"', "release-not-for-this", "`words`"),
        ('name = "orders" ', "name = orders ", "release-faults", "1 fault"),
        ('file = "small.gguf"', 'file = "other.gguf"', "model-unreadable", "other.gguf"),
    ],
)
def test_a_release_that_it_does_not_fit_into_is_left_as_it_is(release: Path, tiny: Path, old: str, new: str, code: str, text: str):
    changed(release, old, new)
    before = {path.name: path.read_bytes() for path in release.iterdir()}
    with pytest.raises(EdgedError) as caught:
        fit_classifiers(Order(tiny, release), quiet, opener)
    assert caught.value.code == code
    assert text in caught.value.text
    assert {path.name: path.read_bytes() for path in release.iterdir()} == before


def test_a_release_for_windows_is_refused(tiny: Path, tmp_path: Path):
    folder = tmp_path / "har"
    shutil.copytree(REPO / "edged" / "demo" / "har", folder, copy_function=shutil.copyfile)
    assert refusal(tiny, folder) == "release-not-for-this"


# Rows that are not enough.


def refusal(data: Path, folder: Path, **order: Any) -> str:
    with pytest.raises(EdgedError) as caught:
        fit_classifiers(Order(data, folder, **order), quiet, opener)
    assert caught.value.hint
    return caught.value.code


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "data-no-rows"),
        ([f"text {i},oil" for i in range(9)], "data-too-few"),
        (["a,oil", "b,air"], "data-too-few"),
        (["same,oil"] * 50 + ["other,air"] * 50, "data-too-few"),
    ],
)
def test_too_few_rows_to_measure_with_are_refused(tmp_path: Path, rows: list[str], code: str):
    (tmp_path / "few.csv").write_text("\n".join(["text,label", *rows]))
    assert refusal(tmp_path / "few.csv", tmp_path / "release") == code
    assert not (tmp_path / "release").exists()


def test_a_head_without_a_language_model_is_refused(tiny: Path, tmp_path: Path):
    assert refusal(tiny, tmp_path / "release", only="head") == "no-language-model"


def test_the_data_is_not_replaced_by_its_own_held_out_rows(tiny: Path, tmp_path: Path):
    before = tiny.read_bytes()
    assert refusal(tiny, tmp_path / "release", held_out=tiny.parent / ".." / tiny.parent.name / tiny.name) == "same-file"
    assert tiny.read_bytes() == before


def test_without_scikit_learn_it_says_what_to_install(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert refusal(tiny, tmp_path / "release") == "fit-missing"


# What is fitted.

HOSTILE = ["日本", "x", "\u200d", "y " * 300, "z" * 500, "İ", "ß ſ", "9", "-"]


def test_texts_without_words_and_texts_that_are_too_long_for_words_are_learnt_from(tmp_path: Path):
    truth = np.arange(len(HOSTILE)) % 2
    np.savez(tmp_path / "words.npz", **fit_words(HOSTILE, truth, ["a", "b"]))
    engine = LinearEngine(tmp_path / "words.npz", TextUse("classify", labels=("a", "b")))
    assert (engine.scores(HOSTILE).argmax(axis=1) == truth).all()
    np.savez(tmp_path / "words.npz", **fit_words(["日", "x", "y"], np.array([0, 1, 1]), ["a", "b"]))  # no word of two characters
    assert LinearEngine(tmp_path / "words.npz", TextUse("classify", labels=("a", "b"))).scores(["日"]).argmax() == 0


def test_a_nul_at_the_end_of_an_n_gram_is_no_feature():
    arrays = fit_words(["a\0 b\0b", "c c\0"], np.array([0, 1]), ["a", "b"])
    assert all("\0" not in ngram and len(ngram) for ngram in arrays["chars"].tolist())
    assert len(set(arrays["chars"].tolist())) == len(arrays["chars"])


def test_a_head_takes_values_that_never_change(tmp_path: Path):
    embeddings = np.array([[1, 0], [1, 2], [1, 0], [1, 2]], np.float32)
    np.savez(tmp_path / "head.npz", **fit_head(embeddings, np.array([0, 1, 0, 1]), ["a", "b"], "ab"))
    assert Head.read(tmp_path / "head.npz", ["a", "b"], "ab").logits(embeddings).argmax(axis=1).tolist() == [0, 1, 0, 1]


# The command.


def test_the_command_says_what_it_did_and_what_comes_next(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, rest = tmp_path / "orders", tmp_path / "rest.csv"
    assert main(["fit", "classifier", "--data", str(tiny), "--into", str(folder), "--held-out", str(rest)]) == 0
    out = capsys.readouterr().out
    for part in (
        "60 rows of tiny.csv, 2 labels:",
        "words",
        "always `",
        "words.npz (",
        f"edged eval {folder} --data {rest}",
        f"edged pack {folder}",
    ):
        assert part in out
    assert rest.is_file()


def test_the_command_gives_json_and_errors_with_codes(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["fit", "classifier", "--data", str(tiny), "--into", str(tmp_path / "orders"), "--json"]) == 0
    report = msgspec.json.decode(capsys.readouterr().out)
    assert report["labels"] == {"oil": 30, "air": 30}
    assert [each["variant"] for each in report["variants"]] == ["words"]
    arguments = ["fit", "classifier", "--data", str(tiny), "--into", str(tmp_path / "orders"), "--only", "head", "--json"]
    assert main(arguments) == 3
    assert msgspec.json.decode(capsys.readouterr().out)["error"]["code"] == "no-language-model"
