"""The `llama` engine: a GGUF model for texts, in a runner of its own."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.clock import MS, NS, Clock, SystemClock
from edged.engines.base import Build
from edged.engines.head import Head
from edged.engines.llama import wire
from edged.engines.llama.client import Client, Limits
from edged.engines.llama.grammar import grammar_of
from edged.engines.llama.token import TOKEN, BandwidthToken
from edged.engines.text import TextUse, Written
from edged.errors import BugError, PublisherError
from edged.json_schema import check_schema, keeps

# What goes to the runner at once: a few decodes, so that numbers and texts stay far below a frame's limit.
_MOST_TEXTS = 64
_MOST_BYTES = 4 << 20
# Tokens that are computed at once, by job. Of labels a whole decode goes through: 12 % quicker than in blocks of 64, and its tokens are
# bounded. An embedding keeps the scores of the vocabulary for each, and a prompt gives the processor back between two blocks.
BLOCKS: dict[wire.Job, int] = {"score": 256, "pool": 64, "write": 64}


class LlamaEngine:
    """A loaded language model, see `TextEngine`. Labels, embeddings and words need different contexts, so it does what its use says."""

    def __init__(
        self,
        path: Path,
        use: TextUse,
        build: Build,
        *,
        threads: int | None = None,
        urgency: str = "normal",
        token: BandwidthToken = TOKEN,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start a runner with the file at `path`, whose structure the caller has checked, for the runtime that `build` names.

        `threads`: by default as many as there are CPUs but one. `urgency` as in `token`.
        Raises BoardError: `engine-missing`, `engine-abi`, `model-file-missing`, `runner-…` as `Client`; PublisherError:
        `model-not-loadable`, `model-unsupported`, `context-too-small`, `template-unsupported`, `chat-template-unsupported`,
        `schema-unsupported`, and as `Head.read`.
        """
        self.build = build
        self.progress: Callable[[], None] = lambda: None
        self.cut = 0  # tokens of texts that there was no room for, so far
        self.evaluated = 0  # tokens so far
        self._use, self._urgency, self._token = use, urgency, token
        self._clock = clock or SystemClock()
        self._holds = False  # the token
        self._schema = _schema_of(use)
        self._head = Head.read(use.head, use.labels, _sha256(path)) if use.head else None
        order = _order(path, use, build, self._schema, threads or max((os.cpu_count() or 2) - 1, 1))
        self._client = self._start(order, limits)
        ready = self._client.ready
        self.batch, self.prefix, self.context = ready.batch, ready.prefix, ready.context
        self.values = len(use.labels) if self._head else ready.values

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Give log-odds [n, labels]: of the head, or the mean log-probability of a label's tokens less what it is without content."""
        self._need("classify")
        if self._head is not None:
            return self._head.logits(self._numbers(texts, wire.Pool).astype(np.float32))
        return self._numbers(texts, wire.Score)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give embeddings [n, values], each of length 1: the mean over a text's tokens, without the prompt."""
        self._need("embed")
        return self._numbers(texts, wire.Pool).astype(np.float32)

    def write(self, texts: Sequence[str], deadline_ms: float) -> list[Written]:
        """Answer each text, `deadline_ms` for each at most, also while others hold the processor.

        Of extract, text is JSON that keeps the schema; where time, tokens or room ended before, it is empty and `truncated` says why.
        """
        self._need("extract", "generate")
        return [self._held(Written(each.text, each.tokens, each.truncated)) for each in self._answers(texts, deadline_ms)]

    def mib(self) -> float:
        """Give the memory (PSS) of the runner."""
        return self._client.mib()

    @property
    def pid(self) -> int | None:
        """Give the runner's process, None where there is none."""
        return self._client.pid

    def close(self) -> None:
        """End the runner."""
        self._client.close()

    def _start(self, order: wire.Load, limits: Limits | None) -> Client:
        return Client(order, limits, self._clock)

    def _need(self, *tasks: str) -> None:
        if self._use.task not in tasks:
            raise BugError("engine-misused", f"engine llama was loaded to {self._use.task}, and asked to {tasks[0]}")

    def _numbers(self, texts: Sequence[str], kind: type[wire.Score] | type[wire.Pool]) -> NDArray[np.float64]:
        parts = [np.empty((0, self._client.ready.values))]
        for some in _parts(texts, self._use.max_chars):
            self._token.acquire(self._urgency, self._client.pause, waiting=self._waits)
            reply = self._ask(kind(texts=some))
            assert isinstance(reply, wire.Numbers)
            self.cut += reply.cut
            parts.append(np.frombuffer(reply.data, "<f8").reshape(reply.rows, reply.columns))
        return np.concatenate(parts)

    def _answers(self, texts: Sequence[str], deadline_ms: float) -> Iterator[wire.Answer]:
        for some in _parts(texts, self._use.max_chars, self.batch):
            end = self._clock.mono() + int(deadline_ms * MS)
            if not self._token.acquire(self._urgency, self._client.pause, max(deadline_ms, 0) * MS / NS, self._waits):
                yield from [wire.Answer("", 0, "deadline")] * len(some)
                continue
            reply = self._ask(wire.Write(texts=some, deadline_ms=max(end - self._clock.mono(), 0) / MS))
            assert isinstance(reply, wire.Answers)
            yield from reply.answers

    def _ask(self, request: wire.Score | wire.Pool | wire.Write) -> wire.Numbers | wire.Answers:
        """Ask the runner, holding the token, which is given back behind."""
        self._holds = True
        try:
            reply = self._client.ask(request, self._go_on, self._let_others)
        finally:
            if self._holds:
                self._token.release()
        self.evaluated += reply.tokens
        return reply

    def _go_on(self) -> None:
        self.progress()
        if self._token.wanted():
            self._client.pause()

    def _let_others(self) -> None:
        self._holds = False
        self._token.release()
        self._token.acquire(self._urgency, self._client.pause, waiting=self._waits)
        self._holds = True

    def _waits(self) -> None:
        """Say that a wait for other models is no hang."""
        self.progress()

    def _held(self, written: Written) -> Written:
        """Hold an answer to the schema."""
        if self._schema is None:
            return written
        try:
            kept = keeps(json.loads(written.text), self._schema)
        except (ValueError, RecursionError):
            kept = False
        if kept:
            return Written(written.text, written.tokens, "context" if written.truncated == "context" else "")
        return Written("", written.tokens, written.truncated or "max_tokens")


