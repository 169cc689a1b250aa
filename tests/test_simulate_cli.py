"""`edged board simulate`: another board's answer for a configuration, from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import recordings
from tests.daemon import HAR, XYZ_MS, edged, on_topic, pipeline

SMALL = "raspberry-pi-zero-2w"


def config(folder: Path, *pipelines: str) -> str:
    path = folder / "edged.toml"
    path.write_text(f'[device]\nstate_dir = "{folder}/state"\n[mqtt.main]\nurl = "mqtt://127.0.0.1:1"\n' + "".join(pipelines))
    return str(path)


def simulated(folder: Path, *args: str, code: int = 0) -> dict[str, Any]:
    done = edged("board", "simulate", "--json", *args, cwd=folder)
    assert done.returncode == code, done.stderr.decode()
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_a_configuration_is_answered_for_another_board(tmp_path: Path) -> None:
    file = config(tmp_path, pipeline("pump", on_topic("a/{k}")), pipeline("vib", on_topic("b/{k}")))
    shown = simulated(tmp_path, "--config", file, "--profile", SMALL, "--streams", "10")
    assert shown["board"] == SMALL
    assert [each["pipeline"] for each in shown["pipelines"]] == ["pump", "vib"]
    assert len(shown["busy"]) == 2
    assert 0 < shown["memory_mib"] < shown["budget_mib"]
    # Each of 10 streams has a window every 130 readings, 26 a second.
    assert 100 <= shown["pipelines"][0]["ran"]["results"] <= 140
    assert shown["pipelines"][0]["ran"]["dropped"] == {}


def test_a_recording_gives_its_own_windows(tmp_path: Path) -> None:
    source = tmp_path / "walking.jsonl"
    source.write_text("\n".join(recordings.messages("walking_01")) + "\n")
    file = config(tmp_path, pipeline("pump", f'{{ type = "file", path = "{source}" }}', decoder=XYZ_MS, model=HAR))
    recording = tmp_path / "walking.rec"
    assert edged("record", "--config", file, "--out", str(recording), cwd=tmp_path).returncode == 0
    ran = simulated(tmp_path, "--config", file, "--profile", SMALL, "--recording", str(recording))["pipelines"][0]["ran"]
    assert (ran["messages"], ran["results"]) == (1000, recordings.WINDOWS)


def test_a_deadline_that_no_variant_keeps_is_refused_with_the_nearest_miss(tmp_path: Path) -> None:
    file = config(tmp_path, pipeline("pump", on_topic("a/{k}"), more="deadline_ms = 0.001"))
    done = edged("board", "simulate", "--profile", SMALL, "--config", file, cwd=tmp_path)
    assert done.returncode == 7
    assert b"none fits" in done.stdout
    assert b"deadline: " in done.stdout


def test_an_unknown_board_names_those_there_are(tmp_path: Path) -> None:
    done = edged("board", "simulate", "--profile", "abacus", "--config", config(tmp_path, pipeline("pump", on_topic("a"))), cwd=tmp_path)
    assert done.returncode == 3
    assert SMALL in done.stderr.decode()


def test_a_table_for_people_has_a_line_for_each_pipeline_and_the_budget(tmp_path: Path) -> None:
    done = edged("board", "simulate", "--profile", SMALL, "--config", config(tmp_path, pipeline("pump", on_topic("a/{k}"))), cwd=tmp_path)
    text = done.stdout.decode()
    assert "pump" in text
    assert "memory of models:" in text
    assert "busy: worker 0" in text
