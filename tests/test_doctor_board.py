"""`edged doctor` and the board: each fault in a recorded tree is found, and a sound board is let be."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edged.board.tree import Tree
from edged.clock import NS, VirtualClock
from edged.doctor import clock, memory, python, runtimes, serial, storage, texts, thermal
from edged.doctor.account import Account
from edged.doctor.disks import mount_of
from edged.doctor.finding import ERROR, HINT, OK, WARNING, Finding
from tests.smollm import needs_llama

NOVEMBER_2026 = 1_795_351_772 * NS


def tree(root: Path, files: Mapping[str, str | bytes]) -> Tree:
    """Write a recorded tree."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Tree(root)


def found(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Give the findings by their codes."""
    return {finding.code: finding for finding in findings}


def nobody(_: object) -> None:
    """Answer as a machine without the program."""


# -- memory -------------------------------------------------------------------------------------

MEMINFO = "MemTotal:        3884044 kB\nMemFree:          203340 kB\nMemAvailable:    3012344 kB\n"
CGROUPS = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t80\t1\nmemory\t0\t80\t{}\n"
ZRAM = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0                              partition\t2097152\t\t0\t\t100\n"
PI = {
    "proc/cmdline": "coherent_pool=1M cgroup_disable=memory console=tty1 root=PARTUUID=1-02 rootwait\n",
    "proc/meminfo": MEMINFO,
    "proc/swaps": ZRAM,
    "proc/cgroups": CGROUPS.format(0),
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
    "boot/firmware/cmdline.txt": "console=tty1 root=PARTUUID=1-02 rootwait\n",
}


def test_memory_control_off_is_found_with_the_command_for_this_boot_file(tmp_path: Path) -> None:
    finding = found(memory.check_memory(tree(tmp_path, PI)))["memory-cgroup-off"]
    assert finding.severity == WARNING
    assert finding.fix == "sudo sed -i '1 s/$/ cgroup_enable=memory cgroup_memory=1/' /boot/firmware/cmdline.txt && sudo reboot"


def test_the_boot_file_of_an_older_system_is_named(tmp_path: Path) -> None:
    files = {name.replace("boot/firmware/", "boot/"): text for name, text in PI.items()}
    assert " /boot/cmdline.txt " in found(memory.check_memory(tree(tmp_path, files)))["memory-cgroup-off"].fix


def test_memory_control_switched_on_but_not_started_yet_wants_a_restart(tmp_path: Path) -> None:
    files = {**PI, "boot/firmware/cmdline.txt": "root=/dev/sda2 cgroup_enable=memory cgroup_memory=1\n"}
    assert found(memory.check_memory(tree(tmp_path, files)))["memory-cgroup-off"].fix == "sudo reboot"


def test_memory_control_off_on_a_board_with_another_boot_loader_is_told_in_words(tmp_path: Path) -> None:
    files = {name: text for name, text in PI.items() if not name.startswith("boot")}
    finding = found(memory.check_memory(tree(tmp_path, files)))["memory-cgroup-off"]
    assert "boot loader" in finding.advice


def test_the_fix_of_the_boot_file_keeps_it_one_line(tmp_path: Path) -> None:
    """The command is run as it is, without sudo and on the tree's file."""
    seen = tree(tmp_path, PI)
    fix = found(memory.check_memory(seen))["memory-cgroup-off"].fix.split(" && ")[0].removeprefix("sudo ")
    assert os.system(fix.replace(" /boot", f" {tmp_path}/boot")) == 0
    assert seen.text("boot/firmware/cmdline.txt") == "console=tty1 root=PARTUUID=1-02 rootwait cgroup_enable=memory cgroup_memory=1"


@pytest.mark.parametrize("version", ["cgroup 2", "table"])
def test_memory_control_on_is_fine(tmp_path: Path, version: str) -> None:
    files = {**PI, "proc/cgroups": CGROUPS.format(1), "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n"}
    if version == "table":
        del files["sys/fs/cgroup/cgroup.controllers"]
    assert [finding.severity for finding in memory.check_memory(tree(tmp_path, files))] == [OK]


def test_a_machine_that_says_nothing_of_memory_gets_no_finding(tmp_path: Path) -> None:
    assert list(memory.check_memory(Tree(tmp_path))) == []


def test_little_memory_and_no_swap_are_found(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 430000 kB\nMemAvailable: 90000 kB\n", "proc/swaps": ZRAM.splitlines()[0]}
    codes = found(memory.check_memory(tree(tmp_path, files)))
    assert codes["memory-low"].severity == WARNING
    assert codes["swap-missing"].severity == HINT


@pytest.mark.parametrize("swap", ["/dev/mmcblk0p3 partition 1 0 -2", "/var/swap file 1 0 -2"])
def test_swap_on_a_memory_card_is_found(tmp_path: Path, swap: str) -> None:
    files = {"proc/swaps": f"Filename Type Size Used Priority\n{swap}\n", **CARD}
    assert "swap-on-card" in found(memory.check_memory(tree(tmp_path, files)))


def test_compressed_swap_is_fine(tmp_path: Path) -> None:
    assert "swap-on-card" not in found(memory.check_memory(tree(tmp_path, {"proc/swaps": ZRAM, **CARD})))


def test_processes_killed_for_lack_of_memory_are_told(tmp_path: Path) -> None:
    assert "3" in found(memory.check_memory(tree(tmp_path, {"proc/vmstat": "pgfault 1\noom_kill 3\n"})))["memory-ran-out"].text


# -- clock --------------------------------------------------------------------------------------


def test_a_clock_in_1970_is_an_error_and_comes_first() -> None:
    findings = list(clock.judge_clock(5 * NS, unsynced=True, battery=False))
    assert [(each.code, each.severity) for each in findings] == [("clock-wrong", ERROR), ("clock-no-battery", HINT)]
    assert "1970-01-01" in findings[0].text


def test_a_clock_that_nothing_keeps_right_is_a_warning() -> None:
    assert found(clock.judge_clock(NOVEMBER_2026, unsynced=True, battery=True))["clock-unsynced"].severity == WARNING


@pytest.mark.parametrize("unsynced", [False, None])
def test_a_clock_that_is_right_or_unknown_is_fine(unsynced: bool | None) -> None:
    assert [each.severity for each in clock.judge_clock(NOVEMBER_2026, unsynced, battery=True)] == [OK]


def test_the_kernel_is_asked_without_setting_anything(tmp_path: Path) -> None:
    assert clock.read_unsynced() in (True, False, None)
    codes = found(clock.check_clock(tree(tmp_path, {"sys/class/rtc/rtc0/name": "pcf8563"}), VirtualClock(NOVEMBER_2026)))
    assert "clock-no-battery" not in codes


# -- storage ------------------------------------------------------------------------------------

CARD = {
    "proc/self/mountinfo": "27 1 179:2 / / rw,noatime - ext4 /dev/root rw\n31 27 0:29 / /tmp rw - tmpfs tmpfs rw\n",
    "sys/class/block/mmcblk0/dev": "179:0\n",
    "sys/class/block/mmcblk0p2/dev": "179:2\n",
}
ROOM = storage.Room(Path("/var/lib/edged"), Path("/var/lib"), 5000, 0)


def wear(root: Path, life_time: str, pre_eol: str) -> dict[str, Finding]:
    files = {"sys/block/mmcblk0/device/life_time": life_time, "sys/block/mmcblk0/device/pre_eol_info": pre_eol}
    seen = tree(root, {**CARD, **files})
    mount = mount_of(seen, Path("/var/lib"))
    assert mount is not None
    return found(storage.judge_wear(seen, mount))


def test_the_mount_of_a_path_is_the_innermost_and_its_device_the_real_one(tmp_path: Path) -> None:
    text = r"27 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,errors=remount-ro" + "\n"
    text += r"40 27 8:1 / /mnt/a\040b rw - ext4 /dev/sda1 rw" + "\nnot a line of it\n"
    seen = tree(tmp_path, {**CARD, "proc/self/mountinfo": text})
    root, inner = mount_of(seen, Path("/var/lib")), mount_of(seen, Path("/mnt/a b/state"))
    assert root is not None
    assert (root.device, root.disk, root.kind) == ("mmcblk0p2", "mmcblk0", "ext4")
    assert inner is not None
    assert (inner.point, inner.device) == (Path("/mnt/a b"), "")


@pytest.mark.parametrize(
    ("life_time", "pre_eol", "code", "severity"),
    [
        ("0x0b 0x02", "0x01", "storage-worn-out", ERROR),
        ("0x01 0x01", "0x03", "storage-worn-out", ERROR),
        ("0x01 0x0a", "0x01", "storage-worn", WARNING),
        ("0x01 0x01", "0x02", "storage-worn", WARNING),
    ],
)
def test_a_worn_emmc_is_found(tmp_path: Path, life_time: str, pre_eol: str, code: str, severity: str) -> None:
    assert {each.code: each.severity for each in wear(tmp_path, life_time, pre_eol).values()} == {code: severity}


@pytest.mark.parametrize(("life_time", "pre_eol"), [("0x01 0x02", "0x01"), ("0x00 0x00", "0x00"), ("nonsense", "")])
def test_a_fresh_or_silent_emmc_is_fine(tmp_path: Path, life_time: str, pre_eol: str) -> None:
    assert wear(tmp_path, life_time, pre_eol) == {}


@pytest.mark.parametrize(
    ("line", "code", "severity"),
    [
        ("27 1 179:2 / / ro,noatime - ext4 /dev/root ro", "disk-read-only", ERROR),
        ("27 1 179:2 / / rw - ext4 /dev/root rw", "disk-atime", HINT),
        ("27 1 0:30 / / rw,relatime - overlay overlay rw", "state-not-kept", WARNING),
        ("27 1 0:30 / / rw,relatime - tmpfs tmpfs rw", "state-not-kept", WARNING),
    ],
)
def test_a_file_system_that_does_not_keep_the_state_is_found(tmp_path: Path, line: str, code: str, severity: str) -> None:
    mount = mount_of(tree(tmp_path, {**CARD, "proc/self/mountinfo": line}), Path("/var/lib"))
    assert mount is not None
    assert [(each.code, each.severity) for each in storage.judge_mount(mount, ROOM)] == [(code, severity)]


@pytest.mark.parametrize(("free", "code"), [(3, "disk-full"), (300, "disk-short")])
def test_little_room_is_found(free: int, code: str) -> None:
    assert list(found(storage.judge_room(replace(ROOM, free=free), spool_mib=256))) == [code]


def test_a_state_folder_that_all_may_write_is_an_error() -> None:
    room = replace(ROOM, mode=stat.S_IFDIR | 0o777)
    assert found(storage.judge_room(room, 256))["state-open"].fix == "sudo chmod o-w /var/lib/edged"
    assert list(storage.judge_room(replace(room, mode=stat.S_IFDIR | 0o1777), 256)) == []


def test_a_state_folder_that_is_not_there_yet_is_judged_by_the_folder_above(tmp_path: Path) -> None:
    room = storage.read_room(tmp_path / "not" / "yet")
    assert (room.present, room.mode) == (tmp_path, 0)
    assert room.free > 0


# -- heat, voltage, clock rate --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "codes"),
    [
        ("0", {}),
        ("50005", {"under-voltage": ERROR, "throttled": WARNING}),
        ("50000", {"under-voltage-before": WARNING, "throttled-before": HINT}),
        ("80008", {"throttled": WARNING}),
        ("20000", {"throttled-before": HINT}),
    ],
)
def test_the_throttle_word_is_told_in_plain_words(tmp_path: Path, word: str, codes: dict[str, str]) -> None:
    """Once from the kernel's file, once from the program, which writes `throttled=0x…`."""
    by_file = thermal.check_thermal(tree(tmp_path / "a", {"sys/devices/platform/soc/soc:firmware/get_throttled": word}), nobody)
    by_program = thermal.check_thermal(tree(tmp_path / "b", {"usr/bin/vcgencmd": ""}), lambda _: f"throttled=0x{word}\n")
    assert {each.code: each.severity for each in by_file} == codes
    assert {each.code: each.severity for each in by_program} == codes


def test_a_zone_is_hot_by_its_own_limit(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0"
    files = {f"{zone}/temp": "76000", f"{zone}/trip_point_0_type": "passive", f"{zone}/trip_point_0_temp": "75000"}
    files |= {f"{zone}/trip_point_1_type": "critical", f"{zone}/trip_point_1_temp": "70000"}
    assert "76 °C" in found(thermal.check_thermal(tree(tmp_path, files), nobody))["board-hot"].text


def test_a_zone_without_a_limit_is_hot_from_80_degrees_on(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone0/temp"
    assert "board-hot" in found(thermal.check_thermal(tree(tmp_path / "a", {zone: "80100"}), nobody))
    assert list(found(thermal.check_thermal(tree(tmp_path / "b", {zone: "61000"}), nobody))) == ["ok"]


@pytest.mark.parametrize(("driver", "codes"), [("cpufreq-dt", ["governor-powersave"]), ("intel_pstate", [])])
def test_powersave_is_found_where_it_means_the_lowest_rate(tmp_path: Path, driver: str, codes: list[str]) -> None:
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    files = {f"{policy}/scaling_governor": "powersave\n", f"{policy}/scaling_driver": f"{driver}\n"}
    assert list(found(thermal.check_thermal(tree(tmp_path, files), nobody))) == codes


# -- serial ports ---------------------------------------------------------------------------------

PORTS = {"dev/ttyACM0": "", "dev/ttyUSB0": "", "dev/ttyAMA0": "", "etc/group": f"dialout:x:{os.getegid()}:\n"}
ALONE = Account("press", 54321, frozenset({54321}), service=False)
SERVICE = Account("edged", 54321, frozenset({54321}), service=True)


def closed_ports(root: Path) -> Tree:
    seen = tree(root, PORTS)
    for name in ("ttyACM0", "ttyUSB0", "ttyAMA0"):
        (root / "dev" / name).chmod(0o660)
    return seen


def rights(root: Path, account: Account, named: str = "/dev/edged/A1B2") -> Finding:
    """Judge the ports of the tree as if they belonged to a group `dialout`."""
    ports = [serial.Port(f"/{path}", (root / path).stat()) for path in closed_ports(root).find("dev/tty*")]
    as_dialout = [replace(port, status=os.stat_result((*port.status[:5], 20, *port.status[6:10])), named=named) for port in ports]
    (finding,) = serial.judge_rights(as_dialout, account, {20: "dialout"})
    return finding


def test_a_user_outside_the_group_is_told_how_to_join(tmp_path: Path) -> None:
    finding = rights(tmp_path, ALONE)
    assert (finding.code, finding.severity, finding.fix) == ("serial-port-not-allowed", ERROR, "sudo usermod -aG dialout press")
    assert finding.text == "user press may not use /dev/edged/A1B2"


def test_ports_that_no_pipeline_uses_are_only_a_hint(tmp_path: Path) -> None:
    finding = rights(tmp_path, ALONE, named="")
    assert finding.severity == HINT
    assert finding.text == "user press may not use /dev/ttyACM0, /dev/ttyAMA0, /dev/ttyUSB0"


def test_the_service_is_judged_by_its_own_groups(tmp_path: Path) -> None:
    assert rights(tmp_path, SERVICE).fix == "sudo usermod -aG dialout edged"
    dynamic = replace(SERVICE, uid=None)
    assert "SupplementaryGroups=dialout" in rights(tmp_path / "b", dynamic).fix


def test_a_member_of_the_group_and_root_may_open_the_ports(tmp_path: Path) -> None:
    seen = closed_ports(tmp_path)
    member = replace(ALONE, gids=frozenset({os.getegid()}))
    for account in (member, Account("root", 0, frozenset(), service=True)):
        assert list(found(serial.check_serial(seen, account, []))) == ["ok"]


def test_a_board_without_ports_gets_no_finding(tmp_path: Path) -> None:
    assert list(serial.check_serial(Tree(tmp_path), ALONE, [])) == []


@pytest.mark.parametrize("name", ["ModemManager", "brltty"])
def test_a_program_that_grabs_usb_ports_is_found(tmp_path: Path, name: str) -> None:
    files = {**PORTS, "proc/812/comm": f"{name}\n", "proc/1/comm": "systemd\n"}
    root = Account("root", 0, frozenset(), service=False)
    assert name in found(serial.check_serial(tree(tmp_path, files), root, []))["serial-grabbed"].text


@pytest.mark.parametrize("console", ["serial0,115200", "ttyAMA0,115200"])
def test_a_console_on_the_boards_own_port_is_found(tmp_path: Path, console: str) -> None:
    files = {**PORTS, "proc/cmdline": f"console={console} console=tty1\n", "usr/bin/raspi-config": ""}
    finding = found(serial.check_serial(tree(tmp_path, files), Account("root", 0, frozenset(), service=False), []))["serial-console"]
    assert finding.fix == "sudo raspi-config nonint do_serial_cons 1 && sudo reboot"


def plugged(root: Path, **links: str) -> Tree:
    """Give a tree with a port `ttyACM0` that has a name which stays, and one process for each of `links`, which has that file open."""
    seen = tree(root, {"dev/ttyACM0": "", "dev/edged/keep": ""})
    (root / "dev/edged/A1B2").symlink_to("../ttyACM0")
    for i, (name, link) in enumerate(links.items()):
        process = root / "proc" / str(100 + i)
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text(f"{name}\n")
        (process / "fd" / "7").symlink_to(link)
    return seen


ROOT = Account("root", 0, frozenset(), service=True)


def terminal(major: int, minor: int) -> serial.Port:
    """Give a port of a device number."""
    status = os.stat_result((stat.S_IFCHR | 0o660, *[0] * 9), {"st_rdev": os.makedev(major, minor)})
    return serial.Port("/dev/ttyX0", status, "/dev/edged/A1B2")


DRIVERS = {
    "proc/tty/drivers": """\
/dev/tty             /dev/tty        5       0 system:/dev/tty
acm                  /dev/ttyACM   166 0-255 serial
serial               /dev/ttyS       4 64-95 serial
pty_slave            /dev/pts      136 0-1048575 pty:slave
unknown              /dev/tty        4 1-63 console
broken row
odd                  /dev/odd        7 a-b serial
"""
}


def test_a_port_that_a_pipeline_reads_and_that_is_not_there_is_an_error_that_names_what_is(tmp_path: Path) -> None:
    finding = found(serial.check_serial(plugged(tmp_path), ROOT, ["/dev/edged/A1B2", "/dev/edged/GONE"]))["serial-port-missing"]
    assert (finding.severity, finding.subject) == (ERROR, "/dev/edged/GONE")
    assert "there are /dev/edged/A1B2" in finding.advice


def test_a_missing_port_is_told_also_on_a_board_without_any(tmp_path: Path) -> None:
    assert list(found(serial.check_serial(Tree(tmp_path), ROOT, ["/dev/ttyACM0"]))) == ["serial-port-missing"]


@pytest.mark.parametrize(("number", "fits"), [((166, 3), True), ((4, 64), True), ((136, 9), True), ((4, 1), False), ((1, 3), False)])
def test_a_port_is_a_serial_one_by_the_kernels_drivers(tmp_path: Path, number: tuple[int, int], fits: bool) -> None:
    codes = [each.code for each in serial.judge_kinds([terminal(*number)], tree(tmp_path, DRIVERS))]
    assert codes == ([] if fits else ["serial-port-unusable"])


def test_a_file_is_no_port_and_a_kernel_that_does_not_tell_its_drivers_is_believed(tmp_path: Path) -> None:
    seen = plugged(tmp_path)
    assert list(found(serial.check_serial(seen, ROOT, ["/dev/edged/A1B2"]))) == ["serial-port-unusable"]
    assert list(serial.judge_kinds([terminal(1, 3)], seen)) == []


def test_a_real_terminal_is_a_port_and_the_null_device_is_none() -> None:
    master, slave = os.openpty()
    try:
        port = serial.Port(os.ttyname(slave), os.stat(os.ttyname(slave)), "/dev/edged/A1B2")
        assert list(serial.judge_kinds([port], Tree())) == []
    finally:
        os.close(master)
        os.close(slave)
    assert [each.code for each in serial.judge_kinds([replace(port, status=os.stat("/dev/null"))], Tree())] == ["serial-port-unusable"]


def test_a_program_that_has_the_port_open_is_named(tmp_path: Path) -> None:
    seen = plugged(tmp_path, minicom="/dev/ttyACM0", cat="/dev/ttyACM1")
    findings = found(serial.check_serial(seen, ROOT, ["/dev/edged/A1B2"]))
    assert findings["serial-port-busy"].text == "minicom (process 100) has it open, and a pipeline reads it"
    assert findings["serial-port-busy"].subject == "/dev/edged/A1B2"


@pytest.mark.parametrize(
    "words", [("/usr/bin/python3", "/usr/local/bin/edged", "run", "--config", "x"), ("python3", "-P", "-m", "edged.cli.main", "run")]
)
def test_the_daemon_itself_may_have_the_port_open(tmp_path: Path, words: tuple[str, ...]) -> None:
    seen = plugged(tmp_path, edged="/dev/ttyACM0")
    (tmp_path / "proc/100/cmdline").write_text("\0".join((*words, "")))
    assert "serial-port-busy" not in found(serial.check_serial(seen, ROOT, ["/dev/edged/A1B2"]))


def test_a_monitor_of_ours_in_the_way_of_the_daemon_is_named_as_any_program(tmp_path: Path) -> None:
    seen = plugged(tmp_path, edged="/dev/ttyACM0")
    (tmp_path / "proc/100/cmdline").write_text("edged\0serial\0monitor\0/dev/ttyACM0\0")
    assert "serial-port-busy" in found(serial.check_serial(seen, ROOT, ["/dev/edged/A1B2"]))


def test_a_closed_port_that_a_pipeline_reads_is_an_error_and_others_are_a_hint(tmp_path: Path) -> None:
    seen = closed_ports(tmp_path)
    (tmp_path / "dev/edged").mkdir()
    (tmp_path / "dev/edged/A1B2").symlink_to("../ttyACM0")
    closed = [each for each in serial.check_serial(seen, ALONE, ["/dev/edged/A1B2"]) if each.code == "serial-port-not-allowed"]
    assert {each.severity: each.text for each in closed} == {
        ERROR: "user press may not use /dev/edged/A1B2",
        HINT: "user press may not use /dev/ttyUSB0, /dev/ttyAMA0",
    }


def test_a_port_of_an_unusual_name_is_judged_too(tmp_path: Path) -> None:
    """Boards have on-board ports such as ttyTHS1 and ttymxc2; only those that are named are looked at."""
    seen = tree(tmp_path, {"dev/ttyTHS1": "", **PORTS})
    (tmp_path / "dev/ttyTHS1").chmod(0o660)
    texts = [each.text for each in serial.check_serial(seen, ALONE, ["/dev/ttyTHS1"]) if each.code == "serial-port-not-allowed"]
    assert "user press may not use /dev/ttyTHS1" in texts


# -- Python and its wheels ------------------------------------------------------------------------

BOTH = ("ai-edge-litert", "tflite-runtime")
PI_5 = python.PythonFacts((3, 11, 2), 64, "aarch64", (2, 36), BOTH)


def python_codes(**changes: object) -> dict[str, str]:
    return {each.code: each.severity for each in python.judge_python(replace(PI_5, **changes), "/opt/edged/bin/python")}  # type: ignore[arg-type]


def test_a_sound_python_is_fine() -> None:
    assert python_codes() == {"ok": OK}


@pytest.mark.parametrize("machine", ["aarch64", "armv7l"])
def test_a_32_bit_system_is_found_whatever_its_kernel(machine: str) -> None:
    assert python_codes(bits=32, machine=machine) == {"python-32-bit": ERROR}


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 14, 0)])
def test_a_python_without_wheels_is_an_error_where_nothing_runs_models(version: tuple[int, int, int]) -> None:
    assert python_codes(version=version, runtimes=()) == {"python-no-wheels": ERROR}
    assert python_codes(version=version) == {"python-no-wheels": HINT}


