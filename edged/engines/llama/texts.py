"""Make tokens of texts and of the prompt around them, and count the room that they need."""

from __future__ import annotations

from collections.abc import Sequence

from edged.engines.llama.model import Model
from edged.engines.llama.prompt import Piece, render
from edged.engines.text import Prompt
from edged.errors import PublisherError

# What most texts and several in one decode need at least, whatever `max_chars` is.
_USUAL_TOKENS = 64


class Texts:
    """A prompt as tokens. `prefix` comes before each text, `tail` behind it."""

    def __init__(self, model: Model, prompt: Prompt) -> None:
        """Raises PublisherError as `render`."""
        rendered = render(prompt, model.chat)
        self._model, self._lead, self._answer_lead, self._end = model, rendered.lead, rendered.answer_lead, rendered.end
        self.prefix = [*model.first(), *self._of(rendered.before)] or model.something()
        self.tail = self._of(rendered.after)
        self.cut = 0  # tokens of texts that there was no room for, so far

    def tokens(self, text: str, room: int) -> list[int]:
        """Give the tokens of a text, at least one and at most `room`, and those behind it. Spaces at its end are left out."""
        return self._shortened(self._model.tokens((self._lead + text).rstrip(" "), False), room) + self.tail or self._model.something()

    def alone(self, text: str, room: int) -> list[int]:
        """Give the tokens of a text without the prompt."""
        first = self._model.first()
        return first + self._shortened(self._model.tokens(text, False), room - len(first)) or self._model.something()

    def labels(self, labels: Sequence[str]) -> list[list[int]]:
        """Give the tokens of label texts; one that another begins with goes on to the end of the answer."""
        found = [self._model.tokens(self._answer_lead + label, False) for label in labels]
        ending = self._of([self._end])[:1]
        return [tokens + ending * any(_begins(other, tokens) for other in found) for tokens in found]

    def _of(self, pieces: Sequence[Piece]) -> list[int]:
        return [token for piece in pieces for token in self._model.tokens(piece.text, piece.control)]

    def _shortened(self, tokens: list[int], room: int) -> list[int]:
        self.cut += max(len(tokens) - room, 0)
        return tokens[:room]


def context_for(prefix: int, least: int, each: int, max_chars: int, at_once: int, asked: int, trained: int) -> int:
    """Give the tokens that a context has room for: the prefix, and one long text with `each` tokens behind it, or several usual ones.

    A character is one token at most in the languages that a vocabulary was made for. `asked` by the release comes first, and what
    the model was trained for bounds both. Raises PublisherError(`context-too-small`) where a token of text and `least` do not fit.
    """
    several = at_once * (min(max_chars, _USUAL_TOKENS) + each)
    context = min(asked or prefix + max(max_chars + each, several), trained)
    if context < prefix + least + 1:
        text = f"the prompt takes {prefix + least} tokens with the least of an answer, and there is room for {context}"
        raise PublisherError("context-too-small", text, "make the prompt shorter, or `context` larger")
    return context


def _begins(longer: list[int], shorter: list[int]) -> bool:
    return len(longer) > len(shorter) and longer[: len(shorter)] == shorter
