"""Numbers and durations as people read them: `1,024`, `8.0`, `3 d 4 h`, `0.2 s`."""

from __future__ import annotations

NOTHING = "–"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def count(n: int) -> str:
    """Write a count with commas between thousands."""
    return f"{n:,}"


def amount(value: float | None) -> str:
    """Write a rate, a duration in ms or a size with about two digits that matter; None is a dash."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:,.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 0.095 else f"{value:.2f}"


def duration(seconds: float, units: int = 2) -> str:
    """Write seconds in at most `units` units, the largest first; below ten seconds with a tenth."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    left = int(seconds + 0.5)
    parts: list[tuple[int, str]] = []
    for size, name in _UNITS:
        n, left = divmod(left, size)
        if n or parts:
            parts.append((n, name))
    return " ".join(f"{n} {name}" for n, name in parts[:units] if n)
