"""`edged pack` and `edged models` as a person or a program meets them."""

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
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        state = ["--state-dir", str(tmp_path / "state")] if args[0] == "models" else []
        code = main([*args, *state])
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


def test_a_model_is_installed_listed_shown_and_removed(run, har: Path):
    assert run("models", "list")[1].startswith("no models")
    assert run("models", "install", str(har))[0] == 1  # not packed yet
    run("pack", str(har))
    assert run("models", "install", str(har))[1] == "har 1 is active\n"
    text = (har / "model.toml").read_text().replace("release = 1\n", "release = 2\n")
    (har / "model.toml").write_text(text)
    run("pack", str(har))
    assert run("models", "install", str(har))[1] == "har 2 is active\n"
    _, out, _ = run("models", "list")
    assert [line.split()[:2] for line in out.splitlines()] == [["MODEL", "RELEASE"], ["har", "2"], ["har", "1"]]
    assert run("models", "remove", "har", "2")[0] != 0
    assert run("models", "remove", "har", "1")[0] == 0
    listed = json.loads(run("models", "list", "--json")[1])
    assert [(each["name"], each["release"], each["active"]) for each in listed] == [("har", 2, True)]
    out = run("models", "show", "har")[1]
    assert "STMicroelectronics" in out
    assert "stationary, walking, running" in out
    assert max(map(len, out.splitlines())) <= 100
    shown = json.loads(run("models", "show", "har", "--json")[1])
    assert shown["manifest"]["input"]["preprocess"] == [{"op": "scale", "factor": 0.00025}]
    assert set(shown["costs"]) == {"fp32"}


def test_a_model_that_is_not_there_exits_with_an_error_that_says_what_to_do(run):
    code, out, err = run("models", "show", "pump", "--json")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "no-such-model"
    assert "edged models install" in err


def test_what_a_publisher_wrote_does_not_steer_the_terminal(run, har: Path):
    text = (har / "model.toml").read_text()
    (har / "model.toml").write_text(
        text.replace('trained_by = "', 'trained_by = "\\u001b[2J').replace('version = "1.0.0"', 'version = "\\u001b[31m"')
    )
    for args in (("pack", str(har)), ("models", "install", str(har)), ("models", "list"), ("models", "show", "har")):
        code, out, err = run(*args)
        assert code == 0
        assert "\x1b" not in out + err


@pytest.mark.parametrize(
    "args", [("pack",), ("models",), ("models", "list"), ("models", "install"), ("models", "show"), ("models", "remove")]
)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], args: tuple[str, ...]):
    assert main([*args, "--help"]) == 0
    assert f"edged {' '.join(args)}" in capsys.readouterr().out.split("Example")[1]
