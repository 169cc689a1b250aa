"""The status screen: a snapshot as lines for people; pure.

First who and how the board is, the way out (brokers, spool, updates), serial ports, then what is wrong,
worst first, and updates of models, then one row a pipeline. Nothing that is wrong is cut; names are.
"""

from __future__ import annotations

from edged.cli.columns import GAP, Cell, Column, clean, fit, painted, table, wide, wrap, wrap_words
from edged.cli.render_serial import serial_lines
from edged.cli.updates import short, update_lines
from edged.cli.wording import NOTHING, amount, count, duration
from edged.service.headline import machine, who
from edged.service.snapshot import ERROR, WARNING, BrokerStatus, Condition, PipelineStatus, Snapshot

MAX_WIDTH = 100
_MARKS = {ERROR: ("✗", "red"), WARNING: ("!", "yellow")}
_STATE_COLOURS = {
    "running": "green",
    "connected": "green",
    "waiting": "",
    "finished": "",
    "starting": "yellow",
    "connecting": "yellow",
}
_LONGEST_TEXT = 1000


def render(snapshot: Snapshot, width: int = MAX_WIDTH, colour: bool = False) -> str:
    """Write the screen in lines of at most `width` columns (20 at least), each ended by a newline."""
    width = max(width, 20)
    lines = [*_head(snapshot, width, colour), *_ways_out(snapshot, width, colour), *serial_lines(snapshot.serial, width, colour)]
    for note in snapshot.board.notes:
        lines += wrap_words(fit(clean(note), _LONGEST_TEXT), width, "· ")
    for condition in snapshot.health:
        lines += _condition(condition, width, colour)
    for update in snapshot.updates:
        lines += update_lines(update, width, colour)
    lines += ["", *_pipelines(snapshot.pipelines, width, colour)]
    for pipeline in snapshot.pipelines:
        lines += _losses(pipeline, width)
    lines += ["", *(painted(line, "dim", colour) for line in _foot(snapshot, width))]
    return "\n".join(lines) + "\n"


def _head(s: Snapshot, width: int, colour: bool) -> list[str]:
    parts = [clean(part) for part in (*who(s), f"{s.state or 'running'} for {duration(s.uptime_s)}", *machine(s))]
    first, *more = wrap(parts, " · ", width)
    name = fit(parts[0], width)
    return [painted(name, "bold", colour) + first[len(name) :], *more]


def _ways_out(s: Snapshot, width: int, colour: bool) -> list[str]:
    """Brokers, a line each; spool and updates behind a single one where there is room."""
    brokers = [_broker(name, broker, width, colour) for name, broker in s.brokers.items()]
    rest = [f"{title}{GAP}{clean(text)}" for title, text in (("spool", _spool(s)), ("updates", _updates(s))) if text]
    behind = "".join(f"{GAP * 3}{text}" for text in rest)
    if len(brokers) == 1 and wide(_broker(*next(iter(s.brokers.items())), width, False) + behind) <= width:
        return [brokers[0] + behind]
    return [*brokers, *wrap(rest, GAP * 3, width)]


def _broker(name: str, broker: BrokerStatus, width: int, colour: bool) -> str:
    since = "" if broker.since_s is None else f" {duration(broker.since_s, 1)}"
    state = clean(broker.state) or "unknown"
    start = f"broker{GAP}{fit(clean(name), 20)}{GAP}"
    room = width - wide(start + state + since) - len(GAP)
    start += f"{fit(clean(broker.url), max(8, room))}{GAP}" if broker.url else ""
    shown = fit(state + since, max(0, width - wide(start)))
    return fit(start, width) + painted(shown, _STATE_COLOURS.get(state, "red"), colour)


def _spool(s: Snapshot) -> str:
    spool = s.spool
    text = spool.state
    if spool.state not in ("", "empty"):
        text += f", {count(spool.results)} results, {amount(spool.mib)} of {amount(spool.max_mib)} MiB"
    if spool.drain_left_s is not None:
        text += f", {amount(spool.drain_rate)}/s, {duration(spool.drain_left_s)} left"
    if sum(spool.dropped.values()):
        text += f", dropped {_reasons(spool.dropped)}"
    return text


