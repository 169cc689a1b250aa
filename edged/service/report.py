"""Make the snapshot of a running daemon.

`edged status` and the metrics read what is made here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import msgspec

from edged import __version__
from edged.board.detect import board_name
from edged.clock import NS, Clock, iso
from edged.models.entries import Held
from edged.pss import pss_mib
from edged.select.terms import Option
from edged.service.cascade_status import cascade_status
from edged.service.control_path import ControlPath
from edged.service.fleet_status import fleet_status
from edged.service.health import Conditions
from edged.service.parts import Lane, Parts, runners_mib
from edged.service.progress import is_stuck
from edged.service.reported import content
from edged.service.serial_status import serial_status
from edged.service.snapshot import (
    BoardStatus,
    BrokerStatus,
    Cost,
    LastResult,
    Latency,
    MemoryStatus,
    ModelStatus,
    PipelineStatus,
    Snapshot,
    SpoolStatus,
)
from edged.stream.cascade import CascadeInference
from edged.stream.pipeline import Pipeline

_LONGEST_START = 60  # characters of a text among other columns


@dataclass
class Life:
    """What the daemon knows of its own life. `started` in nanoseconds, wall and monotonic."""

    started_wall: int
    started_mono: int
    state: str = "starting"


def snapshot(parts: Parts, life: Life, conditions: Conditions, updates: ControlPath) -> Snapshot:
    """Say how everything is, now."""
    clock, config, held = parts.clock, parts.loaded.config, updates.held()
    return Snapshot(
        device=parts.topics.device,
        version=__version__,
        pid=os.getpid(),
        config=str(parts.loaded.path),
        time=iso(clock.wall()),
        started=iso(life.started_wall),
        uptime_s=(clock.mono() - life.started_mono) / NS,
        state=life.state,
        board=_board(parts, updates),
        memory=MemoryStatus(pss_mib() + runners_mib(parts), config.device.memory_budget_mib or None),
        brokers={name: _broker(parts, name, clock) for name in parts.links},
        serial=[serial_status(line.state(), parts.serial_rates.get(port), clock.mono()) for port, line in parts.serial_lines.items()],
        pipelines=[pipeline_status(lane, clock, updates.costs.get(lane.options.name)) for lane in parts.lanes],
        models=[_model(lane, held) for lane in parts.lanes if lane.pipeline is not None],
        updates=updates.statuses(),
        spool=parts.delivery.status() if parts.delivery else SpoolStatus(),
        fleet=fleet_status(parts.topics.fleet, updates.pushes, updates.pushes_fault, held, updates.fleet_dropped),
        health=conditions.list(),
    )


def reported_content(parts: Parts, life: Life, updates: ControlPath) -> dict[str, Any]:
    """Say what the fleet is to know; for a look each second, so without what takes long."""
    held = updates.held()
    fleet = fleet_status(parts.topics.fleet, updates.pushes, updates.pushes_fault, held, updates.fleet_dropped)
    return content(life.state, [pipeline_status(lane, parts.clock) for lane in parts.lanes], updates.statuses(), fleet, held)


def pipeline_status(lane: Lane, clock: Clock, option: Option | None = None) -> PipelineStatus:
    """Say how one pipeline is; `option` is what was thought of the variant that it runs."""
    options, pipeline = lane.options, lane.pipeline
    status = PipelineStatus(name=options.name, state="failed", model=options.model, in_place=bool(options.model_dir))
    if lane.release is not None:
        manifest = lane.release.manifest
        status.model, status.release, status.version = manifest.name, manifest.release, manifest.version
    if pipeline is None:
        return status
    counters, model = pipeline.counters, pipeline.inference.model
    status.state = _state(lane, pipeline, clock)
    status.variant, status.engine = model.variant, str(pipeline.inference.build)
    status.messages, status.readings = counters.messages, counters.readings
    status.windows, status.results, status.late = counters.windows, counters.results, counters.late_results
    status.rejected = dict(counters.rejected)
    status.dropped = dropped_of(pipeline)
    if option is not None and option.variant == status.variant:
        measured = option.ms if option.measured else None, option.mib if option.measured_mib else None
        status.cost = Cost(option.predicted_ms, measured[0], option.predicted_mib, measured[1])
    recent = counters.latency.recent()
    status.latency_ms = Latency(recent.percentile(0.5), recent.percentile(0.95), recent.percentile(0.99))
    status.queue, status.queue_size = pipeline.inbox.waiting, pipeline.inbox.size
    if lane.rates:
        status.in_rate, status.out_rate = (meter.rate() for meter in lane.rates)
    status.streams = len(pipeline.assembly.streams.streams)
    if counters.last_result_ns:
        age = (clock.mono() - counters.last_result_mono) / NS
        status.last_result = LastResult(iso(counters.last_result_ns), in_words(counters.last_output), age)
    if isinstance(pipeline.inference, CascadeInference):
        status.cascade = cascade_status(pipeline.inference, pipeline.escalation)
    return status


def _board(parts: Parts, updates: ControlPath) -> BoardStatus:
    assert parts.selection is not None
    board, felt = parts.selection.board, updates.felt
    notes = []
    if board.profile.match.generic:
        notes.append(f"no profile fits this board, so {board.profile.name} serves: `edged board show` says how to contribute one")
    if board.stale:
        notes.append(f"the calibration holds no longer ({'; '.join(board.stale)}): `edged board calibrate`")
    if board.calibration and board.calibration.disturbed:
        notes.append(f"the calibration may be too low ({'; '.join(board.calibration.disturbed)}): repeat `edged board calibrate`")
    return BoardStatus(
        name=board_name(),
        profile=board.profile.name,
        temperature_c=felt.temperature_c if felt else None,
        generic=board.profile.match.generic,
        calibrated=board.calibration.at if board.calibration else "",
        throttled=felt.throttled if felt else None,
        notes=notes,
    )


def dropped_of(pipeline: Pipeline) -> dict[str, int]:
    """Give everything a pipeline let go, by reason, its queue and its outputs included."""
    dropped = dict(pipeline.counters.dropped)
    if pipeline.inbox.dropped:
        dropped["queue-full"] = pipeline.inbox.dropped
    others = [sink.output.dropped for sink in pipeline.sinks] + ([pipeline.escalation.dropped] if pipeline.escalation else [])
    for counts in others:
        for reason, count in counts.copy().items():
            dropped[reason] = dropped.get(reason, 0) + count
    return dropped


def in_words(output: dict[str, object]) -> str:
    """Put a result's output in a few words, such as `score 9.7 < 12.3`."""
    if "label" in output:
        band = output.get("band", "accept")
        return f"{output['label']} {_number(output.get('score'))}" + (f" ({band})" if band != "accept" else "")
    if "text" in output:
        return _start(str(output["text"]))
    if "fields" in output:
        return _start(msgspec.json.encode(output["fields"]).decode())
    if "anomaly" in output:
        sign = "≥" if _float(output.get("score")) >= _float(output.get("threshold")) else "<"
        return f"score {_number(output.get('score'))} {sign} {_number(output.get('threshold'))}"
    values = output.get("values", output.get("vector"))
    if isinstance(values, list):
        shown = " ".join(_number(value) for value in values[:3])
        return shown + (" …" if len(values) > 3 else "")
    return ""


def _state(lane: Lane, pipeline: Pipeline, clock: Clock) -> str:
    if is_stuck(lane, clock):
        return "stuck"
    if pipeline.loading:
        return "loading"
    if pipeline.fault:
        return "failed"
    if lane.source.finished and not pipeline.inbox.waiting:
        return "finished"
    return "running" if pipeline.counters.messages else "waiting"


def _broker(parts: Parts, name: str, clock: Clock) -> BrokerStatus:
    link = parts.links[name]
    state = link.state
    return BrokerStatus(link.broker.url, state.state, (clock.mono() - state.since) / NS, state.version, state.text)


def _model(lane: Lane, held: dict[str, Held]) -> ModelStatus:
    assert lane.pipeline is not None
    model = lane.pipeline.inference.model
    status = ModelStatus(model.name, model.release, model.version, "serving", model.variant, model.engine, bool(lane.options.model_dir))
    mine = held.get(model.name)
    if mine is not None and not status.in_place:
        status.since, status.unproven = iso(mine.since), mine.unproven
        status.last_good, status.pinned = mine.last_good == model.release, model.release in mine.pinned
    return status


def _start(text: str) -> str:
    """Give the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_START else f"{line[:_LONGEST_START]}…"


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _float(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
