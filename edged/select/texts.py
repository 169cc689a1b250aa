"""What one text costs a variant: how many tokens go in and come out, before any was seen, and what that takes on a board.

A prompt's fixed part (system, template, examples) is evaluated once, when the model is loaded, and counts for memory alone. Then

    label texts   the text and each label are read; nothing is written
    head, embed   the text is read
    extract, generate   the text is read, and an answer of `max_tokens` is written

A text counts as long as `max_chars` allows until it was measured.
"""

from __future__ import annotations

from edged.board.inforce import Board
from edged.models.costs import Costs
from edged.models.schema import Manifest, Variant
from edged.select.predict import Need
from edged.select.text import TextUse, predict_text, speed_of

_CHARS = 4  # of a token: plain English in the vocabularies of small models
_BLOCK = 128  # tokens that go through at once
_MIB = 1 << 20
# Engine `linear` is Python and numpy: measured on x86-64 in calls into a runtime, which a profile knows, with 8,800 n-grams.
_LINEAR_CALLS, _LINEAR_CALLS_A_CHAR = 5.0, 0.05
_LINEAR_MIB = 0.8  # words that it remembers, and buffers


def need_of_text(manifest: Manifest, variant: Variant, costs: Costs, board: Board) -> Need:
    """Predict the processor time of one text, and the memory of the variant with its own process, where it has one."""
    if costs.text is None:
        calls = _LINEAR_CALLS + _LINEAR_CALLS_A_CHAR * manifest.input.max_chars
        return Need(calls * board.rates(None).call_us / 1000, (costs.weight_bytes + costs.arena_bytes) / _MIB + _LINEAR_MIB)
    speed = speed_of(board.profile, board.bandwidth_gbs, board.workers)
    need = predict_text(costs.file_bytes, costs.text, speed, use_of(manifest, variant))
    return Need(need.total_ms, need.mib + costs.arena_bytes / _MIB)


def threads_of(engine: str, board: Board) -> int:
    """Give how many threads a variant works with: a language model takes all that the board grants to models, others one."""
    return board.workers if engine == "llama" else 1


def use_of(manifest: Manifest, variant: Variant) -> TextUse:
    """Say how a language model is used for one text."""
    given, output = manifest.input, manifest.output
    text = _tokens(given.max_chars)
    labels = sum(_tokens(len(label)) for label in output.labels) if manifest.task == "classify" and not variant.head else 0
    new = output.max_tokens if manifest.task in ("extract", "generate") else 1
    fixed = _tokens(len(given.template) + len(given.system) + sum(len(each.text) + len(each.answer) for each in given.examples))
    return TextUse(prompt=text + labels, new=new, context=variant.context or fixed + text + labels + new, block=_BLOCK)


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS)