def _schema_of(use: TextUse) -> dict[str, Any] | None:
    if use.task != "extract":
        return None
    try:
        schema = json.loads(use.schema)
    except (ValueError, RecursionError):
        schema = None
    if faults := check_schema(schema):
        raise PublisherError("schema-unsupported", f"`schema` is not taken: {faults[0]}", "mend it in model.toml")
    return dict(schema)


def _order(path: Path, use: TextUse, build: Build, schema: dict[str, Any] | None, threads: int) -> wire.Load:
    words = use.task in ("extract", "generate")
    job: wire.Job = "write" if words else "pool" if use.head or use.task == "embed" else "score"
    return wire.Load(
        runtime=build.package,
        path=str(path.absolute()),
        job=job,
        prompt=use.prompt,
        labels=use.labels,
        grammar=grammar_of(schema) if schema else "",
        max_tokens=use.max_tokens,
        stop=use.stop if use.task == "generate" else (),
        temperature=use.temperature if use.task == "generate" else 0.0,
        max_chars=use.max_chars,
        context=use.context,
        threads=threads,
        block=BLOCKS[job],
    )


def _parts(texts: Sequence[str], max_chars: int, most: int = _MOST_TEXTS) -> Iterator[list[str]]:
    """Part texts into requests. Half of a surrogate pair, which is no character, becomes a question mark."""
    part: list[str] = []
    size = 0
    for text in texts:
        data = text[:max_chars].encode(errors="replace")
        if part and (len(part) == most or size + len(data) > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(data.decode())
        size += len(data)
    if part:
        yield part


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                digest.update(data)
    except OSError:
        return ""  # the runner says that it is missing
    return digest.hexdigest()
