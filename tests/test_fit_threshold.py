"""`edged fit threshold`: clean data of every form, through the real data path, and what is written into the release."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.cli.main import main
from edged.models.manifest import load_release
from tests.test_eval import anomaly_release

SAMPLES, HOP, CHANNELS = 10, 5, 2


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in args])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    """A release whose score is the mean square of ten readings of two channels, as yet without a threshold."""
    return anomaly_release(tmp_path / "pump", threshold="")


READINGS = np.random.default_rng(1).normal(size=(1500, CHANNELS)).round(3)


def scores(readings: NDArray[np.float64] = READINGS) -> NDArray[np.float64]:
    """Give the score of each window of a stream."""
    starts = range(0, len(readings) - SAMPLES + 1, HOP)
    return np.array([np.square(readings[start : start + SAMPLES].astype(np.float32)).mean() for start in starts])


def csv_file(path: Path, readings: NDArray[np.float64] = READINGS, header: str = "c0,c1") -> Path:
    lines = [header] if header else []
    path.write_text("\n".join([*lines, *(",".join(map(str, row)) for row in readings.tolist())]) + "\n")
    return path


def threshold_of(folder: Path) -> float:
    found = load_release(folder).manifest.output.threshold
    assert found is not None
    return found


@pytest.mark.parametrize("header", ["c0,c1", ""])
def test_readings_of_a_csv_file_become_windows_as_on_a_board(run: Any, pump: Path, tmp_path: Path, header: str) -> None:
    data = csv_file(tmp_path / "clean.csv", header=header)
    code, out, err = run("fit", "threshold", pump, "--data", data, "--rate", "0.02", "--json")
    assert code == 0, err
    fit = json.loads(out)
    (alone,) = fit["variants"]
    assert (alone["windows"], fit["reached"], fit["most"]) == (len(scores()), True, 0.02)
    assert alone["extreme"] == pytest.approx(scores().max(), rel=1e-5)
    assert threshold_of(pump) == fit["threshold"]
    assert (scores() >= fit["threshold"]).sum() == alone["beyond"] == 1  # of 299, 2 would not do: P(Bin(299, 0.02) <= 2) > 0.05


def test_columns_are_found_by_name_and_time_makes_gaps(run: Any, pump: Path, tmp_path: Path) -> None:
    """A step in time in the middle: the windows over it give no score."""
    times = np.arange(1500) * 100
    times[700:] += 10_000
    lines = ["t,other,c1,c0", *(f"{t},9999,{b},{a}" for t, (a, b) in zip(times.tolist(), READINGS.tolist()))]
    (tmp_path / "clean.csv").write_text("\n".join(lines))
    code, out, err = run("fit", "threshold", pump, "--data", tmp_path / "clean.csv", "--time", "t", "--rate", "0.02", "--json")
    assert code == 0, err
    (alone,) = json.loads(out)["variants"]
    wanted = np.concatenate([scores(READINGS[:700]), scores(READINGS[700:])])
    assert alone["windows"] == len(wanted)
    assert alone["median"] == pytest.approx(float(np.median(wanted)), rel=1e-5)


def test_no_window_reaches_from_one_file_into_the_next(run: Any, pump: Path, tmp_path: Path) -> None:
    parts = [csv_file(tmp_path / f"{i}.csv", READINGS[i * 500 : i * 500 + 498]) for i in range(3)]
    files = [arg for part in parts for arg in ("--data", part)]
    code, out, err = run("fit", "threshold", pump, *files, "--rate", "0.02", "--json")
    assert code == 0, err
    fit = json.loads(out)
    assert fit["variants"][0]["windows"] == 3 * len(scores(READINGS[:498]))
    assert fit["data"] == ["0.csv", "1.csv", "2.csv"]


def test_windows_that_were_cut_already_are_taken_as_they_are(run: Any, pump: Path, tmp_path: Path) -> None:
    windows = np.random.default_rng(2).normal(size=(200, SAMPLES, CHANNELS)).astype(np.float32)
    np.savez(tmp_path / "clean.npz", windows=windows)
    code, out, err = run("fit", "threshold", pump, "--data", tmp_path / "clean.npz", "--rate", "0.02", "--json")
    assert code == 0, err
    assert json.loads(out)["variants"][0]["extreme"] == pytest.approx(np.square(windows).mean(axis=(1, 2)).max(), rel=1e-5)


def recording(path: Path, pipeline: str) -> Path:
    """Record READINGS as JSON messages of a pipeline, and some of another."""
    lines: list[dict[str, Any]] = [{"edged-recording": 1, "started": 1_795_351_772_000_000_000, "run": "r"}]
    for i, (a, b) in enumerate(READINGS.tolist()):
        payload = base64.b64encode(json.dumps({"acc": {"c0": a, "c1": b}}).encode()).decode()
        lines.append({"at": i * 100_000_000, "pipeline": pipeline, "topic": base64.b64encode(b"in/a").decode(), "payload": payload})
    lines.append({"at": 10**12, "pipeline": "other", "topic": "", "payload": None})
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


CONFIG = """
[device]
id = "a"
[mqtt.main]
url = "mqtt://127.0.0.1"
[[pipelines]]
name = "vibration"
source = {{ type = "mqtt", topic = "in/{{key}}" }}
decoder = {{ type = "json", channels = ["acc.c0", "acc.c1"] }}
model_dir = "{folder}"
"""


def test_a_recording_is_decoded_as_its_pipeline_says(run: Any, pump: Path, tmp_path: Path) -> None:
    (tmp_path / "edged.toml").write_text(CONFIG.format(folder=pump))
    recorded = recording(tmp_path / "clean.rec", "vibration")
    code, out, err = run("fit", "threshold", pump, "--data", recorded, "--config", tmp_path / "edged.toml", "--rate", "0.02", "--json")
    assert code == 0, err
    (alone,) = json.loads(out)["variants"]
    assert alone["windows"] == len(scores())
    assert alone["left_out"] == {"messages of other pipelines": 1}


def test_a_recording_that_no_pipeline_of_this_model_made_is_refused(run: Any, pump: Path, tmp_path: Path) -> None:
    (tmp_path / "edged.toml").write_text(CONFIG.format(folder=pump).replace("model_dir", "model").replace(str(pump), "other"))
    recorded = recording(tmp_path / "clean.rec", "vibration")
    code, out, _ = run("fit", "threshold", pump, "--data", recorded, "--config", tmp_path / "edged.toml", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "no-such-pipeline")


def test_too_few_windows_are_told_with_what_they_are_worth(run: Any, pump: Path, tmp_path: Path) -> None:
    code, out, _ = run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"))
    assert code == 1
    flat = " ".join(out.split())
    assert "0.1 % cannot be shown by 299 windows: 2,995 are needed at least." in flat
    assert "with 95 % confidence, at most 0.9969 % of clean windows are beyond it." in flat
    assert threshold_of(pump) > scores().max()


def test_what_is_written_says_where_it_is_from_and_leaves_the_rest(run: Any, pump: Path, tmp_path: Path) -> None:
    path = pump / "model.toml"
    path.write_text(path.read_text().replace('score = "mse"', 'score = "mse"    # as trained'))
    run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"), "--rate", "0.02")
    text = path.read_text()
    assert 'score = "mse"    # as trained' in text
    assert "at most 2 % of clean windows are beyond it; 299 windows of clean.csv" in load_release(pump).manifest.provenance["threshold"]


def test_anomalies_below_have_their_threshold_below(run: Any, pump: Path, tmp_path: Path) -> None:
    path = pump / "model.toml"
    path.write_text(path.read_text().replace('score = "mse"', 'score = "mse"\nanomalous = "below"'))
    code, _, err = run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"), "--rate", "0.02")
    assert code == 0, err
    assert (scores() <= threshold_of(pump)).sum() == 1


def test_an_alarm_and_windows_that_overlap_are_pointed_out(run: Any, pump: Path, tmp_path: Path) -> None:
    path = pump / "model.toml"
    path.write_text(path.read_text().replace('score = "mse"', 'score = "mse"\nalarm = { on = 3.0, off = 2.0 }'))
    flat = " ".join(run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"), "--rate", "0.02")[1].split())
    assert "neighbouring windows share 50% of their readings" in flat
    assert "goes on at 3 and off at 2, as before" in flat
    assert "With a window every 0.5 s that is at most one false alarm in 25 s, in the mean." in flat


def test_one_threshold_holds_for_every_variant(run: Any, pump: Path, tmp_path: Path) -> None:
    with (pump / "model.toml").open("a") as file:
        file.write('[[variants]]\nname = "again"\nengine = "tflite"\nfile = "twice.tflite"\n')
    code, out, err = run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"), "--rate", "0.02")
    assert code == 0, err
    assert "whichever variant runs" in " ".join(out.split())
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["VARIANT", "fp32", "again"]


def test_lines_that_are_no_readings_are_counted(run: Any, pump: Path, tmp_path: Path) -> None:
    data = csv_file(tmp_path / "clean.csv")
    data.write_text(data.read_text() + "1.0\nnan,1\n")
    _, out, _ = run("fit", "threshold", pump, "--data", data, "--rate", "0.02", "--json")
    assert json.loads(out)["variants"][0]["left_out"] == {"messages: wrong-length": 1, "messages: not-finite": 1}


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "data-no-rows"), (b"c0,c1\n1,2\n", "data-no-rows"), (b"PK\x03\x04", "data-malformed"), (None, "data-unreadable")],
)
def test_data_that_cannot_be_used_is_an_error_with_a_code(run: Any, pump: Path, tmp_path: Path, content: bytes | None, code: str) -> None:
    before = (pump / "model.toml").read_bytes()
    if content is not None:
        (tmp_path / "data").write_bytes(content)
    exit_code, out, err = run("fit", "threshold", pump, "--data", tmp_path / "data", "--json")
    assert (exit_code, json.loads(out)["error"]["code"]) == (3, code)
    assert "Traceback" not in err
    assert (pump / "model.toml").read_bytes() == before


def test_a_release_with_another_task_is_refused(run: Any, tmp_path: Path) -> None:
    from tests.test_eval import HAR

    code, out, _ = run("fit", "threshold", HAR, "--data", csv_file(tmp_path / "clean.csv"), "--json")
    assert (code, json.loads(out)["error"]["code"]) == (3, "not-anomaly")


def test_other_faults_of_a_release_are_told(run: Any, pump: Path, tmp_path: Path) -> None:
    path = pump / "model.toml"
    path.write_text(path.read_text().replace("rate_hz = 10.0", "rate_hz = -1"))
    code, out, _ = run("fit", "threshold", pump, "--data", csv_file(tmp_path / "clean.csv"), "--json")
    assert code == 1
    assert [fault["key"] for fault in json.loads(out)["error"]["faults"]] == ["input.rate_hz"]


def test_help_has_examples(run: Any) -> None:
    code, out, _ = run("fit", "threshold", "--help")
    assert code == 0
    assert "edged fit threshold models/pump --data clean.csv" in out
