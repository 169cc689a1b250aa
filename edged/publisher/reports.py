"""What devices say of themselves, read with doubt: every payload is from outside, and bounded."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

MAX_BYTES = 64 << 10

Text = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Meta(ge=0)]


class Running(msgspec.Struct, frozen=True):
    """The release that serves."""

    release: Count = 0
    version: Text = ""
    variant: Text = ""
    engine: Text = ""
    since: Text = ""


class Update(msgspec.Struct, frozen=True):
    """An update of a model; `pct` of its bytes are there."""

    release: Count = 0
    state: Text = ""
    attempt: Count = 0
    pct: float | None = None
    bytes_left: Count | None = None
    blocked_by: Text = ""
    retry_s: float | None = None
    left_s: float | None = None
    code: Text = ""
    text: Text = ""
    hint: Text = ""


class Refused(msgspec.Struct, frozen=True):
    """Why an order is not followed."""

    code: Text = ""
    text: Text = ""
    hint: Text = ""


class Model(msgspec.Struct, frozen=True):
    """How one model stands on a device."""

    running: Running | None = None
    last_good: Count | None = None
    wanted: Count | None = None
    verified: bool = False
    update: Update | None = None
    refused: Refused | None = None


class Trust(msgspec.Struct, frozen=True):
    """How a device stands to its fleet's metadata."""

    state: Text = ""
    root: Count = 0
    timestamp: Count = 0
    snapshot: Count = 0
    targets: Count = 0
    expires: Text = ""
    clock: Text = ""
    code: Text = ""
    text: Text = ""
    hint: Text = ""


class Reported(msgspec.Struct, frozen=True):
    """The payload of `reported`."""

    time: Text = ""
    session: Count = 0
    seq: Count = 0
    state: Text = ""
    revs: Annotated[dict[str, Count], Meta(max_length=256)] = {}
    models: Annotated[dict[str, Model], Meta(max_length=256)] = {}
    trust: Trust | None = None


class Status(msgspec.Struct, frozen=True):
    """The payload of `status`."""

    state: Text = ""
    session: Count = 0
    time: Text = ""


class Birth(msgspec.Struct, frozen=True):
    """What of the payload of `birth` is shown."""

    version: Text = ""
    board: Text = ""
    profile: Text = ""


class Event(msgspec.Struct, frozen=True):
    """The payload of `evt/update`."""

    model: Text = ""
    release: Count = 0
    state: Text = ""
    code: Text = ""
    text: Text = ""


T = TypeVar("T", Reported, Status, Birth, Event)


def read(payload: bytes | None, kind: type[T]) -> T | None:
    """Read a payload; None for what is none of this kind."""
    if payload is None or len(payload) > MAX_BYTES:
        return None
    try:
        return msgspec.json.decode(payload, type=kind)
    except (ValueError, RecursionError):
        return None


def as_json(payload: bytes | None) -> Any:
    """Give what a payload says, for programs; None where it is no JSON, or too long."""
    if payload is None or len(payload) > MAX_BYTES:
        return None
    try:
        return msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
