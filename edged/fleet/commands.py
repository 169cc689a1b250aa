"""Commands to a board, on `cmd/{op}/{id}`: what may be asked for without a signature, because it changes nothing.

    refresh   look at metadata and desired documents again
    rebirth   publish `birth` and `reported` again

The payload is `{"expires":"2026-11-29T06:05:00Z"}`: a command that comes late, or again, does nothing. What models
run is never commanded: it is desired. Pure.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_COMMAND_BYTES = 4 << 10
OPS = frozenset({"refresh", "rebirth"})
_REMEMBERED = 256


class Command(msgspec.Struct, frozen=True):
    """The payload of a command."""

    expires: Annotated[datetime, Meta(tz=True)]


class Commands:
    """Which commands were obeyed already, by `id`."""

    def __init__(self) -> None:
        self._ids: deque[str] = deque(maxlen=_REMEMBERED)

    def refusal(self, op: str, id: str, payload: bytes, now: datetime) -> str:
        """Say why a command is not obeyed, as a code; empty: it is, and not once more."""
        if op not in OPS:
            return "unknown-command"
        try:
            command = msgspec.json.decode(payload, type=Command)
        except (msgspec.DecodeError, RecursionError):
            return "malformed-command"
        if command.expires <= now:
            return "command-expired"
        if id in self._ids:
            return "repeated-command"
        self._ids.append(id)
        return ""
