"""How the board feels: memory, heat and slow-down, from recorded trees, and from files that change, lie or are missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from edged.board import throttle
from edged.board.sensors import RECENT, Sensors
from edged.board.tree import Tree
from edged.clock import NS, VirtualClock
from tests.conftest import REPO

BOARDS = REPO / "tests" / "data" / "boards"
POLICY = "sys/devices/system/cpu/cpufreq/policy0"
WORD = "sys/devices/platform/soc/soc:firmware/get_throttled"


def nobody(command: Sequence[str]) -> str | None:
    raise AssertionError(f"{command} was started")


def root_of(tmp_path: Path, files: dict[str, object]) -> Path:
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{content}\n")
    return tmp_path


@pytest.mark.parametrize("board", sorted(path.name for path in BOARDS.iterdir() if path.is_dir()))
def test_every_recorded_board_says_its_memory_and_heat_from_files_alone(board: str) -> None:
    felt = Sensors(BOARDS / board, nobody).read()
    assert felt.available_mib
    assert felt.available_mib > 200
    assert felt.temperature_c
    assert 20 < felt.temperature_c < 90
    assert (felt.throttled is not None) == board.startswith("raspberry")


def test_the_raspberry_pi_5_names_its_firmware_otherwise() -> None:
    assert Sensors(BOARDS / "raspberry-pi-5-8gb", nobody).read().throttled == 0


def test_the_hottest_zone_counts_and_one_that_does_not_work_is_left_out(tmp_path: Path) -> None:
    zones = {"0": 41_000, "1": 63_500, "2": "nonsense", "3": 2_147_483_647, "4": -273_000}
    root = root_of(tmp_path, {f"sys/class/thermal/thermal_zone{zone}/temp": value for zone, value in zones.items()})
    assert Sensors(root, nobody).read().temperature_c == 63.5


def test_a_container_has_what_its_limit_leaves_and_pages_that_can_be_given_up_are_free() -> None:
    felt = Sensors(BOARDS / "raspberry-pi-5-16gb-in-a-container", nobody).read()
    assert felt.available_mib == 512 - (200 - 80)
    assert felt.stalled_pct == 3.25


def test_an_empty_root_says_nothing_and_nothing_fails(tmp_path: Path) -> None:
    felt = Sensors(tmp_path, nobody).read()
    assert {felt.available_mib, felt.temperature_c, felt.throttled, felt.clock_ratio, felt.stalled_pct} == {None}


@pytest.mark.parametrize("content", ["", "some avg10=", "some avg10=x avg60=0", "full avg10=9"])
def test_a_pressure_file_of_another_form_says_nothing(tmp_path: Path, content: str) -> None:
    assert Sensors(root_of(tmp_path, {"proc/pressure/memory": content}), nobody).read().stalled_pct is None


def test_an_idle_processor_at_its_lowest_rate_is_not_slowed_down(tmp_path: Path) -> None:
    root = root_of(tmp_path, {f"{POLICY}/scaling_max_freq": 1_500_000, f"{POLICY}/scaling_cur_freq": 600_000, WORD: 0})
    assert Sensors(root, nobody).read().clock_ratio == 1.0


def test_a_rate_that_the_kernel_lowers_for_heat_is_a_slow_down_until_it_is_back(tmp_path: Path) -> None:
    sensors = Sensors(root_of(tmp_path, {f"{POLICY}/scaling_max_freq": 2_000_000}), nobody)
    ratios = []
    for allowed in (2_000_000, 1_000_000, 1_500_000, 2_000_000):
        root_of(tmp_path, {f"{POLICY}/scaling_max_freq": allowed})
        ratios.append(sensors.read().clock_ratio)
    assert ratios == [1.0, 0.5, 0.75, 1.0]


def test_a_power_mode_that_was_there_from_the_start_is_no_slow_down(tmp_path: Path) -> None:
    root = root_of(tmp_path, {f"{POLICY}/scaling_max_freq": 1_113_600, f"{POLICY}/cpuinfo_max_freq": 1_728_000})
    assert Sensors(root, nobody).read().clock_ratio == 1.0


def test_the_slowest_kind_of_core_counts(tmp_path: Path) -> None:
    big = POLICY.replace("0", "4")
    sensors = Sensors(root_of(tmp_path, {f"{POLICY}/scaling_max_freq": 1_800_000, f"{big}/scaling_max_freq": 2_400_000}), nobody)
    sensors.read()
    root_of(tmp_path, {f"{big}/scaling_max_freq": 1_200_000})
    assert sensors.read().clock_ratio == 0.5


def test_while_the_firmware_slows_down_the_highest_of_the_last_rates_counts(tmp_path: Path) -> None:
    """The kernel is not told of it, and between two windows the processor idles."""
    sensors = Sensors(root_of(tmp_path, {f"{POLICY}/scaling_max_freq": 1_500_000, WORD: "0x20002"}), nobody)
    ratios = []
    for rate in (1_000_000, 600_000, 1_000_000, *[600_000] * RECENT):
        root_of(tmp_path, {f"{POLICY}/scaling_cur_freq": rate})
        ratios.append(sensors.read().clock_ratio)
    assert ratios[:3] == [1_000_000 / 1_500_000] * 3
    assert ratios[-1] == 600_000 / 1_500_000
    root_of(tmp_path, {WORD: "0x20000"})
    assert sensors.read().clock_ratio == 1.0


def test_a_program_is_asked_only_where_no_file_says_it_and_once_in_ten_seconds(tmp_path: Path) -> None:
    asked = []

    def run(command: Sequence[str]) -> str:
        asked.append(list(command))
        return "throttled=0x50005\n"

    clock = VirtualClock()
    sensors = Sensors(root_of(tmp_path, {"usr/bin/vcgencmd": ""}), run, clock)
    for _ in range(25):
        assert sensors.read().throttled == 0x50005
        clock.advance(NS)
    assert asked == [["vcgencmd", "get_throttled"]] * 3


@pytest.mark.parametrize("answer", [None, "", "throttled=", "VCHI initialization failed\n"])
def test_a_program_that_does_not_answer_says_nothing(tmp_path: Path, answer: str | None) -> None:
    assert Sensors(root_of(tmp_path, {"usr/bin/vcgencmd": ""}), lambda _: answer).read().throttled is None


@pytest.mark.parametrize(("answered", "word"), [(0x80000000, 0x50005), (0x80000001, None), (0, None)])
def test_the_firmwares_mailbox_is_asked_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: int, word: int | None
) -> None:
    """There is no such device here: what is held is the message, and how its answer is read."""
    sent: list[tuple[int, ...]] = []

    def ioctl(_fd: int, request: int, message: bytearray, _mutate: bool) -> int:
        assert request == 0xC0086400
        sent.append(struct.unpack("=8I", message))
        message[:] = struct.pack("=8I", 32, answered, 0x00030046, 4, 0x80000004, 0x50005, 0, 0)
        return 0

    root_of(tmp_path, {"dev/vcio": ""})
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr(throttle, "os", SimpleNamespace(**vars(os) | {"stat": lambda _: SimpleNamespace(st_mode=0o020660)}))
    assert throttle.throttle_word(Tree(tmp_path)) == word
    assert sent == [(32, 0, 0x00030046, 4, 0, 0, 0, 0)]


def test_a_file_in_place_of_the_mailbox_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: pytest.fail("it was asked"))
    assert throttle.throttle_word(Tree(root_of(tmp_path, {"dev/vcio": ""}))) is None


def test_a_device_that_is_no_mailbox_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vcio").symlink_to("/dev/null")
    assert throttle.throttle_word(Tree(tmp_path)) is None


def test_a_board_that_goes_away_while_it_is_read_says_less_and_nothing_fails(tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(BOARDS / "raspberry-pi-4b-4gb-hot", root)
    sensors = Sensors(root, nobody)
    assert sensors.read().throttled == 0xE0006
    shutil.rmtree(root)
    assert sensors.read().throttled is None
