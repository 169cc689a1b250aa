"""What came, one line each: texts, events, restarts, unplugging; and what is wrong, when it begins."""

from __future__ import annotations

from edged.cli.columns import clean
from edged.cli.serial.facts import speaker
from edged.cli.serial.troubles import Trouble
from edged.cli.serial.watched import Came, Lost, Opened, View
from firmware_bridge.link import EventCame, HelloCame, TextCame
from firmware_bridge.observation import PrintCame


def told(came: Came, view: View) -> str:
    """Say in a line what came; empty for readings, which come too often for that."""
    match came:
        case HelloCame():
            again = "restarted: " if came.restarted else ""
            channels = ", ".join(f"{each.name} in {each.unit or '1'} × {each.scale:g}" for each in came.hello.channels)
            return clean(f"HELLO   {again}{', '.join(speaker(view.seen))}: {channels}")
        case TextCame():
            return f"TEXT    {clean(came.text)}"
        case PrintCame():
            return f"PRINT   {clean(came.text)}"
        case EventCame():
            event = came.event
            return f"EVENT   {event.code} {event.value} {clean(event.text)}".rstrip()
        case Opened():
            return f"PORT    {view.port} is open again"
        case Lost():
            return f"PORT    {clean(came.error.text)}; it is tried again twice a second"
    return ""


def trouble_lines(trouble: Trouble) -> list[str]:
    """Say what is wrong, and the next step, in a line each."""
    return [f"!       {clean(trouble.text)} [{trouble.code}]", f"        → {clean(trouble.hint)}"]