def _updates(s: Snapshot) -> str:
    fleet = s.fleet.updates + ("" if s.fleet.rev is None else f", rev {s.fleet.rev}") if s.fleet.updates else ""
    return ", ".join(part for part in (fleet, short(s.updates)) if part)


def _condition(condition: Condition, width: int, colour: bool) -> list[str]:
    mark, paint = _MARKS.get(condition.severity, ("·", ""))
    subject = f"{clean(condition.subject)}: " if condition.subject else ""
    age = "" if condition.for_s is None else f", {duration(condition.for_s)}"
    text = fit(clean(condition.text), _LONGEST_TEXT)
    lines = wrap_words(f"{subject}{text} [{clean(condition.code)}{age}]", width, f"{mark} ")
    if condition.hint:
        lines += wrap_words(fit(clean(condition.hint), _LONGEST_TEXT), width, "  → ", "    ")
    return [painted(line, paint, colour) for line in lines]


_COLUMNS = (
    Column("PIPELINE", least=8),
    Column("MODEL", least=8),
    Column("VARIANT", least=7),
    Column("STATE", least=7),
    Column("IN/S", right=True),
    Column("OUT/S", right=True),
    Column("P50 ms", right=True),
    Column("P99 ms", right=True),
    Column("DROPPED", right=True),
    Column("LAST RESULT, AGE", least=16),
)


def _pipelines(pipelines: list[PipelineStatus], width: int, colour: bool) -> list[str]:
    if not pipelines:
        return ["no pipelines"]
    return table(_COLUMNS, [_cells(pipeline) for pipeline in pipelines], width, colour)


def _cells(p: PipelineStatus) -> list[Cell]:
    dropped = sum(p.dropped.values())
    return [
        Cell(clean(p.name)),
        Cell(clean(p.model) or NOTHING, tail=f"{f' {p.release}' if p.release else ''}{' in place' if p.in_place else ''}"),
        Cell(clean(p.variant) or NOTHING),
        Cell(clean(p.state) or NOTHING, _STATE_COLOURS.get(p.state, "red")),
        Cell(amount(p.in_rate)),
        Cell(amount(p.out_rate)),
        Cell(amount(p.latency_ms.p50)),
        Cell(amount(p.latency_ms.p99)),
        Cell(count(dropped), "yellow" if dropped else ""),
        _last_result(p),
    ]


def _last_result(p: PipelineStatus) -> Cell:
    if p.last_result is None:
        return Cell(NOTHING)
    age = p.last_result.age_s
    return Cell(clean(p.last_result.text), tail="" if age is None else f", {duration(age)}")


def _losses(p: PipelineStatus, width: int) -> list[str]:
    """Say why readings were refused or dropped; nothing where none were."""
    kinds = [f"{kind} {_reasons(counts)}" for kind, counts in (("rejected", p.rejected), ("dropped", p.dropped)) if sum(counts.values())]
    return wrap_words(f"{clean(p.name)}: {'; '.join(kinds)}", width) if kinds else []


def _reasons(counts: dict[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count(n)} {clean(reason)}" for reason, n in most if n)


def _predictions(s: Snapshot) -> str:
    """Say how far predictions are off, in the middle over all pipelines; nothing where nothing was measured."""
    texts = []
    for of in ("time", "memory"):
        errors = sorted(abs(found[of]) for pipeline in s.pipelines if of in (found := pipeline.cost.errors()))
        texts += [f"{of} {errors[len(errors) // 2]:.0%} off"] if errors else []
    return f"predictions: {', '.join(texts)}" if texts else ""


def _foot(s: Snapshot, width: int) -> list[str]:
    parts = [_predictions(s), f"edged {clean(s.version)}" if s.version else "", f"process {s.pid}" if s.pid else "", clean(s.config)]
    return wrap([part for part in parts if part], " · ", width)
