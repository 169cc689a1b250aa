"""`edged pack` of releases for texts: variants of engine `linear`, their goldens and costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edged.cli.main import main
from edged.errors import Fault, ReleaseFaults
from edged.models.linear_costs import costs_of_linear
from edged.models.packed import parse_packed
from edged.packing.pack import pack
from tests.conftest import REPO
from tests.texts import LABELS, TEXTS, words_file, write_release


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "orders")


def faults(folder: Path) -> list[Fault]:
    with pytest.raises(ReleaseFaults) as caught:
        pack(folder, lambda text: None)
    assert not (folder / "release.json").exists()
    return caught.value.faults


def only(folder: Path) -> Fault:
    found = faults(folder)
    assert len(found) == 1, found
    return found[0]


def golden(**changes: object) -> Callable[[Path], None]:
    """Give what changes arrays of the golden file."""

    def change(folder: Path) -> None:
        path = folder / "golden-words.npz"
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **{**arrays, **changes})

    return change


def test_a_release_of_words_is_packed_and_its_goldens_run(folder: Path):
    report = pack(folder, lambda text: None)
    (ran,) = report.ran
    assert (ran.variant, ran.build.engine, ran.compared.rows, ran.compared.agree) == ("words", "linear", 4, 1.0)
    assert ran.compared.error < 1e-9
    costs = report.packed.costs["words"]
    assert costs == costs_of_linear(folder / "words.npz")
    assert costs.weight_bytes == 3 * 4 + 9 * 4 + 3 * 8  # idf, coef, intercept
    assert parse_packed(report.path.read_bytes(), "release.json") == report.packed
    assert sorted(report.packed.files) == ["golden-words.npz", "model.toml", "words.npz"]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (golden(outputs=np.zeros((4, 3))), "golden-differs", "more than atol"),
        (golden(outputs=np.zeros((4, 2))), "golden-mismatch", "[4, 2]"),
        (golden(outputs=np.zeros((3, 3))), "golden-mismatch", "[3, 3]"),
        (golden(outputs=np.zeros((4, 3), np.float32)), "golden-mismatch", "float32"),
        (golden(outputs=np.full((4, 3), np.nan)), "golden-mismatch", "finite"),
        (golden(texts=np.array(["a"] * 4).reshape(2, 2)), "golden-mismatch", "[2, 2]"),
        (golden(texts=np.array([], "<U1")), "golden-mismatch", "[0]"),
        (golden(texts=np.array(["x" * 201, *TEXTS[1:]])), "golden-mismatch", "201 characters"),
        (golden(texts=np.arange(4)), "npz-malformed", "texts"),
    ],
)
def test_goldens_that_are_not_the_variants_answers_are_refused(folder: Path, change: Callable, code: str, text: str):
    change(folder)
    fault = only(folder)
    assert (fault.code, fault.key.startswith("variants[0].golden")) == (code, True)
    assert text in fault.text


def test_goldens_by_agreement_take_another_number_for_the_same_label(folder: Path):
    path = folder / "model.toml"
    path.write_text(path.read_text().replace("atol = 1e-6", "agree = 1.0"))
    with np.load(folder / "golden-words.npz") as file:
        outputs = file["outputs"] * 1.5
    golden(outputs=outputs)(folder)
    assert pack(folder, lambda text: None).ran[0].compared.agree == 1.0
    golden(outputs=np.roll(outputs, 1, axis=1))(folder)
    (folder / "release.json").unlink()
    assert only(folder).code == "golden-differs"


def test_labels_of_the_file_that_are_not_the_manifests_are_a_fault(folder: Path):
    words_file(folder / "words.npz", ("Bucket", "Engine", "Cab"))
    fault = only(folder)
    assert (fault.code, fault.key) == ("model-not-loadable", "variants[0].file")
    assert "Cab" in fault.text


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"hello" * 100])
def test_what_is_no_classifier_is_said_to_be_none(folder: Path, content: bytes):
    (folder / "words.npz").write_bytes(content)
    assert only(folder).code == "npz-malformed"


def test_a_file_that_is_missing_is_said_once(folder: Path):
    (folder / "words.npz").unlink()
    assert only(folder).code == "file-missing"


# In a process of its own: what one that ran for long frees and takes again says nothing.
WEIGH = f"""
import sys
from pathlib import Path
from edged.pss import pss_mib
from edged.engines.linear import LinearEngine
from edged.engines.text import TextUse
before = pss_mib()
engine = LinearEngine(Path(sys.argv[1]), TextUse("classify", labels={LABELS!r}))
print(pss_mib() - before)
"""


def test_memory_of_a_classifier_is_counted_near_what_it_takes(tmp_path: Path):
    """20,000 n-grams, and what Python's objects for them take."""
    path = tmp_path / "words.npz"
    chars = np.array(sorted({f"{i * 7919 % 100_000:05d}" for i in range(20_000)}))
    features = len(chars)
    np.savez(
        path,
        format=np.int64(1), labels=np.array(LABELS), words=np.array([], "<U1"), word_range=np.array([1, 1]), chars=chars,
        char_range=np.array([5, 5]), idf=np.ones(features, np.float32), coef=np.zeros((features, 3), np.float32), intercept=np.zeros(3),
        lowercase=np.int64(1), sublinear=np.int64(0), split=np.int64(0),
    )  # fmt: skip
    costs = costs_of_linear(path)
    done = subprocess.run([sys.executable, "-c", WEIGH, str(path)], cwd=REPO, capture_output=True, text=True, check=True)
    assert (costs.weight_bytes + costs.arena_bytes) / (1 << 20) == pytest.approx(float(done.stdout), rel=0.4)


def test_pack_shows_what_counts_of_texts(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["pack", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "words" in out
    assert "M PARAMETERS" in out
    assert "4 goldens" in out
    assert "running words on edged" in err
    assert max(map(len, out.splitlines())) <= 100


def test_bench_measures_texts_as_windows(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "--seconds", "0.1", "--json", "--model-dir", str(folder)]) == 0
    shown = json.loads(capsys.readouterr().out)
    (variant,), (path,) = shown["variants"], shown["paths"]
    assert (variant["variant"], variant["batch"] > 1, variant["gmacs"], shown["failed"]) == ("words", True, None, {})
    assert path["results"] > 0
    assert main(["bench", "--seconds", "0.1", "--model-dir", str(folder)]) == 0
    assert "edged" in capsys.readouterr().out


def test_check_counts_what_a_release_in_place_is_made_of(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "edged.toml"
    config.write_text(
        f'[[pipelines]]\nname = "orders"\nmodel_dir = "{folder}"\nsource = {{ type = "stdin" }}\ndecoder = {{ type = "text" }}\n'
        'outputs = [ { type = "stdout" } ]\n'
    )
    assert main(["check", "--config", str(config)]) == 0
    (folder / "words.npz").write_bytes(b"no classifier")
    assert main(["check", "--config", str(config)]) == 3
    assert "words.npz" in capsys.readouterr().out
