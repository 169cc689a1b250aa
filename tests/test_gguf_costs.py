"""What a language model costs, counted from its header."""

from __future__ import annotations

import msgspec

from edged.models.costs import Costs, Macs
from edged.models.gguf import parse_gguf
from edged.models.gguf_costs import costs_of_gguf, costs_of_header
from edged.models.text_costs import TextCosts
from tests.ggufs import Header, number, numbers, string, strings, tiny, u32
from tests.smollm import smollm_path

Q8, Q4 = 34 / 32, 18 / 32  # bytes of a weight
TABLE = 64 * 128
LAYER = 64 * 64 + 64 * 96
NORMS = 3 * 64


def text_of(header: Header) -> TextCosts:
    text = costs_of_header(parse_gguf(header.write())).text
    assert text is not None
    return text


def test_a_model_with_an_output_of_its_own_only_looks_its_embedding_up():
    text = text_of(tiny())
    assert text == TextCosts(
        token_bytes=int(TABLE * Q8 + 2 * LAYER * Q4 + NORMS * 4),
        repacked_bytes=int(TABLE * Q8 + 2 * LAYER * Q4),
        repacked_avx2_bytes=int(2 * LAYER * Q4),
        parameters=2 * LAYER + NORMS,
        kv_bytes=2 * 2 * (16 + 16) * 2,
        state_bytes=0,
        layers=2,
        heads=4,
        embedding=64,
        feed_forward=96,
        vocabulary=128,
        context=512,
    )


def test_an_embedding_that_is_the_output_as_well_is_read_for_each_token():
    header = tiny()
    header.tensors.pop()
    assert text_of(header) == text_of(tiny())


def test_costs_have_the_whole_file_and_the_arithmetic_of_one_token():
    data = tiny().write()
    costs = costs_of_header(parse_gguf(data))
    macs = 2 * LAYER + NORMS
    assert costs == Costs(
        file_bytes=len(data),
        weight_bytes=int(2 * TABLE * Q8 + 2 * LAYER * Q4 + NORMS * 4),
        arena_bytes=0,
        macs_total=macs,
        macs=Macs(dense=macs),
        elementwise=0,
        compute="Q8_0",
        stateful=False,
        operators={},
        text=text_of(tiny()),
    )


def test_heads_of_another_size_than_the_embedding_says():
    sizes = {"llama.attention.key_length": u32(128), "llama.attention.value_length": u32(64)}
    assert text_of(tiny(**sizes)).kv_bytes == 2 * 2 * (128 + 64) * 2


def test_without_groups_each_head_has_keys_of_its_own():
    assert text_of(tiny(**{"llama.attention.head_count_kv": None})).kv_bytes == 2 * 4 * (16 + 16) * 2


def test_a_recurrent_layer_keeps_a_state_and_no_keys():
    text = text_of(
        tiny(
            **{
                "llama.attention.head_count_kv": numbers("i32", [0, 2]),
                "llama.ssm.inner_size": u32(128),
                "llama.ssm.state_size": u32(16),
                "llama.ssm.group_count": u32(1),
                "llama.ssm.conv_kernel": u32(4),
            }
        )
    )
    assert text.kv_bytes == 2 * (16 + 16) * 2
    assert text.state_bytes == (128 * 16 + 3 * (128 + 2 * 16)) * 4


def test_a_token_reads_only_the_experts_that_it_asks():
    header = tiny(**{"llama.expert_count": u32(8), "llama.expert_used_count": u32(2)})
    header.tensors.append(("blk.0.ffn_up_exps.weight", (64, 32, 8), "Q4_0", None))
    text, without = text_of(header), text_of(tiny())
    assert text.token_bytes - without.token_bytes == 64 * 32 * 2 * Q4
    assert text.parameters - without.parameters == 64 * 32 * 2
    assert text.repacked_bytes - without.repacked_bytes == 64 * 32 * 8 * Q4  # kept a second time whether asked or not


def test_a_layer_with_a_feed_forward_of_its_own_size():
    assert text_of(tiny(**{"llama.feed_forward_length": numbers("u32", [96, 160])})).feed_forward == 160


def test_the_largest_numbers_that_are_taken_can_be_written_and_read_again():
    sizes = {f"llama.attention.{key}": u32(1 << 24) for key in ("head_count", "head_count_kv", "key_length", "value_length")}
    states = {f"llama.ssm.{key}": u32(1 << 14) for key in ("inner_size", "state_size", "group_count", "conv_kernel")}
    costs = costs_of_header(parse_gguf(tiny(**sizes, **states, **{"llama.block_count": u32(1024)}).write()))
    assert msgspec.json.decode(msgspec.json.encode(costs), type=Costs) == costs


def test_costs_of_a_graph_are_written_without_a_word_of_text():
    costs = Costs(
        file_bytes=1, weight_bytes=1, arena_bytes=0, macs_total=0, macs=Macs(), elementwise=0, compute="int8", stateful=False, operators={}
    )
    assert b"text" not in msgspec.json.encode(costs)


def test_a_real_model_is_counted_as_its_makers_say():
    """SmolLM2-135M-Instruct, Q4_1 with an embedding of Q8_0: 134.5 million parameters, 28.3 of them the embedding."""
    costs = costs_of_gguf(smollm_path())
    assert (costs.file_bytes, costs.weight_bytes, costs.compute) == (98_362_432, 96_576_768, "Q4_1")
    assert costs.text == TextCosts(
        token_bytes=96_576_768,
        repacked_bytes=30_081_024,
        parameters=106_203_456,
        kv_bytes=30 * 3 * 128 * 2,
        layers=30,
        heads=9,
        embedding=576,
        feed_forward=1536,
        vocabulary=49_152,
        context=8192,
    )


def test_words_that_are_counted_need_not_be_as_many_as_the_table_has():
    """Tables are often padded; arithmetic is done with the table."""
    assert text_of(tiny(**{"tokenizer.ggml.tokens": strings(["a"] * 100)})).vocabulary == 128


def test_another_architecture_has_its_own_keys():
    renamed = [(str(key).replace("llama.", "gemma3."), value) for key, value in tiny().pairs]
    header = Header([*renamed, ("gemma3.attention.sliding_window", number("u32", 512))], tiny().tensors)
    header.pairs = [(key, string("gemma3") if key == "general.architecture" else value) for key, value in header.pairs]
    assert text_of(header) == text_of(tiny())
