"""`edged eval`: what variants are worth on labelled rows, and what is odd about the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.cli.main import main
from edged.engines.base import Build
from edged.errors import BoardError, EdgedError, OperatorError
from edged.fitting.evaluate import evaluate
from edged.fitting.judging import Classified, Scored
from edged.fitting.labelled import read_labelled
from edged.models.manifest import load_release
from tests import recordings
from tests.conftest import REPO
from tests.ggufs import working
from tests.releases import twice
from tests.smollm import needs_llama
from tests.texts import MANIFEST, write_release

HAR = REPO / "edged" / "demo" / "har"
LABELS = ["Bucket", "Engine", "Hydraulics"]
SECOND = '[[variants]]\nname = "large"\nengine = "linear"\nfile = "words.npz"\ntemperature = 2.0\n'


class Table:
    """An engine for texts that looks its log-odds up."""

    build = Build("linear", "table", "1", "numpy")
    batch = 4
    values = 3

    def __init__(self, log_odds: Callable[[str], list[float]]) -> None:
        self._log_odds = log_odds

    def scores(self, texts: Any) -> Any:
        return np.array([self._log_odds(text) for text in texts])

    def mib(self) -> float:
        return 77.0

    def close(self) -> None:
        pass


def opening(log_odds: Callable[[str], list[float]]) -> Callable[..., Table]:
    return lambda path, engine, **options: Table(log_odds)


def csv_file(path: Path, *rows: tuple[str, str], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


def quiet(variant: str, done: int, of: int) -> None:
    """Nobody watches."""


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return write_release(tmp_path / "orders")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """24 rows, of which the words tell all but three: right 21 of 24, the most frequent label 12."""
    known = [("bucket tooth", "Bucket")] * 12 + [("engine smokes", "Engine")] * 6 + [("hydraulics leak", "Hydraulics")] * 3
    return csv_file(tmp_path / "rows.csv", *known, *[("bucket of the engine room", "Hydraulics")] * 3)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in args])
        return code, *capsys.readouterr()

    return call


def test_eval_says_what_each_variant_is_worth_in_100_columns(run: Any, orders: Path, rows: Path) -> None:
    code, out, err = run("eval", orders, "--data", rows)
    assert code == 0, err
    assert "on 24 rows of rows.csv" in out
    assert "87.5%  67.6%…97.3%" in out  # as scipy.stats.binomtest(21, 24).proportion_ci(0.95)
    assert "The most frequent label, `Bucket`, alone is right in 50.0%." in out
    assert "write one, and the smallest variant that meets it is named here" in " ".join(out.split())
    assert "20 rows have the same text as an earlier row" in out
    assert max(map(len, out.splitlines())) <= 100


def test_eval_as_json_has_precision_and_recall_of_each_label(run: Any, orders: Path, rows: Path) -> None:
    code, out, _ = run("eval", orders, "--data", rows, "--json")
    found = json.loads(out)
    (words,) = found["variants"]
    assert (code, words["right"], words["rows"], found["baseline"]) == (0, 21, 24, "Bucket")
    by_label = {each["label"]: (each["rows"], each["recall"]) for each in words["labels"]}
    assert (by_label["Hydraulics"], by_label["Engine"]) == ((6, 0.5), (6, 1.0))
    assert sum(each["answered"] for each in words["labels"]) == 24
    assert words["cost"]["bytes"] == (orders / "words.npz").stat().st_size
    assert words["cost"]["p99_ms"] >= words["cost"]["p50_ms"] > 0


def test_the_smallest_that_meets_the_minimum_is_named_and_a_doubt_with_it(run: Any, tmp_path: Path, rows: Path) -> None:
    manifest = MANIFEST.replace("[quality]", "[quality]\nminimum = 0.85") + SECOND.replace("words.npz", "large.npz")
    folder = write_release(tmp_path / "orders", manifest)
    np.savez(folder / "large.npz", **np.load(folder / "words.npz"), more=np.zeros(1000))
    _, out, _ = run("eval", folder, "--data", rows)
    flat = " ".join(out.split())
    assert "The smallest that meets the minimum of 0.85 is words; with so few rows it may still be below" in flat
    assert json.loads(run("eval", folder, "--data", rows, "--json")[1])["smallest"] == "words"


def test_a_minimum_that_no_variant_meets_is_said(run: Any, tmp_path: Path, rows: Path) -> None:
    folder = write_release(tmp_path / "orders", MANIFEST.replace("[quality]", "[quality]\nminimum = 0.99").replace("quality = 0.9\n", ""))
    assert "No variant is shown to meet the minimum of 0.99." in run("eval", folder, "--data", rows)[1]


def test_a_minimum_of_another_metric_is_not_judged(run: Any, tmp_path: Path, rows: Path) -> None:
    folder = write_release(tmp_path / "orders", MANIFEST.replace('"accuracy"', '"f1"\nminimum = 0.5'))
    found = json.loads(run("eval", folder, "--data", rows, "--json")[1])
    assert found["smallest"] == ""
    assert any("minimum is of `f1`" in note for note in found["notes"])


def test_a_model_that_is_no_better_than_one_label_is_called_so(run: Any, orders: Path, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "odd.csv", *[("bucket", "Bucket")] * 5, *[("bucket", "Engine")] * 7)
    _, out, _ = run("eval", orders, "--data", data)
    assert "words is not shown to be better than that" in out
    assert "1 text has more than one label" in out


def test_variants_that_do_not_run_here_are_said_with_the_reason(tmp_path: Path, rows: Path) -> None:
    release = load_release(write_release(tmp_path / "orders", MANIFEST + SECOND))

    def opener(path: Path, engine: str, **options: Any) -> Table:
        opener.opened = getattr(opener, "opened", 0) + 1  # type: ignore[attr-defined]
        if opener.opened == 2:  # type: ignore[attr-defined]
            raise BoardError("engine-missing", "nothing here runs it")
        return Table(lambda text: [1.0, 0.0, 0.0])

    found = evaluate(release, read_labelled(rows, release.manifest), [], quiet, opener)
    assert found.failed == {"large": "nothing here runs it"}
    assert [each.variant for each in found.variants] == ["words"]
    assert isinstance(found.variants[0], Classified)
    assert found.variants[0].accuracy == 0.5
    assert found.variants[0].cost.mib == 77.0


def test_where_no_variant_runs_the_exit_code_says_so(run: Any, orders: Path, rows: Path) -> None:
    (orders / "words.npz").write_bytes(b"no archive")
    code, out, err = run("eval", orders, "--data", rows, "--json")
    assert code == 7
    assert json.loads(out)["error"]["code"] == "does-not-fit"
    assert "no variant of orders runs here: words: " in err


def test_answers_without_a_number_are_wrong_and_counted(tmp_path: Path, rows: Path, orders: Path) -> None:
    release = load_release(orders)
    opener = opening(lambda text: [np.nan, 0.0, 0.0] if "engine" in text else [1.0, 0.0, 0.0])
    found = evaluate(release, read_labelled(rows, release.manifest), [], quiet, opener).variants[0]
    assert isinstance(found, Classified)
    assert (found.right, found.rows, found.without_answer) == (12, 24, 9)


def test_the_calibration_error_is_told_before_and_after_the_temperature(tmp_path: Path, rows: Path) -> None:
    manifest = MANIFEST.replace('name = "words"', 'name = "words"\ntemperature = 4.0')
    release = load_release(write_release(tmp_path / "orders", manifest))
    found = evaluate(release, read_labelled(rows, release.manifest), [], quiet, opening(lambda text: [8.0, 0.0, 0.0])).variants[0]
    assert isinstance(found, Classified)
    surest = {t: np.exp(8 / t) / (np.exp(8 / t) + 2) for t in (1.0, 4.0)}
    assert found.ece_uncalibrated == pytest.approx(surest[1.0] - 0.5, abs=1e-5)
    assert found.ece == pytest.approx(surest[4.0] - 0.5, abs=1e-5)


def test_only_the_variants_that_are_named_are_run(run: Any, tmp_path: Path, rows: Path) -> None:
    folder = write_release(tmp_path / "orders", MANIFEST + SECOND)
    found = json.loads(run("eval", folder, "--data", rows, "--variants", "large", "--json")[1])
    assert [each["variant"] for each in found["variants"]] == ["large"]
    code, _, err = run("eval", folder, "--data", rows, "--variants", "lrage")
    assert (code, "no-such-variant" in err) == (1, True)


def test_the_cascade_is_judged_as_it_would_run(run: Any, tmp_path: Path, rows: Path) -> None:
    cascade = '[cascade]\nstages = [ { use = "words", accept = 0.9 }, { use = "large", accept = 0.9, per_hour = 5 } ]\n'
    folder = write_release(tmp_path / "orders", MANIFEST + SECOND + cascade)
    found = json.loads(run("eval", folder, "--data", rows, "--json")[1])
    # Half of "bucket of the engine room" is two labels: no stage is sure of it.
    assert (found["cascade"]["asked"], found["cascade"]["taken"]) == ([24, 3], [21, 0])
    assert (found["cascade"]["coverage"], found["cascade"]["accuracy"]) == (21 / 24, 1.0)
    assert any("hourly budgets" in note and "large" in note for note in found["notes"])
    _, out, _ = run("eval", folder, "--data", rows)
    assert "The cascade accepts 87.5% of the rows" in out


def test_a_cascade_that_asks_another_model_is_not_judged(run: Any, tmp_path: Path, rows: Path) -> None:
    cascade = '[cascade]\nstages = [ { use = "words", accept = 0.9 }, { use = "elsewhere", accept = 0.9 } ]\n'
    folder = write_release(tmp_path / "orders", MANIFEST + cascade)
    found = json.loads(run("eval", folder, "--data", rows, "--json")[1])
    assert found["cascade"] is None
    assert any("elsewhere did not run here" in note for note in found["notes"])


def test_data_that_the_release_was_made_with_is_warned_of(run: Any, tmp_path: Path, rows: Path) -> None:
    folder = write_release(tmp_path / "orders", MANIFEST.replace("[quality]", '[provenance]\ndata = "700 of rows.csv"\n[quality]'))
    assert "[provenance] of the release names rows.csv" in run("eval", folder, "--data", rows)[1]


def test_rows_that_cannot_be_used_are_counted_by_reason(orders: Path, tmp_path: Path) -> None:
    manifest = load_release(orders).manifest
    unknown, lacking = [("a cab", "Cab"), ("a tyre", "Tyre"), ("tyre", "Tyre")], [("x", ""), (" ", "Engine")]
    data = csv_file(tmp_path / "odd.csv", ("a bucket", "Bucket"), *unknown, *lacking)
    found = read_labelled(data, manifest)
    assert found.left_out == {
        "without a label": 1,
        "without a text": 1,
        "with a label that the release does not have (Tyre: 2, Cab: 1)": 3,
    }
    assert found.inputs.tolist() == ["a bucket"]
    assert any("no row has the label Engine, Hydraulics" in note for note in found.notes)


def test_unbalanced_and_rare_labels_are_said(orders: Path, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "odd.csv", *[(f"bucket {i}", "Bucket") for i in range(60)], ("engine", "Engine"), ("hose", "Hydraulics"))
    notes = " ".join(read_labelled(data, load_release(orders).manifest).notes)
    assert "few rows have the label Engine: 1, Hydraulics: 1" in notes
    assert "unbalanced: `Bucket` has 60 rows, the least frequent 1" in notes


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "data-no-column"),
        (b"text,sys\na,b\n", "data-no-column"),
        (b"text,label\n", "data-no-rows"),
        (b"text,label\na,Cab\n", "data-no-rows"),
        (b"text,label\n\xff\xfe,Bucket\n", "data-malformed"),
        (b"PK\x03\x04\x00\x00", "data-malformed"),
        (None, "data-unreadable"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_with_a_code_and_no_traceback(
    run: Any, orders: Path, tmp_path: Path, content: bytes | None, code: str
) -> None:
    data = tmp_path / "data.csv"
    if content is not None:
        data.write_bytes(content)
    exit_code, out, err = run("eval", orders, "--data", data, "--json")
    assert (exit_code, json.loads(out)["error"]["code"]) == (3, code)
    assert "Traceback" not in err


def test_columns_have_the_names_that_are_asked_for(run: Any, orders: Path, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "rows.csv", ("bucket", "Bucket"), header="note,system")
    found = json.loads(run("eval", orders, "--data", data, "--text", "note", "--label", "system", "--json")[1])
    assert found["rows"] == 1


def har_windows(path: Path, named: bool = False) -> Path:
    """Write the windows of all recordings, with the indices or the names of their labels."""
    cut, labels = [], []
    names = ["stationary", "walking", "running"]
    for name in recordings.ALL:
        values = recordings.readings(name)
        cut += [values[i : i + 260] for i in range(0, 741, 130)]
        labels += [recordings.label_of(name)] * recordings.WINDOWS
    np.savez(path, windows=np.array(cut), labels=np.array(labels if named else [names.index(label) for label in labels]))
    return path


@pytest.mark.parametrize("named", [False, True])
def test_a_release_on_windows_is_held_to_labelled_windows(run: Any, tmp_path: Path, named: bool) -> None:
    code, out, err = run("eval", HAR, "--data", har_windows(tmp_path / "windows.npz", named), "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["rows"] == 36
    assert found["variants"][0]["accuracy"] > 0.9
    assert found["smallest"] == "fp32"


def test_windows_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", windows=np.zeros((4, 100, 3)), labels=np.zeros(4, np.int64))
    with pytest.raises(OperatorError, match=r"windows \[n, 260, 3\] and labels \[n\] are wanted|\[4, 100, 3\]"):
        read_labelled(tmp_path / "data.npz", load_release(HAR).manifest)


def test_windows_without_a_label_that_is_known_or_with_nan_are_left_out(tmp_path: Path) -> None:
    windows = np.zeros((6, 260, 3))
    windows[2, 5, 1] = np.nan
    np.savez(tmp_path / "data.npz", windows=windows, labels=np.array([0.0, 1.0, 2.0, 7.0, np.nan, 0.5]))
    found = read_labelled(tmp_path / "data.npz", load_release(HAR).manifest)
    assert found.truth.tolist() == [0, 1]
    assert found.left_out == {"with a label that the release does not have": 3, "with values that are no numbers": 1}


def anomaly_release(folder: Path, threshold: str = "threshold = 1.5\n") -> Path:
    """Make a release whose anomaly score is the mean square of its window."""
    path = twice(folder, 2, 10, hop=5) / "model.toml"
    text = path.read_text().replace('task = "regress"', 'task = "anomaly"')
    path.write_text(text.replace("[[variants]]", f'[output]\nscore = "mse"\n{threshold}[[variants]]'))
    return folder


def test_a_release_for_anomaly_is_judged_by_order_and_threshold(run: Any, tmp_path: Path) -> None:
    folder = anomaly_release(tmp_path / "twice")
    levels = np.sqrt([0.5, 1.0, 1.6, 1.2, 2.0, 3.0])
    np.savez(tmp_path / "data.npz", windows=np.ones((6, 10, 2)) * levels[:, None, None], anomalous=np.array([0, 0, 0, 1, 1, 1]))
    code, out, err = run("eval", folder, "--data", tmp_path / "data.npz", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["variants"]
    assert found["auc"] == pytest.approx(8 / 9)
    assert [found[key] for key in ("precision", "recall", "false_alarms")] == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert "0.889" in run("eval", folder, "--data", tmp_path / "data.npz")[1]


def test_anomalies_alone_have_no_order(tmp_path: Path) -> None:
    release = load_release(anomaly_release(tmp_path / "twice"))
    np.savez(tmp_path / "data.npz", windows=np.ones((3, 10, 2)), anomalous=np.ones(3, np.int64))
    data = read_labelled(tmp_path / "data.npz", release.manifest)
    found = evaluate(release, data, [], quiet).variants[0]
    assert isinstance(found, Scored)
    assert (found.auc, found.precision, found.false_alarms) == (None, None, None)
    assert any("no row has the label clean" in note for note in data.notes)


@pytest.mark.parametrize("task", ["regress", "embed"])
def test_a_task_without_labels_is_refused(tmp_path: Path, task: str) -> None:
    folder = twice(tmp_path / "twice", 2, 10, hop=5)
    (folder / "model.toml").write_text((folder / "model.toml").read_text().replace("regress", task))
    with pytest.raises(EdgedError) as caught:
        read_labelled(tmp_path / "any.csv", load_release(folder).manifest)
    assert caught.value.code == "data-not-for-this"


def test_a_language_model_is_judged_beside_words_and_no_process_stays(tmp_path: Path, orders: Path, rows: Path) -> None:
    needs_llama()
    (orders / "model.gguf").write_bytes(working())
    with (orders / "model.toml").open("a") as file:
        file.write('[[variants]]\nname = "model"\nengine = "llama"\nfile = "model.gguf"\n')
    release = load_release(orders)
    before = children()
    found = evaluate(release, read_labelled(rows, release.manifest), [], quiet)
    assert not found.failed
    words, model = found.variants
    assert isinstance(model, Classified)
    assert (model.rows, model.without_answer) == (24, 0)
    assert model.cost.mib > 1  # a process of its own
    assert model.cost.p50_ms > words.cost.p50_ms
    assert found.rows == 24
    assert children() == before


def children() -> set[int]:
    """Give the processes that this one has begun."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parts = path.read_text().rpartition(")")[2].split()
            found |= {int(path.parent.name)} if int(parts[1]) == os.getpid() and parts[0] != "Z" else set()
    return found


def test_help_has_examples(run: Any) -> None:
    code, out, _ = run("eval", "--help")
    assert code == 0
    assert "edged eval models/work-orders --data orders.csv" in out
