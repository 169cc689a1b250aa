"""The forecast of a configuration as text for a terminal."""

from __future__ import annotations

from edged.cli.columns import Cell, Column, clean, table, wrap_words
from edged.select.forecast import Forecast, PipelineForecast
from edged.select.simulate import Ran

_COLUMNS = [
    Column("PIPELINE", least=8),
    Column("VARIANT", least=8),
    Column("WORKER", right=True),
    Column("ms", right=True),
    Column("MiB", right=True),
    Column("RESULTS/s", right=True),
    Column("P50 ms", right=True),
    Column("P95 ms", right=True),
    Column("P99 ms", right=True),
    Column("LATE", right=True),
    Column("DROPPED", right=True),
]


def lines(shown: Forecast, width: int, colour: bool) -> list[str]:
    """Lay it out in lines of at most `width` columns."""
    busy = ", ".join(f"worker {i} {part:.0%}" for i, part in enumerate(shown.busy))
    rows = [_row(each, shown.seconds) for each in shown.pipelines]
    told = [
        *table(_COLUMNS, rows, width, colour),
        "",
        f"{shown.board}, {shown.seconds:g} s simulated",
        f"memory of models: {shown.memory_mib:,.1f} of {shown.budget_mib:,.0f} MiB",
        f"busy: {busy}",
    ]
    for each in shown.pipelines:
        if each.refused:
            told += wrap_words(clean(each.refused), width)
        elif each.ran and (losses := _losses(each.ran, each.deadline_ms)):
            told += wrap_words(f"{clean(each.pipeline)}: {'; '.join(losses)}", width)
    return told


def _losses(ran: Ran, deadline_ms: float) -> list[str]:
    """Say what is wrong with how a pipeline ran; the table of a narrow terminal has no room for it."""
    found = [f"dropped {count:,} of {ran.messages:,} messages, {reason}" for reason, count in sorted(ran.dropped.items())]
    if ran.late:
        found.append(f"{ran.late:,} of {ran.results:,} results later than {deadline_ms:g} ms")
    if ran.waiting:
        found.append(f"{ran.waiting:,} messages wait at the end, {ran.most_waiting:,} at most")
    return found


def _row(each: PipelineForecast, seconds: float) -> list[Cell]:
    ran = each.ran
    if ran is None or each.ms is None or each.mib is None:
        return [Cell(each.pipeline), Cell("none fits", "red"), *[Cell("–")] * (len(_COLUMNS) - 2)]
    dropped = sum(ran.dropped.values())
    return [
        Cell(each.pipeline),
        Cell(clean(each.variant)),
        Cell(str(ran.worker)),
        Cell(_number(each.ms)),
        Cell(f"{each.mib:,.1f}"),
        Cell(f"{ran.results / seconds:,.1f}"),
        *(Cell(_number(value)) for value in (ran.p50_ms, ran.p95_ms, ran.p99_ms)),
        Cell(_share(ran.late, ran.results), "red" if ran.late else ""),
        Cell(_share(dropped, ran.messages), "red" if dropped else ""),
    ]


def _number(ms: float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def _share(part: int, whole: int) -> str:
    return "–" if not part else f"{part:,} ({part / max(1, whole):.0%})"
