"""Predict what a language model takes on a board: time to the first token, time for each further one, memory.

A new token reads all weights once, and arithmetic waits for memory:

    token = layers × overhead + (bytes for a token + keys and values so far) / bandwidth

A prompt goes through in blocks that read the weights once for many tokens, so memory waits for
arithmetic: two operations for each parameter and token. The last token of the prompt needs the
output as well, as a new one does:

    first = prompt tokens × 2 × parameters / rate + one token

Memory: the file, which is mapped; what the runtime keeps a second time; keys and values for the
whole context; the largest intermediate of one block; the scores of the vocabulary; its words;
and the runtime.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.board.profile import Profile
from edged.models.text_costs import TextCosts

_MIB = 1 << 20
_FLOAT = 4
# Ten published runs on a Pi 4 reach 14 to 23e9 operations a second in a prompt, with 4 threads. This part of what
# 4 threads could multiply in int8 lies between: weights of 4 to 6 bits are unpacked first, and threads wait for each other.
_EFFICIENCY = 0.4
# Where a processor has these, runtimes keep quantized weights a second time, in the order that they want.
_REPACKED_FOR = frozenset({"asimddp", "i8mm", "avx2"})
# Libraries, threads, what stands ready; and the words of the vocabulary. Chosen so that they fit one model, measured with
# llama.cpp in a Python process on x86-64: how the sum divides between the two is an estimate.
_RUNTIME_MIB = 30
_WORD_BYTES = 250


@dataclass(frozen=True)
class Speed:
    """What a board does with language models.

    bandwidth_gbs   what its CPUs read from memory together
    gflops          1e9 operations a second with quantized weights, all threads together
    layer_us        what each layer costs beside, for a token: calls, and CPUs that wait for each other
    repacks         whether the runtime keeps quantized weights a second time
    """

    bandwidth_gbs: float
    gflops: float
    layer_us: float
    repacks: bool


@dataclass(frozen=True)
class TextUse:
    """How a model is used: tokens of a prompt, new tokens, room for tokens in all, tokens that go through in one block."""

    prompt: int
    new: int
    context: int
    block: int = 64


@dataclass(frozen=True)
class TextNeed:
    """Milliseconds to the first token and for all tokens, the mean of one token, and MiB in all."""

    first_ms: float
    token_ms: float
    total_ms: float
    mib: float


def speed_of(profile: Profile, bandwidth_gbs: float, threads: int) -> Speed:
    """Give the speed of a kind of board with so many threads.

    `bandwidth_gbs` is what is in force for its CPUs, measured or the profile's. A profile without a rate for int8 counts as a slow one.
    """
    compute = profile.compute
    return Speed(
        bandwidth_gbs=bandwidth_gbs,
        gflops=2 * threads * compute.gmacs.get("int8", 1.0) * _EFFICIENCY,
        layer_us=compute.overhead_us,
        repacks=not _REPACKED_FOR.isdisjoint(compute.isa),
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
    weights = file_bytes + (costs.repacked_bytes if speed.repacks else 0)
    sequence = use.context * costs.kv_bytes + costs.state_bytes
    widest = max(costs.vocabulary, costs.feed_forward, use.context * costs.heads)
    block = use.block * widest * _FLOAT
    return (weights + sequence + block + costs.vocabulary * (_FLOAT + _WORD_BYTES)) / _MIB + _RUNTIME_MIB
