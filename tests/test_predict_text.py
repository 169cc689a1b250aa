"""Prediction of language models: against published runs, and what follows from the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.board.profile import load_profile
from edged.models.text_costs import TextCosts
from edged.select.text import Speed, TextUse, predict_text, speed_of, text_mib, token_ms

MIB = 1 << 20


@dataclass(frozen=True)
class Published:
    """One run of llama-bench: megabytes of the file and of what a token reads, tokens a second of 512 in a prompt and of 128 new ones.

    A token reads the file without the embedding of the input where that is stored a second time. What does not
    change with the quantization is from each model's own configuration: see `SHAPES`.
    """

    model: str
    quantization: str
    file_mb: float
    token_mb: float
    prompt_rate: float
    new_rate: float


# model → layers, heads, KV heads, size of a head, embedding, feed forward, vocabulary, millions of parameters without embeddings.
# Sources: config.json of google/gemma-3-270m and -1b, Qwen/Qwen2.5-0.5B, Qwen/Qwen3-0.6B, meta-llama/Llama-3.2-1B,
# HuggingFaceTB/SmolLM2-1.7B; the model cards.
SHAPES = {
    "Gemma 3 270M": (18, 4, 1, 256, 640, 2048, 262_144, 100),
    "Qwen2.5 0.5B": (24, 14, 2, 64, 896, 4864, 151_936, 358),
    "Qwen3 0.6B": (28, 16, 8, 128, 1024, 3072, 151_936, 440),
    "Llama 3.2 1B": (16, 32, 8, 64, 2048, 8192, 128_256, 973),
    "Gemma 3 1B": (26, 4, 1, 256, 1152, 6912, 262_144, 698),
    "SmolLM2 1.7B": (24, 32, 32, 64, 2048, 8192, 49_152, 1611),
}

# Raspberry Pi 4B, llama.cpp build 7095, 4 threads. Source: github.com/sensura-san/llm-bench, results, November 2025.
# Embeddings of the input left out: 151,936 × 896 in Q5_0 (93.6 MB) and Q8_0 (144.6 MB),
# 151,936 × 1024 in Q4_K (87.5 MB) and Q8_0 (165.3 MB).
PI_4 = [
    Published("Gemma 3 270M", "Q4_K_M", 246.6, 246.6, 68.9, 13.86),
    Published("Gemma 3 270M", "Q4_0", 234.9, 234.9, 76.6, 14.1),
    Published("Gemma 3 270M", "Q8_0", 285.0, 285.0, 79.2, 12.19),
    Published("Qwen2.5 0.5B", "Q4_K_M", 473.1, 379.5, 24.3, 9.17),
    Published("Qwen2.5 0.5B", "Q8_0", 669.8, 525.2, 29.2, 6.78),
    Published("Qwen3 0.6B", "Q4_K_M", 478.3, 390.8, 19.7, 8.33),  # two runs: 8.25 and 8.42; others 7.05 to 7.21
    Published("Qwen3 0.6B", "Q8_0", 798.8, 633.5, 19.8, 5.04),
    Published("Llama 3.2 1B", "Q4_K_M", 799.9, 799.9, 11.9, 4.47),
    Published("Llama 3.2 1B", "Q8_0", 1313.0, 1313.0, 11.8, 2.76),
    Published("Gemma 3 1B", "Q4_K_M", 799.5, 799.5, 13.05, 4.32),
]

# Raspberry Pi 5, tokens a second of new ones; through Ollama, which is 10 to 20 % slower than llama.cpp itself.
# Source: stratosphereips/StratosphereLinuxIPS, docs/immune/research_rpi_llm_performance.md.
PI_5 = [
    Published("Llama 3.2 1B", "Q4_K_M", 799.9, 799.9, 0, 11.22),
    Published("Gemma 3 1B", "Q4_K_M", 799.5, 799.5, 0, 11.53),
    Published("SmolLM2 1.7B", "Q4_K_M", 1056.0, 1056.0, 0, 8.23),
]


def costs_of(row: Published) -> TextCosts:
    layers, heads, kv_heads, size, embedding, feed_forward, vocabulary, millions = SHAPES[row.model]
    return TextCosts(
        token_bytes=round(row.token_mb * 1e6),
        repacked_bytes=round(row.token_mb * 1e6),
        parameters=millions * 10**6,
        kv_bytes=layers * kv_heads * 2 * size * 2,
        layers=layers,
        heads=heads,
        embedding=embedding,
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context=32_768,
    )


def board(name: str) -> Speed:
    profile = load_profile(name)
    return speed_of(profile, profile.memory.bandwidth_gbs.cpu, threads=4)


def new_rate(row: Published, speed: Speed) -> float:
    """Predict the tokens a second of 128 new ones after none, as the published runs count them."""
    return 1e3 / token_ms(costs_of(row), speed, past=64)


def error(predicted: float, published: float) -> float:
    return predicted / published - 1


def name(row: Published) -> str:
    return f"{row.model} {row.quantization}"


@pytest.mark.parametrize("row", PI_4, ids=name)
def test_new_tokens_on_a_pi_4_are_predicted_within_a_tenth(row: Published):
    assert abs(error(new_rate(row, board("raspberry-pi-4b-4gb")), row.new_rate)) <= 0.10


@pytest.mark.parametrize("row", PI_4, ids=name)
def test_a_prompt_on_a_pi_4_is_predicted_within_two_fifths(row: Published):
    need = predict_text(round(row.file_mb * 1e6), costs_of(row), board("raspberry-pi-4b-4gb"), TextUse(prompt=512, new=1, context=1024))
    assert abs(error(512e3 / need.first_ms, row.prompt_rate)) <= 0.40


def test_published_runs_beside_what_is_predicted(capsys: pytest.CaptureFixture[str]):
    """The Pi 5 rows went through another program, so they are shown and only held to be of the right size."""
    for kind, rows in (("raspberry-pi-4b-4gb", PI_4), ("raspberry-pi-5-8gb", PI_5)):
        for row in rows:
            predicted = new_rate(row, board(kind))
            print(f"{kind}  {name(row):22} {predicted:6.2f} predicted {row.new_rate:6.2f} published {error(predicted, row.new_rate):+6.1%}")
            assert abs(error(predicted, row.new_rate)) <= 0.35


# What a token of SmolLM2-135M Q4_1 and of Gemma 3 270M Q4_K_M costs, as their headers say.
SMOL = TextCosts(
    token_bytes=96_576_768, repacked_bytes=30_081_024, parameters=106_203_456, kv_bytes=23_040, layers=30, heads=9, embedding=576,
    feed_forward=1536, vocabulary=49_152, context=8192,
)  # fmt: skip
GEMMA = TextCosts(
    token_bytes=246_587_904, repacked_bytes=202_772_480, repacked_avx2_bytes=13_271_040, parameters=100_326_016, kv_bytes=18_432,
    layers=18, heads=4, embedding=640, feed_forward=2048, vocabulary=262_144, context=32_768,
)  # fmt: skip


@pytest.mark.parametrize(
    ("costs", "file_bytes", "context", "rows", "measured"),
    [
        (SMOL, 98_362_432, 256, 5, 150.2),  # another program, after 32 new tokens
        (SMOL, 98_362_432, 1024, 5, 169.4),
        (SMOL, 98_362_432, 4096, 5, 235.0),
        (SMOL, 98_362_432, 768, 5, 162.6),  # edged's runner from here on: writing
        (SMOL, 98_362_432, 768, 41, 170.6),  # three labels
        (SMOL, 98_362_432, 1024, 128, 190.3),  # embedding
        (GEMMA, 253_113_024, 768, 5, 354.4),
        (GEMMA, 253_113_024, 768, 29, 390.2),
        (GEMMA, 253_113_024, 1024, 128, 480.4),
    ],
)
def test_memory_is_what_a_process_took(costs: TextCosts, file_bytes: int, context: int, rows: int, measured: float):
    """Measured with llama.cpp on x86-64: MiB of PSS, nobody else having the file.

    What the runtime and each word take was chosen to fit these; that memory follows context and rows is what they prove.
    """
    assert abs(error(text_mib(file_bytes, costs, board("generic-x86_64"), TextUse(50, 30, context, rows)), measured)) <= 0.05


def test_a_board_that_repacks_has_quantized_weights_twice():
    row = PI_4[0]
    use = TextUse(prompt=100, new=10, context=512)
    small, twice = (text_mib(round(row.file_mb * 1e6), costs_of(row), board(f"raspberry-pi-{kind}"), use) for kind in ("4b-4gb", "5-8gb"))
    assert twice - small == pytest.approx(row.token_mb * 1e6 / MIB)


def test_a_build_for_any_arm_repacks_nothing_and_is_half_as_fast_where_it_could():
    slow, native = (speed_of(load_profile("raspberry-pi-5-8gb"), 10.0, 4, generic) for generic in (True, False))
    assert (slow.repacks, native.repacks) == ("", "arm")
    assert 1.9 <= native.gflops / slow.gflops <= 2.6
    older = load_profile("raspberry-pi-4b-4gb")
    assert speed_of(older, 3.0, 4, generic=True) == speed_of(older, 3.0, 4), "it has no dot products"


def test_a_wide_vocabulary_makes_each_row_of_scores_dear():
    """A published case: 151,936 words in blocks of 512 take 300.75 MiB."""
    costs = msgspec.structs.replace(costs_of(PI_4[5]), kv_bytes=0)
    speed = board("raspberry-pi-4b-4gb")
    small, large = (text_mib(0, costs, speed, TextUse(1, 1, 1024, rows)) for rows in (1, 513))
    assert large - small == pytest.approx(300.75, rel=0.02)


@given(prompt=st.integers(0, 4096), new=st.integers(1, 512), more=st.integers(1, 512))
def test_more_tokens_never_take_less(prompt: int, new: int, more: int):
    costs, speed = costs_of(PI_4[5]), board("raspberry-pi-4b-4gb")

    def need(prompt: int, new: int) -> float:
        return predict_text(0, costs, speed, TextUse(prompt, new, 4096)).total_ms

    assert need(prompt, new) < need(prompt + more, new)
    assert need(prompt, new) < need(prompt, new + more)


def test_one_new_token_is_there_with_the_first():
    need = predict_text(0, costs_of(PI_4[0]), board("raspberry-pi-4b-4gb"), TextUse(prompt=10, new=1, context=64))
    assert need.total_ms == need.first_ms
