"""What `edged fit cascade` found, as lines for people; pure."""

from __future__ import annotations

from collections.abc import Iterator

from edged.cli.columns import Cell, Column, clean, table, wrap_words
from edged.cli.plot import plot_lines
from edged.cli.wording import amount, count
from edged.fitting.curve import Point, thinned
from edged.fitting.stages import CascadeFit

_POINTS = 12


def cascade_lines(fit: CascadeFit, width: int, colour: bool) -> list[str]:
    """Write the stages, coverage against accuracy as a table and a picture, what was chosen, and what is odd."""
    rows = f"{count(fit.first_rows)} rows of {clean(fit.data)} propose, {count(fit.second_rows)} decide"
    lines = [rows, "", *_stages(fit, width, colour), "", *_curve(fit, width, colour), "", *plot_lines(fit, width, colour), ""]
    lines += [line for sentence in _sentences(fit) for line in wrap_words(sentence, width)]
    odd = [f"left out: {count(number)} rows {reason}" for reason, number in fit.left_out.items()]
    return [*lines, *(line for note in [*odd, *fit.notes] for line in wrap_words(clean(note), width, "! "))]


def _stages(fit: CascadeFit, width: int, colour: bool) -> list[str]:
    titles = ("ACCURACY ALONE", "TEMPERATURE", "ECE BEFORE", "ECE", "P50 ms", "ACCEPT", "ASKED", "ACCEPTED")
    rows = [
        (
            clean(each.use), f"{each.accuracy:.1%}", f"{each.temperature:g}", f"{each.ece_before:.3f}", f"{each.ece:.3f}",
            amount(each.p50_ms), f"{each.accept:g}", count(each.asked), count(each.taken),
        )
        for each in fit.stages
    ]  # fmt: skip
    columns = [Column("STAGE", least=8), *(Column(title, right=True) for title in titles)]
    return table(columns, [[Cell(text) for text in row] for row in rows], width, colour)


def _curve(fit: CascadeFit, width: int, colour: bool) -> list[str]:
    titles = ("ACCEPTED", "RIGHT", f"AT LEAST, {fit.confidence:.0%} SURE")
    columns = [Column(title, right=True) for title in titles]
    columns += [Column(f"ACCEPT {clean(stage.use)}", right=True) for stage in fit.stages] + [Column("")]
    shown = thinned(fit.curve, _POINTS, fit.chosen if fit.reached else None)
    return table(columns, [[Cell(text) for text in _row(each, fit)] for each in shown], width, colour)


def _row(point: Point, fit: CascadeFit) -> list[str]:
    mark = "← chosen" if fit.reached and point.accept == fit.chosen.accept else ""
    accept = [f"{least:g}" for least in point.accept]
    return [f"{point.coverage:.1%}", f"{point.accuracy:.1%}", f"{point.at_least:.1%}", *accept, mark]


def _sentences(fit: CascadeFit) -> Iterator[str]:
    sure = f"{fit.confidence * 100:.4g} %"
    if fit.reached:
        yield (
            f"Accepts {fit.chosen.coverage:.1%} of the rows; {fit.chosen.accuracy:.1%} of these are right, and with {sure} "
            f"confidence at least {fit.target * 100:.4g} % of all such rows are."
        )
        yield from _worth(fit)
        return
    yield f"The target of {fit.target * 100:.4g} % is not shown with {sure} confidence: accept = 1.0, the cascade abstains always."
    if fit.chosen.coverage:
        yield f"But {fit.chosen.coverage:.1%} of the rows have a score of 1 all the same, and are accepted without that bound."
    if fit.needed is None:
        yield "At no threshold are the stages right that often: more rows would hardly help, better stages or a lower target would."
    else:
        yield f"About {count(fit.needed)} labelled rows might show it, as far as these {count(fit.first_rows + fit.second_rows)} tell."


def _worth(fit: CascadeFit) -> Iterator[str]:
    """Say what each stage after the first brings, and what it costs."""
    rows = max(1, fit.second_rows)
    for stage in fit.stages[1:]:
        name, cost = clean(stage.use), f"{amount(stage.p50_ms * stage.asked / rows)} ms a row in the mean"
        if stage.taken:
            more = f"{stage.taken / rows:.1%} more for {cost}"
            yield f"{name} is asked about {count(stage.asked)} rows and accepts {count(stage.taken)}: {more}."
        else:
            yield f"{name} accepts nothing that the stages before it leave: it is not worth its {cost}."
    slowest = max(fit.stages, key=lambda each: each.p50_ms)
    if len(fit.stages) > 1:
        alone = f"{clean(slowest.use)} alone takes {amount(slowest.p50_ms)} ms for each"
        yield f"All stages take {amount(fit.ms)} ms a row in the mean; {alone}."
