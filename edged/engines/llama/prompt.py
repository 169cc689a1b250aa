"""Put the parts of a prompt together as pieces, of which those of the template may hold control tokens and no others may.

Where pieces meet, tokenizers want a space with the word that follows it: so a space at the end of a piece is moved to the front
of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from edged.engines.text import Prompt
from edged.errors import PublisherError

Chat = Callable[[Sequence[tuple[str, str]], bool], str]  # as `Model.chat`
_GAP = "\n\n"
_MARK = "@@edged:{}@@"  # stands for a content while the template is applied


@dataclass(frozen=True)
class Piece:
    """Part of a prompt; `control`: what is written like a control token is one."""

    text: str
    control: bool


@dataclass(frozen=True)
class Rendered:
    """A prompt around its text: what comes before, what comes after, and what ends an answer.

    `lead` and `answer_lead` are the spaces, or nothing, that text and answer begin with.
    """

    before: tuple[Piece, ...]
    lead: str
    after: tuple[Piece, ...]
    answer_lead: str
    end: Piece


def render(prompt: Prompt, chat: Chat) -> Rendered:
    """Give the pieces of a prompt.

    Raises PublisherError: `template-unsupported` where `{text}` is not in the template once, `chat-template-unsupported`.
    """
    if prompt.template.count("{text}") != 1:
        raise PublisherError("template-unsupported", "`template` does not hold {text} once", "put {text} where the text belongs")
    opening, closing, end = _in_turns(prompt, chat) if prompt.chat else _plain(prompt)
    before, lead = _joined(opening)
    after, answer_lead = _joined(closing)
    return Rendered(before, lead, after, answer_lead, end)


def _plain(prompt: Prompt) -> tuple[list[Piece], list[Piece], Piece]:
    opening, closing = (Piece(part, True) for part in prompt.template.split("{text}"))
    pieces = [Piece(prompt.system + _GAP, True)] if prompt.system else []
    for text, answer in prompt.examples:
        pieces += [opening, Piece(text, False), closing, Piece(answer, False), Piece(_GAP, True)]
    return [*pieces, opening], [closing], Piece("\n", True)


def _in_turns(prompt: Prompt, chat: Chat) -> tuple[list[Piece], list[Piece], Piece]:
    opening, closing = (Piece(part, False) for part in prompt.template.split("{text}"))
    turns: list[tuple[str, list[Piece]]] = [("system", [Piece(prompt.system, False)])] if prompt.system else []
    for text, answer in prompt.examples:
        turns += [("user", [opening, Piece(text, False), closing]), ("assistant", [Piece(answer, False)])]
    frames = _frames([role for role, _ in turns] + ["user"], chat, True)
    pieces = [Piece(frames[0], True)]
    for frame, (_, content) in zip(frames[1:], turns, strict=False):
        pieces += [*content, Piece(frame, True)]
    end = _frames(["user", "assistant"], chat, False)[-1]
    return [*pieces, opening], [closing, Piece(frames[-1], True)], Piece(end or "\n", True)


def _frames(roles: Sequence[str], chat: Chat, answer: bool) -> list[str]:
    """Give what the template writes before, between and behind the contents of turns."""
    rest = chat([(role, _MARK.format(i)) for i, role in enumerate(roles)], answer)
    frames = []
    for i in range(len(roles)):
        frame, mark, rest = rest.partition(_MARK.format(i))
        if not mark:
            text = "the model's chat template leaves out a turn, or changes their order"
            raise PublisherError("chat-template-unsupported", text, "say `chat = false`, and write the turns into `template`")
        frames.append(frame)
    return [*frames, rest]


def _joined(pieces: Sequence[Piece]) -> tuple[tuple[Piece, ...], str]:
    """Move spaces to the front of the next piece; give the pieces, and the space that is left for what follows them.

    Pieces of the template that meet become one, as its publisher sees them as one.
    """
    joined: list[Piece] = []
    for control, some in groupby(pieces, lambda piece: piece.control):
        texts = [piece.text for piece in some]
        joined += [Piece("".join(texts), True)] if control else [Piece(text, False) for text in texts]
    moved, space = [], ""
    for piece in joined:
        text = space + piece.text
        space = " " if text.endswith(" ") else ""
        if text := text.removesuffix(" "):
            moved.append(Piece(text, piece.control))
    return tuple(moved), space
