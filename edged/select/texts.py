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
from edged.models.text_costs import TextCosts
from edged.select.predict import Need
from edged.select.text import TextNeed, TextUse, predict_text, speed_of

_CHARS = 4  # of a token: plain English in the vocabularies of small models
# How edged's runner shares a context, see `context_for` in engines/llama/texts.py, and how many texts it takes at once.
_USUAL_TOKENS, _SCORED, _POOLED, _WRITTEN = 64, 8, 16, 4
_BLOCK = 64  # tokens that go through at once
_MOST_LOGITS = 32 << 20  # bytes of scores of the vocabulary in one decode of labels
_SUMMED = 16  # rows of them that are summed up at once
_MIB = 1 << 20
# Engine `linear` is Python and numpy: measured on x86-64 in calls into a runtime, which a profile knows, with 8,800 n-grams.
_LINEAR_CALLS, _LINEAR_CALLS_A_CHAR = 5.0, 0.05
_LINEAR_MIB = 0.8  # words that it remembers, and buffers


def need_of_text(manifest: Manifest, variant: Variant, costs: Costs, board: Board, generic: bool) -> Need:
    """Predict the time of one text, and the memory of the variant with its own process, where it has one; `generic` as `speed_of`."""
    if costs.text is None:
        calls = _LINEAR_CALLS + _LINEAR_CALLS_A_CHAR * manifest.input.max_chars
        return Need(calls * board.rates(None).call_us / 1000, (costs.weight_bytes + costs.arena_bytes) / _MIB + _LINEAR_MIB)
    need = _predicted(manifest, variant, costs, board, generic, board.workers)
    return Need(need.total_ms, need.mib + costs.arena_bytes / _MIB)


def speedup_of(manifest: Manifest, variant: Variant, costs: Costs, board: Board) -> float:
    """Say how many times as fast all threads answer a text as one would: a prompt is shared among them, memory is read by all alike."""
    if costs.text is None:
        return 1.0
    alone, together = (_predicted(manifest, variant, costs, board, False, threads).total_ms for threads in (1, board.workers))
    return max(1.0, alone / together) if together > 0 else 1.0


def _predicted(manifest: Manifest, variant: Variant, costs: Costs, board: Board, generic: bool, threads: int) -> TextNeed:
    assert costs.text is not None
    speed = speed_of(board.profile, board.bandwidth_gbs, threads, generic)
    return predict_text(costs.file_bytes, costs.text, speed, use_of(manifest, variant, costs.text))


def threads_of(engine: str, board: Board) -> int:
    """Give how many threads a variant works with: a language model takes all that the board grants to models, others one."""
    return board.workers if engine == "llama" else 1


def use_of(manifest: Manifest, variant: Variant, costs: TextCosts) -> TextUse:
    """Say how a language model is used for one text."""
    given, output = manifest.input, manifest.output
    text = _tokens(given.max_chars)
    if manifest.task in ("extract", "generate"):
        context = _context(manifest, variant, costs, output.max_tokens, _WRITTEN)
        return TextUse(prompt=text, new=output.max_tokens, context=context, rows=_WRITTEN + 1)
    if manifest.task == "embed" or variant.head:
        return TextUse(prompt=text, new=1, context=_context(manifest, variant, costs, 0, _POOLED), rows=2 * _BLOCK)
    labels = [_tokens(len(label)) for label in output.labels]
    most = _MOST_LOGITS // 4 // costs.vocabulary if costs.vocabulary else _MOST_LOGITS
    at_once = max(1, min(_SCORED, most // (sum(labels) + 1)))
    context = _context(manifest, variant, costs, sum(labels), at_once)
    return TextUse(prompt=text + sum(labels), new=1, context=context, rows=min(1 + at_once * len(labels), most) + _SUMMED)


def _context(manifest: Manifest, variant: Variant, costs: TextCosts, each: int, at_once: int) -> int:
    """Give the tokens that there is room for: one at most for each character of a long text, or several usual texts."""
    given = manifest.input
    examples = sum(len(example.text) + len(example.answer) for example in given.examples)
    fixed = _tokens(len(given.template) + len(given.system) + examples)
    several = at_once * (min(given.max_chars, _USUAL_TOKENS) + each)
    return min(variant.context or fixed + max(given.max_chars + each, several), costs.context)


def _tokens(chars: int) -> int:
    return -(-chars // _CHARS)
