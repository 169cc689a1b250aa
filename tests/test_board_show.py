"""`edged board show`: every fact with its file, why the profile fits, what is in force, and what an unknown board is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edged.board.calibration import Calibration, save
from edged.board.inforce import Board, board_here, board_of, circumstances
from edged.board.rates import rates_of
from edged.board.sensors import Sensors
from edged.cli.board.facts import render
from edged.cli.columns import wide
from edged.cli.main import cli
from tests.conftest import REPO

BOARDS = REPO / "tests" / "data" / "boards"
NAMES = sorted(path.name for path in BOARDS.iterdir() if path.is_dir())


def shown(board: Board, root: Path, width: int = 100) -> str:
    return render(board, Sensors(root, lambda _: None).read(), width, colour=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [40, 80, 100])
def test_it_fits_the_terminal(name: str, width: int) -> None:
    assert max(wide(line) for line in shown(board_here(BOARDS / name), BOARDS / name, width).splitlines()) <= width


@pytest.mark.parametrize("name", NAMES)
def test_each_fact_stands_beside_its_file(name: str) -> None:
    board = board_here(BOARDS / name)
    assert board.detected
    text = shown(board, BOARDS / name, width=160)
    for fact, source in board.detected.sources.items():
        assert f"/{source}" in text, fact


def test_it_says_why_the_profile_fits() -> None:
    text = shown(board_here(BOARDS / "raspberry-pi-5-8gb"), BOARDS / "raspberry-pi-5-8gb").replace("\n", " ")
    assert "Profile raspberry-pi-5-8gb (Raspberry Pi 5, 8 GB): the device tree says raspberrypi,5-model-b, and 8,062 MiB" in text
    assert "`edged board calibrate` does it" in text


@pytest.mark.parametrize("name", ["beaglebone-ai-64", "x86-mini-pc"])
def test_an_unknown_board_is_told_so_and_how_to_contribute_a_profile(name: str) -> None:
    text = shown(board_here(BOARDS / name), BOARDS / name).replace("\n", " ")
    assert "none of its own fits this board" in text
    assert "device_profiles/" in text
    assert (REPO / "device_profiles" / "README.md").is_file()


def test_a_profile_that_the_configuration_names_is_told_apart_from_what_the_board_is() -> None:
    root = BOARDS / "raspberry-pi-5-8gb"
    assert "this board would be raspberry-pi-5-8gb" in shown(board_here(root, "raspberry-pi-4b-2gb"), root).replace("\n", " ")


def test_a_limit_of_a_container_is_told() -> None:
    root = BOARDS / "raspberry-pi-5-16gb-in-a-container"
    text = shown(board_here(root), root)
    assert "512 MiB, by a container or service" in text
    assert "512 MiB, 256 of them for everything else" in text


def calibrated(root: Path, state_dir: Path) -> Calibration:
    here = board_here(root)
    assert here.detected
    rates = rates_of(here.profile)
    made = Calibration(
        at="2026-01-31T12:00:00Z",
        circumstances=circumstances(here.detected, 50.0),
        bandwidth_gbs={1: 9.5, 4: 11.0},
        write_iops=1700,
        rates={"some-runtime 1.0": rates},
    )
    save(state_dir, made)
    return made


def test_what_was_measured_is_in_force_as_long_as_it_holds(tmp_path: Path) -> None:
    root = BOARDS / "raspberry-pi-5-8gb"
    made = calibrated(root, tmp_path)
    board = board_here(root, "auto", tmp_path)
    assert board.bandwidth_gbs == 9.5
    assert board.rates("some-runtime 1.0") == made.rates["some-runtime 1.0"]
    assert board.rates("another 2.0") == board.rates(None) == rates_of(board.profile)
    text = shown(board, root)
    assert "9.5 GB/s in one thread" in text
    assert "Measured on this board, 2026-01-31T12:00:00Z." in text


def test_what_was_measured_under_another_kernel_is_not_in_force_and_it_says_why(tmp_path: Path) -> None:
    """The state folder came along on a card from another board."""
    calibrated(BOARDS / "raspberry-pi-4b-4gb-hot", tmp_path)
    board = board_here(BOARDS / "raspberry-pi-5-8gb", "auto", tmp_path)
    assert board.calibration is None
    assert board.bandwidth_gbs == board.profile.memory.bandwidth_gbs.cpu
    text = shown(board, BOARDS / "raspberry-pi-5-8gb").replace("\n", " ")
    assert "holds no longer: kernel was 6.12.47+rpt-rpi-v8, and is 6.12.47+rpt-rpi-2712" in text


def test_another_kind_of_board_is_as_its_profile_says() -> None:
    board = board_of("jetson-orin-nano-8gb")
    assert (board.detected, board.calibration) == (None, None)
    assert (board.ram_mib, board.cores, board.workers, board.arch, board.thermal.throttle_c) == (8192, 6, 5, "aarch64", 99)
    assert "asimddp" in board.isa


def test_for_programs_it_has_the_same_as_json() -> None:
    done = CliRunner().invoke(cli, ["board", "show", "--root", str(BOARDS / "jetson-orin-nano-8gb-super"), "--json"])
    found = json.loads(done.stdout)
    assert found["detected"]["profile"] == found["profile"]["name"] == "jetson-orin-nano-8gb-super"
    assert found["detected"]["sources"]["ram_mib"] == "proc/meminfo"
    assert found["in_force"]["ram_mib"] == 7619
    assert found["in_force"]["from"] == "profile"
    assert found["felt"]["temperature_c"] == 52.5
    assert found["contribute"] is None


def test_the_command_takes_profile_and_calibration_from_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "edged.toml"
    config.write_text(
        f'[device]\nprofile = "raspberry-pi-4b-2gb"\nstate_dir = "{tmp_path}"\n'
        '[[pipelines]]\nname = "pump"\nmodel = "pump"\nsource = { type = "stdin" }\ndecoder = { type = "csv", channels = ["x"] }\n'
        'outputs = [{ type = "stdout" }]\n'
    )
    done = CliRunner().invoke(cli, ["board", "show", "--config", str(config), "--json"])
    assert json.loads(done.stdout)["profile"]["name"] == "raspberry-pi-4b-2gb", done.output


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["board", "show", "--root", str(tmp_path / "none")])
    assert "is not a folder" in str(done.exception)
