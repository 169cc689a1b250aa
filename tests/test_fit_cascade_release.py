"""`edged fit cascade`: what it writes into a release, shows, and says where the data does not do."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.cli.main import main
from edged.engines.base import Build
from edged.engines.choose import open_engine
from edged.errors import OperatorError
from edged.fitting.evaluate import evaluate
from edged.fitting.labelled import read_labelled
from edged.fitting.running import run_variant
from edged.fitting.stages import CascadeFit, first_half, fit_stages, write_stages
from edged.fitting.svg import cascade_svg
from edged.models.manifest import load_release
from edged.stream.loading import load_best
from tests.texts import LABELS, MANIFEST, words_file, write_release

LARGE = '[[variants]]\nname = "large"  # asked second\nengine = "linear"\nfile = "large.npz"\n'


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in args])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Two variants of which the second knows a label more: the words of the first have no hydraulics."""
    folder = write_release(tmp_path / "orders", MANIFEST + LARGE)
    words_file(folder / "large.npz")
    arrays = dict(np.load(folder / "words.npz"))
    arrays["coef"][2] = 0.0
    np.savez(folder / "words.npz", **arrays)
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return data(tmp_path / "rows.csv", 600)


def data(path: Path, count: int) -> Path:
    """Write rows of three kinds: most say their label in a word, some name two, a few are wrong."""
    rng = np.random.default_rng(1)
    lines = ["text,label"]
    for i in range(count):
        label = LABELS[i % 3]
        other = LABELS[(i + 1) % 3]
        kind = rng.random()
        text = f"{label} {other}" if kind < 0.1 else other if kind < 0.12 else label
        lines.append(f"order {i} {text.lower()},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_thresholds_and_temperatures_are_written_and_the_rest_of_the_file_stays(run: Any, orders: Path, rows: Path) -> None:
    code, _, err = run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large")
    assert code == 0, err
    text = (orders / "model.toml").read_text()
    assert 'name = "large"  # asked second' in text
    assert text.startswith(MANIFEST[:100])
    manifest = load_release(orders).manifest
    assert manifest.cascade is not None
    assert [stage.use for stage in manifest.cascade.stages] == ["words", "large"]
    assert all(0.3 < stage.accept < 1.0 for stage in manifest.cascade.stages)
    assert {variant.name: variant.temperature != 1.0 for variant in manifest.variants} == {"words": True, "large": True}
    fitted = manifest.cascade.fitted
    assert (fitted["target"], fitted["confidence"], fitted["rows"], fitted["data"]) == (0.95, 0.95, 600, "rows.csv")
    assert fitted["accuracy"] > 0.95 <= fitted["at_least"]
    assert fitted["coverage"] > 0.85


def test_a_variant_that_is_no_stage_yet_is_not_forgotten_silently(orders: Path, rows: Path) -> None:
    release = load_release(orders)
    labelled = read_labelled(rows, release.manifest)
    first = fit_stages(release, labelled, ["words"], 0.9, 0.95, lambda *_: None)
    write_stages(orders, first)
    again = fit_stages(load_release(orders), labelled, [], 0.9, 0.95, lambda *_: None)
    assert again.notes[-1] == "large is no stage of [cascade], so the board never asks it: name all stages with --stages"
    assert not any("--stages" in note for note in first.notes)


def test_the_table_and_the_picture_fit_100_columns(run: Any, orders: Path, rows: Path) -> None:
    _, out, _ = run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large")
    *lines, last = out.splitlines()
    assert max(map(len, lines)) <= 100
    assert last == f"wrote {orders / 'model.toml'} and {orders / 'cascade.svg'}"
    assert "← chosen" in out
    assert "◉" in out
    flat = " ".join(out.split())
    assert "with 95 % confidence at least 95 % of all such rows are." in flat
    assert re.search(r"large is asked about \d+ rows and accepts \d+: [\d.]+% more for [\d.]+ ms a row in the mean", flat)


def test_the_picture_is_svg_with_the_stages_by_name(run: Any, orders: Path, rows: Path) -> None:
    run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large")
    root = ElementTree.fromstring((orders / "cascade.svg").read_text())
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"words alone", "large alone", "cascade", "target", "ring: chosen"} <= set(texts)
    lines = [each.get("points") or "" for each in root.iter("{http://www.w3.org/2000/svg}polyline")]
    places = [tuple(map(float, place.split(","))) for line in lines for place in line.split()]
    assert all(0 <= x <= 760 and 0 <= y <= 440 for x, y in places)


