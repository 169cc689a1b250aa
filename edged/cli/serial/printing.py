"""The monitor elsewhere than on a terminal: a line a second, a line for all that happens; or JSON, an object a line."""

from __future__ import annotations

import math
import sys
from typing import Any

import click
import msgspec

from edged.cli.serial.facts import losses, named, rates
from edged.cli.serial.suggestion import suggestion
from edged.cli.serial.telling import told, trouble_lines
from edged.cli.serial.troubles import troubles
from edged.cli.serial.watched import Came, Lost, Opened, View
from firmware_bridge.link import EventCame, HelloCame, TextCame
from firmware_bridge.observation import PrintCame

EVERY_S = 1.0
_MOST_CHANNELS = 6


class Printed:
    """Lines for people and log files."""

    every_s = EVERY_S

    def __init__(self, stable: str) -> None:
        """`stable` is the port's name for a configuration."""
        self._stable = stable
        self._troubled: set[str] = set()
        self._suggested = ""

    def came(self, came: Came, view: View) -> None:
        """Say what came."""
        if text := told(came, view):
            _line(view, text)

    def look(self, view: View) -> None:
        """Say how it is, what has begun to be wrong, and once how edged reads it."""
        if view.error is None:
            _line(view, " · ".join([*rates(view.seen, view.baud), *_values(view), *losses(view)]))
            self._tell_troubles(view)
        text = suggestion(view.seen, self._stable, view.baud)
        if text and text != self._suggested:
            self._suggested = text
            click.echo(f"\nTo read it with edged:\n\n{text}")
        sys.stdout.flush()

    def _tell_troubles(self, view: View) -> None:
        found = troubles(view.seen, view.baud)
        for trouble in found:
            if trouble.code not in self._troubled:
                for text in trouble_lines(trouble):
                    _line(view, text)
        self._troubled = {trouble.code for trouble in found}


class AsJson:
    """An object for each thing that happens, and one a second with everything."""

    every_s = EVERY_S

    def __init__(self, stable: str) -> None:
        """`stable` is the port's name for a configuration."""
        self._stable = stable

    def came(self, came: Came, view: View) -> None:
        """Write what came."""
        if values := happened(came):
            _object({"at_s": round(view.at_s, 3), **values})

    def look(self, view: View) -> None:
        """Write how it is."""
        _object(values_of(view, self._stable))
        sys.stdout.flush()


def happened(came: Came) -> dict[str, Any]:
    """Give what `--json` shows of something that came; nothing for readings."""
    match came:
        case HelloCame():
            return {"kind": "hello", "restarted": came.restarted, "session": came.session, "hello": came.hello}
        case TextCame():
            return {"kind": "text", "text": came.text}
        case PrintCame():
            return {"kind": "print", "text": came.text}
        case EventCame():
            return {"kind": "event", "code": came.event.code, "value": came.event.value, "text": came.event.text}
        case Opened():
            return {"kind": "opened"}
        case Lost():
            return {"kind": "lost", "error": _error(came)}
    return {}


def values_of(view: View, stable: str) -> dict[str, Any]:
    """Give what `--json` shows once a second; keys are only ever added to it. What is not known is null."""
    seen = view.seen
    lines = None
    if seen.framing == "lines":
        sketch = seen.sketch
        lines = {
            "columns": sketch.width,
            "names": sketch.names,
            "separator": sketch.separator,
            "has_clock": sketch.has_clock,
            "prints": sketch.prints,
            "last_print": sketch.last_print,
        }
    wrong = [] if view.error else troubles(seen, view.baud)
    return {
        "at_s": round(view.at_s, 3),
        "kind": "seen",
        "port": view.port,
        "baud": view.baud,
        "state": "waiting" if view.error else "open",
        "unplugged": view.unplugged,
        "framing": seen.framing or None,
        "bytes": seen.received,
        "frames": seen.frames,
        "lines": seen.lines,
        "readings": seen.readings,
        "bytes_per_s": seen.byte_rate,
        "readings_per_s": seen.reading_rate,
        "rate_hz": seen.rate_hz,
        "drift_ppm": seen.drift_ppm,
        "accuracy_ms": seen.accuracy_ms,
        "silent_s": None if view.error else seen.silent_s,
        "garbled": seen.garbled,
        "two_senders": seen.two_senders,
        "counts": seen.counts,
        "hello": seen.hello if seen.framing == "framed" else None,
        "columns": lines,
        "channels": [
            {
                "name": each.name,
                "unit": each.unit,
                "last": _known(each.last),
                "min": _known(each.low),
                "mean": _known(each.mean),
                "max": _known(each.high),
            }
            for each in seen.channels
        ],
        "troubles": wrong,
        "config": suggestion(seen, stable, view.baud) or None,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _error(lost: Lost) -> dict[str, str]:
    from edged.stream.sources.serial_errors import as_edged

    return as_edged(lost.error).as_dict()


def _values(view: View) -> list[str]:
    channels = view.seen.channels
    more = [f"and {len(channels) - _MOST_CHANNELS} more"] if len(channels) > _MOST_CHANNELS else []
    return [*(named(channel) for channel in channels[:_MOST_CHANNELS]), *more]


def _line(view: View, text: str) -> None:
    click.echo(f"{view.at_s:7.1f} s  {text}")


def _object(values: dict[str, Any]) -> None:
    # Two lines of one object are none: JSON strings hold no line end, and surrogates from broken names are replaced.
    click.echo(msgspec.json.encode(values))
