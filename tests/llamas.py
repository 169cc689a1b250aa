"""What tests of language models share: engines that are opened small, and a slow reference that shares no code with their shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edged.engines.choose import llama_build
from edged.engines.llama.engine import LlamaEngine
from edged.engines.llama.library import open_library
from edged.engines.llama.model import Context, Model
from edged.engines.text import Prompt, TextUse
from tests.smollm import needs_llama, smollm_path

# Labels that begin alike, one that others begin with, one of a single token.
LABELS = ("Engine", "Engine_Hydraulic System", "Hydraulic System", "Hydraulic Cylinders", "Bucket", "Induction and Exhaust")
PROMPT = Prompt("Order: {text}\nSystem: ", "Sort.", (("eng oil leak", "Engine"),))
# The runtime rounds what goes into a layer to 8 bits. So a sum in another order, as of a larger batch, moves log-odds by so much.
APART = 0.3
CLASSIFY = TextUse("classify", PROMPT, LABELS, max_chars=200)


def opened(use: TextUse, runtime: str = "xllamacpp", **options: Any) -> LlamaEngine:
    """Open the tests' model with one thread, as several tests share the processor; skip where it is not there."""
    needs_llama()
    return LlamaEngine(smollm_path(), use, llama_build(runtime), threads=1, **options)


class Reference:
    """The model in this process: each label by itself behind the whole prompt, in a context that knows nothing yet."""

    def __init__(self) -> None:
        needs_llama()
        self.model = Model(open_library("xllamacpp"), smollm_path(), lambda: False)

    def tokens(self, pieces: Sequence[str | tuple[str]]) -> list[int]:
        """Give the tokens of pieces; one in a tuple holds no control tokens."""
        return [
            token for piece in pieces for token in self.model.tokens(piece if isinstance(piece, str) else piece[0], isinstance(piece, str))
        ]

    def label_score(self, prompt: Sequence[str | tuple[str]], label: Sequence[str | tuple[str]]) -> float:
        """Give the mean log-probability of a label's tokens behind a prompt."""
        before, behind = self.tokens(prompt), self.tokens(label)
        tokens = [*before, *behind]
        context = Context(self.model, tokens=len(tokens) + 8, block=512, batch=512, sequences=1, threads=1)
        wanted = [0] * (len(before) - 1) + [1] * len(behind) + [0]
        context.decode(tokens, range(len(tokens)), [(0,)] * len(tokens), wanted)
        said = context.rows().astype(np.float64)
        context.close()
        total = np.log(np.exp(said - said.max(axis=1, keepdims=True)).sum(axis=1)) + said.max(axis=1)
        return float((said[np.arange(len(behind)), behind] - total).mean())
