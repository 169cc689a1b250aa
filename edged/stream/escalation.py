"""Ask a person or a bigger system what a cascade is not sure of, and take the answer as a result of its own.

    the worker:  ask → a question goes out, and is open for `wait_s`
    the link's thread:  put → a bounded queue        the worker:  take → results

A question is JSON:

    {"v": 1, "id": "k3v…", "pipeline": "orders", "device": "press-7", "key": "line=a", "labels": {"line": "a"}, "text": "…",
     "guess": {"label": "pump", "score": 0.61}, "choices": ["pump", "valve"], "answer_to": "plant/answers", "until": "…Z"}

`id` is that of the result that was published at once, with band `escalate`; `text` is missing where the input was a window.
An answer is JSON, too, `{"id": "k3v…", "label": "valve", "by": "kim"}`; `by` may be left out. Its result has the id `k3v…-answer`.
Questions that are open are in memory only: after a restart their answers are unknown.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from edged.clock import MS, NS, Clock, iso
from edged.records import Batch, Outgoing
from edged.stream.cascade import ACCEPT

MAX_OPEN = 1024
MAX_WAITING = 1024  # answers on their way to the worker
MAX_BYTES = 16 << 10  # of one, however it is written: while the worker is busy, all that wait are in memory
ANSWER = "answer"  # the last step of an answered result's path

# Why an answer was not taken, or a question let go. Stable: shown in status and metrics.
MALFORMED = "answer-malformed"
UNKNOWN = "answer-unknown"
LATE = "answer-late"
TWICE = "answer-twice"
NO_CHOICE = "answer-no-choice"
TOO_MANY = "answer-queue-full"
LET_GO = "question-let-go"


class Guess(msgspec.Struct, frozen=True):
    """What the cascade would say."""

    label: str
    score: float


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked, as it goes out."""

    v: int
    id: str
    pipeline: str
    device: str
    key: str
    labels: dict[str, str]
    guess: Guess
    choices: Sequence[str]
    answer_to: str
    until: str
    text: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What somebody says to it; bytes from outside."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    label: Annotated[str, Meta(max_length=1000)]
    by: Annotated[str, Meta(max_length=200)] = ""


@dataclass(slots=True)
class _Open:
    outgoing: Outgoing
    choices: Sequence[str]
    asked_mono: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answer).decode


class Escalation:
    """The open questions of one pipeline. The worker uses it; `put` is for the link's thread, `open` for any."""

    def __init__(self, answer_to: str, wait_s: float, clock: Clock, publish: Callable[[bytes], None], wake: Callable[[], None]) -> None:
        """`publish` sends a question; `wake` is called when an answer waits; `answer_to` is the topic where answers are heard."""
        self.asked = 0
        self.answered = 0
        self.unanswered = 0
        self.dropped: dict[str, int] = {}
        self.answer_to = answer_to
        self._wait_ns = int(wait_s * NS)
        self._clock = clock
        self._publish = publish
        self._wake = wake
        self._open: OrderedDict[str, _Open] = OrderedDict()  # the oldest first, which is the first that is too old
        self._over: OrderedDict[str, str] = OrderedDict()  # the last that were closed, with what a further answer counts as
        self._came: deque[bytes | None] = deque()
        self._overflow = 0  # of the link's thread only

    @property
    def open(self) -> int:
        """Count the questions that may still be answered."""
        since = self._clock.mono() - self._wait_ns
        return sum(each.asked_mono > since for each in list(self._open.values()))

    def ask(self, outgoing: Outgoing, text: str | None, choices: Sequence[str]) -> None:
        """Ask about a result that was delivered just now."""
        self._close_old()
        if len(self._open) >= MAX_OPEN:
            self._drop(LET_GO)
            self._close(next(iter(self._open)), LATE)
        result = outgoing.result
        until = iso(self._clock.wall() + self._wait_ns)
        guess = Guess(result.output["label"], result.output["score"])
        question = Question(
            1, result.id, result.pipeline, result.device, result.key, result.labels, guess, choices, self.answer_to, until, text
        )
        self.asked += 1
        self._open[result.id] = _Open(outgoing, choices, self._clock.mono())
        self._publish(_encode(question))

    def put(self, batch: Batch) -> None:
        """Take what may be answers, from the link's thread. They count as worked off: questions do not outlive a run either."""
        for payload in batch.payloads:
            if len(self._came) >= MAX_WAITING:
                self._overflow += 1
            else:
                self._came.append(payload if payload and len(payload) <= MAX_BYTES else None)
        if batch.done:
            batch.done()
        self._wake()

    def take(self) -> list[Outgoing]:
        """Give the results of the answers that came."""
        results: list[Outgoing] = []
        if self._overflow != self.dropped.get(TOO_MANY, 0):
            self.dropped[TOO_MANY] = self._overflow
        while self._came:
            made = self._result_of(self._came.popleft())
            if made is not None:
                results.append(made)
        return results

    def _result_of(self, payload: bytes | None) -> Outgoing | None:
        self._close_old()
        try:
            answer = _decode(payload or b"")
        except (msgspec.DecodeError, RecursionError):
            self._drop(MALFORMED)
            return None
        asked = self._open.get(answer.id)
        if asked is None:
            self._drop(self._over.get(answer.id, UNKNOWN))
            return None
        if answer.label not in asked.choices:
            self._drop(NO_CHOICE)
            return None
        self._close(answer.id, TWICE)
        self.answered += 1
        return self._answered(asked, answer)

    def _answered(self, asked: _Open, answer: Answer) -> Outgoing:
        before = asked.outgoing.result
        output = {
            "label": answer.label,
            "score": 1.0,
            "path": [*before.output["path"], ANSWER],
            "band": ACCEPT,
            "answers": before.id,
            **({"by": answer.by} if answer.by else {}),
        }
        waited = (self._clock.mono() - asked.asked_mono) / MS
        timing = replace(before.timing, total_ms=round(before.timing.total_ms + waited, 3))
        result = replace(before, id=f"{before.id}-{ANSWER}", output=output, timing=timing)
        return Outgoing(result, asked.outgoing.end_ns, answer.label != before.output["label"], asked.outgoing.alarm)

    def _close_old(self) -> None:
        since = self._clock.mono() - self._wait_ns
        while self._open and next(iter(self._open.values())).asked_mono <= since:
            self.unanswered += 1
            self._close(next(iter(self._open)), LATE)

    def _close(self, id_: str, further: str) -> None:
        """Close a question; `further` is what another answer to it counts as."""
        del self._open[id_]
        self._over[id_] = further
        if len(self._over) > MAX_OPEN:
            self._over.popitem(last=False)

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
