"""Memory: whether limits on it hold, how much is left, and what swap does to the card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edged.board.memory import meminfo_mib
from edged.board.tree import Tree
from edged.doctor.disks import is_card, mount_of
from edged.doctor.finding import Finding, hint, ok, quoted, warning

LEAST_AVAILABLE_MIB = 128  # the daemon with one small model takes 75
LEAST_WITHOUT_SWAP_MIB = 1024

_BOOT_FILES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")  # Raspberry Pi OS since Debian 12, and before
_SWITCH_ON = "cgroup_enable=memory"


def check_memory(tree: Tree) -> Iterator[Finding]:
    """Judge memory limits, free memory and swap."""
    faults = [*_cgroup(tree), *_kills(tree), *_available(tree), *_swap(tree)]
    yield from faults
    left = meminfo_mib(tree, "MemAvailable")
    if left is not None and not any(fault.code in ("memory-low", "memory-cgroup-off") for fault in faults):
        yield ok(f"{left:,.0f} MiB available", details={"available_mib": int(left)})


def _cgroup(tree: Tree) -> Iterator[Finding]:
    if _limits_hold(tree) is not False:
        return
    text = "the kernel's memory control is off: MemoryMax= of the service does nothing"
    boot = next((file for file in _BOOT_FILES if tree.has(file)), None)
    if boot is None:
        yield warning("memory-cgroup-off", text, f"put {_SWITCH_ON} on the kernel's command line, in the boot loader's settings")
    elif _SWITCH_ON in (tree.text(boot) or "").split():
        yield warning("memory-cgroup-off", text, f"/{boot} switches it on at the next start", "sudo reboot")
    else:
        fix = f"sudo sed -i '1 s/$/ {_SWITCH_ON} cgroup_memory=1/' /{boot} && sudo reboot"
        yield warning("memory-cgroup-off", text, fix=fix)


def _limits_hold(tree: Tree) -> bool | None:
    """Look at cgroup 2, else at the table of all versions; None where the kernel does not say."""
    controllers = tree.text("sys/fs/cgroup/cgroup.controllers")
    if controllers is not None:
        return "memory" in controllers.split()
    rows = [line.split() for line in tree.lines("proc/cgroups")]
    return next((row[3] == "1" for row in rows if row[:1] == ["memory"] and len(row) == 4), None)


def _kills(tree: Tree) -> Iterator[Finding]:
    killed = next((line.split()[1] for line in tree.lines("proc/vmstat") if line.startswith("oom_kill ")), "0")
    if killed not in ("0", ""):
        text = f"the kernel has killed processes for lack of memory since it started: {killed}"
        yield hint("memory-ran-out", text, fix="sudo journalctl -k -g 'Out of memory'")


def _available(tree: Tree) -> Iterator[Finding]:
    left = meminfo_mib(tree, "MemAvailable")
    if left is not None and left < LEAST_AVAILABLE_MIB:
        text = f"only {left:.0f} MiB of memory are available; the daemon with one small model takes 75"
        yield warning("memory-low", text, "stop what takes most", "ps -eo rss,comm --sort=-rss | head")


def _swap(tree: Tree) -> Iterator[Finding]:
    swaps = [line.split()[:2] for line in tree.lines("proc/swaps")[1:] if len(line.split()) >= 2]
    total = meminfo_mib(tree, "MemTotal")
    if not swaps and tree.has("proc/swaps") and total is not None and total < LEAST_WITHOUT_SWAP_MIB:
        text = f"{total:.0f} MiB of memory and no swap: a short peak ends in a killed process"
        yield hint("swap-missing", text, "compressed swap in memory costs no card", "sudo apt install zram-tools")
    for name, kind in swaps:
        if _on_card(tree, name, kind):
            text = f"swap is on the memory card ({name}), which wears out by it"
            fix = f"sudo swapoff {quoted(name)} && sudo apt install zram-tools"
            yield hint("swap-on-card", text, "take compressed swap in memory instead", fix)


def _on_card(tree: Tree, name: str, kind: str) -> bool:
    if kind == "partition":
        return is_card(name.removeprefix("/dev/"))
    mount = mount_of(tree, Path(name))
    return mount is not None and is_card(mount.device)
