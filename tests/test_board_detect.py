"""Which board it is: recorded trees of many boards, an unknown one, containers, and files that are missing or hostile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.board.detect import Detected, detect, match
from edged.board.inforce import board_here, board_of
from edged.board.processor import ISA, count_cores
from edged.board.profile import load_profile
from tests.conftest import REPO

BOARDS = REPO / "tests" / "data" / "boards"
ARM_8_2 = ("asimd", "fphp", "asimdhp", "asimddp", "atomics")

# tree -> profile, MemTotal in MiB, processor, instruction sets
KNOWN = {
    "raspberry-pi-zero-2w": ("raspberry-pi-zero-2w", 426, "4 × Cortex-A53", ("asimd",)),
    "raspberry-pi-3b-plus": ("raspberry-pi-3b-plus", 906, "4 × Cortex-A53", ("asimd",)),
    "raspberry-pi-4b-1gb": ("raspberry-pi-4b-1gb", 906, "4 × Cortex-A72", ("asimd",)),
    "raspberry-pi-4b-4gb-hot": ("raspberry-pi-4b-4gb", 3794, "4 × Cortex-A72", ("asimd",)),
    "raspberry-pi-cm4-8gb": ("raspberry-pi-4b-8gb", 7811, "4 × Cortex-A72", ("asimd",)),
    "raspberry-pi-5-8gb": ("raspberry-pi-5-8gb", 8062, "4 × Cortex-A76", ARM_8_2),
    "raspberry-pi-5-16gb-in-a-container": ("raspberry-pi-5-16gb", 16219, "4 × Cortex-A76", ARM_8_2),
    "jetson-nano": ("jetson-nano", 3964, "4 × Cortex-A57", ("asimd",)),
    "jetson-xavier-nx": ("jetson-xavier-nx-8gb", 7743, "6 × Carmel", ("asimd", "fphp", "asimdhp", "atomics")),
    "jetson-orin-nano-4gb": ("jetson-orin-nano-4gb", 3484, "6 × Cortex-A78AE", ARM_8_2),
    "jetson-orin-nano-8gb": ("jetson-orin-nano-8gb", 7619, "6 × Cortex-A78AE", ARM_8_2),
    "jetson-orin-nano-8gb-super": ("jetson-orin-nano-8gb-super", 7619, "6 × Cortex-A78AE", ARM_8_2),
    "jetson-orin-nx-16gb": ("jetson-orin-nx-16gb", 15675, "8 × Cortex-A78AE", ARM_8_2),
    "jetson-agx-orin-64gb": ("jetson-agx-orin-64gb", 62821, "12 × Cortex-A78AE", ARM_8_2),
    "rock-5b-16gb": ("rock-5b-16gb", 15902, "4 × Cortex-A55 + 4 × Cortex-A76", ARM_8_2),
    "beaglebone-ai-64": ("generic-aarch64", 3762, "2 × Cortex-A72", ("asimd",)),
    "x86-mini-pc": ("generic-x86_64", 15749, "Intel(R) N100", ("sse4_2", "f16c", "fma", "avx", "avx2", "avx_vnni")),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_board_is_known_by_its_files(name: str) -> None:
    found = detect(BOARDS / name)
    assert (found.profile, found.ram_mib, found.cpu, found.isa) == KNOWN[name]
    assert found.generic == (found.profile in ("generic-aarch64", "generic-x86_64"))
    assert found.arch == ("x86_64" if name.startswith("x86") else "aarch64")
    assert found.kernel
    assert found.governor


@pytest.mark.parametrize("name", KNOWN)
def test_each_fact_names_the_file_that_says_so(name: str) -> None:
    found = detect(BOARDS / name)
    for fact, source in found.sources.items():
        assert getattr(found, fact), fact
        assert (BOARDS / name / source).is_file(), fact


@pytest.mark.parametrize("name", KNOWN)
def test_a_board_has_what_its_profile_says(name: str) -> None:
    """The profile is for whoever asks for another board: it must not promise what the board does not have."""
    found, profile = detect(BOARDS / name), load_profile(KNOWN[name][0])
    if not found.generic:
        assert found.isa == tuple(profile.compute.isa)
        assert found.ram_mib <= profile.memory.ram_mib
        assert name == "jetson-xavier-nx" or found.cores == profile.compute.cores


def test_every_tree_is_expected_here() -> None:
    assert {path.name for path in BOARDS.iterdir() if path.is_dir()} == set(KNOWN)


def test_an_unknown_board_gets_the_generic_profile_with_its_own_memory_and_cores() -> None:
    board = board_here(BOARDS / "beaglebone-ai-64")
    assert board.profile.match.generic
    assert (board.ram_mib, board.cores, board.workers, board.arch) == (3762, 2, 1, "aarch64")
    assert board.key == "generic-aarch64, 2 cores, 2 × Cortex-A72"


def test_measurements_of_a_known_kind_of_board_belong_to_its_profile() -> None:
    assert board_here(BOARDS / "raspberry-pi-5-8gb").key == board_of("raspberry-pi-5-8gb").key == "raspberry-pi-5-8gb"


def test_the_most_specific_word_of_the_device_tree_decides() -> None:
    """A module with Super names itself without it too, further back."""
    words = ["oe4t,carrier", "nvidia,p3768-0000+p3767-0005-super", "nvidia,p3768-0000+p3767-0005", "nvidia,tegra234"]
    assert match(words, 7619, "aarch64")[0].name == "jetson-orin-nano-8gb-super"
    assert match(words[2:], 7619, "aarch64")[0].name == "jetson-orin-nano-8gb"


@pytest.mark.parametrize(("ram_mib", "name"), [(400, "1gb"), (1845, "2gb"), (3794, "4gb"), (7811, "8gb"), (0, "")])
def test_memory_tells_the_sizes_of_one_board_apart_also_where_the_boot_loader_limits_it(ram_mib: int, name: str) -> None:
    assert match(["raspberrypi,4-model-b"], ram_mib, "aarch64")[0].name == (f"raspberry-pi-4b-{name}" if name else "generic-aarch64")


def test_a_container_leaves_less_than_the_board_has_and_the_profile_stays_that_of_the_board() -> None:
    board = board_here(BOARDS / "raspberry-pi-5-16gb-in-a-container")
    assert board.detected
    assert (board.detected.ram_mib, board.detected.limit_mib, board.profile.name) == (16219, 512, "raspberry-pi-5-16gb")
    assert (board.ram_mib, board.reserve_mib) == (512, 256)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/status": "Name:\tedged\nCpus_allowed_list:\t2-3\n"}, 2),
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "150000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "max 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "9 0\n"}, 4),
    ],
)
def test_cores_that_a_container_may_not_use_are_no_workers(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    board = board_here(copied(tmp_path, "raspberry-pi-5-8gb", files))
    assert (board.cores, board.workers) == (cores, max(1, min(3, cores - 1)))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{1 << 30}\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 1024),
        ({"proc/self/cgroup": "4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{1 << 30}\n"}, 1024),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{1 << 40}\n"}, None),
        ({"proc/self/cgroup": "0::/../../etc\n", "sys/fs/cgroup/memory.max": "-5\n"}, None),
        ({"proc/self/cgroup": "nonsense\n::::\n"}, None),
    ],
)
def test_the_tightest_limit_on_memory_counts(tmp_path: Path, files: dict[str, str], limit: int | None) -> None:
    assert detect(copied(tmp_path, "raspberry-pi-5-8gb", files)).limit_mib == limit


def test_a_set_of_instructions_that_only_some_cores_have_is_none(tmp_path: Path) -> None:
    root = copied(tmp_path, "rock-5b-16gb", {})
    text = (root / "proc/cpuinfo").read_text()
    (root / "proc/cpuinfo").write_text(text.replace(" asimddp", "", 1))
    assert "asimddp" not in detect(root).isa
    assert "atomics" in detect(root).isa


def test_a_32_bit_system_on_a_64_bit_board_is_told_apart(tmp_path: Path) -> None:
    features = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32"
    cpuinfo = f"processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\nFeatures\t: {features}\n\nHardware\t: BCM2711\n"
    found = detect(copied(tmp_path, "raspberry-pi-4b-4gb-hot", {"proc/cpuinfo": cpuinfo}))
    assert (found.arch, found.cores, found.isa) == ("arm", 4, ())


def test_an_empty_root_is_a_generic_board_and_nothing_fails(tmp_path: Path) -> None:
    found = detect(tmp_path)
    assert (found.ram_mib, found.cores, found.arch, found.sources, found.generic) == (0, 0, "", {}, True)
    assert found.name == "a computer of type unknown"
    board = board_here(tmp_path)
    assert board.ram_mib == board.profile.memory.ram_mib
    assert board.workers >= 1


def test_files_that_are_folders_pipes_or_loops_are_left_out(tmp_path: Path) -> None:
    root = copied(tmp_path, "raspberry-pi-4b-1gb", {})
    for path, make in (
        ("proc/cpuinfo", os.mkfifo),
        ("proc/meminfo", os.mkdir),
        ("proc/device-tree/model", lambda link: os.symlink(link, link)),
    ):
        (root / path).unlink()
        make(root / path)
    found = detect(root)
    assert (found.cpu, found.ram_mib, found.name) == ("", 0, "a computer of type unknown")
    assert found.profile.startswith("generic-")


READ = ("proc/cpuinfo", "proc/meminfo", "proc/device-tree/model", "proc/device-tree/compatible", "proc/self/cgroup", "proc/self/status")
LINES = (
    "processor\t: 0",
    "Features\t:",
    "flags : lm",
    "CPU part\t: 0x",
    f"MemTotal: {'9' * 40}",
    "Cpus_allowed_list: 0-",
    "",
    "::",
    "\x1b[2J",
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder for all examples."""
    root = tmp_path_factory.mktemp("fuzz")
    for path in READ:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
    return root


