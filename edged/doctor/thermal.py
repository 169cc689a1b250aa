"""Heat, power supply and clock rate of the processor: what makes a board slow without a word."""

from __future__ import annotations

from collections.abc import Iterator

from edged.board.commands import Run
from edged.board.throttle import ask_program, throttle_word
from edged.board.tree import Tree
from edged.doctor.finding import Finding, error, hint, ok, warning

HOT_C = 80.0  # where a zone names no temperature of its own

_POLICIES = "sys/devices/system/cpu/cpufreq/policy*"
# They choose the clock rate by load under both of their names, `powersave` and `performance`.
_OWN_JUDGEMENT = ("intel_pstate", "amd-pstate-epp")


def check_thermal(tree: Tree, run: Run) -> Iterator[Finding]:
    """Judge temperatures, the Raspberry Pi's throttle bits, and the governor of the clock rate."""
    zones = _zones(tree)
    word = throttle_word(tree)
    word = ask_program(tree, run) if word is None else word
    faults = [*_heat(zones), *judge_throttling(word or 0), *_governor(tree)]
    yield from faults
    if zones and not faults:
        hottest = max(temperature for temperature, _ in zones)
        yield ok(f"{hottest:.0f} °C{', not throttled' if word is not None else ''}", details={"temperature_c": hottest})


def judge_throttling(word: int) -> Iterator[Finding]:
    """Say what the Raspberry Pi's throttle word means: bits 0 to 3 now, bits 16 to 19 since the start."""
    if word & 1:
        text = "the supply voltage is too low now: the board slows down, and cards get damaged"
        yield error("under-voltage", text, "use the board's own power supply and a short cable", "vcgencmd get_throttled")
    elif word & 1 << 16:
        text = "the supply voltage was too low since the start"
        yield warning("under-voltage-before", text, "use the board's own power supply and a short cable", "vcgencmd get_throttled")
    if word & 0b1110:
        yield warning("throttled", "the processor is slowed down now, for heat or voltage", "cool it better", "vcgencmd measure_temp")
    elif word & 0b1110 << 16:
        yield hint("throttled-before", "the processor was slowed down since the start, for heat or voltage", fix="vcgencmd measure_temp")


def _zones(tree: Tree) -> list[tuple[float, float]]:
    """Give temperature and limit, in degrees Celsius, of each thermal zone that says both or the first."""
    found = []
    for path in tree.find("sys/class/thermal/thermal_zone*"):
        millidegrees = tree.number(path / "temp")
        if millidegrees is None:
            continue
        passive = [_trip(tree, str(trip)) for trip in tree.find(f"{path}/trip_point_*_type") if tree.text(trip) == "passive"]
        limits = [limit / 1000 for limit in passive if limit]
        found.append((millidegrees / 1000, min(limits, default=HOT_C)))
    return found


def _trip(tree: Tree, kind: str) -> int | None:
    return tree.number(kind.removesuffix("_type") + "_temp")


def _heat(zones: list[tuple[float, float]]) -> Iterator[Finding]:
    hot = max((zone for zone in zones if zone[0] >= zone[1]), default=None)
    if hot:
        text = f"a part of the board is at {hot[0]:.0f} °C; it slows down from {hot[1]:.0f} °C on"
        yield warning("board-hot", text, "cool it better, or give it less to do", "grep . /sys/class/thermal/thermal_zone*/temp")


def _governor(tree: Tree) -> Iterator[Finding]:
    for policy in tree.find(_POLICIES):
        slow = tree.text(policy / "scaling_governor") == "powersave"
        if slow and tree.text(policy / "scaling_driver") not in _OWN_JUDGEMENT:
            text = "the processor is held at its lowest clock rate (governor powersave)"
            yield warning("governor-powersave", text, fix=f"echo schedutil | sudo tee /{_POLICIES}/scaling_governor")
            return
