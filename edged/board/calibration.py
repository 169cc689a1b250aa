"""What was measured of this board: `calibration.json` in the state folder, and when it holds no longer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.atomic import write_atomic
from edged.board.rates import Rates

FILE = "calibration.json"
_MAX_BYTES = 1 << 18
_Text = Annotated[str, Meta(max_length=200)]


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables share."""


class Circumstances(_Base, frozen=True, kw_only=True):
    """Under what it was measured. `temperature_c` is told, and does not make it outdated.

    `board` is its name and its processor: a card or an image of it may come to another one.
    """

    board: _Text = ""
    kernel: _Text
    firmware: _Text
    governor: _Text
    cpus: Annotated[int, Meta(ge=1, le=4096)]
    temperature_c: Annotated[float, Meta(ge=-60, le=200)] | None = None


class Calibration(_Base, frozen=True, kw_only=True):
    """What one run of `edged board calibrate` found. `bandwidth_gbs` is by number of threads; `rates` by engine build as text.

    `tried` are the builds that were there, also those that could not be measured; `disturbed` says in words what else
    the processor did, so that the numbers may be too low.
    """

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    at: _Text  # UTC, as 2026-01-31T12:00:00Z
    circumstances: Circumstances
    bandwidth_gbs: dict[Annotated[int, Meta(ge=1, le=4096)], Annotated[float, Meta(gt=0, le=1e5)]]
    write_iops: Annotated[float, Meta(gt=0, le=1e9)] | None
    rates: dict[str, Rates]
    tried: list[_Text] = []
    disturbed: list[_Text] = []

    @property
    def bandwidth(self) -> float:
        """Give the bandwidth of one thread, GB/s: a model runs on one."""
        return self.bandwidth_gbs[min(self.bandwidth_gbs)]


def load(state_dir: Path) -> Calibration | None:
    """Read the stored calibration; None where there is none, or the file is not one: it is measured again, not believed."""
    try:
        with open(state_dir / FILE, "rb", opener=_without_waiting) as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            return None
        found = msgspec.json.decode(data, type=Calibration)
    except (OSError, ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        return None
    # What no other type has the prices of counts as float32.
    return found if found.bandwidth_gbs and all("float32" in rates.gmacs for rates in found.rates.values()) else None


def save(state_dir: Path, calibration: Calibration) -> None:
    """Store it durably; OSError where the folder does not take it."""
    write_atomic(state_dir / FILE, msgspec.json.encode(calibration))


def outdated(calibration: Calibration, now: Circumstances) -> list[str]:
    """Say in words what has changed since it was measured; empty: it holds."""
    then = calibration.circumstances
    changed = []
    for name in ("kernel", "firmware", "governor", "cpus", "board"):
        before, after = getattr(then, name), getattr(now, name)
        if before != after:
            changed.append(f"{name} was {before or 'unknown'}, and is {after or 'unknown'}")
    return changed


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to would keep us for ever."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