@pytest.mark.parametrize(("glibc", "code"), [(None, "libc-no-wheels"), ((2, 26), "libc-no-wheels"), ((2, 31), "glibc-old")])
def test_a_c_library_without_wheels_is_found(glibc: tuple[int, int] | None, code: str) -> None:
    assert code in python_codes(glibc=glibc, runtimes=())


def test_an_old_glibc_leads_to_the_runtime_that_has_wheels() -> None:
    (finding, _) = python.judge_python(replace(PI_5, glibc=(2, 31), runtimes=()), "/opt/edged/bin/python")
    assert finding.fix == "/opt/edged/bin/python -m pip install ai-edge-litert"


def test_a_processor_without_wheels_is_found() -> None:
    assert python_codes(machine="riscv64", runtimes=()) == {"machine-no-wheels": ERROR}


def test_text_models_without_their_library_are_told() -> None:
    assert python_codes(llama=True)["libgomp-missing"] == HINT
    assert python_codes(llama=True, gomp=True) == {"ok": OK}


def test_this_python_is_read(tmp_path: Path) -> None:
    facts = python.read_python(tree(tmp_path, {"usr/lib/aarch64-linux-gnu/libgomp.so.1": ""}))
    assert (facts.version, facts.gomp) == (sys.version_info[:3], True)


