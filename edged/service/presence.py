"""The retained `status` and `birth` of a device, and the number that tells sessions apart.

`session` = starts of the daemon << 32 | connections since then. It only rises, so that a Will
that comes late (`lost`, with an older number) is told from a device that is back. The count
of starts is one durable write a start.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import msgspec

from edged import __version__
from edged.atomic import write_atomic
from edged.clock import NS, Clock, iso
from edged.exchange.blobs import FRAGMENT, MAX_CREDIT
from edged.mqtt.client import MESSAGE_LIMIT
from edged.mqtt.message import Message, Will
from edged.mqtt.topics import DeviceTopics

_STARTS = "starts"


def count_start(state_dir: Path, clock: Clock) -> tuple[int, bool]:
    """Give the number of this start of the daemon and whether it could be kept.

    Where it cannot be written, the seconds since 1970 stand in: above any counter, so that
    the number still rises as long as the clock does.
    """
    path = state_dir / _STARTS
    try:
        starts = int(path.read_text()[:20]) + 1 if path.exists() else 1
    except (OSError, ValueError):
        starts = clock.wall() // NS
    starts &= 0xFFFFFFFF
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        write_atomic(path, str(starts).encode())
    except OSError:
        return clock.wall() // NS & 0xFFFFFFFF, False
    return starts, True


def free_mib(state_dir: Path) -> int:
    """Give what is free where models are kept; 0 where that is not known."""
    try:
        return shutil.disk_usage(state_dir).free >> 20
    except OSError:
        return 0


class Presence:
    """What a device says of itself on its first broker."""

    def __init__(self, topics: DeviceTopics, starts: int, clock: Clock, birth: dict[str, Any]) -> None:
        """`birth` is the content of the birth message, without its time."""
        self._topics = topics
        self._starts = starts
        self._connections = 0
        self._clock = clock
        self._birth = birth

    @property
    def session(self) -> int:
        """Give the number of the present session."""
        return self._starts << 32 | self._connections

    def will(self) -> Will:
        """Begin the next session; give what the broker shall say when the device is lost."""
        self._connections += 1
        return Will(self._topics.status, self._status("lost"))

    def online(self) -> list[Message]:
        """Give what to publish when a connection stands."""
        birth = {"v": 1, **self._birth, "session": self.session, "time": iso(self._clock.wall())}
        return [
            Message(self._topics.status, self._status("online"), 1, True),
            Message(self._topics.birth, msgspec.json.encode(birth), 1, True),
        ]

    def offline(self) -> Message:
        """Give what to publish before a clean stop."""
        return Message(self._topics.status, self._status("offline"), 1, True)

    def _status(self, state: str) -> bytes:
        return msgspec.json.encode({"state": state, "session": self.session, "time": iso(self._clock.wall())})


def birth_of(engines: list[str], board: str, profile: str, pipelines: list[str], groups: list[str], free_mib: int) -> dict[str, Any]:
    """Say what this device is; `free_mib` are free for models at the start."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "board": board,
        "profile": profile,
        "engines": engines,
        "pipelines": pipelines,
        "groups": groups,
        "free_mib": free_mib,
        "limits": {"fragment": FRAGMENT, "window": MAX_CREDIT, "message": MESSAGE_LIMIT},
    }
