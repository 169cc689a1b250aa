"""Read the header of a GGUF file: what it says of the model, and the types and sizes of its tensors. Weights are not read.

A GGUF file is little-endian: magic and version, the numbers of tensors and of pairs; the pairs, each
a key, a type and a value; a description of each tensor; then, aligned, the tensors themselves in the
order of their descriptions. Source: docs/gguf.md of ggml, versions 2 and 3.

No number in it is trusted: every position is checked before it is read, counts are bounded, and a
tensor must lie in the file where the ones before it end. The lists of a tokenizer, several 100,000
words, are stepped over, and only their length is kept.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from edged.errors import PublisherError
from edged.models.ggml_types import TYPES
from edged.models.gguf_bytes import Cursor, malformed, unsupported

MAX_PAIRS = 4096  # real files have 20 to 60
MAX_TENSORS = 16_384  # the largest models for small boards have about 700
KEPT_ITEMS = 1024  # a shorter list of numbers has one for each layer, and is kept
_MAX_KEY = 256
_MAX_NAME = 64  # as in llama.cpp
_MAX_AXES = 4
_MAX_ELEMENTS = 1 << 40
_MAX_ALIGNMENT = 1 << 16
_KEPT_WORK = 64

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9
_ALIGNMENT = "general.alignment"

Value = int | float | bool | str | tuple[int | float, ...]


@dataclass(frozen=True)
class Tensor:
    """One tensor: its shape with the length of a row first, the name of its type, and its bytes in the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int

    @property
    def elements(self) -> int:
        """Count the values."""
        return prod(self.shape)


@dataclass(frozen=True)
class Gguf:
    """What the header says.

    `pairs` has numbers, texts (cut at 512 bytes) and short lists of numbers; `lengths` has the length of every list.
    """

    file_bytes: int
    pairs: dict[str, Value]
    lengths: dict[str, int]
    tensors: tuple[Tensor, ...]


def read_gguf(path: Path) -> Gguf:
    """Read the header of a .gguf file.

    Raises PublisherError: `gguf-malformed` for any file that is not one, `gguf-unsupported` for one of another
    byte order, of an unknown version or type, or in several parts, `gguf-unreadable` where the system does not give it.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise malformed("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_gguf(data)
    except PublisherError as error:
        raise PublisherError(error.code, f"{path.name}: {error.text}", error.hint) from None
    except (OSError, ValueError) as error:
        raise PublisherError("gguf-unreadable", f"{path} cannot be read: {error}", "check its owner and mode") from None


def parse_gguf(data: bytes | mmap.mmap) -> Gguf:
    """Read the header in the bytes of a whole .gguf file; errors as `read_gguf`, but for `gguf-unreadable`."""
    cursor = Cursor(data)
    if data[:4] != b"GGUF":
        raise malformed("it does not begin as a GGUF file does")
    cursor.at = 4
    _known_version(cursor.u32())
    tensor_count, pair_count = cursor.u64(), cursor.u64()
    if pair_count > MAX_PAIRS or tensor_count > MAX_TENSORS:
        raise malformed(f"it claims {pair_count} pairs and {tensor_count} tensors")
    pairs, lengths = _pairs(cursor, pair_count)
    parts = pairs.get("split.count", 0)
    if parts not in (0, 1):
        raise unsupported(f"it is one of {parts!r:.40} parts of a model", "join them: `llama-gguf-split --merge`")
    tensors = _tensors(cursor, tensor_count, _alignment(pairs))
    return Gguf(len(data), pairs, lengths, tensors)


def _known_version(version: int) -> None:
    if version in (2, 3):
        return
    if version & 0xFFFF == 0 and version:
        raise unsupported("its bytes are in the order of another kind of processor", "convert it to little-endian")
    raise unsupported(f"it has version {version} of GGUF, and 2 and 3 are known", "convert the model with a current llama.cpp")


def _pairs(cursor: Cursor, count: int) -> tuple[dict[str, Value], dict[str, int]]:
    pairs: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(count):
        key = cursor.word(_MAX_KEY)
        if key in pairs or key in lengths:
            raise malformed(f"it has `{key}` twice")
        kind = cursor.u32()
        if kind == _ARRAY:
            length, items = _array(cursor)
            lengths[key] = length
            if items is not None:
                pairs[key] = items
        else:
            pairs[key] = _scalar(cursor, kind)
    return pairs, lengths


def _scalar(cursor: Cursor, kind: int) -> Value:
    if kind == _STRING:
        return cursor.text()
    if kind == _BOOL:
        return cursor.data[cursor.take(1)] != 0
    code = _code(kind)
    value: int | float = struct.unpack_from(f"<{code}", cursor.data, cursor.take(struct.calcsize(f"<{code}")))[0]
    return value


def _array(cursor: Cursor) -> tuple[int, tuple[int | float, ...] | None]:
    """Read a short list of numbers, step over any other; give its length, and the items where they were read."""
    kind, length = cursor.u32(), cursor.u64()
    if kind == _ARRAY:
        raise malformed("it has a list of lists")  # the format allows them; no model has one, and llama.cpp refuses them
    if kind == _STRING:
        cursor.skip_texts(length)
        return length, None
    code = "?" if kind == _BOOL else _code(kind)
    begin = cursor.take(length * struct.calcsize(f"<{code}"))
    if length > KEPT_ITEMS:
        return length, None
    cursor.spend(length * _KEPT_WORK)
    return length, struct.unpack_from(f"<{length}{code}", cursor.data, begin)


def _code(kind: int) -> str:
    if kind not in _NUMBERS:
        raise malformed(f"it has a value of type {kind}")
    return _NUMBERS[kind]


def _alignment(pairs: dict[str, Value]) -> int:
    alignment = pairs.get(_ALIGNMENT, 32)
    if type(alignment) is not int or not 8 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise malformed(f"its tensors are aligned to {alignment!r:.40} bytes")
    return alignment


def _tensors(cursor: Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    """Read the descriptions; each tensor begins where the one before ends, aligned, and the last ends in the file."""
    tensors: dict[str, Tensor] = {}
    end = 0
    for _ in range(count):
        tensor = _tensor(cursor)
        if tensor.name in tensors:
            raise malformed(f"it has the tensor `{tensor.name}` twice")
        if cursor.u64() != _aligned(end, alignment):
            raise malformed(f"the tensor `{tensor.name}` does not begin where the one before ends")
        end = _aligned(end, alignment) + tensor.bytes
        tensors[tensor.name] = tensor
    if tensors and _aligned(cursor.at, alignment) + end > len(cursor.data):
        raise malformed(f"its tensors take {end} bytes, and go beyond its end")
    return tuple(tensors.values())


def _tensor(cursor: Cursor) -> Tensor:
    name, axes = cursor.word(_MAX_NAME), cursor.u32()
    if not 1 <= axes <= _MAX_AXES:
        raise malformed(f"the tensor `{name}` has {axes} axes")
    shape = tuple(cursor.u64() for _ in range(axes))
    if not 0 < prod(shape) <= _MAX_ELEMENTS:
        raise malformed(f"the tensor `{name}` has the shape {list(shape)}")
    kind = cursor.u32()
    if kind not in TYPES:
        raise unsupported(f"the tensor `{name}` has the unknown type {kind}", "quantize the model to a common type, such as Q4_K_M")
    type_, values, size = TYPES[kind]
    if shape[0] % values:
        raise malformed(f"a row of the tensor `{name}` has {shape[0]} values, and {type_} takes {values} at a time")
    return Tensor(name, shape, type_, prod(shape) // values * size)


def _aligned(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
