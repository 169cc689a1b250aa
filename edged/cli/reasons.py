"""The words of `edged why`: of each pipeline its variants, what was chosen and why not the others, and what all of it takes; pure."""

from __future__ import annotations

from itertools import groupby

from edged.cli.columns import GAP, Cell, Column, clean, painted, table, wide, wrap_words
from edged.cli.wording import NOTHING
from edged.select.misses import number
from edged.select.why import Answer, Row

_INDENT = "  "
_LEAST = 24  # columns that a reason needs beside the numbers; below that it stands on a line of its own


def render(answer: Answer, width: int, colour: bool, only: str | None = None) -> str:
    """Write the answer, or that for one pipeline, in lines of at most `width` columns, each ended by a newline; no reason is cut."""
    lines: list[str] = []
    shown = [row for row in answer.rows if only in (None, row.pipeline)]
    numbers = _numbers(shown, width - len(_INDENT))
    below = iter(numbers[1:])
    for _, group in groupby(shown, key=lambda row: row.pipeline):
        rows = list(group)
        lines += [*_heading(rows[0], answer.running.get(rows[0].pipeline), width, colour)]
        lines += [painted(_INDENT + numbers[0], "dim", colour)]
        for row in rows:
            lines += _line(row, next(below), wide(max(numbers, key=wide)), width, colour)
        lines.append("")
    lines += _totals(answer, width)
    for refused in (error for pipeline, error in answer.refusals.items() if only in (None, pipeline)):
        text, hint = (clean(refused.get(key, "")) for key in ("text", "hint"))
        first, *more = wrap_words(text, width, "✗ ")
        lines += ["", painted("✗", "red", colour) + first[1:], *more, *wrap_words(hint, width, "  → ", "    ")]
    return "\n".join(lines) + "\n"


def _heading(row: Row, running: str | None, width: int, colour: bool) -> list[str]:
    rate = f"{number(row.windows_per_s, 3)} {'windows' if row.engine == 'tflite' else 'texts'} a second"
    now = f", runs {running} now" if running is not None and not (row.chosen and row.variant == running) else ""
    name, *rest = wrap_words(clean(f"{row.pipeline}: {row.model} release {row.release}, {rate}{now}"), width)
    return [painted(name, "bold", colour), *rest]


def _numbers(rows: list[Row], width: int) -> list[str]:
    """Lay out what stands before the reasons, with the titles; engines and measurements only where they say something."""
    engines = len({row.engine for row in rows}) > 1
    times, sizes = any(row.measured_ms is not None for row in rows), any(row.measured_mib is not None for row in rows)
    titles = [
        ("VARIANT", True),
        ("ENGINE", engines),
        ("QUALITY", True),
        ("ms", True),
        ("MEASURED", times),
        ("MiB", True),
        ("MEASURED", sizes),
    ]
    shown = [i for i, (_, there) in enumerate(titles) if there]
    columns = [Column(titles[i][0], right=i > 1, least=8 if i == 0 else 0) for i in shown]
    cells = [[Cell(clean(_texts(row)[i])) for i in shown] for row in rows]
    return table(columns, cells, width, False)


def _texts(row: Row) -> list[str]:
    counts = (row.predicted_ms, row.measured_ms, row.predicted_mib, row.measured_mib)
    quality = NOTHING if row.quality is None else f"{row.quality:g}"
    return [row.variant, row.engine, quality, *(NOTHING if count is None else number(count, 3) for count in counts)]


def _line(row: Row, numbers: str, room: int, width: int, colour: bool) -> list[str]:
    """Put the reason behind its numbers, or below them where there is too little room."""
    start = f"{_INDENT}{numbers}{' ' * (room - wide(numbers))}{GAP}"
    if width - wide(start) < _LEAST:
        lines = [_INDENT + numbers, *wrap_words(clean(row.reason), width, _INDENT * 2, _INDENT * 2)]
    else:
        lines = wrap_words(clean(row.reason), width, start, " " * wide(start))
    return [painted(line, "green", colour) for line in lines] if row.chosen else lines


def _totals(answer: Answer, width: int) -> list[str]:
    """Say what everything that was chosen takes together."""
    chosen, limits = [row for row in answer.rows if row.chosen], answer.limits
    mib = sum(row.predicted_mib if row.measured_mib is None else row.measured_mib for row in chosen)
    times = [(row.predicted_ms if row.measured_ms is None else row.measured_ms, row.windows_per_s * row.threads) for row in chosen]
    busy = sum(ms * rate for ms, rate in times) / 1000
    workers = f"{number(limits.share * limits.workers)} workers, {limits.share:.0%} of {limits.workers:g}"
    texts = {
        "board": answer.board,
        "memory": f"{number(mib)} of {number(limits.memory_mib)} MiB",
        "processor": f"{number(busy)} of {workers}",
    }
    return [line for key, text in texts.items() for line in wrap_words(clean(text), width, f"{key:<9}  ", " " * 11)]
