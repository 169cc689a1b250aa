"""What no board of a kind can exceed. A measurement above it is refused: a clock or a counter was wrong, not the board fast."""

from __future__ import annotations

from collections.abc import Sequence

from edged.board.inforce import Board
from edged.board.tree import Tree
from edged.calibrate.child import Measured
from edged.calibrate.graphs import Net
from edged.errors import BoardError

# Multiply-adds a core can begin in one cycle: lanes of a register × units that work side by side. The best set counts.
_PER_CYCLE = {
    "float32": {"asimd": 8, "sve": 16, "sse4_2": 4, "avx": 8, "fma": 16, "avx512f": 32},
    "int8": {
        "asimd": 16, "asimddp": 32, "i8mm": 64,
        "sse4_2": 16, "avx2": 64, "avx_vnni": 64, "avx512bw": 128, "avx512_vnni": 128, "amx_int8": 1024,
    },
}  # fmt: skip
_WIDER = 2  # cores of phones, laptops and servers have four vector units; those of the boards with a profile have one or two
_PLAIN = 4  # of a processor that names no set known here
_FASTEST_GHZ = 6.0  # of what is sold; an x86 processor does not say how far it goes beyond its rate
_CLOCK = "sys/devices/system/cpu/cpu{}/cpufreq/cpuinfo_max_freq"
_GENERIC_GBS = 600.0  # twelve channels of DDR5


def macs_per_ns(board: Board, tree: Tree) -> dict[str, float]:
    """Give the multiply-adds that one thread can do in a nanosecond, by compute type."""
    ghz = _clock_ghz(board, tree)
    most = {kind: max((lanes.get(word, 0) for word in board.isa), default=0) or _PLAIN for kind, lanes in _PER_CYCLE.items()}
    if board.arch == "aarch64" and board.profile.match.generic:
        most = {kind: lanes * _WIDER for kind, lanes in most.items()}
    return {"float32": most["float32"] * ghz, "int8": most["int8"] * ghz, "hybrid": max(most.values()) * ghz}


def check_macs(nets: Sequence[Net], timed: dict[str, Measured], ceilings: dict[str, float]) -> None:
    """Raise BoardError(`calibration-impossible`) for a net that ran faster than arithmetic goes here."""
    for net in nets:
        measured = timed.get(net.path.name)
        if measured is not None and net.costs.macs_total > ceilings[net.kind] * measured.bare_us * 1000:
            rate = net.costs.macs_total / max(measured.bare_us, 1e-9) / 1000
            raise _impossible(f"{net.path.stem} ran at {rate:,.0f} billion multiply-adds a second", f"{ceilings[net.kind]:,.0f}")


def check_bandwidth(measured: dict[int, float], board: Board) -> None:
    """Raise BoardError(`calibration-impossible`) where more was read than the bus carries."""
    generic = board.profile.match.generic
    most = _GENERIC_GBS if generic else board.profile.memory.bandwidth_gbs.theoretical
    for threads, gbs in measured.items():
        if gbs > most:
            raise _impossible(f"{threads} threads read {gbs:,.1f} GB/s", f"{most:,.1f}")


def _clock_ghz(board: Board, tree: Tree) -> float:
    """Give the highest rate of any core as it says itself; ARM cores do not go beyond it."""
    said = [tree.number(_CLOCK.format(cpu)) or 0 for cpu in range(board.cores)]
    return max(said, default=0) / 1e6 if board.arch == "aarch64" and any(said) else _FASTEST_GHZ


def _impossible(text: str, most: str) -> BoardError:
    hint = "calibrate again; where it stays so, this board's clock is wrong, or its profile is"
    return BoardError("calibration-impossible", f"{text}, and this board can do {most} at most", hint)
