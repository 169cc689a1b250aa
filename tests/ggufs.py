"""Write GGUF files for tests: a header of any content, and tensors of zeros."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from math import prod
from random import Random
from typing import Any

from edged.models.ggml_types import TYPES

_NUMBERS = {"u8": (0, "B"), "u16": (2, "H"), "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"), "u64": (10, "Q")}
_KINDS = {name: kind for kind, (name, _, _) in TYPES.items()}


def text(value: str | bytes) -> bytes:
    """Write a string: its length, its bytes."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def u32(value: int) -> tuple[int, bytes]:
    """Give type and bytes of a number."""
    return number("u32", value)


def number(name: str, value: float) -> tuple[int, bytes]:
    """Give type and bytes of a number of any type."""
    kind, code = _NUMBERS[name]
    return kind, struct.pack(f"<{code}", value)


def flag(value: bool) -> tuple[int, bytes]:
    """Give type and bytes of true or false."""
    return 7, bytes([value])


def string(value: str | bytes) -> tuple[int, bytes]:
    """Give type and bytes of a text."""
    return 8, text(value)


def numbers(name: str, values: list[Any], claimed: int | None = None) -> tuple[int, bytes]:
    """Give type and bytes of a list of numbers, which may claim another length."""
    kind, code = _NUMBERS[name]
    count = len(values) if claimed is None else claimed
    return 9, struct.pack("<IQ", kind, count) + struct.pack(f"<{len(values)}{code}", *values)


def strings(values: list[str], claimed: int | None = None) -> tuple[int, bytes]:
    """Give type and bytes of a list of texts, which may claim another length."""
    return 9, struct.pack("<IQ", 8, len(values) if claimed is None else claimed) + b"".join(map(text, values))


@dataclass
class Header:
    """A file to be written; what is set here may be wrong on purpose. An offset of None: right behind the tensor before."""

    pairs: list[tuple[str | bytes, tuple[int, bytes]]] = field(default_factory=list)
    tensors: list[tuple[str, tuple[int, ...], str | int, int | None]] = field(default_factory=list)
    version: int = 3
    magic: bytes = b"GGUF"
    pair_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32
    missing: int = 0

    def write(self) -> bytes:
        """Give the bytes of the file; the last `missing` are left out."""
        tensor_count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        pair_count = len(self.pairs) if self.pair_count is None else self.pair_count
        out = self.magic + struct.pack("<IQQ", self.version, tensor_count, pair_count)
        out += b"".join(text(key) + struct.pack("<I", kind) + value for key, (kind, value) in self.pairs)
        end = 0
        for name, shape, kind, offset in self.tensors:
            begin = -(-end // self.alignment) * self.alignment
            number_ = _KINDS[kind] if isinstance(kind, str) else kind
            shown = begin if offset is None else offset
            out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number_, shown)
            end = begin + _bytes(shape, kind)
        padding = -len(out) % self.alignment if self.tensors else 0
        out += bytes(padding + (end if end < 1 << 24 else 0))
        return out[: len(out) - self.missing]


def _bytes(shape: tuple[int, ...], kind: str | int) -> int:
    if not isinstance(kind, str):
        return 0
    _, values, size = TYPES[_KINDS[kind]]
    return prod(shape) // values * size


