"""Answer texts in words: token by token, several texts in one decode, until each answer ends or its time is over."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edged.clock import MS, Clock
from edged.engines.llama.breath import Breath
from edged.engines.llama.model import Aborted, Context
from edged.engines.llama.sampling import Chooser, Grammar
from edged.engines.llama.wire import Answer

MOST_TEXTS = 4  # in one decode
_PREFIX = 0  # the sequence that all others begin with
_Decoder = codecs.getincrementaldecoder("utf-8")


@dataclass(frozen=True)
class Style:
    """How answers are made. `grammar` in GBNF, or empty; `temperature` 0 takes the likeliest token; `stop`: an answer ends before these."""

    max_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    grammar: str = ""


class _Growing:
    """An answer that is being written."""

    def __init__(self, sequence: int, place: int, chooser: Chooser) -> None:
        self.sequence, self.place, self.chooser = sequence, place, chooser
        self.token = -1  # the next one to be computed
        self.tokens = 0
        self.ended = False
        self._text, self._decoder = "", _Decoder("replace")

    def take(self, piece: bytes, stop: Sequence[str]) -> None:
        """Append the bytes of a token; end before the first of `stop`."""
        seen = len(self._text)
        self._text += self._decoder.decode(piece)
        self.tokens += 1
        found = [at for each in stop if (at := self._text.find(each, max(seen - len(each) + 1, 0))) >= 0]
        if found:
            self._text, self.ended = self._text[: min(found)], True

    def answer(self, truncated: str) -> Answer:
        """Give it as it is; half of a character at its end is left out."""
        return Answer(self._text, self.tokens, truncated)


class Writer:
    """Answers texts behind a prefix that is in the context already, as sequence 0 with `start` tokens."""

    def __init__(self, context: Context, start: int, style: Style, breath: Breath, clock: Clock) -> None:
        """Raises PublisherError(`schema-unsupported`) where llama.cpp does not take the grammar."""
        self._context, self._start, self._style, self._breath, self._clock = context, start, style, breath, clock
        self._pieces: dict[int, bytes] = {}
        if style.grammar:
            Grammar(context.model, style.grammar).close()

    def write(self, texts: Sequence[Sequence[int]], room: int, deadline_ms: float) -> list[Answer]:
        """Answer each text, which has a token and fits, with at most `room` tokens, and in `deadline_ms` from when its turn came."""
        found: list[Answer] = []
        for group in self._groups(texts, room):
            found += self._answered(group, min(room, self._style.max_tokens), self._clock.mono() + int(deadline_ms * MS))
        return found

    def _groups(self, texts: Sequence[Sequence[int]], room: int) -> Iterator[Sequence[Sequence[int]]]:
        at = 0
        while at < len(texts):
            tokens = np.cumsum([len(text) + room for text in texts[at : at + MOST_TEXTS]])
            count = max(int(np.searchsorted(tokens, self._context.tokens - self._start, side="right")), 1)
            yield texts[at : at + count]
            at += count

    def _answered(self, texts: Sequence[Sequence[int]], most: int, end_ns: int) -> list[Answer]:
        answers = [_Growing(i + 1, self._start + len(text), self._chooser()) for i, text in enumerate(texts)]
        for answer in answers:
            self._context.copy(_PREFIX, answer.sequence)
        try:
            late = not self._read(texts, answers, end_ns)
            while not late and (growing := [each for each in answers if not each.ended and each.tokens < most]):
                late = self._clock.mono() >= end_ns
                if not late:
                    self._step(growing)
            return [each.answer("" if each.ended else self._why(each, most)) for each in answers]
        finally:
            for answer in answers:
                answer.chooser.close()
            self._context.keep(_PREFIX)

    def _why(self, answer: _Growing, most: int) -> str:
        if answer.tokens < most:
            return "deadline"
        return "max_tokens" if most == self._style.max_tokens else "context"

    def _chooser(self) -> Chooser:
        grammar = Grammar(self._context.model, self._style.grammar) if self._style.grammar else None
        return Chooser(self._style.temperature, grammar)

    def _read(self, texts: Sequence[Sequence[int]], answers: Sequence[_Growing], end_ns: int) -> bool:
        """Compute the texts, and choose the first token of each answer; False where time is over before."""
        tokens = [token for text in texts for token in text]
        places = [self._start + i for text in texts for i in range(len(text))]
        owners = [answer for answer, text in zip(answers, texts) for _ in text]
        lasts = [int(place + 1 == owner.place) for place, owner in zip(places, owners)]

        def stop() -> bool:
            return self._breath.stops() or self._clock.mono() >= end_ns

        self._context.watch(stop)
        try:
            for at in range(0, len(tokens), self._context.block):
                part = slice(at, at + self._context.block)
                self._context.decode(tokens[part], places[part], [(owner.sequence,) for owner in owners[part]], lasts[part])
                self._choose([owner for owner, last in zip(owners[part], lasts[part]) if last])
                self._breath.between()
                if self._clock.mono() >= end_ns:
                    return False
        except Aborted:
            self._breath.between()
            return False
        finally:
            self._context.watch(None)
        return True

    def _step(self, growing: Sequence[_Growing]) -> None:
        self._context.decode(
            [each.token for each in growing], [each.place for each in growing], [(each.sequence,) for each in growing], [1] * len(growing)
        )
        for each in growing:
            each.place += 1
        self._choose(growing)
        self._breath.between()

    def _choose(self, growing: Sequence[_Growing]) -> None:
        rows: Sequence[NDArray[np.float32]] = list(self._context.rows()) if growing else []
        for each, row in zip(growing, rows):
            each.token = each.chooser.choose(row)
            if self._context.model.ends(each.token):
                each.ended = True
            else:
                each.take(self._piece(each.token), self._style.stop)

    def _piece(self, token: int) -> bytes:
        if (piece := self._pieces.get(token)) is None:
            piece = self._pieces[token] = self._context.model.piece(token)
        return piece