@given(content=st.binary(max_size=300))
def test_no_content_of_a_file_fails_detection_or_reaches_a_terminal(fuzzed: Path, content: bytes) -> None:
    for path in READ:
        (fuzzed / path).write_bytes(content)
    check(detect(fuzzed))


@given(lines=st.lists(st.sampled_from(LINES)))
def test_no_order_of_lines_fails_detection(fuzzed: Path, lines: list[str]) -> None:
    for path in READ:
        (fuzzed / path).write_text("\n".join(lines))
    check(detect(fuzzed))


def check(found: Detected) -> None:
    assert 0 <= found.ram_mib < 1 << 50
    assert set(found.isa) <= set(ISA)
    for text in (found.name, found.cpu, *found.compatible):
        assert text.isprintable()
        assert len(text) < 8000


@pytest.mark.parametrize(("text", "count"), [("0-3", 4), ("0", 1), ("0-1,4-5", 4), ("", 0)])
def test_a_list_of_cores_is_counted(text: str, count: int) -> None:
    assert count_cores(text) == count


@pytest.mark.parametrize("text", ["3-0", "x", "-1", "0-9999999", "0-99999999999", "0-3,x", "١"])
def test_a_list_of_cores_that_is_none_counts_nothing(text: str) -> None:
    assert count_cores(text) == 0


def copied(tmp_path: Path, name: str, files: dict[str, str]) -> Path:
    """Copy a tree and write files into it."""
    root = tmp_path / "root"
    shutil.copytree(BOARDS / name, root)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root
