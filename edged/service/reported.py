"""`reported`: what runs here and how updates stand, as the fleet reads it: parts of the snapshot in, a retained message out, ≤ 16 KiB.

    {"v":1,"time":ISO,"session":U64,"seq":N,"state":"running","revs":{"dev:press-7":41},
     "models":{"har":{"running":{…},"last_good":3,"wanted":3,"verified":true,"update":{…},"refused":{…}}},
     "trust":{"state":"ok","root":1,"timestamp":5,"snapshot":5,"targets":2,"expires":ISO,"clock":"synced","code":"","text":"","hint":""}}

`verified` says that the release that is wanted, or runs, is committed: nothing else is success.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edged.clock import NS, Clock, iso
from edged.models.entries import Held
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.service.snapshot import FleetStatus, OrderStatus, PipelineStatus, UpdateStatus

MAX_BYTES = 16 << 10
SOON_NS = NS  # between two that say something new
PROGRESS_NS = 5 * NS  # between two that differ in how far something is only
_LONGEST = 240  # characters of a text
_EXITS = frozenset({"committed", "rejected", "rolled_back", "superseded"})
_PROGRESS = ("pct", "bytes_left", "left_s", "retry_s", "blocked_by")


def content(
    state: str, pipelines: Sequence[PipelineStatus], statuses: Sequence[UpdateStatus], fleet: FleetStatus, held: Mapping[str, Held]
) -> dict[str, Any]:
    """Give all of it but time, session and number."""
    orders = {each.model: each for each in fleet.orders}
    updates = {each.model: each for each in statuses}
    running: dict[str, PipelineStatus] = {}
    for each in pipelines:
        if each.model and not each.in_place:
            running.setdefault(each.model, each)
    names = sorted(running.keys() | orders.keys() | updates.keys())
    models = {name: _model(running.get(name), held.get(name) or Held(), orders.get(name), updates.get(name)) for name in names}
    return {"state": state, "revs": fleet.revs, "models": models, "trust": _trust(fleet)}


def _model(pipeline: PipelineStatus | None, held: Held, order: OrderStatus | None, update: UpdateStatus | None) -> dict[str, Any]:
    runs = None
    if pipeline is not None and pipeline.variant:
        runs = {"release": pipeline.release, "version": pipeline.version, "variant": pipeline.variant, "engine": pipeline.engine}
        runs["since"] = iso(held.since)
    release = order.release if order is not None else held.active
    return {
        "running": runs,
        "last_good": held.last_good,
        "wanted": order.release if order is not None else None,
        "verified": release is not None and release == held.last_good == held.active,
        "update": _update(update, order),
        "refused": _error(order.code, order.text, order.hint) if order is not None and order.state == "refused" else None,
    }


def _update(update: UpdateStatus | None, order: OrderStatus | None) -> dict[str, Any] | None:
    if order is not None and order.state == "blocked" and (update is None or update.state in _EXITS):
        return {
            "release": order.release,
            "state": "evaluate",
            "attempt": 1,
            "blocked_by": order.text[:_LONGEST],
            **_error(order.code, "", ""),
        }
    if update is None:
        return None
    done, total = update.bytes_done or 0, update.bytes_total or 0
    return {
        "release": update.release,
        "state": update.state,
        "attempt": update.attempt,
        "pct": round(100 * done / total, 1) if total else None,
        "bytes_left": max(0, total - done) if total else None,
        "blocked_by": (update.blocked_by or update.waits_for)[:_LONGEST],
        "retry_s": update.retry_in_s,
        "left_s": update.left_s,
        **_error(update.code, update.text, update.hint),
    }


def _trust(fleet: FleetStatus) -> dict[str, Any]:
    return {"state": fleet.trust or "none", **fleet.versions, "expires": fleet.expires, "clock": fleet.clock} | _error(
        fleet.code, fleet.text, fleet.hint
    )


def _error(code: str, text: str, hint: str) -> dict[str, str]:
    return {"code": code, "text": text[:_LONGEST], "hint": hint[:_LONGEST]}


class Reporter:
    """Decides when to say it again."""

    def __init__(self, topics: DeviceTopics, clock: Clock) -> None:
        self._topics, self._clock = topics, clock
        self._last: dict[str, Any] | None = None
        self._said_at = 0
        self._next_look = 0
        self._seq = 0
        self._again = threading.Event()

    def again(self) -> None:
        """Say it at the next look, whatever was said: another connection, or somebody asks. From any thread."""
        self._again.set()

    def look(self, make: Callable[[], dict[str, Any]], session: int) -> Message | None:
        """Give the message, where there is news and it is time; `make` gives the content, and is called once a second at most."""
        if self._again.is_set():
            self._again.clear()  # before it is made: who asks meanwhile asks for more
            self._last = None
        now, last = self._clock.mono(), self._last
        if last is not None and now < self._next_look:
            return None
        self._next_look = now + SOON_NS
        made = make()
        if last is not None and (made == last or (now - self._said_at < PROGRESS_NS and without_progress(made) == without_progress(last))):
            return None
        self._last, self._said_at, self._seq = made, now, self._seq + 1
        head = {"v": 1, "time": iso(self._clock.wall()), "session": session, "seq": self._seq}
        return Message(self._topics.reported, encode(head, made), 1, True)


def without_progress(content: dict[str, Any]) -> dict[str, Any]:
    """Give the content without how far updates are."""
    models = {}
    for name, model in content["models"].items():
        update = model["update"]
        models[name] = {**model, "update": update and {key: value for key, value in update.items() if key not in _PROGRESS}}
    return {**content, "models": models}


def encode(head: dict[str, Any], content: dict[str, Any]) -> bytes:
    """Write it within MAX_BYTES: models that find no room are left out, and counted in `left_out`."""
    data = msgspec.json.encode({**head, **content})
    models = dict(content["models"])
    left_out = 0
    while len(data) > MAX_BYTES and models:
        for _ in range(max(1, len(models) // 8)):
            models.popitem()
            left_out += 1
        data = msgspec.json.encode({**head, **content, "models": models, "left_out": left_out})
    return data
