"""GGUF headers: what is read, and every way a file can lie."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import PublisherError
from edged.models.gguf import parse_gguf, read_gguf
from edged.models.gguf_costs import costs_of_header
from tests.ggufs import Header, flag, number, numbers, string, strings, text, tiny, u32


def outcome(data: bytes) -> str:
    try:
        costs_of_header(parse_gguf(data))
    except PublisherError as error:
        return error.code if error.text.isprintable() else f"{error.code}, and would write to a terminal"
    return "read"


# What is read.


def test_what_the_header_says_is_read():
    gguf = parse_gguf(tiny().write())
    assert gguf.pairs["general.architecture"] == "llama"
    assert gguf.pairs["llama.block_count"] == 2
    assert gguf.pairs["tokenizer.ggml.add_bos_token"] is False
    assert gguf.pairs["llama.rope.freq_base"] == 10_000.0
    assert [(each.name, each.shape, each.type, each.bytes) for each in gguf.tensors[:3]] == [
        ("token_embd.weight", (64, 128), "Q8_0", 64 * 128 // 32 * 34),
        ("blk.0.attn_norm.weight", (64,), "F32", 256),
        ("blk.0.attn_q.weight", (64, 64), "Q4_0", 64 * 64 // 32 * 18),
    ]


def test_the_words_of_a_tokenizer_are_counted_and_not_kept():
    gguf = parse_gguf(tiny().write())
    assert gguf.lengths["tokenizer.ggml.tokens"] == 128
    assert "tokenizer.ggml.tokens" not in gguf.pairs


def test_a_short_list_of_numbers_is_kept_and_a_long_one_counted():
    gguf = parse_gguf(tiny(short=numbers("i32", [3, 0, 3]), long=numbers("u8", [0] * 5000)).write())
    assert gguf.pairs["short"] == (3, 0, 3)
    assert "long" not in gguf.pairs
    assert gguf.lengths["long"] == 5000


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version: int):
    header = tiny()
    header.version = version
    assert outcome(header.write()) == "read"


def test_half_a_million_words_take_no_memory():
    data = tiny(**{"tokenizer.ggml.tokens": strings(["word"] * 500_000)}).write()
    tracemalloc.start()
    assert outcome(data) == "read"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_long_text_such_as_a_template_is_cut():
    assert parse_gguf(tiny(template=string("x" * 100_000)).write()).pairs["template"] == "x" * 512


def test_tensors_may_be_aligned_wider():
    header = tiny(**{"general.alignment": u32(4096)})
    header.alignment = 4096
    assert outcome(header.write()) == "read"


# What is refused.


def changed(**changes: object) -> bytes:
    header = tiny()
    for key, value in changes.items():
        setattr(header, key, value)
    return header.write()


def with_tensor(*tensor: object) -> bytes:
    header = tiny()
    header.tensors.append(tensor)  # type: ignore[arg-type]
    return header.write()


def malformed() -> Iterator[tuple[str, bytes]]:
    whole = tiny().write()
    yield "nothing", b""
    yield "only a magic", b"GGUF"
    yield "another magic", changed(magic=b"TFL3")
    yield "2^64 - 1 pairs", changed(pair_count=2**64 - 1)
    yield "2^64 - 1 tensors", changed(tensor_count=2**64 - 1)
    yield "one pair more than there are", changed(pair_count=13)
    yield "one tensor more than there are", changed(tensor_count=10)
    yield "a key of 2^64 - 1 bytes", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1) + bytes(64)
    yield "an empty key", tiny(**{"": u32(1)}).write()
    yield "a key that would write to a terminal", tiny(**{"\x1b[2J": u32(1)}).write()
    yield "a text of 2^64 - 1 bytes", tiny(bad=(8, struct.pack("<Q", 2**64 - 1))).write()
    yield "a text of 2^63 bytes", tiny(bad=(8, struct.pack("<Q", 2**63))).write()
    yield "a value of an unknown type", tiny(bad=(13, bytes(8))).write()
    yield "a list of an unknown type", tiny(bad=(9, struct.pack("<IQ", 99, 0))).write()
    yield "a list of lists", tiny(bad=(9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 9, 1))).write()
    yield "a list of 2^64 - 1 numbers", tiny(bad=numbers("u64", [], 2**64 - 1)).write()
    yield "a list whose bytes are 2^64 and overflow to 0", tiny(bad=numbers("u64", [], 2**61)).write()
    yield "a list of 2^64 - 1 texts", tiny(bad=strings([], 2**64 - 1)).write()
    yield "a list of more texts than the file holds", tiny(bad=strings(["a"], 3_999_000)).write()
    yield "a list whose text goes beyond the end", tiny(bad=(9, struct.pack("<IQQ", 8, 1, 2**64 - 1))).write()
    yield "a key twice", Header([("a", u32(1)), ("a", u32(1))]).write()
    yield "a list and a number under one key", Header([("a", strings([])), ("a", u32(1))]).write()
    yield "more short lists than any model has", Header([(f"k{i}", numbers("u8", [0] * 1024)) for i in range(70)]).write()
    yield "alignment 0", tiny(**{"general.alignment": u32(0)}).write()
    yield "alignment 24", tiny(**{"general.alignment": u32(24)}).write()
    yield "alignment 2^31", tiny(**{"general.alignment": u32(2**31)}).write()
    yield "an alignment in words", tiny(**{"general.alignment": string("32")}).write()
    yield "an alignment that is true", tiny(**{"general.alignment": flag(True)}).write()
    yield "a tensor twice", with_tensor("output.weight", (64,), "F32", None)
    yield "a tensor without a name", with_tensor("", (64,), "F32", None)
    yield "a name of 65 bytes", with_tensor("x" * 65, (64,), "F32", None)
    yield "a tensor of no axes", with_tensor("x", (), "F32", None)
    yield "a tensor of five axes", with_tensor("x", (1,) * 5, "F32", None)
    yield "a tensor of 2^32 axes", whole[:24] + whole[24:].replace(struct.pack("<I", 2) + struct.pack("<Q", 64), b"\xff" * 12)
    yield "a tensor without elements", with_tensor("x", (0, 4), "F32", None)
    yield "a tensor of 2^64 elements, which overflow to 0", with_tensor("x", (2**32, 2**32), "F32", None)
    yield "a row that is no whole block", with_tensor("x", (33,), "Q4_0", None)
    yield "a tensor over another", with_tensor("x", (64,), "F32", 0)
    yield "a tensor behind a gap", with_tensor("x", (64,), "F32", 1 << 20)
    yield "an offset of 2^64 - 32", with_tensor("x", (64,), "F32", 2**64 - 32)
    yield "weights of which the last byte is missing", changed(missing=1)
    yield "a tensor of terabytes", with_tensor("x", (1 << 39,), "F32", None)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in malformed()])
def test_a_hostile_file_is_malformed(data: bytes):
    assert outcome(data) == "gguf-malformed"


def unsupported() -> Iterator[tuple[str, bytes]]:
    yield "version 1", changed(version=1)
    yield "version 4", changed(version=4)
    yield "version 0", changed(version=0)
    yield "the other byte order", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "one of three parts", tiny(**{"split.count": number("u16", 3)}).write()
    yield "parts in words", tiny(**{"split.count": string("three" * 99)}).write()
    yield "a tensor of a later type", with_tensor("x", (64,), 4000, None)
    yield "no architecture", tiny(**{"general.architecture": None}).write()
    yield "an architecture that would write to a terminal", tiny(**{"general.architecture": string("\x1b[2J")}).write()
    yield "no table of words", Header(tiny().pairs, tiny().tensors[1:]).write()


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in unsupported()])
def test_what_is_of_no_use_here_is_unsupported(data: bytes):
    assert outcome(data) == "gguf-unsupported"


ABSURD = [
    ("llama.block_count", None),
    ("llama.block_count", u32(0)),
    ("llama.block_count", u32(2**32 - 1)),
    ("llama.block_count", number("i32", -1)),
    ("llama.block_count", number("f32", 2)),
    ("llama.embedding_length", None),
    ("llama.attention.head_count", u32(2**32 - 1)),
    ("llama.attention.head_count_kv", numbers("i32", [2, 2, 2])),
    ("llama.attention.head_count_kv", numbers("i32", [2, -2])),
    ("llama.attention.head_count_kv", flag(True)),
    ("llama.attention.key_length", number("u64", 2**64 - 1)),
    ("llama.context_length", string("long")),
    ("llama.ssm.inner_size", u32(2**31)),
]


@pytest.mark.parametrize(("key", "value"), ABSURD)
def test_a_number_that_is_missing_or_absurd_is_malformed(key: str, value: tuple[int, bytes] | None):
    assert outcome(tiny(**{key: value}).write()) == "gguf-malformed"


def test_a_file_cut_at_any_place_is_malformed():
    data = tiny().write()
    assert {outcome(data[:at]) for at in range(0, len(data), 7)} == {"gguf-malformed"}


def test_flipped_bytes_raise_nothing_but_refusals():
    data, chance = tiny().write(), random.Random(5)
    header = data.index(b"output.weight") + 64
    for _ in range(3000):
        flipped = bytearray(data)
        for _ in range(chance.choice([1, 1, 4, 32])):
            flipped[chance.randrange(header)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        assert outcome(bytes(flipped)) in ("read", "gguf-malformed", "gguf-unsupported")


@given(st.binary(max_size=512))
def test_any_bytes_after_the_magic_are_refused(data: bytes):
    assert outcome(b"GGUF\x03\0\0\0" + data) in ("gguf-malformed", "gguf-unsupported")


values = st.one_of(
    st.builds(number, st.sampled_from(["u8", "u16", "u32", "u64"]), st.integers(0, 255)),
    st.builds(string, st.text(max_size=20)),
    st.builds(flag, st.booleans()),
    st.builds(numbers, st.just("u32"), st.lists(st.integers(0, 2**32 - 1), max_size=5), st.none() | st.integers(0, 2**64 - 1)),
    st.builds(strings, st.lists(st.text(max_size=5), max_size=5), st.none() | st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=24)),
)
keys = st.one_of(st.sampled_from([key for key, _ in tiny().pairs] + ["split.count", "llama.ssm.state_size"]), st.text(max_size=10))


@given(st.dictionaries(keys, values, max_size=4))
def test_any_pairs_are_read_or_refused(changes: dict[str, tuple[int, bytes]]):
    pairs = {**dict(tiny().pairs), **changes}
    assert outcome(Header(list(pairs.items()), tiny().tensors).write()) in ("read", "gguf-malformed", "gguf-unsupported")


shapes = st.lists(st.one_of(st.integers(0, 512), st.integers(0, 2**64 - 1)), max_size=5).map(tuple)
described = st.tuples(st.text(max_size=70), shapes, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


@given(st.lists(described, max_size=4))
def test_any_tensors_are_read_or_refused(tensors: list[tuple[str, tuple[int, ...], int, int]]):
    header = tiny()
    header.tensors += tensors
    assert outcome(header.write()) in ("read", "gguf-malformed", "gguf-unsupported")


def test_a_file_that_is_not_there_or_empty_is_our_error(tmp_path: Path):
    with pytest.raises(PublisherError) as caught:
        read_gguf(tmp_path / "no.gguf")
    assert caught.value.code == "gguf-unreadable"
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(PublisherError) as caught:
        read_gguf(tmp_path / "empty.gguf")
    assert caught.value.code == "gguf-malformed"
    assert caught.value.text.startswith("empty.gguf: ")


def test_a_file_on_disk_is_read_as_its_bytes_are(tmp_path: Path):
    (tmp_path / "tiny.gguf").write_bytes(tiny().write())
    assert read_gguf(tmp_path / "tiny.gguf") == parse_gguf(tiny().write())


def test_the_words_of_a_text_are_no_part_of_the_header_after_it():
    """A text's length may lead over the pairs behind it; what is read then is still held to its bounds."""
    inner = text("llama.block_count") + struct.pack("<I", 4) + struct.pack("<I", 7)
    gguf = parse_gguf(tiny(hidden=string(inner)).write())
    assert gguf.pairs["llama.block_count"] == 2
