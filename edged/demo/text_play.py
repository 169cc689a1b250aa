"""The demo of texts: orders go out over MQTT, results and questions come back, and a person answers some of these."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from edged.clock import Clock
from edged.demo import settings, text_settings
from edged.demo.sender import Sender
from edged.demo.stage import Stage, results_of
from edged.demo.text_orders import load_orders
from edged.demo.text_person import THINKS_S, Person
from edged.demo.text_release import choose_release
from edged.demo.text_tally import PERSON, OrderBoard, Question

RATE = 6.0  # orders a second at natural speed: all of them in less than a minute


@dataclass(frozen=True)
class TextPlan:
    """What the user asked for: seconds of real time at most, and speed."""

    seconds: float
    speed: float


class TextPlay:
    """Orders on a stage; a context, as the stage is."""

    def __init__(self, plan: TextPlan, clock: Clock, rng: random.Random, environ: Mapping[str, str]) -> None:
        """Prepare; nothing runs yet. Raises BoardError(`demo-folder`)."""
        self.plan = plan
        self.release = choose_release(environ)
        self.board = OrderBoard(load_orders())
        config = settings.keep(environ, "orders", text_settings.orders_text(self.release.folder))
        self._results = results_of(text_settings.PIPELINE)
        self.stage = Stage(config, [self._results, text_settings.QUESTIONS], self._take, clock, rng)
        self._clock = clock
        self._person = Person(THINKS_S / plan.speed, clock, lambda answer: self.stage.publish(text_settings.ANSWERS, answer))
        self._sender = Sender([self.board], RATE * plan.speed, clock, self._send, lambda: self.stage.waiting, len(self.board.orders))

    def __enter__(self) -> TextPlay:
        """Start the stage; raises what that does."""
        self.stage.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        try:
            self._sender.stop()
            self._person.stop()
        finally:
            self.stage.__exit__()

    def start(self) -> None:
        """Let the orders come, and the person listen."""
        self._person.start()
        self._sender.start()

    def stop(self) -> None:
        """Let no more orders come; results still do."""
        self._sender.stop()

    @property
    def missing(self) -> int:
        """Count the results that are to come yet, those of the person's answers among them."""
        total = self.board.total()
        return total.sent - total.results + self._person.takes - total.answered

    @property
    def over(self) -> bool:
        """Say that nothing more will happen."""
        return self.board.sent == len(self.board.orders) and not self.missing

    def _send(self, board: OrderBoard, number: int) -> None:
        board.note_sent(number, self._clock.mono())
        self.stage.publish(text_settings.topic_of(number), board.orders[number].text.encode())

    def _take(self, topic: bytes, payload: bytes, now: int) -> None:
        if topic == self._results.encode():
            self.board.take(payload, now)
        else:
            self._ask(payload)

    def _ask(self, payload: bytes) -> None:
        try:
            question = msgspec.json.decode(payload, type=Question)
            label = self.board.truth_of(question)
        except (msgspec.DecodeError, UnicodeDecodeError, LookupError, ValueError):
            return
        self._person.ask(msgspec.json.encode({"id": question.id, "label": label, "by": PERSON}))
