"""How hot the board is, and at which temperatures its kernel slows the processor down and stops it."""

from __future__ import annotations

from pathlib import Path

from edged.board.tree import Tree

ZONES = "sys/class/thermal/thermal_zone*"

_HOTTEST_C, _COLDEST_C = 200.0, -60.0  # what is beyond is a sensor that does not work
_LIKELY_C = range(60, 126)  # where a processor slows down or stops; trip points of fans are below, some zones say 0
_PROCESSOR = ("cpu", "core", "soc", "package")  # in the names of its zones


def temperature_c(root: Path = Path("/")) -> float | None:
    """Give the hottest thermal zone in degrees Celsius, None where there is none."""
    tree = Tree(root)
    zones = (tree.number(f"{zone}/temp") for zone in tree.find(ZONES))
    return max((zone / 1000 for zone in zones if zone is not None and _COLDEST_C <= zone / 1000 <= _HOTTEST_C), default=None)


def trip_points(tree: Tree) -> dict[str, tuple[float, str]]:
    """Give the lowest `passive` (slows down) and `critical` (stops) of the processor's zones, in °C, each with its file."""
    found: dict[str, tuple[float, str]] = {}
    for path in tree.find(f"{ZONES}/trip_point_*_type"):
        kind, value = tree.text(path), str(path).removesuffix("_type") + "_temp"
        zone = (tree.text(path.parent / "type") or "").lower()
        millidegrees = tree.number(value)
        if kind in ("passive", "critical") and millidegrees is not None and any(word in zone for word in _PROCESSOR):
            celsius = millidegrees / 1000
            if int(celsius) in _LIKELY_C and celsius < found.get(kind, (_HOTTEST_C, ""))[0]:
                found[kind] = celsius, value
    return found
