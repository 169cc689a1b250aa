"""A fleet as its retained messages show it: every device, what runs on it, how its updates stand. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from edged.config.schema import NAME
from edged.publisher.reports import Birth, Event, Model, Reported, Status, read

MOST_DEVICES = 20_000
FAILED = frozenset({"rejected", "rolled_back"})
LOST = "lost"


@dataclass
class Device:
    """One device; `state` is online, offline, lost, or empty where it never said."""

    name: str
    state: str = ""
    session: int = 0
    birth: Birth = field(default_factory=Birth)
    reported: Reported = field(default_factory=Reported)
    last_error: dict[str, str] = field(default_factory=dict)  # by model


@dataclass(frozen=True)
class Row:
    """One model of one device, or a device without any (`model` is empty). Texts are as they came: not clean."""

    device: str
    state: str
    board: str
    model: str = ""
    running: str = ""
    wanted: str = ""
    stage: str = ""
    progress: str = ""
    error: str = ""


class View:
    """What was heard of a fleet so far. `ignored` counts messages that could not be read or were of too many devices."""

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.ignored = 0

    def take(self, device: str, rest: str, payload: bytes | None) -> Device | None:
        """Take a message below a device's topic; give the device where it changed."""
        if not re.match(NAME, device) or (device not in self.devices and len(self.devices) >= MOST_DEVICES):
            self.ignored += 1
            return None
        if payload == b"":
            return self._forget(device, rest)
        known = self.devices.get(device) or Device(device)
        if not self._took(known, rest, payload):
            return None
        self.devices[device] = known
        return known

    def _took(self, device: Device, rest: str, payload: bytes | None) -> bool:
        took = {"status": _take_status, "birth": _take_birth, "reported": _take_reported, "evt/update": _take_event}.get(rest)
        outcome = took(device, payload) if took else None
        self.ignored += outcome is None
        return bool(outcome)

    def _forget(self, device: str, rest: str) -> Device | None:
        """Somebody cleared a retained message; a device is gone when its status is."""
        return self.devices.pop(device, None) if rest == "status" else None

    def rows(self) -> Iterator[Row]:
        """Give all rows, by device and model."""
        for name in sorted(self.devices):
            yield from rows_of(self.devices[name])

    def verdict(self, model: str, release: int) -> tuple[list[str], list[str], list[str]]:
        """Say which devices that report a model have committed a release, which failed it, and which have still to end.

        What a lost one said last may be over: it may have been lost by the very release.
        """
        done: list[str] = []
        failed: list[str] = []
        open_: list[str] = []
        for name in sorted(self.devices):
            found = self.devices[name].reported.models.get(model)
            if found is None:
                continue
            if self.devices[name].state == LOST:
                open_.append(name)
            else:
                (done if _is_committed(found, release) else failed if _has_failed(found, release) else open_).append(name)
        return done, failed, open_


def rows_of(device: Device) -> list[Row]:
    """Give a row for each model of a device, or one without a model."""
    board = device.birth.board or device.birth.profile
    models = device.reported.models
    if not models:
        return [Row(device.name, device.state, board, error=_trust_error(device.reported))]
    return [_row(device, board, name, models[name]) for name in sorted(models)]


def _row(device: Device, board: str, name: str, model: Model) -> Row:
    running, update = model.running, model.update
    runs = "" if running is None else f"{running.release}{f' {running.variant}' if running.variant else ''}"
    refused = _error(model.refused.text, model.refused.code) if model.refused else ""
    if update is not None and model.verified and model.wanted not in (None, update.release):
        update = None  # of an earlier order; what is wanted now serves
    failed = _error(update.text, update.code) if update and not update.blocked_by else ""
    error = refused or failed or ("" if model.verified else device.last_error.get(name, "")) or _trust_error(device.reported)
    stage = "" if update is None else f"{update.release} {update.state}"
    return Row(
        device.name, device.state, board, name, runs, "" if model.wanted is None else str(model.wanted), stage, _progress(model), error
    )


def _progress(model: Model) -> str:
    update = model.update
    if update is None or update.state in FAILED or update.state == "committed":
        return ""
    if update.blocked_by:
        return f"waits: {update.blocked_by}"
    return "" if update.pct is None else f"{update.pct:.0f} %"


def _trust_error(reported: Reported) -> str:
    trust = reported.trust
    return _error(trust.text, trust.code) if trust and trust.state != "waiting" else ""  # before the first metadata came


def _error(text: str, code: str) -> str:
    return f"{text} [{code}]".lstrip() if code else ""


def _is_committed(model: Model, release: int) -> bool:
    if model.verified and model.wanted == release:  # also where no pipeline of the device runs it
        return True
    return model.last_good == release and model.running is not None and model.running.release == release


def _has_failed(model: Model, release: int) -> bool:
    update, refused = model.update, model.refused
    return bool((update and update.release == release and update.state in FAILED) or (refused and refused.code and model.wanted == release))


def _take_status(device: Device, payload: bytes | None) -> bool | None:
    status = read(payload, Status)
    if status is None:
        return None
    if status.state == LOST and status.session < device.session:  # a Will of an earlier connection: old news
        return False
    changed = status.state != device.state
    device.state, device.session = status.state, status.session
    return changed


def _take_birth(device: Device, payload: bytes | None) -> bool | None:
    birth = read(payload, Birth)
    if birth is None:
        return None
    changed = birth != device.birth
    device.birth = birth
    return changed


def _take_reported(device: Device, payload: bytes | None) -> bool | None:
    reported = read(payload, Reported)
    if reported is None:
        return None
    if reported.session == device.reported.session and reported.seq < device.reported.seq:
        return False
    changed = reported != device.reported
    device.reported = reported
    for name, model in reported.models.items():
        if model.update and model.update.state == "committed":
            device.last_error.pop(name, None)
    return changed


def _take_event(device: Device, payload: bytes | None) -> bool | None:
    event = read(payload, Event)
    if event is None:
        return None
    if event.state not in FAILED or (event.model not in device.last_error and len(device.last_error) >= 256):
        return False
    device.last_error[event.model] = f"{event.release} {event.state}: {_error(event.text, event.code)}"
    return True
