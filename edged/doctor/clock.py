"""The board's clock: certificates, event times and signed updates go by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from edged.board.timesync import read_unsynced
from edged.board.tree import Tree
from edged.clock import NS, Clock, iso
from edged.doctor.finding import Finding, error, hint, ok, warning

FIRST_NS = int(datetime(2025, 1, 1, tzinfo=timezone.utc).timestamp()) * NS  # edged is younger

_SYNC = "sudo timedatectl set-ntp true"


def check_clock(tree: Tree, clock: Clock) -> Iterator[Finding]:
    """Judge the system's clock."""
    return judge_clock(clock.wall(), read_unsynced(), has_battery_clock(tree))


def has_battery_clock(tree: Tree) -> bool:
    """Say whether the board has a clock that runs without power."""
    return bool(tree.find("sys/class/rtc/rtc*"))


def judge_clock(now: int, unsynced: bool | None, battery: bool) -> Iterator[Finding]:
    """Say what is wrong with the time `now`, in nanoseconds since 1970."""
    shown = iso(now)[:16].replace("T", " ")
    if now < FIRST_NS:
        text = f"the clock says {shown}, which is in the past: certificates are not valid yet, results carry wrong times"
        yield error("clock-wrong", text, "without a network: `sudo date -s '2030-01-31 12:00'`", f"{_SYNC}; timedatectl")
    elif unsynced:
        yield warning("clock-unsynced", f"nothing keeps the clock right; it says {shown} UTC", fix=f"{_SYNC}; timedatectl")
    else:
        yield ok(f"{shown} UTC{', kept right by the network' if unsynced is False else ''}")
    if not battery:
        text = "this board has no clock that runs without power: it starts in the past until the network gives it the time"
        yield hint("clock-no-battery", text, "fit one, or let the last time be kept over restarts", "sudo apt install fake-hwclock")