# -- runtimes -------------------------------------------------------------------------------------

LITERT = runtimes.Trial("litert", "ai-edge-litert 2.3.0 (xnnpack)", ms=0.1)
OLDER = runtimes.Trial("tflite-runtime", "tflite-runtime 2.14.0 (xnnpack)", ms=0.3)
CRASH = {"crash": "crashes with SIGILL"}


def runtime_codes(*trials: runtimes.Trial, numpy: int = 1, facts: python.PythonFacts = PI_5) -> dict[str, str]:
    return {each.code: each.severity for each in runtimes.judge_runtimes(trials, facts, numpy, "python")}


def test_no_runtime_at_all_is_an_error() -> None:
    assert runtime_codes() == {"engine-missing": ERROR}


def test_a_crash_is_an_error_alone_and_a_warning_where_another_runtime_steps_in() -> None:
    assert runtime_codes(replace(LITERT, **CRASH)) == {"engine-crashes": ERROR}  # type: ignore[arg-type]
    assert runtime_codes(replace(LITERT, **CRASH), OLDER) == {"engine-crashes": WARNING, "ok": OK}  # type: ignore[arg-type]
    assert runtime_codes(LITERT, replace(OLDER, **CRASH)) == {"engine-crashes": HINT, "ok": OK}  # type: ignore[arg-type]