def tiny(**changes: Any) -> Header:
    """Make a model of 2 layers, 4 heads over 2, 64 wide, 128 words, with an output of its own."""
    pairs: dict[str, tuple[int, bytes] | None] = {
        "general.architecture": string("llama"),
        "general.alignment": u32(32),
        "llama.block_count": u32(2),
        "llama.context_length": u32(512),
        "llama.embedding_length": u32(64),
        "llama.feed_forward_length": u32(96),
        "llama.attention.head_count": u32(4),
        "llama.attention.head_count_kv": u32(2),
        "llama.rope.freq_base": number("f32", 10_000),
        "tokenizer.ggml.add_bos_token": flag(False),
        "tokenizer.ggml.tokens": strings([f"w{i}" for i in range(128)]),
        "tokenizer.ggml.scores": numbers("f32", [0.5] * 128),
    }
    pairs.update(changes)
    tensors: list[tuple[str, tuple[int, ...], str | int, int | None]] = [("token_embd.weight", (64, 128), "Q8_0", None)]
    for layer in range(2):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", (64,), "F32", None),
            (f"blk.{layer}.attn_q.weight", (64, 64), "Q4_0", None),
            (f"blk.{layer}.ffn_up.weight", (64, 96), "Q4_0", None),
        ]
    tensors += [("output_norm.weight", (64,), "F32", None), ("output.weight", (64, 128), "Q8_0", None)]
    return Header([(key, value) for key, value in pairs.items() if value is not None], tensors)


def working(seed: int = 1, weights: bytes | None = None, **changes: tuple[int, bytes]) -> bytes:
    """Make a model that loads and runs: 1 layer, 2 heads over 1, 32 wide, of random F32 weights; each byte is a token.

    `weights` are the four bytes of each weight instead; `changes` are of pairs of the header.
    """
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581"]
    kinds = [2, 3, 3, *[6] * 256, 1]  # unknown, control, byte, and the space
    pairs = [
        ("general.architecture", string("llama")),
        ("general.alignment", u32(32)),
        ("llama.block_count", u32(1)),
        ("llama.context_length", u32(512)),
        ("llama.embedding_length", u32(32)),
        ("llama.feed_forward_length", u32(64)),
        ("llama.attention.head_count", u32(2)),
        ("llama.attention.head_count_kv", u32(1)),
        ("llama.attention.layer_norm_rms_epsilon", number("f32", 1e-5)),
        ("llama.rope.dimension_count", u32(16)),
        ("llama.vocab_size", u32(len(names))),
        ("tokenizer.ggml.model", string("llama")),
        ("tokenizer.ggml.tokens", strings(names)),
        ("tokenizer.ggml.scores", numbers("f32", [0.0] * len(names))),
        ("tokenizer.ggml.token_type", numbers("i32", kinds)),
        ("tokenizer.ggml.bos_token_id", u32(1)),
        ("tokenizer.ggml.eos_token_id", u32(2)),
        ("tokenizer.ggml.unknown_token_id", u32(0)),
        ("tokenizer.ggml.add_bos_token", flag(False)),
    ]
    shapes = {
        "token_embd": (32, len(names)),
        "blk.0.attn_norm": (32,),
        "blk.0.attn_q": (32, 32),
        "blk.0.attn_k": (32, 16),
        "blk.0.attn_v": (32, 16),
        "blk.0.attn_output": (32, 32),
        "blk.0.ffn_norm": (32,),
        "blk.0.ffn_gate": (32, 64),
        "blk.0.ffn_up": (32, 64),
        "blk.0.ffn_down": (64, 32),
        "output_norm": (32,),
    }
    return _filled(list({**dict(pairs), **changes}.items()), {f"{name}.weight": shape for name, shape in shapes.items()}, seed, weights)


