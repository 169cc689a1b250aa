"""What this board is: its name, memory and processor, each with the file that says so, and the profile that fits it.

Of the words in a device tree's `compatible`, the most specific is the first. A profile fits that has a word
of it, and the board's memory in its range; the one with the earliest word does. Where none fits, the generic
profile of the architecture serves.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from edged.board.heat import trip_points
from edged.board.limits import core_limit, memory_limit
from edged.board.memory import MEMINFO, meminfo_mib
from edged.board.processor import CPUINFO, printable, read_processor
from edged.board.profile import Profile, load_profile, names
from edged.board.tree import Tree

KERNEL = "proc/sys/kernel/osrelease"
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
POWER_MODE = "var/lib/nvpmodel/status"  # of a Jetson: which clock rates it may reach

# For people whose board has no profile of its own.
CONTRIBUTE = (
    "To give this kind of board a profile of its own, add a file to device_profiles/ of edged, as its README.md says, "
    "and send it in with what `edged board show --json` prints after a calibration."
)

_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_FIRMWARE = ("proc/device-tree/chosen/bootloader/version", "etc/nv_tegra_release", "sys/class/dmi/id/bios_version")
_MOST_WORDS = 32
_FALLBACK = "generic-x86_64"


@dataclass(frozen=True, kw_only=True)
class Detected:
    """A board as it shows itself; empty or 0 is what it does not say.

    ram_mib   MemTotal; `limit_mib` is what a container or a service may take of it, None: all
    cpu       the processor's name; `cores` are those online, `limit_cores` those that we may run on, None: all
    throttle_c, limit_c   where the kernel slows it down, and where it stops it
    isa       what all cores have of `edged.board.processor.ISA`
    word      the word of `compatible` by which `profile` was found
    generic   whether no profile of its own fits it
    sources   fact -> the file it was read from
    """

    name: str
    compatible: tuple[str, ...]
    ram_mib: int
    limit_mib: int | None
    cpu: str
    cores: int
    limit_cores: int | None
    arch: str
    isa: tuple[str, ...]
    kernel: str
    firmware: str
    governor: str
    power_mode: str
    throttle_c: float | None
    limit_c: float | None
    profile: str
    word: str
    generic: bool
    sources: Mapping[str, str]


def detect(root: Path = Path("/")) -> Detected:
    """Look at the board whose files are under `root`; missing and malformed ones are left out."""
    tree = Tree(root)
    sources: dict[str, str] = {}
    compatible = _compatible(tree, sources)
    processor = read_processor(tree)
    arch = processor.arch
    sources |= {"cpu": CPUINFO, "isa": CPUINFO, "arch": CPUINFO, "cores": processor.cores_from} if arch else {}
    if not arch and root == Path("/"):
        arch, sources["arch"] = platform.machine(), "uname"
    ram_mib = int(meminfo_mib(tree, "MemTotal") or 0)
    sources |= {"ram_mib": MEMINFO} if ram_mib else {}
    trips = trip_points(tree)
    profile, word = match(compatible, ram_mib, arch)
    limit_mib = _lower(memory_limit(tree), ram_mib, "limit_mib", sources)
    limit_cores = _lower(core_limit(tree), processor.cores, "limit_cores", sources)
    return Detected(
        name=_name(tree, sources) or f"a computer of type {arch or 'unknown'}",
        compatible=compatible,
        ram_mib=ram_mib,
        limit_mib=limit_mib,
        cpu=processor.cpu,
        cores=processor.cores,
        limit_cores=limit_cores,
        arch=arch,
        isa=processor.isa,
        kernel=_first(tree, sources, "kernel", [KERNEL]),
        firmware=_first(tree, sources, "firmware", _FIRMWARE),
        governor=_first(tree, sources, "governor", [GOVERNOR]),
        power_mode=_first(tree, sources, "power_mode", [POWER_MODE]),
        throttle_c=_trip(trips, "passive", "throttle_c", sources),
        limit_c=_trip(trips, "critical", "limit_c", sources),
        profile=profile.name,
        word=word,
        generic=profile.match.generic,
        sources=sources,
    )


def board_name(root: Path = Path("/")) -> str:
    """Give the board's own name, else that of its architecture, for people."""
    return _name(Tree(root), {}) or f"a computer of type {platform.machine()}"


def match(compatible: Iterable[str], ram_mib: int, arch: str) -> tuple[Profile, str]:
    """Find the profile of a board, and the word of its device tree that fits; an empty word with a generic one."""
    for word in compatible:
        for profile in profiles():
            least, most = profile.match.ram_mib or (1, 0)
            if least <= ram_mib <= most and any(fnmatchcase(word, wanted) for wanted in profile.match.compatible.split()):
                return profile, word
    generic = {profile.match.arch: profile for profile in profiles() if profile.match.generic}
    return generic.get(arch) or load_profile(_FALLBACK), ""


@cache
def profiles() -> tuple[Profile, ...]:
    """Read all profiles, by name."""
    return tuple(load_profile(name) for name in names())


def _name(tree: Tree, sources: dict[str, str]) -> str:
    name = _first(tree, sources, "name", [f"{base}/model" for base in _TREES])
    if name:
        return name
    maker, product = (printable(tree.text(f"sys/class/dmi/id/{file}") or "") for file in ("sys_vendor", "product_name"))
    if product:
        sources["name"] = "sys/class/dmi/id/product_name"
    return f"{maker} {product}".strip()


def _compatible(tree: Tree, sources: dict[str, str]) -> tuple[str, ...]:
    for base in _TREES:
        if text := tree.text(f"{base}/compatible"):
            sources["compatible"] = f"{base}/compatible"
            return tuple(printable(word) for word in text.split("\x00")[:_MOST_WORDS])
    return ()


def _trip(trips: Mapping[str, tuple[float, str]], kind: str, fact: str, sources: dict[str, str]) -> float | None:
    if kind not in trips:
        return None
    celsius, sources[fact] = trips[kind]
    return celsius


def _lower(limit: tuple[int, str] | None, there_is: int, fact: str, sources: dict[str, str]) -> int | None:
    """Give a limit that is one: below what there is."""
    if limit is None or limit[0] >= there_is:
        return None
    sources[fact] = limit[1]
    return limit[0]


def _first(tree: Tree, sources: dict[str, str], fact: str, paths: Iterable[str]) -> str:
    """Give the first line of the first of these files that says something."""
    for path in paths:
        if lines := tree.lines(path):
            sources[fact] = path
            return printable(lines[0]).lstrip("# ")
    return ""
