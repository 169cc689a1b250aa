"""Calibrate this board: memory, storage, and what each installed runtime does with small nets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path

from edged.board.calibration import Calibration, save
from edged.board.inforce import Board, circumstances
from edged.board.rates import Rates
from edged.board.sensors import Sensors
from edged.board.tree import Tree
from edged.calibrate.assemble import rates_from
from edged.calibrate.bandwidth import bandwidth_gbs
from edged.calibrate.ceilings import check_bandwidth, check_macs, macs_per_ns
from edged.calibrate.child import Measured
from edged.calibrate.graphs import FIRST, Net, lay_out
from edged.calibrate.neighbours import Neighbours, disturbances
from edged.calibrate.runtimes import measure
from edged.calibrate.storage import write_iops
from edged.clock import NS, Clock
from edged.engines.choose import RUNTIMES, available
from edged.errors import BoardError, BugError

_LONGEST_S = 8.0  # of all; the start of the command and what is under way then come on top
_MEMORY_PART = 0.4  # of a runtime's time, at most
_TURNS = 3  # nets of each type and class whose time is measured however long it takes: with fewer nothing is known of a runtime
_CACHES = "sys/devices/system/cpu/cpu0/cache/index*/size"
_LEAST_CACHE_MIB = 0.5  # what the smallest of these boards have, whatever their kernel names
_ROOT = Path("/")

Show = Callable[[str], None]


@dataclass
class Outcome:
    """What was found, and why a runtime has no rates, by its name."""

    calibration: Calibration
    failed: dict[str, str] = field(default_factory=dict)


def calibrate(board: Board, state_dir: Path, clock: Clock, show: Show) -> Outcome:
    """Measure this board and store what was found in `state_dir`, which is made where it is missing; below ten seconds.

    `show` is told what is being measured. Raises BoardError `calibration-impossible`, and `calibration-not-stored`
    where the folder does not take it, at once where that can be seen; nothing is stored then.
    """
    until = clock.mono() + int(_LONGEST_S * NS)
    if board.detected is None:
        raise BugError("not-this-board", f"{board.profile.name} is not the board that edged runs on")
    _make(state_dir)
    neighbours, sensors = Neighbours(Tree(_ROOT)), Sensors(_ROOT)
    felt = sensors.read()
    show("memory")
    bandwidth = bandwidth_gbs(board.cores, felt.available_mib)
    check_bandwidth(bandwidth, board)
    show("storage")
    iops = write_iops(state_dir)
    rates, failed = _all_rates(board, lambda: (until - clock.mono()) / NS, show)
    found = Calibration(
        at=datetime.fromtimestamp(clock.wall() / NS, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        circumstances=circumstances(board.detected, felt.temperature_c),
        bandwidth_gbs=bandwidth,
        write_iops=iops,
        rates=rates,
        tried=[str(build) for build in available()],
        disturbed=list(disturbances(neighbours.cores(), board.detected.cores, felt, sensors.read())),
    )
    try:
        save(state_dir, found)
    except OSError as error:
        raise _not_stored(state_dir, error) from error
    return Outcome(found, failed)


def _make(state_dir: Path) -> None:
    """Make the folder, as the daemon does, and see at once whether it takes a file."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as error:
        raise _not_stored(state_dir, error) from error


def _not_stored(state_dir: Path, error: OSError) -> BoardError:
    hint = "run it as root, or as the user that edged runs as"
    return BoardError("calibration-not-stored", f"{state_dir}: {error.strerror}", hint)


def _all_rates(board: Board, left_s: Callable[[], float], show: Show) -> tuple[dict[str, Rates], dict[str, str]]:
    rates: dict[str, Rates] = {}
    failed: dict[str, str] = {}
    tree = Tree(_ROOT)
    ceilings, cache = macs_per_ns(board, tree), _cache_mib(tree)
    with tempfile.TemporaryDirectory(prefix="edged-calibrate-") as folder:
        nets = lay_out(Path(folder))
        builds = available()
        for i, build in enumerate(builds):
            runtime = next(name for name, (package, _) in RUNTIMES.items() if package == build.package)
            try:
                told: Show = lambda net, package=build.package: show(f"{package}: {net}")  # type: ignore[misc]  # noqa: E731
                found = _rates(runtime, nets, left_s() / (len(builds) - i), ceilings, cache, told)
            except BoardError as error:
                if error.code != "runtime-crashed":
                    raise
                failed[build.package] = error.text
                continue
            if found is None:
                failed[build.package] = "it does not run the nets of a calibration"
            else:
                rates[str(build)] = found
    return rates, failed


def _rates(runtime: str, nets: list[Net], seconds: float, ceilings: dict[str, float], cache_mib: float, show: Show) -> Rates | None:
    """Measure memory first: the times are the better the more there is left for them."""
    until = time.monotonic() + seconds
    mixed = _mixed(nets)
    in_memory = [net.path for net in mixed if net.in_memory or net.path.name == FIRST]
    loaded = _sound(measure(runtime, "forked", seconds * _MEMORY_PART, in_memory, show, least=1))
    least = _TURNS * len({(net.kind, net.what) for net in nets})
    timed = _sound(measure(runtime, "time", until - time.monotonic(), [net.path for net in mixed], show, least))
    check_macs(nets, timed, ceilings)
    return rates_from(nets, timed, loaded, ceilings, cache_mib)


def _mixed(nets: list[Net]) -> list[Net]:
    """Give a net of each type and class in turn, so that where the time ends early some of each were measured; FIRST stays first."""
    groups: dict[tuple[str, str], list[Net]] = {}
    for net in nets:
        groups.setdefault((net.kind, net.what), []).append(net)
    return [net for turn in zip_longest(*groups.values()) for net in turn if net is not None]


def _sound(measured: dict[Path, Measured]) -> dict[str, Measured]:
    return {path.name: each for path, each in measured.items() if not each.error}


def _cache_mib(tree: Tree) -> float:
    """Give the largest cache that the kernel names, half a MiB at least; 1 MiB, that of a Raspberry Pi 4, where it names none."""
    sizes = [tree.text(path) or "" for path in tree.find(_CACHES)]
    named = [int(size[:-1]) / 1024 for size in sizes if size[-1:] == "K" and size[:-1].isdecimal()]
    return max(_LEAST_CACHE_MIB, *named) if named else 1.0
