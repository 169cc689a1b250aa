"""Choose the next token of an answer: the likeliest, or one by chance; where a grammar holds it, among those that go on with it."""

from __future__ import annotations

import ctypes as c

import numpy as np
from numpy.typing import NDArray

from edged.engines.llama.library import TokenData, TokenDataArray
from edged.engines.llama.model import Model
from edged.errors import PublisherError

_SEED = 20260101  # chance is the same each time: what was answered once is answered so again
_LIKELIEST = 32  # tokens that a grammar is asked about first: to ask about all takes as long as a token
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Grammar:
    """What an answer may go on with."""

    def __init__(self, model: Model, gbnf: str) -> None:
        """Read the rules. Raises PublisherError(`schema-unsupported`)."""
        self._calls = model.calls
        self._handle = self._calls.llama_sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
        if not self._handle:
            text = f"llama.cpp does not take the schema as a grammar: {model.said()}"
            raise PublisherError("schema-unsupported", text, "make the schema simpler")

    def allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which of these tokens may come next."""
        candidates = np.zeros(len(tokens), _CANDIDATE)
        candidates["id"] = tokens
        array = TokenDataArray(c.cast(candidates.ctypes.data, c.POINTER(TokenData)), len(candidates), -1, False)
        self._calls.llama_sampler_apply(self._handle, array)
        may: NDArray[np.bool_] = np.isfinite(candidates["logit"])
        return may

    def accept(self, token: int) -> None:
        """Go on with a token that is allowed."""
        self._calls.llama_sampler_accept(self._handle, token)

    def close(self) -> None:
        """Give the memory back."""
        self._calls.llama_sampler_free(self._handle)


class Chooser:
    """Chooses the tokens of one answer."""

    def __init__(self, temperature: float, grammar: Grammar | None) -> None:
        """`temperature` 0 takes the likeliest token."""
        self._temperature, self._grammar = temperature, grammar
        self._chance = np.random.default_rng(_SEED)

    def choose(self, row: NDArray[np.float32]) -> int:
        """Take the next token from its scores [words]."""
        token = self._drawn(row)
        if self._grammar is None:
            return token
        if not self._grammar.allowed(np.array([token], np.int32))[0]:
            token = self._likeliest(row) if self._temperature == 0 else self._drawn(self._held(row))
        self._grammar.accept(token)
        return token

    def close(self) -> None:
        """Give the memory back."""
        if self._grammar is not None:
            self._grammar.close()

    def _drawn(self, row: NDArray[np.float32]) -> int:
        if self._temperature == 0:
            return int(row.argmax())
        likely = np.exp((row - row.max()) / np.float32(self._temperature), dtype=np.float32).cumsum(dtype=np.float64)
        return min(int(np.searchsorted(likely, self._chance.random() * likely[-1], side="right")), len(row) - 1)

    def _likeliest(self, row: NDArray[np.float32]) -> int:
        most = (
            np.argpartition(row, -_LIKELIEST)[-_LIKELIEST:].astype(np.int32)
            if len(row) > _LIKELIEST
            else np.arange(len(row), dtype=np.int32)
        )
        assert self._grammar is not None
        most = most[self._grammar.allowed(most)]
        return int(most[row[most].argmax()]) if len(most) else int(self._held(row).argmax())

    def _held(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._grammar is not None
        return np.where(self._grammar.allowed(np.arange(len(row), dtype=np.int32)), row, np.float32(-np.inf))
