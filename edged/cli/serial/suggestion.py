"""What to write into a configuration to read the serial line that is seen, ready to paste; pure."""

from __future__ import annotations

import json
import re

from edged.cli.columns import clean
from firmware_bridge.observation import Seen

_ENOUGH = 30  # readings in lines; their columns are known then, and whether the first is a clock
_MOST_NAMES = 8


def suggestion(seen: Seen, port: str, baud: int) -> str:
    """Give a `[[pipelines]]` that reads the line; empty as long as too little is known. `port` is the name that stays, if any."""
    if seen.framing == "framed" and seen.hello:
        wanted = f"one for {_listed([channel.name for channel in seen.hello.channels])} at {seen.hello.rate_hz:g} readings a second"
        return _written(_slug(seen.hello.firmware), wanted, port, baud)
    sketch = seen.sketch
    if seen.framing != "lines" or sketch.readings < _ENOUGH:
        return ""
    if sketch.has_clock and not sketch.names and sketch.separator != "json":
        return _written("sensor", f"one for {_channels(sketch.width - 1)}", port, baud, _without_clock(sketch.width, sketch.separator))
    return _written("sensor", f"one for {_listed(sketch.names) or f'{_channels(sketch.width)}, in the order of the columns'}", port, baud)


def _written(name: str, wanted: str, port: str, baud: int, decoder: str = "") -> str:
    lines = ["[[pipelines]]", f'name = "{name}"', f'model = "MODEL"   # {wanted}']
    lines.append(f'source = {{ type = "serial", port = {_text(port)}, baud = {baud} }}')
    return "\n".join([*lines, decoder] if decoder else lines) + "\n"


def _without_clock(width: int, separator: str) -> str:
    """Write a decoder that leaves the first column out: it is the sketch's own clock, and no channel."""
    channels = [f"column{number}" for number in range(2, width + 1)]
    parted = "" if separator == "," else f", separator = {_text(separator)}"
    return f'decoder = {{ type = "csv", columns = {json.dumps(["clock", *channels])}, channels = {json.dumps(channels)}{parted} }}'


def _channels(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"


def _listed(names: list[str]) -> str:
    shown = clean(", ".join(names[:_MOST_NAMES]))  # a firmware's words must not leave the comment that they stand in
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown


def _slug(firmware: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", firmware.lower()).strip("-")[:64] or "sensor"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