def test_names_from_outside_do_not_become_markup(orders: Path, rows: Path) -> None:
    release = load_release(orders)
    fit = fit_stages(release, read_labelled(rows, release.manifest), ["words"], 0.95, 0.95, lambda *_: None)
    svg = cascade_svg(fit, '<script>alert("x")</script> & co')
    assert "<script>" not in svg
    ElementTree.fromstring(svg)


def test_the_data_path_does_what_was_promised(run: Any, orders: Path, rows: Path) -> None:
    """The stream's cascade accepts the same rows as the fit and the evaluation count."""
    run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large")
    release = load_release(orders)
    labelled = read_labelled(rows, release.manifest)
    judged = evaluate(release, labelled, [], lambda *_: None).cascade
    assert judged is not None
    model, failed = load_best(release, open_engine, ["large"])
    assert not failed
    state = model.new_state()
    answers = model.scores(labelled.inputs, np.zeros(len(labelled), np.intp))
    verdicts = [model.verdict(state, answer, 0) for answer in answers]
    model.close()
    outputs = [verdict.output for verdict in verdicts if not isinstance(verdict, str)]
    accepted = [output["band"] == "accept" for output in outputs]
    right = [output["label"] == release.manifest.output.labels[truth] for output, truth in zip(outputs, labelled.truth)]
    asked = [sum(stage in output["path"] for output in outputs) for stage in ("words", "large")]
    assert asked == judged.asked
    assert sum(accepted) == sum(judged.taken)
    assert sum(np.logical_and(accepted, right)) / sum(accepted) == judged.accuracy


def test_too_few_rows_abstain_always_and_say_how_many_would_do(run: Any, orders: Path, tmp_path: Path) -> None:
    few = data(tmp_path / "few.csv", 60)
    code, out, _ = run("fit", "cascade", orders, "--data", few, "--target", "0.95", "--stages", "words")
    assert code == 1
    flat = " ".join(out.split())
    assert "is not shown with 95 % confidence: accept = 1.0, the cascade abstains always." in flat
    assert "labelled rows might show it" in flat
    manifest = load_release(orders).manifest
    assert manifest.cascade is not None
    assert [stage.accept for stage in manifest.cascade.stages] == [1.0]
    assert manifest.cascade.fitted["coverage"] == 0.0


