"""Predict what a language model takes on a board: time to the first token, time for each further one, memory.

A new token reads all weights once, and arithmetic waits for memory:

    token = layers × overhead + (bytes for a token + keys and values so far) / bandwidth

A prompt goes through in blocks that read the weights once for many tokens, so memory waits for
arithmetic: two operations for each parameter and token. The last token of the prompt needs the
output as well, as a new one does:

    first = prompt tokens × 2 × parameters / rate + one token

Memory: the file, which is mapped; what the runtime keeps a second time; keys and values for the
whole context; the scores of the vocabulary for as many tokens as the task wants at once; its words;
and the runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edged.board.profile import Profile
from edged.models.text_costs import TextCosts

_MIB = 1 << 20
_FLOAT = 4
# Ten published runs on a Pi 4 reach 14 to 23e9 operations a second in a prompt, with 4 threads. This part of what
# 4 threads could multiply in int8 lies between: weights of 4 to 6 bits are unpacked first, and threads wait for each other.
_EFFICIENCY = 0.4
# Where an ARM processor has these, a runtime that was built for it keeps quantized weights a second time, in the order that it wants.
_DOT_PRODUCTS = frozenset({"asimddp", "i8mm"})
# A build for any 64-bit ARM does without them. What they bring to a prompt on a Pi 5: 1.9 to 2.6 times, llama.cpp PRs 19356, 19360.
_GENERIC = 0.45
# The process, its libraries, threads, what stands ready; and the words of the vocabulary. Chosen so that they fit a model of
# 49,152 words and one of 262,144, measured with edged's runner on x86-64.
_RUNTIME_MIB = 43.5
_WORD_BYTES = 140


@dataclass(frozen=True)
class Speed:
    """What a board does with language models.

    bandwidth_gbs   what its CPUs read from memory together
    gflops          1e9 operations a second with quantized weights, all threads together
    layer_us        what each layer costs beside, for a token: calls, and CPUs that wait for each other
    repacks         as which processor the runtime keeps quantized weights a second time: arm, avx2; empty: it does not
    """

    bandwidth_gbs: float
    gflops: float
    layer_us: float
    repacks: Literal["arm", "avx2", ""]


@dataclass(frozen=True)
class TextUse:
    """How a model is used: tokens of a prompt, new tokens, room for tokens in all, tokens whose scores are kept at once."""

    prompt: int
    new: int
    context: int
    rows: int = 5


@dataclass(frozen=True)
class TextNeed:
    """Milliseconds to the first token and for all tokens, the mean of one token, and MiB in all."""

    first_ms: float
    token_ms: float
    total_ms: float
    mib: float


def speed_of(profile: Profile, bandwidth_gbs: float, threads: int, generic: bool = False) -> Speed:
    """Give the speed of a kind of board with so many threads.

    `bandwidth_gbs` is what is in force for its CPUs, measured or the profile's. A profile without a rate for int8 counts as a slow one.
    `generic`: the runtime was built for any 64-bit ARM.
    """
    compute = profile.compute
    has_dot_products = not _DOT_PRODUCTS.isdisjoint(compute.isa)
    return Speed(
        bandwidth_gbs=bandwidth_gbs,
        gflops=2 * threads * compute.gmacs.get("int8", 1.0) * _EFFICIENCY * (_GENERIC if generic and has_dot_products else 1),
        layer_us=compute.overhead_us,
        repacks="avx2" if "avx2" in compute.isa else "arm" if has_dot_products and not generic else "",
    )


def predict_text(file_bytes: int, costs: TextCosts, speed: Speed, use: TextUse) -> TextNeed:
    """Predict one text with an empty cache; `file_bytes` is the size of the model's file."""
    middle = token_ms(costs, speed, use.prompt + use.new / 2)
    first = use.prompt * 2 * costs.parameters / speed.gflops / 1e6 + token_ms(costs, speed, use.prompt)
    return TextNeed(first, middle, first + max(use.new - 1, 0) * middle, text_mib(file_bytes, costs, speed, use))


def token_ms(costs: TextCosts, speed: Speed, past: float) -> float:
    """Predict one new token after `past` tokens."""
    return costs.layers * speed.layer_us / 1e3 + (costs.token_bytes + costs.kv_bytes * past) / speed.bandwidth_gbs / 1e6


def text_mib(file_bytes: int, costs: TextCosts, speed: Speed, use: TextUse) -> float:
    """Predict the memory of a process that runs this model alone."""
    weights = file_bytes + {"arm": costs.repacked_bytes, "avx2": costs.repacked_avx2_bytes, "": 0}[speed.repacks]
    sequence = use.context * costs.kv_bytes + costs.state_bytes
    vocabulary = costs.vocabulary * (use.rows * _FLOAT + _WORD_BYTES)
    return (weights + sequence + vocabulary) / _MIB + _RUNTIME_MIB
