"""The snapshot as Prometheus text, exposition format 0.0.4; pure.

https://prometheus.io/docs/instrumenting/exposition_formats/: one HELP and one TYPE line a
family, then its samples together; units are seconds and bytes. Families without a sample
are left out, unknown values too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edged.service.snapshot import PipelineStatus, Snapshot, is_healthy

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MIB = 1024 * 1024

# (suffix, type, help), then (labels, value) pairs.
Sample = tuple[dict[str, str], float | None]
Family = tuple[str, str, str, Iterable[Sample]]


def render(snapshot: Snapshot) -> str:
    """Write all families of `snapshot`, each line ended by a newline."""
    return "".join(line for family in _families(snapshot) for line in _lines(*family))


def _families(s: Snapshot) -> Iterator[Family]:
    yield from _daemon(s)
    yield from _brokers(s)
    yield from _serial(s)
    yield from _pipelines(s)
    yield from _spool(s)


def _daemon(s: Snapshot) -> Iterator[Family]:
    info = {"version": s.version, "device": s.device, "fleet": s.fleet.name, "profile": s.board.profile}
    yield "info", "gauge", "Always 1; labels say what runs.", [(info, 1)]
    yield "uptime_seconds", "gauge", "Time since the daemon started.", [({}, s.uptime_s)]
    yield "healthy", "gauge", "1 while no condition is an error.", [({}, is_healthy(s))]
    conditions = [({"code": c.code, "subject": c.subject, "severity": c.severity}, 1) for c in s.health]
    yield "condition", "gauge", "Always 1; a condition that holds now.", conditions
    yield "memory_pss_bytes", "gauge", "Memory of the daemon and its children.", [({}, _scaled(s.memory.pss_mib, _MIB))]
    yield "memory_budget_bytes", "gauge", "Memory that edged may take.", [({}, _scaled(s.memory.budget_mib, _MIB))]
    yield "board_temperature_celsius", "gauge", "The hottest sensor of the board.", [({}, s.board.temperature_c)]


def _brokers(s: Snapshot) -> Iterator[Family]:
    connected = [({"broker": name}, broker.state == "connected") for name, broker in s.brokers.items()]
    yield "broker_connected", "gauge", "1 while the broker is connected.", connected


def _serial(s: Snapshot) -> Iterator[Family]:
    each = [({"port": port.port}, port) for port in s.serial]
    yield "serial_connected", "gauge", "1 while the port is open.", [(label, port.state == "open") for label, port in each]
    yield "serial_readings_total", "counter", "Readings that came in frames.", [(label, port.readings) for label, port in each]
    yield "serial_frames_total", "counter", "Whole frames that came.", [(label, port.frames) for label, port in each]
    yield "serial_lines_total", "counter", "Lines of text that came.", [(label, port.lines) for label, port in each]
    yield "serial_bytes_total", "counter", "Bytes that came.", [(label, port.bytes) for label, port in each]
    faults = [s for label, port in each for s in _by_reason(label, port.faults)]
    yield "serial_faults_total", "counter", "What was wrong, missing or dropped on the line, by reason.", faults
    yield "serial_unplugged_total", "counter", "Times that the port went away.", [(label, port.unplugged) for label, port in each]


def _pipelines(s: Snapshot) -> Iterator[Family]:
    each = [({"pipeline": p.name}, p) for p in s.pipelines]
    info = [(label | {"model": p.model, "release": str(p.release), "variant": p.variant, "engine": p.engine}, 1) for label, p in each]
    yield "pipeline_info", "gauge", "Always 1; labels say what computes.", info
    yield "pipeline_state", "gauge", "Always 1; the state is a label.", [(label | {"state": p.state}, 1) for label, p in each]
    yield "messages_total", "counter", "Messages received.", [(label, p.messages) for label, p in each]
    yield "readings_total", "counter", "Readings accepted.", [(label, p.readings) for label, p in each]
    yield "windows_total", "counter", "Windows cut.", [(label, p.windows) for label, p in each]
    yield "results_total", "counter", "Results computed.", [(label, p.results) for label, p in each]
    yield "late_results_total", "counter", "Results after the pipeline's deadline.", [(label, p.late) for label, p in each]
    yield "rejected_total", "counter", "Refused input, by reason.", [s for label, p in each for s in _by_reason(label, p.rejected)]
    yield "dropped_total", "counter", "Dropped by a limit, by reason.", [s for label, p in each for s in _by_reason(label, p.dropped)]
    yield "latency_seconds", "summary", "Message in to result out, of late.", [s for label, p in each for s in _quantiles(label, p)]
    yield "queue_messages", "gauge", "Messages waiting for the pipeline.", [(label, p.queue) for label, p in each]
    yield "streams", "gauge", "Stream keys held.", [(label, p.streams) for label, p in each]
    errors = [(label | {"variant": p.variant, "of": of}, error) for label, p in each for of, error in p.cost.errors().items()]
    yield "prediction_error_ratio", "gauge", "Predicted by measured cost of a window, less 1.", errors
    ages = [(label, p.last_result.age_s) for label, p in each if p.last_result]
    yield "last_result_age_seconds", "gauge", "Age of the newest result.", ages


def _spool(s: Snapshot) -> Iterator[Family]:
    yield "spool_results", "gauge", "Results waiting for a broker.", [({}, s.spool.results)]
    yield "spool_bytes", "gauge", "Size of the results that wait.", [({}, s.spool.mib * _MIB)]
    yield "spool_oldest_seconds", "gauge", "Age of the oldest result that waits.", [({}, s.spool.oldest_s)]
    yield "spool_dropped_total", "counter", "Results given up, by reason.", _by_reason({}, s.spool.dropped)


def _by_reason(label: dict[str, str], counts: dict[str, int]) -> list[Sample]:
    return [(label | {"reason": reason}, n) for reason, n in counts.items()]


def _quantiles(label: dict[str, str], pipeline: PipelineStatus) -> list[Sample]:
    latency = pipeline.latency_ms
    pairs = [("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99)]
    return [(label | {"quantile": q}, _scaled(ms, 1e-3)) for q, ms in pairs]


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _lines(suffix: str, kind: str, about: str, samples: Iterable[Sample]) -> Iterator[str]:
    known = [(labels, value) for labels, value in samples if value is not None]
    if not known:
        return
    name = f"edged_{suffix}"
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n"
    for labels, value in known:
        yield f"{name}{_labels(labels)} {float(value):.15g}\n"


def _labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    r"""Escape as the format wants: \ " and line feed. Line ends that only some parsers take for one become spaces."""
    plain = " ".join(text.split("\r"))
    return plain.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
