"""What `/proc/cpuinfo` and its neighbours say of the processor: architecture, cores, instruction sets, name."""

from __future__ import annotations

from dataclasses import dataclass

from edged.board.tree import Tree

CPUINFO = "proc/cpuinfo"
ONLINE = "sys/devices/system/cpu/online"

# Instruction sets that decide how fast a model runs, or whether a runtime does at all, as /proc/cpuinfo names them.
ISA = (
    "asimd", "fphp", "asimdhp", "asimddp", "atomics", "i8mm", "bf16", "sve", "sve2",
    "sse4_2", "f16c", "fma", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8",
)  # fmt: skip

_MOST_CORES = 4096
_ARM = 0x41
_PARTS = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse N1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD4D: "Cortex-A715",
}  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """The processor. `arch` is as `uname -m` says it, `cores` are those online; empty or 0: it does not say."""

    arch: str
    cpu: str
    cores: int
    isa: tuple[str, ...]
    cores_from: str = CPUINFO


def read_processor(tree: Tree) -> Processor:
    """Read the processor of a board; what is missing stays empty."""
    blocks = _blocks(tree.lines(CPUINFO))
    flags = [set(block.get("Features", block.get("flags", "")).split()) for block in blocks]
    # A set that only some of the cores have is none: a thread may run on any of them.
    common = set.intersection(*flags) if flags else set()
    online = count_cores(tree.text(ONLINE) or "")
    return Processor(
        arch=_arch(blocks[0] if blocks else {}, common),
        cpu=_name(blocks),
        cores=online or len(blocks),
        isa=tuple(word for word in ISA if word in common),
        cores_from=ONLINE if online else CPUINFO,
    )


def count_cores(text: str) -> int:
    """Count a list of the kernel's, such as `0-3,6`; 0 where it is none."""
    count = 0
    for part in text.split(",")[:_MOST_CORES]:
        first, _, last = part.strip().partition("-")
        if not (part.isascii() and first.isdecimal() and (last or first).isdecimal() and len(first + last) < 12):
            return 0
        count += max(0, int(last or first) - int(first) + 1)
    return count if count <= _MOST_CORES else 0


def _blocks(lines: list[str]) -> list[dict[str, str]]:
    """Give what is said of each core; lines outside of these, such as the Raspberry Pi's last ones, are left out."""
    blocks: list[dict[str, str]] = []
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key.strip() == "processor":
            blocks.append({})
        if colon and blocks:
            blocks[-1].setdefault(key.strip(), value.strip())
    # The last one is cut where there are so many cores that the file is longer than what is read of it.
    return [block for block in blocks if "Features" in block or "flags" in block]


def _arch(block: dict[str, str], flags: set[str]) -> str:
    if "flags" in block:
        return "x86_64" if "lm" in flags else "x86"
    # A 64-bit kernel calls the vector unit asimd, a 32-bit one on the same processor calls it neon.
    return "aarch64" if flags & {"asimd", "fp"} else "arm" if block else ""


def _name(blocks: list[dict[str, str]]) -> str:
    """Name the processor; the kinds of cores of an ARM one, each once, with how many there are."""
    if blocks and "model name" in blocks[0] and "flags" in blocks[0]:
        return " ".join(printable(blocks[0]["model name"]).split())
    kinds = [_kind(block) for block in blocks]
    return " + ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))


def _kind(block: dict[str, str]) -> str:
    implementer, part = (_hexadecimal(block.get(key, "")) for key in ("CPU implementer", "CPU part"))
    if implementer == 0x4E and part == 0x004:
        return "Carmel"
    known = _PARTS.get(part) if implementer == _ARM else None
    return known or f"core {implementer:#x}:{part:#x}"


def _hexadecimal(text: str) -> int:
    try:
        return int(text[:8], 16)
    except ValueError:
        return 0


def printable(text: str) -> str:
    """Give at most 120 characters that a terminal and a topic take."""
    return "".join(c for c in text[:120] if c.isprintable())