def test_wrong_results_are_found() -> None:
    assert runtime_codes(replace(LITERT, wrong="differs by 0.4")) == {"engine-wrong": ERROR}


def test_numpy_2_is_named_where_it_keeps_tflite_runtime_from_loading() -> None:
    broken = replace(OLDER, error="numpy.core.multiarray failed to import")
    assert runtime_codes(broken, numpy=2) == {"numpy-too-new": ERROR}
    assert runtime_codes(broken, numpy=1) == {"engine-not-loading": ERROR}
    assert runtime_codes(LITERT, broken, numpy=2) == {"numpy-too-new": HINT, "ok": OK}


def test_the_slower_runtime_alone_is_a_hint_where_the_faster_has_wheels() -> None:
    assert runtime_codes(OLDER) == {"engine-slower": HINT, "ok": OK}
    assert runtime_codes(OLDER, facts=replace(PI_5, bits=32)) == {"ok": OK}


def test_a_child_that_dies_is_told_by_its_signal_and_one_that_fails_by_its_last_line() -> None:
    assert runtimes.judge_end("litert", "b", -4, b"", b"").crash == "crashes with SIGILL"
    assert runtimes.judge_end("litert", "b", -11, b"", b"").crash == "crashes with SIGSEGV"
    assert "ImportError: x" in runtimes.judge_end("litert", "b", 1, b"", b"Traceback\nImportError: x\n").error
    assert runtimes.judge_end("litert", "b", 0, b"[]", b"").error