def encoder() -> bytes:
    """Make a model of the BERT family that loads and runs: 1 layer, 2 heads, 32 wide, of random F32 weights; it knows the words a, b, c."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2581a", "\u2581b", "\u2581c"]
    pairs = [
        ("general.architecture", string("bert")),
        ("general.alignment", u32(32)),
        ("bert.block_count", u32(1)),
        ("bert.context_length", u32(512)),
        ("bert.embedding_length", u32(32)),
        ("bert.feed_forward_length", u32(64)),
        ("bert.attention.head_count", u32(2)),
        ("bert.attention.layer_norm_epsilon", number("f32", 1e-5)),
        ("bert.attention.causal", flag(False)),
        ("tokenizer.ggml.model", string("bert")),
        ("tokenizer.ggml.token_type_count", u32(2)),
        ("tokenizer.ggml.tokens", strings(words)),
        ("tokenizer.ggml.token_type", numbers("i32", [*[3] * 5, 1, 1, 1])),
        ("tokenizer.ggml.scores", numbers("f32", [0.0] * len(words))),
        ("tokenizer.ggml.unknown_token_id", u32(1)),
        ("tokenizer.ggml.cls_token_id", u32(2)),
        ("tokenizer.ggml.seperator_token_id", u32(3)),
    ]
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (32, len(words)),
        "position_embd.weight": (32, 512),
        "token_types.weight": (32, 2),
    }
    for name, inner, outer in (("attn_q", 32, 32), ("attn_k", 32, 32), ("attn_v", 32, 32), ("attn_output", 32, 32), ("ffn_up", 32, 64)):
        shapes |= {f"blk.0.{name}.weight": (inner, outer), f"blk.0.{name}.bias": (outer,)}
    shapes |= {"blk.0.ffn_down.weight": (64, 32), "blk.0.ffn_down.bias": (32,)}
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        shapes |= {f"{name}.weight": (32,), f"{name}.bias": (32,)}
    return _filled(pairs, shapes, 1, None)


def recurrent() -> bytes:
    """Make a model of the Mamba family that loads and runs: 1 layer, 32 wide, of random F32 weights; its words are single bytes."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581"]
    pairs = [
        ("general.architecture", string("mamba")),
        ("general.alignment", u32(32)),
        ("mamba.block_count", u32(1)),
        ("mamba.context_length", u32(512)),
        ("mamba.embedding_length", u32(32)),
        ("mamba.feed_forward_length", u32(0)),
        ("mamba.attention.head_count", u32(0)),
        ("mamba.ssm.conv_kernel", u32(4)),
        ("mamba.ssm.inner_size", u32(64)),
        ("mamba.ssm.state_size", u32(16)),
        ("mamba.ssm.time_step_rank", u32(2)),
        ("mamba.attention.layer_norm_rms_epsilon", number("f32", 1e-5)),
        ("tokenizer.ggml.model", string("llama")),
        ("tokenizer.ggml.tokens", strings(names)),
        ("tokenizer.ggml.scores", numbers("f32", [0.0] * len(names))),
        ("tokenizer.ggml.token_type", numbers("i32", [2, 3, 3, *[6] * 256, 1])),
        ("tokenizer.ggml.eos_token_id", u32(2)),
        ("tokenizer.ggml.add_bos_token", flag(False)),
    ]
    shapes = {
        "token_embd.weight": (32, len(names)),
        "output_norm.weight": (32,),
        "blk.0.attn_norm.weight": (32,),
        "blk.0.ssm_in.weight": (32, 128),
        "blk.0.ssm_conv1d.weight": (4, 64),
        "blk.0.ssm_conv1d.bias": (64,),
        "blk.0.ssm_x.weight": (64, 34),
        "blk.0.ssm_dt.weight": (2, 64),
        "blk.0.ssm_dt.bias": (64,),
        "blk.0.ssm_a": (16, 64),
        "blk.0.ssm_d": (64,),
        "blk.0.ssm_out.weight": (64, 32),
    }
    return _filled(pairs, shapes, 1, None)


def _filled(pairs: list[tuple[str, tuple[int, bytes]]], shapes: dict[str, tuple[int, ...]], seed: int, weights: bytes | None) -> bytes:
    """Write a model with random F32 weights, or with `weights` for each."""
    header = Header(pairs, [(name, shape, "F32", None) for name, shape in shapes.items()])
    size = sum(-(-prod(shape) * 4 // 32) * 32 for shape in shapes.values())
    random = Random(seed)
    data = weights * (size // 4) if weights else struct.pack(f"<{size // 4}f", *(random.gauss(0, 0.3) for _ in range(size // 4)))
    return header.write()[:-size] + data
