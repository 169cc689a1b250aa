"""What `edged eval` found, as lines for people; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edged.cli.columns import Cell, Column, clean, table, wrap_words
from edged.cli.wording import NOTHING, amount, count
from edged.fitting.evaluate import CascadeFound, Evaluation
from edged.fitting.judging import Classified, Cost, Scored

_MOST_LABELS = 30  # beyond it, the labels that are found worst
_COSTS = ("P50 ms", "P99 ms", "ROWS/S", "FILES MiB", "MEMORY MiB")


def evaluation_lines(found: Evaluation, width: int, colour: bool) -> list[str]:
    """Write all of it in lines of at most `width` columns; the variants first, then the labels, then what is odd."""
    title = f"{found.model} {clean(found.version)}, release {found.release}, on {count(found.rows)} rows of {clean(found.data)}"
    lines = [*wrap_words(title, width), "", *_variants(found, width, colour)]
    lines += wrap_words("run by " + ", ".join(f"{each.cost.runtime}: {each.variant}" for each in found.variants), width)
    for name, text in found.failed.items():
        lines += wrap_words(f"{clean(name)} does not run here: {clean(text)}", width, "! ")
    lines += ["", *(line for sentence in _sentences(found) for line in wrap_words(sentence, width))]
    classified = [each for each in found.variants if isinstance(each, Classified)]
    if classified:
        lines += ["", *_labels(classified, width, colour)]
    odd = [f"left out: {count(number)} rows {reason}" for reason, number in found.left_out.items()]
    notes = [line for note in [*odd, *found.notes] for line in wrap_words(clean(note), width, "! ")]
    return [*lines, *([""] if notes else []), *notes]


def _variants(found: Evaluation, width: int, colour: bool) -> list[str]:
    anomaly = any(isinstance(each, Scored) for each in found.variants)
    titles = ("AUC", "PRECISION", "RECALL", "FALSE ALARMS") if anomaly else ("ACCURACY", "95 % SURE", "ECE", "ECE AT T=1")
    columns = [Column("VARIANT", least=8), *(Column(title, right=True) for title in (*titles, *_COSTS))]
    rows = []
    for each in found.variants:
        texts = _scored(each) if isinstance(each, Scored) else _classified(each)
        rows.append([Cell(clean(each.variant)), *(Cell(text) for text in (*texts, *_cost(each.cost)))])
    return table(columns, rows, width, colour)


def _classified(found: Classified) -> tuple[str, ...]:
    return f"{found.accuracy:.1%}", _interval(found.interval), f"{found.ece:.3f}", f"{found.ece_uncalibrated:.3f}"


def _scored(found: Scored) -> tuple[str, ...]:
    return NOTHING if found.auc is None else f"{found.auc:.3f}", _part(found.precision), _part(found.recall), _part(found.false_alarms)


def _cost(cost: Cost) -> tuple[str, ...]:
    size = amount(cost.bytes / (1 << 20))
    return _ms(cost.p50_ms), _ms(cost.p99_ms), amount(cost.per_s), size, amount(cost.mib)


def _sentences(found: Evaluation) -> Iterator[str]:
    if found.baseline:
        yield f"The most frequent label, `{clean(found.baseline)}`, alone is right in {found.baseline_accuracy:.1%}."
    for each in found.variants:
        if isinstance(each, Classified) and each.no_better:
            yield f"{clean(each.variant)} is not shown to be better than that: it is not worth its milliseconds on this data."
        if each.without_answer:
            yield f"{clean(each.variant)} gave no number for {count(each.without_answer)} rows."
    if found.cascade is not None:
        yield _cascade(found.cascade)
    yield _smallest(found)


def _cascade(found: CascadeFound) -> str:
    asked = ", then ".join(
        f"{clean(name)} ({count(taken)} of {count(asked)} accepted at {accept:g})"
        for name, accept, asked, taken in zip(found.stages, found.accept, found.asked, found.taken)
    )
    if found.accuracy is None:
        return f"The cascade accepts nothing: {asked}."
    right = f"{found.accuracy:.1%} of what it accepts is right ({_interval(found.interval)})"
    return f"The cascade accepts {found.coverage:.1%} of the rows, in {_ms(found.ms)} ms each: {asked}; {right}."


def _smallest(found: Evaluation) -> str:
    if found.minimum is None:
        return "The release has no `minimum` in [quality]: write one, and the smallest variant that meets it is named here."
    by_name = {each.variant: each for each in found.variants}
    if not found.smallest:
        return f"No variant is shown to meet the minimum of {found.minimum:g}."
    best = by_name[found.smallest]
    text = f"The smallest that meets the minimum of {found.minimum:g} is {clean(found.smallest)}"
    if isinstance(best, Classified) and best.interval[0] < found.minimum:
        return f"{text}; with so few rows it may still be below: {_interval(best.interval)}."
    return f"{text}."


def _labels(found: Sequence[Classified], width: int, colour: bool) -> list[str]:
    """Give precision and recall of each label, a column for each variant."""
    order = sorted(range(len(found[0].labels)), key=lambda i: -found[0].labels[i].rows)
    left = len(order) - _MOST_LABELS
    if left > 0:
        order = sorted(order, key=lambda i: (found[0].labels[i].rows == 0, min(each.labels[i].recall or 0.0 for each in found)))[
            :_MOST_LABELS
        ]
    columns = [Column("LABEL, PRECISION / RECALL", least=12), Column("ROWS", right=True)]
    columns += [Column(clean(each.variant), right=True) for each in found]
    rows = []
    for i in order:
        of = [each.labels[i] for each in found]
        shown = [Cell(f"{_part(each.precision)} / {_part(each.recall)}") for each in of]
        rows.append([Cell(clean(of[0].label)), Cell(count(of[0].rows)), *shown])
    more = [f"… and {left} labels that are found better; --json has all"] if left > 0 else []
    return [*table(columns, rows, width, colour), *more]


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.1%}…{bounds[1]:.1%}"


def _part(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}" if value in (0.0, 1.0) else f"{value:.1%}"


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 0.0995 else amount(value)
