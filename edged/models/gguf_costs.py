"""Count what a GGUF file costs to run, from its header."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edged.models.costs import Costs, Macs
from edged.models.gguf import Gguf, Tensor, read_gguf
from edged.models.gguf_bytes import malformed, unsupported
from edged.models.text_costs import TextCosts

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_OWN_EMBEDDINGS = "per_layer_token_embd.weight"  # a table of each layer, looked up as well
# What llama.cpp keeps in another order, 2026, see ggml-cpu/repack.cpp: on ARM with dot products, and on x86-64 with AVX2.
_REPACKED = frozenset({"Q2_K", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"})
_REPACKED_AVX2 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
_HALF, _FLOAT = 2, 4
_MOST = 1 << 24  # of any number that is multiplied with others
_MOST_LAYERS = 1024
_MOST_STATE = 1 << 14


def costs_of_gguf(path: Path) -> Costs:
    """Count the costs of a .gguf file; multiply-adds are of one token. Errors as `read_gguf` and `costs_of_header`."""
    return costs_of_header(read_gguf(path))


def costs_of_header(gguf: Gguf) -> Costs:
    """Count the costs of a header.

    Raises PublisherError: `gguf-unsupported` where it is no language model, `gguf-malformed` where a number is left out or absurd.
    """
    text = text_costs_of(gguf)
    bytes_of: dict[str, int] = {}
    for tensor in gguf.tensors:
        bytes_of[tensor.type] = bytes_of.get(tensor.type, 0) + tensor.bytes
    return Costs(
        file_bytes=gguf.file_bytes,
        weight_bytes=sum(bytes_of.values()),
        arena_bytes=0,
        macs_total=text.parameters,
        macs=Macs(dense=text.parameters),
        elementwise=0,
        compute=max(bytes_of, key=lambda type_: bytes_of[type_]),
        stateful=False,
        operators={},
        text=text,
    )


def with_head(costs: Costs, path: Path) -> Costs:
    """Add what a head's file (see `engines/head.py`) takes beside the model, as `arena_bytes`. Raises PublisherError(`npz-malformed`)."""
    from edged.npz import read_arrays  # numpy: what only reads costs starts without it

    arrays = read_arrays(path, ("mean", "scale", "coef", "intercept"))
    return msgspec.structs.replace(costs, arena_bytes=sum(array.nbytes for array in arrays.values()))


def text_costs_of(gguf: Gguf) -> TextCosts:
    """Count what a token costs; errors as `costs_of_header`."""
    model = _Model(gguf)
    tensors = {tensor.name: tensor for tensor in gguf.tensors}
    table = tensors.get(_EMBEDDING)
    if table is None or len(table.shape) != 2:
        raise unsupported("it has no table of words, so it is no language model", "give the file of the model itself")
    looked_up = {_OWN_EMBEDDINGS, _EMBEDDING} if _OUTPUT in tensors else {_OWN_EMBEDDINGS}
    read = [tensor for tensor in gguf.tensors if tensor.name not in looked_up]
    matrices = [tensor for tensor in read if len(tensor.shape) > 1]
    body = [tensor for tensor in read if tensor.name not in (_EMBEDDING, _OUTPUT)]
    return TextCosts(
        token_bytes=sum(model.asked(tensor, tensor.bytes) for tensor in read),
        repacked_bytes=sum(tensor.bytes for tensor in matrices if tensor.type in _REPACKED),
        repacked_avx2_bytes=sum(tensor.bytes for tensor in matrices if tensor.type in _REPACKED_AVX2),
        parameters=sum(model.asked(tensor, tensor.elements) for tensor in body),
        kv_bytes=model.kv_bytes(),
        state_bytes=model.state_bytes(),
        layers=model.layers,
        heads=max(model.heads),
        embedding=table.shape[0],
        feed_forward=max(model.by_layer("feed_forward_length", 0)),
        vocabulary=table.shape[1],
        context=model.number("context_length", most=1 << 32),
    )


class _Model:
    """The numbers of a model's architecture, whose name is the first part of their keys."""

    def __init__(self, gguf: Gguf) -> None:
        self._pairs = gguf.pairs
        name = gguf.pairs.get("general.architecture")
        if not isinstance(name, str) or not name.isprintable():
            raise unsupported("it does not name its architecture, so it is no language model", "give the file of the model itself")
        self._name = name
        self.layers = self.number("block_count", most=_MOST_LAYERS)
        if self.layers == 0:
            raise malformed(f"`{name}.block_count` is 0")
        self.heads = self.by_layer("attention.head_count", 0)

    def number(self, key: str, default: int | None = None, most: int = _MOST) -> int:
        """Give a whole number from 0 to `most`; without `default` it must be there."""
        return self._hold(key, self._pairs.get(f"{self._name}.{key}", default), most)

    def by_layer(self, key: str, default: int) -> tuple[int, ...]:
        """Give a number for each layer; the file has one for all, or a list."""
        value = self._pairs.get(f"{self._name}.{key}", default)
        if not isinstance(value, tuple):
            return (self._hold(key, value, _MOST),) * self.layers
        if len(value) != self.layers:
            raise malformed(f"`{self._name}.{key}` has {len(value)} numbers for {self.layers} layers")
        return tuple(self._hold(key, each, _MOST) for each in value)

    def asked(self, tensor: Tensor, amount: int) -> int:
        """Give the part of `amount` that one token needs: of a layer's experts only some are asked."""
        if "_exps." not in tensor.name:
            return amount
        experts = self.number("expert_count")
        return amount * min(self.number("expert_used_count"), experts) // experts if experts else amount

    def kv_bytes(self) -> int:
        """Give the bytes of keys and values of one token, 16 bits each; a recurrent layer has 0 heads for them."""
        heads = max(self.heads)
        size = self.number("embedding_length") // heads if heads else 0
        both = self.number("attention.key_length", size) + self.number("attention.value_length", size)
        return sum(self._kv_heads()) * both * _HALF

    def state_bytes(self) -> int:
        """Give the bytes that recurrent (state space) layers keep: their state, and the last inputs of their convolution."""
        inner, state, groups, kernel = (
            self.number(f"ssm.{key}", 0, _MOST_STATE) for key in ("inner_size", "state_size", "group_count", "conv_kernel")
        )
        inputs = inner + 2 * groups * state
        recurrent = sum(not heads for heads in self._kv_heads())
        return recurrent * (inner * state + max(kernel - 1, 0) * inputs) * _FLOAT

    def _kv_heads(self) -> tuple[int, ...]:
        return self.by_layer("attention.head_count_kv", max(self.heads))

    def _hold(self, key: str, value: object, most: int) -> int:
        if type(value) is not int or not 0 <= value <= most:
            raise malformed(f"`{self._name}.{key}` is {'missing' if value is None else repr(value)[:40]}")
        return value
