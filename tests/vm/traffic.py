"""Readings in and results out, by number: message n is the one whole window n, and result n is about it.

Between two windows a minute passes, so that none is made of two messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone

from edged.demo.recordings import load_recordings
from tests.peer import Peer
from tests.waiting import PATIENCE_S, until

IN_PORT = 1883
OUT_PORT = 1884
_START_MS = 1_795_351_772_000
_STEP_MS = 60_000
_SAMPLES = 260
_SESSION = "vm-test"  # kept by the broker, so that nothing is missed between two looks


def send(numbers: Iterable[int]) -> None:
    """Publish the windows of these numbers, and wait until the broker has them."""
    readings = load_recordings()[0].readings[:_SAMPLES]
    x, y, z = (list(axis) for axis in zip(*readings))
    with Peer(IN_PORT) as peer:
        peer.publish_all("plant/kim/acc", [json.dumps({"ts": _START_MS + n * _STEP_MS, "x": x, "y": y, "z": z}) for n in numbers])


def subscribe() -> None:
    """Have results kept from now on."""
    with Peer(OUT_PORT, "results", client_id=_SESSION):
        pass


def wait_for(numbers: Iterable[int]) -> str:
    """Wait until there is a result of each of these windows; say how many came, and how many of them twice."""
    wanted = set(numbers)
    with Peer(OUT_PORT, "results", client_id=_SESSION) as peer:

        def arrived() -> list[int]:
            return [n for message in list(peer.messages) if (n := _number(message.payload)) in wanted]

        with suppress(AssertionError):  # said below, by number
            until(lambda: wanted <= set(arrived()), "results arrive")
        came = arrived()
    missing = sorted(wanted - set(came))
    assert not missing, f"{len(missing)} of {len(wanted)} results did not arrive within {PATIENCE_S:g} s: of windows {missing}"
    again = len(came) - len(wanted)
    return f"({len(wanted)} of {len(wanted)}{f', {again} of them twice' if again else ''})"


def _number(payload: bytes | bytearray) -> int:
    start = datetime.fromisoformat(json.loads(payload)["window"]["start"].replace("Z", "+00:00"))
    return round((start.astimezone(timezone.utc).timestamp() * 1000 - _START_MS) / _STEP_MS)
