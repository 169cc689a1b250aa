"""What the demo of texts knows of each order: when it was sent, what was said of it and by whom, and whether that is right.

The sender's thread and the connection's thread write, the screen reads; a lock keeps one order's words together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import msgspec

from edged.clock import MS
from edged.demo.text_orders import WorkOrder
from edged.histogram import Histogram

PERSON = "person"


class _Output(msgspec.Struct):
    label: str
    score: float
    path: list[str] = []
    band: str = ""
    answers: str = ""


class _Result(msgspec.Struct):
    """The part of a result that the demo looks at."""

    labels: dict[str, str]
    output: _Output


class Question(msgspec.Struct):
    """The part of a question that the demo looks at."""

    id: str
    labels: dict[str, str]


@dataclass
class Fate:
    """One order: `path` are the stages that were asked, and the person where one answered; `sure`: the last of them was.

    Empty `says`: no result yet. `guess` is what the stages say of it, also when a person has said something else.
    """

    order: WorkOrder
    sent_ns: int = 0
    says: str = ""
    score: float = 0.0
    path: tuple[str, ...] = ()
    sure: bool = False
    asked: bool = False
    guess: str = ""

    @property
    def by(self) -> str:
        """Say whose word is the last."""
        return self.path[-1] if self.path else ""

    @property
    def right(self) -> bool:
        """Say whether the last word about it is what people filed it under."""
        return self.says == self.order.system


@dataclass(frozen=True)
class Share:
    """How many of some orders are right."""

    right: int
    of: int

    @property
    def part(self) -> float | None:
        """Give the part that is right; None of none."""
        return self.right / self.of if self.of else None


@dataclass(frozen=True)
class StageSum:
    """One stage: how many orders it was asked about, and those that it was sure of."""

    asked: int
    sure: Share


@dataclass(frozen=True)
class Sum:
    """All orders so far. `guesses`: what the stages say, sure or not; `known`: accepted, or answered by the person."""

    sent: int
    results: int
    guesses: Share
    accepted: Share
    stages: dict[str, StageSum]
    questions: int
    answered: int
    known: Share
    most_frequent: tuple[str, Share]
    latency: Histogram


@dataclass
class OrderBoard:
    """The fates of all orders, in the order they are sent."""

    orders: Sequence[WorkOrder]
    fates: list[Fate] = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        self.fates = [Fate(order) for order in self.orders]
        self._latency = Histogram()
        self._lock = Lock()

    def note_sent(self, number: int, mono_ns: int) -> None:
        """Note that an order goes out now."""
        self.fates[number].sent_ns = mono_ns
        self.sent = number + 1

    def take(self, payload: bytes, mono_ns: int) -> None:
        """Count a result that came in; what is not a result of one of our orders is passed over."""
        try:
            result = msgspec.json.decode(payload, type=_Result)
            fate = self._of(result.labels)
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, ValueError):
            return
        output = result.output
        with self._lock:
            fate.says, fate.score, fate.sure = output.label, output.score, output.band == "accept"
            if output.answers:
                fate.path = (*fate.path, PERSON)
                return
            if not fate.guess:
                self._latency.record((mono_ns - fate.sent_ns) / MS)
            fate.guess, fate.path, fate.asked = output.label, tuple(output.path), output.band == "escalate"

    def truth_of(self, question: Question) -> str:
        """Give the right answer to a question; LookupError or ValueError where it is about none of our orders."""
        return self._of(question.labels).order.system

    def total(self) -> Sum:
        """Sum up what came in so far."""
        with self._lock:
            come = [fate for fate in self.fates if fate.guess]
            accepted = [fate for fate in come if fate.sure and fate.by != PERSON]
            names = dict.fromkeys(name for fate in come for name in fate.path if name != PERSON)
            stages = {name: _stage(name, come, accepted) for name in names}
            label, count = next(iter(Counter(fate.order.system for fate in come).most_common(1)), ("", 0))
            return Sum(
                self.sent, len(come), Share(sum(fate.guess == fate.order.system for fate in come), len(come)), _share(accepted),
                stages, sum(fate.asked for fate in come), sum(fate.by == PERSON for fate in come),
                _share([fate for fate in come if fate.sure]), (label, Share(count, len(come))), self._latency,
            )  # fmt: skip

    def _of(self, labels: dict[str, str]) -> Fate:
        number = int(labels["order"])
        if number < 0:
            raise LookupError
        return self.fates[number]


def _stage(name: str, come: Sequence[Fate], accepted: Sequence[Fate]) -> StageSum:
    return StageSum(sum(name in fate.path for fate in come), _share([fate for fate in accepted if fate.by == name]))


def _share(fates: Sequence[Fate]) -> Share:
    return Share(sum(fate.right for fate in fates), len(fates))
