"""The words of `edged board show`: a board's facts with their files, its profile, and what is in force."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from edged.board.detect import CONTRIBUTE
from edged.cli.columns import GAP, Cell, Column, clean, painted, table, wide, wrap_words

if TYPE_CHECKING:
    from edged.board.detect import Detected
    from edged.board.inforce import Board
    from edged.board.rates import Rates
    from edged.board.sensors import Felt

Row = tuple[str, str, str]

_NARROW = 50  # columns for values and their sources side by side
_RARE = ("limit_mib", "limit_cores", "power_mode", "throttle_c", "limit_c")  # no line where a board does not say it


def render(board: Board, felt: Felt, width: int, colour: bool) -> str:
    """Write all of it in lines of at most `width` columns, each ended by a newline."""
    here = board.detected
    lines = [] if here is None else [*_table("FACT", [*_facts(here), *_feelings(felt)], width, colour), ""]
    for text in _why(board):
        lines += wrap_words(clean(text), width, rest="")
    lines += ["", *_table("IN FORCE", [*_in_force(board)], width, colour), ""]
    for text in _next(board):
        lines += [painted(line, "dim", colour) for line in wrap_words(clean(text), width, rest="")]
    return "\n".join(lines) + "\n"


def _table(title: str, rows: list[Row], width: int, colour: bool) -> list[str]:
    """Lay rows out; what is too wide goes on below. Where there is little room, the source stands below the value."""
    shown = [(clean(name), clean(value), clean(source)) for name, value, source in rows]
    names, values, sources = (max(wide(row[i]) for row in [*shown, (title, "", "")]) for i in range(3))
    room = width - names - len(GAP)
    if room < _NARROW:
        stacked = [(name, [*wrap_words(value, room, rest=""), *wrap_words(source, room, rest="")]) for name, value, source in shown]
        cells = [[Cell(name if i == 0 else ""), Cell(line)] for name, lines in stacked for i, line in enumerate(lines)]
        return table([Column(title), Column("VALUE, FROM")], cells, width, colour)
    room -= len(GAP)
    values = min(values, max(room * 3 // 5, room - sources))
    pairs = [(name, wrap_words(value, values, rest=""), wrap_words(source, room - values, rest="")) for name, value, source in shown]
    cells = [
        [Cell(name if i == 0 else ""), Cell(value), Cell(source, "dim")]
        for name, told, files in pairs
        for i, (value, source) in enumerate(zip_longest(told, files, fillvalue=""))
    ]
    return table([Column(title), Column("VALUE"), Column("FROM")], cells, width, colour)


def _facts(here: Detected) -> Iterator[Row]:
    limit = f"{here.limit_mib:,} MiB, by a container or service" if here.limit_mib is not None else ""
    limit_cores = f"{here.limit_cores}, by a container or service" if here.limit_cores is not None else ""
    values = {
        "name": ("name", here.name),
        "compatible": ("compatible", ", ".join(here.compatible)),
        "ram_mib": ("memory", f"{here.ram_mib:,} MiB" if here.ram_mib else ""),
        "limit_mib": ("memory limit", limit),
        "arch": ("architecture", here.arch),
        "cpu": ("processor", here.cpu),
        "cores": ("cores", str(here.cores or "")),
        "limit_cores": ("core limit", limit_cores),
        "isa": ("instructions", " ".join(here.isa)),
        "kernel": ("kernel", here.kernel),
        "firmware": ("firmware", here.firmware),
        "governor": ("governor", here.governor),
        "power_mode": ("power mode", here.power_mode),
        "throttle_c": ("slows down at", f"{here.throttle_c:.0f} °C" if here.throttle_c else ""),
        "limit_c": ("stops at", f"{here.limit_c:.0f} °C" if here.limit_c else ""),
    }
    for fact, (name, value) in values.items():
        source = here.sources.get(fact, "")
        if value or fact not in _RARE:
            yield name, value or "–", f"/{source}" if "/" in source else source or "nothing says"


def _feelings(felt: Felt) -> Iterator[Row]:
    if felt.available_mib is not None:
        yield "available", f"{felt.available_mib:,.0f} MiB", "now"
    if felt.temperature_c is not None:
        yield "temperature", f"{felt.temperature_c:.0f} °C", "now, the hottest zone"
    if felt.throttled is not None:
        yield "throttled", f"{felt.throttled:#x}", "now, the firmware's word"


def _why(board: Board) -> Iterator[str]:
    profile, here = board.profile, board.detected
    if here is not None and here.profile != profile.name:
        yield f"Profile {profile.name} ({profile.description}), as the configuration says; this board would be {here.profile}."
    elif profile.match.generic:
        yield f"Profile {profile.name}: none of its own fits this board."
    elif here is not None:
        least, most = profile.match.ram_mib
        yield (
            f"Profile {profile.name} ({profile.description}): the device tree says {here.word}, "
            f"and {here.ram_mib:,} MiB lie between {least:,} and {most:,}."
        )


def _in_force(board: Board) -> Iterator[Row]:
    here, profile, measured = board.detected, board.profile, board.calibration
    memory = "limit" if here and here.limit_mib is not None else "board" if here and here.ram_mib else "profile"
    yield "memory", f"{board.ram_mib:,} MiB, {board.reserve_mib:,} of them for everything else", f"{memory}; the reserve: profile"
    yield "workers", f"{board.workers} of {board.cores} cores", "cores less one" if profile.match.generic else "profile"
    yield "bandwidth", f"{board.bandwidth_gbs:.1f} GB/s in one thread", "calibration" if measured else "profile"
    if profile.memory.bandwidth_gbs.gpu:
        yield "GPU bandwidth", f"{profile.memory.bandwidth_gbs.gpu:.1f} GB/s, of the same memory", "profile"
    for build, rates in measured.rates.items() if measured else [("", board.rates(None))]:
        yield from _rates(build, rates)
    writes = (measured and measured.write_iops) or profile.storage.write_iops
    yield "small writes", f"{writes:,.0f} a second", "calibration" if measured and measured.write_iops else "profile"
    said = "board" if here and (here.throttle_c or here.limit_c) else "profile"
    yield "heat", f"slows down at {board.thermal.throttle_c:.0f} °C, stops at {board.thermal.limit_c:.0f} °C", said


def _rates(build: str, rates: Rates) -> Iterator[Row]:
    source = f"calibration, {build}" if build else "profile"
    for kind, each in rates.gmacs.items():
        yield kind, f"{each.dense:.3g} GMAC/s dense, {each.conv:.3g} conv, {each.depthwise:.3g} depthwise", source
    yield "a call", f"{rates.call_us:.3g} µs of Python and runtime", source


def _next(board: Board) -> Iterator[str]:
    if board.calibration:
        yield f"Measured on this board, {board.calibration.at}."
        for what in board.calibration.disturbed:
            yield f"Meanwhile {what}, so numbers may be too low: calibrate again when the board has little to do."
    elif board.stale:
        yield f"What was measured here holds no longer: {'; '.join(board.stale)}. `edged board calibrate` measures it again."
    else:
        yield "Nothing was measured on this board yet: `edged board calibrate` does it, in ten seconds."
    if board.profile.match.generic:
        yield CONTRIBUTE
