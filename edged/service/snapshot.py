"""The snapshot: what the daemon knows of itself, as `edged status`, metrics and `reported` show it.

Every field has a default and unknown fields are ignored, so that a command and a daemon of
different versions understand each other. States and reasons are plain text for the same
cause. Ages and durations are seconds from the monotonic clock: they stay true when the
board's wall clock jumps. Times are ISO 8601, UTC. None means not known.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import field

from edged.errors import PeerError
from edged.service.cascade_status import CascadeStatus
from edged.service.serial_status import SerialStatus

VERSION = 1
ERROR = "error"
WARNING = "warning"
INFO = "info"


class Condition(msgspec.Struct, frozen=True):
    """Something that is not as it should be, or that a person should know.

    `severity` is error, warning or info; `since` the wall time it began, `for_s` its age.
    `subject` is the broker, pipeline or model it is about; empty: the board or the daemon.
    """

    code: str
    severity: str
    since: str = ""
    text: str = ""
    hint: str = ""
    subject: str = ""
    for_s: float | None = None


class BoardStatus(msgspec.Struct):
    """The machine; `name` for people, `profile` the one in force, `calibrated` when it was, empty: its profile's numbers serve.

    `throttled` is the Raspberry Pi's word. `notes` are for people: that no profile fits, or a calibration holds no longer.
    """

    name: str = ""
    profile: str = ""
    temperature_c: float | None = None
    generic: bool = False
    calibrated: str = ""
    throttled: int | None = None
    notes: list[str] = []


class MemoryStatus(msgspec.Struct):
    """MiB: what the daemon and its children take, and what they may."""

    pss_mib: float | None = None
    budget_mib: float | None = None


class BrokerStatus(msgspec.Struct):
    """One broker. `state`: connecting | connected | refused | unreachable | disconnected | stopped; `version`: of MQTT."""

    url: str = ""
    state: str = ""
    since_s: float | None = None
    version: str = ""
    error: str = ""


class Latency(msgspec.Struct):
    """Milliseconds from message in to result out, over the last minute or two."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Cost(msgspec.Struct):
    """What the variant that runs takes: milliseconds for a window, MiB; predicted, and measured on this board."""

    predicted_ms: float | None = None
    measured_ms: float | None = None
    predicted_mib: float | None = None
    measured_mib: float | None = None

    def errors(self) -> dict[str, float]:
        """Give by how much the predictions of time and memory are off, as parts of what was measured."""
        pairs = (("time", self.predicted_ms, self.measured_ms), ("memory", self.predicted_mib, self.measured_mib))
        return {of: predicted / measured - 1 for of, predicted, measured in pairs if predicted is not None and measured}


class LastResult(msgspec.Struct):
    """The newest result: its time, a few words for people, its age."""

    time: str = ""
    text: str = ""
    age_s: float | None = None


class PipelineStatus(msgspec.Struct):
    """One pipeline. `state`: starting | waiting | running | finished | stuck | failed.

    Counters rise from 0 since the daemon started; `rejected` and `dropped` are by reason.
    `in_rate` (readings) and `out_rate` (results) are per second over the last ten.
    `late` counts results after the pipeline's deadline.
    `in_place` marks a model that is used from a folder (`model_dir`).
    """

    name: str = ""
    state: str = ""
    model: str = ""
    release: int = 0
    version: str = ""
    variant: str = ""
    engine: str = ""
    in_place: bool = False
    messages: int = 0
    readings: int = 0
    windows: int = 0
    results: int = 0
    late: int = 0
    rejected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    latency_ms: Latency = field(default_factory=Latency)
    queue: int = 0
    queue_size: int = 0
    in_rate: float = 0.0
    out_rate: float = 0.0
    streams: int = 0
    last_result: LastResult | None = None
    cost: Cost = field(default_factory=Cost)
    cascade: CascadeStatus | None = None


class ModelStatus(msgspec.Struct):
    """One model in the board's store, or in place. `state`: serving | staged | last-good.

    `since` is when the release came into service; `unproven`: it has still to show that it is good.
    """

    name: str = ""
    release: int = 0
    version: str = ""
    state: str = ""
    variant: str = ""
    engine: str = ""
    in_place: bool = False
    since: str = ""
    last_good: bool = False
    pinned: bool = False
    unproven: bool = False


