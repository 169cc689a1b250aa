"""The screens of the demo of texts: orders as they come, what is said of them and by whom; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edged.cli.columns import Cell, Column, clean, fit, table, wrap_words
from edged.cli.wording import NOTHING, amount, count, duration
from edged.demo.text_tally import PERSON, Fate, Share, StageSum, Sum

if TYPE_CHECKING:
    from edged.demo.daemon import Memory
    from edged.demo.text_play import TextPlay

INTRODUCTION = (
    "edged demo text: work orders → MQTT → edged → MQTT → here, all on this machine; Ctrl-C ends it.\n"
    "Real orders for the repair of excavators, in the words of those who wrote them. A model says which system each is about; what it "
    "is not sure of goes to a person as a question. It has not seen any of these orders before."
)
_COLUMNS = (Column("WORK ORDER", least=16), Column("EDGED SAYS", least=12), Column("SURE", right=True), Column("WHO SAYS SO", least=8))
_AROUND = 5  # lines of the screen that are no orders


class TextShow:
    """What a person sees of the orders."""

    def __init__(self, play: TextPlay) -> None:
        self.play = play

    def opening(self) -> list[str]:
        """Say who is asked, in which order, and what is missing for more."""
        release = self.play.release
        asked = " → ".join((*_named(release.stages), "a person, who answers every second question after two seconds"))
        lines = [f"Asked one after the other, until one is sure: {asked}."]
        if release.lacks:
            lines += [f"There could be a language model between them, but {release.lacks}. What mends it:", release.mend]
        return lines

    def line(self, passed_s: float) -> str:
        """Say how far it is."""
        total = self.play.board.total()
        return (
            f"{passed_s:.0f} of {self.play.plan.seconds:g} s · {count(total.sent)} of {count(len(self.play.board.orders))} orders"
            f" · edged is sure of {count(total.accepted.of)}, {count(total.accepted.right)} of them right"
            f" · {count(total.questions)} questions, {count(total.answered)} answered"
        )

    def screen(self, passed_s: float, width: int, lines: int, colour: bool) -> list[str]:
        """Draw the newest orders, the last one at the bottom."""
        come = [fate for fate in self.play.board.fates if fate.says]
        head = [self.line(passed_s), "✓ people filed it so, too  ✗ they did not  ? a person is asked; q ends it"]
        rows = [_row(fate) for fate in come[-max(1, lines - _AROUND) :]]
        return [*(fit(line, width) for line in head), "", *table(_COLUMNS, rows, width, colour)]

    def summary(self, passed_s: float, memory: Memory, width: int, colour: bool) -> list[str]:
        """Sum it up."""
        lines: list[str] = []
        for name, fact in _facts(self.play.board.total(), passed_s, memory):
            lines += wrap_words(fact, width, f"{name:<10}", " " * 10)
        return lines

    def as_dict(self, passed_s: float, memory: Memory) -> dict[str, Any]:
        """Sum it up for programs; durations in ms unless named otherwise."""
        total = self.play.board.total()
        return {
            "seconds": round(passed_s, 3),
            "orders": total.sent,
            "results": total.results,
            "stages": list(self.play.release.stages),
            "guesses": _numbers(total.guesses),
            "accepted": _numbers(total.accepted),
            "by_stage": {name: {"asked": stage.asked, "accepted": _numbers(stage.sure)} for name, stage in total.stages.items()},
            "questions": total.questions,
            "answered": total.answered,
            "known": _numbers(total.known),
            "most_frequent": {"label": total.most_frequent[0], **_numbers(total.most_frequent[1])},
            "latency_ms": {name: total.latency.percentile(q) for name, q in (("p50", 0.5), ("p99", 0.99))},
            "memory_pss_mib": memory.daemon,
            "language_model_pss_mib": memory.children,
        }


def _named(stages: tuple[str, ...]) -> Iterator[str]:
    names = {"words": "words (logistic regression)", "head": "head (on a language model of 135 million weights)"}
    return (names[stage] for stage in stages)


def _row(fate: Fate) -> list[Cell]:
    mark, paint = (" ✓", "green") if fate.right else (" ✗", "red")
    path = " → ".join(fate.path)
    if not fate.sure:
        mark, paint = (" ?", "yellow") if fate.asked else (" ·", "yellow")
        path += " → asks" if fate.asked else ""
    sure = NOTHING if fate.by == PERSON else f"{fate.score:.2f}"
    return [Cell(clean(fate.order.text)), Cell(clean(fate.says), paint, mark), Cell(sure), Cell(path)]


def _facts(total: Sum, passed_s: float, memory: Memory) -> Iterator[tuple[str, str]]:
    lost = total.sent - total.results
    fate = "none lost" if lost <= 0 else f"{count(lost)} not come back"
    rate = total.results / passed_s if passed_s else 0.0
    yield "results", f"{count(total.sent)} orders in {duration(passed_s)} → {count(total.results)} results, {fate}; {amount(rate)} a second"
    label, frequent = total.most_frequent
    if frequent.of:
        yield "guesses", f"{_said(total.guesses)} right, sure or not; always saying `{label}` would be right in {_part(frequent)}"
    yield "sure of", f"{_said(Share(total.accepted.of, total.results))} of the orders, and of these {_said(total.accepted)} right"
    for name, stage in total.stages.items():
        yield "", _stage(name, stage)
    known = f"what is known then: {_said(total.known)} right"
    yield "asked", f"a person about {count(total.questions)}, {count(total.answered)} answered in time; {known}"
    if total.results:
        p50, p99 = (amount(total.latency.percentile(q)) for q in (0.5, 0.99))
        yield "latency", f"p50 {p50} ms, p99 {p99} ms from sending an order to its result"
    model = f", the language model in a process of its own {memory.children:,.0f} MiB" if memory.children else ""
    yield "memory", f"the daemon takes {memory.daemon:,.0f} MiB (PSS){model}" if memory.daemon else NOTHING


def _stage(name: str, stage: StageSum) -> str:
    if not stage.sure.of:
        return f"{name} was asked about {count(stage.asked)} and sure of none: on these orders it is not worth its milliseconds"
    return f"{name} was asked about {count(stage.asked)} and sure of {count(stage.sure.of)}, {_part(stage.sure)} of them right"


def _said(share: Share) -> str:
    return f"{_part(share)} ({count(share.right)} of {count(share.of)})"


def _part(share: Share) -> str:
    return NOTHING if share.part is None else f"{share.part:.1%}"


def _numbers(share: Share) -> dict[str, Any]:
    return {"right": share.right, "of": share.of}