def test_the_installed_runtimes_run_the_demos_model_in_a_child(tmp_path: Path) -> None:
    (best, *_) = [each for each in runtimes.check_runtimes(Tree(tmp_path)) if each.severity == OK]
    assert best.details["ms"]
    json.dumps(best.details)


LLAMA = runtimes.Trial("xllamacpp", "xllamacpp 2026.10.11549 (cpu)", ms=40.0)
BUILT = runtimes.Trial("llama-cpp-python", "llama-cpp-python 0.3.36 (cpu)", ms=40.0)
PI_5_ISA = ("asimd", "asimddp", "atomics")


def text_findings(*trials: runtimes.Trial, isa: tuple[str, ...] = ("asimd",)) -> dict[str, Finding]:
    packages = [trial.runtime for trial in trials]
    return {each.code: each for each in texts.judge_texts(trials, packages, isa, {"xllamacpp"}, "/opt/edged/bin/python")}


def test_a_runtime_for_texts_that_loads_is_told_and_none_at_all_is_nothing_to_tell() -> None:
    assert list(text_findings(LLAMA)) == ["ok"]
    assert text_findings() == {}


def test_a_library_that_is_missing_is_named_with_what_installs_it() -> None:
    missing = replace(LLAMA, error="xllamacpp does not load: libgomp.so.1: cannot open", fix="apt-get install libgomp1")
    found = text_findings(missing)["engine-not-loading"]
    assert (found.severity, found.fix) == (WARNING, "sudo apt-get install libgomp1")
    assert text_findings(missing, BUILT)["engine-not-loading"].severity == WARNING, "the preferred one"
    assert text_findings(BUILT, missing)["engine-not-loading"].severity == HINT