class UpdateStatus(msgspec.Struct):
    """The newest update of one model, under way or ended.

    `state` is one of `edged.fleet.machine`, `kind` install, activate or rollback; `stage` says the same in words,
    with how far it is. `family`, `code`, `text` and `hint` are the error that ended it, or that it was tried again after.
    A wait is `blocked_by` something, in words, and looks again in `retry_in_s`. In service, `waits_for` says, in
    words, what is missing until it is committed. `left_s` is of the stage, `seconds_left` of the watch.
    `report` is what the trial measured.
    """

    model: str = ""
    release: int = 0
    version: str = ""
    state: str = ""
    stage: str = ""
    code: str = ""
    text: str = ""
    hint: str = ""
    since_s: float | None = None
    attempt: int = 0
    attempts: int = 0
    blocked_by: str = ""
    bytes_done: int = 0
    bytes_total: int = 0
    left_s: float | None = None
    retry_in_s: float | None = None
    windows_done: int = 0
    windows_needed: int = 0
    seconds_left: float | None = None
    report: dict[str, Any] | None = None
    family: str = ""
    kind: str = ""
    waits_for: str = ""


class SpoolStatus(msgspec.Struct):
    """Results waiting for a broker. `state`: empty | memory | disk | draining | failing; `dropped` is by reason.

    `results` wait, in memory or on disk, where they take `mib` of `max_mib`. While draining,
    `drain_rate` a second go out, and the rest takes about `drain_left_s`.
    """

    state: str = ""
    results: int = 0
    mib: float = 0.0
    max_mib: float = 0.0
    oldest_s: float | None = None
    dropped: dict[str, int] = {}
    drain_rate: float = 0.0
    drain_left_s: float | None = None


class OrderStatus(msgspec.Struct):
    """What the fleet wants of one model. `state`: done | under way | blocked | refused; `code` to `hint` say why of the last two."""

    model: str = ""
    release: int = 0
    audience: str = ""
    state: str = ""
    code: str = ""
    text: str = ""
    hint: str = ""


class FleetStatus(msgspec.Struct):
    """The fleet; `updates` says in words how it is with pushes, `rev` is the highest of `revs`, which are by audience.

    `trust`: none (no pushes are accepted) | waiting | ok | expired | failing, with `code` to `hint` why. `versions` of
    metadata are by role; `clock`: synced | unsynced | unknown. `received` counts bytes of models since the start,
    `dropped` messages by reason.
    """

    name: str = ""
    updates: str = ""
    rev: int | None = None
    trust: str = "none"
    code: str = ""
    text: str = ""
    hint: str = ""
    versions: dict[str, int] = {}
    expires: str = ""
    clock: str = "unknown"
    revs: dict[str, int] = {}
    orders: list[OrderStatus] = []
    received: int = 0
    dropped: dict[str, int] = {}


class Snapshot(msgspec.Struct):
    """All of it. `state`: starting | running | stopping; `time` is when it was taken, `health` the worst first."""

    v: int = VERSION
    device: str = ""
    version: str = ""
    pid: int = 0
    config: str = ""
    time: str = ""
    started: str = ""
    uptime_s: float = 0.0
    state: str = ""
    board: BoardStatus = field(default_factory=BoardStatus)
    memory: MemoryStatus = field(default_factory=MemoryStatus)
    brokers: dict[str, BrokerStatus] = {}
    serial: list[SerialStatus] = []
    pipelines: list[PipelineStatus] = []
    models: list[ModelStatus] = []
    updates: list[UpdateStatus] = []
    spool: SpoolStatus = field(default_factory=SpoolStatus)
    fleet: FleetStatus = field(default_factory=FleetStatus)
    health: list[Condition] = []


def read(answer: dict[str, Any]) -> Snapshot:
    """Make a snapshot of a daemon's answer.

    Raises PeerError(`snapshot-unreadable`) where a field has another type than ours.
    """
    try:
        return msgspec.convert(answer, Snapshot)
    except msgspec.ValidationError as error:
        text = f"the daemon's answer is not a status that this version understands: {error}"
        hint = "daemon and command may be of different versions: restart the daemon, or use --json"
        raise PeerError("snapshot-unreadable", text, hint) from None


def is_healthy(snapshot: Snapshot) -> bool:
    """Say whether no condition is an error; warnings are for people, not for monitors."""
    return all(condition.severity != ERROR for condition in snapshot.health)
