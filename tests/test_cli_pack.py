"""`edged pack` as a person or a program meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edged.cli.main import main

HAR = Path(__file__).parent.parent / "edged" / "demo" / "har"


@pytest.fixture
def har(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HAR, tmp_path / "har", copy_function=shutil.copyfile))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*args])
        return code, *capsys.readouterr()

    return call


def test_pack_says_what_it_found_in_100_columns(run, har: Path):
    code, out, err = run("pack", str(har))
    assert code == 0
    assert "har 1.0.0, release 1: no faults" in out
    assert "15 goldens" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "running fp32 on" in err
    assert (har / "release.json").exists()


def test_pack_as_json_is_one_document_on_standard_output(run, har: Path):
    code, out, _ = run("pack", str(har), "--json")
    report = json.loads(out)
    assert code == 0
    assert report["release"]["costs"]["fp32"]["macs_total"] > 0
    assert report["goldens"][0]["rows"] == 15


def test_pack_shows_every_fault_with_its_place_and_exits_with_1(run, har: Path):
    text = (har / "model.toml").read_text().replace("hop = 130", "hop = 0").replace('"walking", ', "")
    (har / "model.toml").write_text(text)
    code, out, err = run("pack", str(har))
    assert (code, out) == (1, "")
    line = next(i for i, each in enumerate(text.splitlines(), 1) if each.startswith("hop"))
    assert f"{har / 'model.toml'}:{line}: input.hop: is 0" in err
    assert "output.labels: 2 labels" in err
    assert "2 faults" in err
    code, out, _ = run("pack", str(har), "--json")
    assert [fault["key"] for fault in json.loads(out)["error"]["faults"]] == ["input.hop", "output.labels"]


def test_pack_warns_of_a_variant_without_goldens(run, har: Path):
    text = (har / "model.toml").read_text()
    (har / "model.toml").write_text(text[: text.index("golden = ")])
    code, out, _ = run("pack", str(har))
    assert code == 0
    assert "! fp32: no goldens" in out


def test_what_a_publisher_wrote_does_not_steer_the_terminal(run, har: Path):
    text = (har / "model.toml").read_text()
    (har / "model.toml").write_text(text.replace('version = "1.0.0"', 'version = "\\u001b[31m"'))
    code, out, err = run("pack", str(har))
    assert code == 0
    assert "\x1b" not in out + err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]):
    assert main(["pack", "--help"]) == 0
    assert "edged pack" in capsys.readouterr().out.split("Example")[1]
