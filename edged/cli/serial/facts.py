"""What is seen of a serial line, in words for people; pure. Texts from outside are cleaned here."""

from __future__ import annotations

from edged.cli.columns import clean
from edged.cli.serial.watched import View
from edged.cli.wording import amount, count, duration
from firmware_bridge.observation import ChannelSeen, Seen

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "spaces"}
_OWN_WORDS = ("lost-frames", "gaps", "restarts", "no-hello", "partial")  # partial: half a line at the beginning is no fault


def speaker(seen: Seen) -> list[str]:
    """Say who speaks, in parts: the firmware, or what its lines look like."""
    if seen.framing == "framed":
        return _firmware(seen)
    if seen.framing != "lines":
        return ["not known yet whether frames or lines come"]
    sketch = seen.sketch
    if not sketch.width:
        return ["lines, but none of numbers yet" if seen.lines else "no line yet"]
    form = "JSON" if sketch.separator == "json" else f"parted by {_SEPARATORS[sketch.separator]}" if sketch.width > 1 else ""
    parts = [
        f"lines of {sketch.width} column{'s' * (sketch.width != 1)}",
        form,
        f"named {clean(', '.join(sketch.names))}" if sketch.names else "without names",
    ]
    return [
        *parts,
        "the first looks like a clock" if sketch.has_clock else "",
        f"columns changed {sketch.changes}×" if sketch.changes else "",
    ]


def _firmware(seen: Seen) -> list[str]:
    if seen.hello is None:
        return ["frames without a HELLO" if seen.frames else "no frame yet"]
    hello = seen.hello
    results = f"takes {hello.window} result{'s' * (hello.window != 1)} at a time" if hello.window else "takes no results"
    return [
        clean(f"{hello.firmware} {hello.version}".rstrip()),
        f"{len(hello.channels)} channel{'s' * (len(hello.channels) != 1)} of {hello.kind}",
        f"{hello.rate_hz:g} readings/s nominal",
        results,
    ]


def rates(seen: Seen, baud: int) -> list[str]:
    """Say how much comes, in parts: readings and bytes a second, and the clock where it is known."""
    parts = [f"{amount(seen.reading_rate)} readings/s", f"{amount(seen.byte_rate)} bytes/s"]
    if (use := seen.byte_rate * 10 / baud) <= 1:
        parts[1] += f" ({use:.0%} of {baud} baud)"
    if seen.framing == "framed":
        parts.append(f"{count(seen.frames)} frames")
        parts += [clock] if (clock := _clock(seen)) else []
    elif seen.framing == "lines":
        prints = f", {count(seen.sketch.prints)} debug prints" if seen.sketch.prints else ""
        parts.append(f"{count(seen.lines)} lines{prints}")
    return parts


def _clock(seen: Seen) -> str:
    if seen.rate_hz is None or seen.drift_ppm is None:
        return ""
    within = "" if seen.accuracy_ms is None else f", times to within {amount(seen.accuracy_ms)} ms"
    direction = "fast" if seen.drift_ppm > 0 else "slow"
    return f"{seen.rate_hz:.5g} readings/s by its ticks, its clock {abs(seen.drift_ppm):.0f} ppm {direction}{within}"


def losses(view: View) -> list[str]:
    """Say what was lost, refused or interrupted since the start, in parts; none where nothing was."""
    counts = view.seen.counts
    parts = []
    if lost := counts.get("lost-frames", 0):
        gaps = counts.get("gaps", 0)
        parts.append(f"lost {count(lost)} frame{'s' * (lost != 1)} in {count(gaps)} gap{'s' * (gaps != 1)}")
    if early := counts.get("no-hello", 0):
        parts.append(f"{count(early)} frame{'s' * (early != 1)} before a HELLO")
    parts += [f"{count(n)} {clean(name)}" for name, n in sorted(counts.items()) if n and name not in _OWN_WORDS]
    if restarts := counts.get("restarts", 0):
        parts.append(f"{count(restarts)} restart{'s' * (restarts != 1)}")
    return [*parts, *([f"unplugged {count(view.unplugged)}×"] if view.unplugged else [])]


def state(view: View) -> str:
    """Say how the port is, and for how long it has been watched."""
    return f"{'open' if view.error is None else clean(view.error.text)}, watched for {duration(view.at_s)}"


def number(value: float) -> str:
    """Write a channel's value with five digits that matter; NaN is a dash."""
    return "–" if value != value else f"{value:.5g}"


def named(channel: ChannelSeen) -> str:
    """Write a channel's last value with its name and unit."""
    return clean(f"{channel.name} {number(channel.last)} {channel.unit}".rstrip())