def test_a_runtime_for_texts_that_crashes_is_not_made_for_this_processor() -> None:
    found = text_findings(replace(LLAMA, **CRASH))  # type: ignore[arg-type]
    assert found["engine-crashes"].severity == WARNING
    assert "ok" not in found


def test_a_build_for_any_arm_is_told_where_the_processor_could_do_more() -> None:
    found = text_findings(LLAMA, isa=PI_5_ISA)["engine-generic"]
    assert found.severity == HINT
    assert found.fix.endswith("--no-binary xllamacpp xllamacpp==2026.10.11549")
    assert "engine-generic" not in text_findings(LLAMA), "a Pi 4 has no dot products"
    assert "engine-generic" not in text_findings(BUILT, isa=PI_5_ISA), "it was built here"


def test_the_installed_runtime_for_texts_is_loaded_in_a_child(tmp_path: Path) -> None:
    needs_llama()
    assert [each.code for each in texts.check_texts(Tree(tmp_path))] == ["ok"]
    failed = runtimes.try_runtime("nothing", "b", program="edged.doctor.text_trial")
    assert "does not load" in failed.error
    assert failed.fix


def test_a_child_that_hangs_is_ended() -> None:
    assert runtimes.try_runtime("litert", "b", timeout_s=0.001).crash == "hangs for 0.001 s"


def test_a_child_does_not_take_modules_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert not runtimes.try_runtime("tflite-runtime", "b").error.startswith("ends with")