def test_a_target_that_no_threshold_reaches_is_not_promised_by_more_rows(run: Any, orders: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = [f"order {i} engine,{LABELS[rng.integers(3)]}" for i in range(400)]
    (tmp_path / "random.csv").write_text("\n".join(["text,label", *lines]))
    code, out, _ = run("fit", "cascade", orders, "--data", tmp_path / "random.csv", "--target", "0.9")
    assert code == 1
    assert "more rows would hardly help" in " ".join(out.split())


def test_budgets_of_a_cascade_that_was_there_stay(run: Any, orders: Path, rows: Path) -> None:
    first, second = (
        '[[cascade.stages]]\nuse = "words"\naccept = 0.5\n',
        '[[cascade.stages]]\nuse = "large"\naccept = 0.5\nper_hour = 60\n',
    )
    with (orders / "model.toml").open("a") as file:
        file.write(f"[cascade]\nper_hour = 7\n{first}{second}")
    code, _, err = run("fit", "cascade", orders, "--data", rows, "--target", "0.95")
    assert code == 0, err
    found = load_release(orders).manifest.cascade
    assert found is not None
    assert (found.per_hour, [(stage.use, stage.per_hour) for stage in found.stages]) == (7, [("words", 0), ("large", 60)])
    assert found.stages[0].accept != 0.5


def test_fitting_twice_gives_the_same(run: Any, orders: Path, rows: Path) -> None:
    run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large")
    first = (orders / "model.toml").read_text()
    run("fit", "cascade", orders, "--data", rows, "--target", "0.95")
    assert (orders / "model.toml").read_text() == first


def test_without_names_the_fastest_is_asked_first(orders: Path, rows: Path) -> None:
    release = load_release(orders)

    class Slow:
        build, batch, values = Build("linear", "slow", "1", "numpy"), 16, 3

        def scores(self, texts: Any) -> Any:
            return np.array([[i * i % 7 for i in range(3)] for _ in range(20_000)][: len(texts)], float)

        def close(self) -> None:
            pass

    def opener(path: Path, engine: str, **options: Any) -> Any:
        return Slow() if path.name == "words.npz" else open_engine(path, engine, **options)

    fit = fit_stages(release, read_labelled(rows, release.manifest), [], 0.95, 0.95, lambda *_: None, opener)
    assert [stage.use for stage in fit.stages] == ["large", "words"]


def test_as_json_the_curve_is_there(run: Any, orders: Path, rows: Path) -> None:
    code, out, _ = run("fit", "cascade", orders, "--data", rows, "--target", "0.95", "--stages", "words,large", "--json")
    fit = json.loads(out)
    assert (code, fit["reached"], [stage["use"] for stage in fit["stages"]]) == (0, True, ["words", "large"])
    assert fit["first_rows"] + fit["second_rows"] == 600
    assert fit["chosen"]["at_least"] >= 0.95
    assert [each["coverage"] for each in fit["curve"]] == sorted(each["coverage"] for each in fit["curve"])


def test_rows_with_the_same_text_are_in_one_half() -> None:
    texts = np.array([f"order {i % 50}" for i in range(500)], object)
    half = first_half(texts)
    assert all(len(set(half[i::50].tolist())) == 1 for i in range(50))
    assert 10 < half[:50].sum() < 40


@pytest.mark.parametrize(("stages", "code"), [("words,words", "stage-twice"), ("words,none", "no-such-variant"), ("", "stage-elsewhere")])
def test_stages_that_cannot_be_are_refused(run: Any, orders: Path, rows: Path, stages: str, code: str) -> None:
    with (orders / "model.toml").open("a") as file:
        file.write('[cascade]\nstages = [ { use = "words", accept = 0.5 }, { use = "elsewhere", accept = 0.5 } ]\n')
    before = (orders / "model.toml").read_bytes()
    given = ["--stages", stages] if stages else []
    exit_code, out, _ = run("fit", "cascade", orders, "--data", rows, "--target", "0.95", *given, "--json")
    assert (exit_code != 0, json.loads(out)["error"]["code"]) == (True, code)
    assert (orders / "model.toml").read_bytes() == before


@pytest.mark.parametrize("target", ["0", "1", "95", "x"])
def test_a_target_is_a_part(run: Any, orders: Path, rows: Path, target: str) -> None:
    assert run("fit", "cascade", orders, "--data", rows, "--target", target)[0] == 2


def test_a_release_that_cannot_be_written_is_told(orders: Path, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = load_release(orders)
    fit = fit_stages(release, read_labelled(rows, release.manifest), ["words"], 0.95, 0.95, lambda *_: None)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edged.fitting.manifest_edit.write_atomic", fails)
    with pytest.raises(OperatorError, match="No space left on device"):
        write_stages(orders, fit)


def test_windows_have_no_temperature(tmp_path: Path) -> None:
    from tests.test_eval import HAR, har_windows

    release = load_release(HAR)
    labelled = read_labelled(har_windows(tmp_path / "windows.npz"), release.manifest)
    fit: CascadeFit = fit_stages(release, labelled, [], 0.5, 0.9, lambda *_: None)
    assert [stage.temperature for stage in fit.stages] == [1.0]
    assert run_variant(release, release.manifest.variants[0], labelled.inputs, open_engine, lambda *_: None).scores.shape == (36, 3)


def test_help_has_examples(run: Any) -> None:
    code, out, _ = run("fit", "cascade", "--help")
    assert code == 0
    assert "edged fit cascade models/work-orders --data orders.csv --target 0.95" in out
