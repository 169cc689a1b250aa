"""The three things that a runner does with texts: score labels, embed, write; each with a context that is made for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edged.clock import Clock
from edged.engines.llama import pooling, wire, writing
from edged.engines.llama.breath import Breath
from edged.engines.llama.model import Context, Model
from edged.engines.llama.pooling import Pooler
from edged.engines.llama.scoring import Labels, Scorer, prior
from edged.engines.llama.texts import Texts, context_for
from edged.engines.llama.writing import Style, Writer
from edged.errors import BugError, PublisherError

# Texts that have no content, to see what the model thinks of the labels by themselves.
_CONTENT_FREE = ("", "N/A", "[MASK]")


class Job(Protocol):
    """A model that is loaded for one thing."""

    ready: wire.Ready

    def answer(self, request: wire.Request) -> wire.Numbers | wire.Answers:
        """Do it with the texts of a request."""


class _Scores:
    def __init__(self, model: Model, order: wire.Load, breath: Breath, clock: Clock) -> None:
        if model.keeps_state:
            text = "labels cannot be scored with a model that keeps a state (recurrent layers)"
            raise PublisherError("model-unsupported", text, "fit a head for it with `edged fit classifier`, or take another model")
        self._texts = Texts(model, order.prompt)
        labels = Labels(self._texts.labels(order.labels), model.words)
        prefix, each = self._texts.prefix, len(self._texts.tail) + labels.nodes
        size = context_for(len(prefix), each, each, order.max_chars, labels.at_once, order.context, model.trained_context)
        self._context = Context(model, tokens=size, block=order.block, batch=size, sequences=labels.sequences, threads=order.threads)
        self._context.watch(breath.stops)
        self._context.fill(prefix, 0, breath.between)
        self._room = size - len(prefix) - each
        self._scorer = Scorer(self._context, len(prefix), labels, breath)
        self._prior = prior(self._scored(_CONTENT_FREE))
        self.ready = wire.Ready(values=labels.count, batch=labels.at_once, context=self._context.tokens, prefix=len(prefix))

    def answer(self, request: wire.Request) -> wire.Numbers:
        if not isinstance(request, wire.Score):
            raise _misused(request)
        return _counted(self._context, self._texts, lambda: self._scored(request.texts) - self._prior)

    def _scored(self, texts: list[str] | tuple[str, ...]) -> NDArray[np.float64]:
        return self._scorer.scores([self._texts.tokens(text, self._room) for text in texts])


class _Vectors:
    def __init__(self, model: Model, order: wire.Load, breath: Breath, clock: Clock) -> None:
        self._texts = Texts(model, order.prompt)
        self._room = context_for(0, 1, 0, order.max_chars, pooling.MOST_TEXTS, order.context, model.trained_context)
        self._context = Context(
            model,
            tokens=self._room,
            block=order.block,
            batch=order.block,
            sequences=pooling.MOST_TEXTS + 1,
            threads=order.threads,
            embeddings=True,
        )
        self._context.watch(breath.stops)
        self._pooler = Pooler(self._context, breath)
        self.ready = wire.Ready(values=model.width, batch=pooling.MOST_TEXTS, context=self._context.tokens, prefix=0)

    def answer(self, request: wire.Request) -> wire.Numbers:
        if not isinstance(request, wire.Pool):
            raise _misused(request)
        texts = [self._texts.alone(text, self._room) for text in request.texts]
        return _counted(self._context, self._texts, lambda: self._pooler.vectors(texts))


class _Words:
    def __init__(self, model: Model, order: wire.Load, breath: Breath, clock: Clock) -> None:
        self._texts = Texts(model, order.prompt)
        prefix, tail = self._texts.prefix, len(self._texts.tail)
        at_once = writing.MOST_TEXTS
        size = context_for(len(prefix), tail + 1, tail + order.max_tokens, order.max_chars, at_once, order.context, model.trained_context)
        self._context = Context(model, tokens=size, block=order.block, batch=order.block, sequences=at_once + 1, threads=order.threads)
        self._context.watch(breath.stops)
        self._context.fill(prefix, 0, breath.between)
        left = size - len(prefix) - tail
        self._answer_room = min(order.max_tokens, max(left // 2, 1))
        self._text_room = left - self._answer_room
        style = Style(order.max_tokens, order.stop, order.temperature, order.grammar)
        self._writer = Writer(self._context, len(prefix), style, breath, clock)
        self.ready = wire.Ready(values=0, batch=at_once, context=self._context.tokens, prefix=len(prefix))

    def answer(self, request: wire.Request) -> wire.Answers:
        if not isinstance(request, wire.Write):
            raise _misused(request)
        before = self._context.evaluated
        texts, cut = [], []
        for text in request.texts:
            left_out = self._texts.cut
            texts.append(self._texts.tokens(text, self._text_room))
            cut.append(self._texts.cut > left_out)
        answers = self._writer.write(texts, self._answer_room, request.deadline_ms)
        told = [wire.Answer(each.text, each.tokens, each.truncated or "context") if short else each for each, short in zip(answers, cut)]
        return wire.Answers(answers=told, tokens=self._context.evaluated - before)


JOBS: dict[wire.Job, Callable[[Model, wire.Load, Breath, Clock], Job]] = {"score": _Scores, "pool": _Vectors, "write": _Words}


def _counted(context: Context, texts: Texts, work: Callable[[], NDArray[np.float64]]) -> wire.Numbers:
    evaluated, cut = context.evaluated, texts.cut
    numbers = work().astype("<f8")
    rows, columns = numbers.shape
    return wire.Numbers(rows=rows, columns=columns, data=numbers.tobytes(), tokens=context.evaluated - evaluated, cut=texts.cut - cut)


def _misused(request: wire.Request) -> BugError:
    return BugError("engine-misused", f"a runner of another job was asked to {type(request).__name__.lower()}")
