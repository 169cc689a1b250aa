"""What a language model costs to run, as its file says: bytes to read for each token, parameters, memory for each token of context."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

# A release.json may claim anything. What is beyond this no board has, and arithmetic with it could fail.
_Count = Annotated[int, Meta(ge=0, le=1 << 60)]


class TextCosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `release.json` says of a variant for text, beside the bytes of its file and its weights.

    token_bytes     weights that one new token reads: all of them, but for tables that are only looked up
                    and experts that are not asked
    repacked_bytes  weights of types that a runtime keeps a second time, in the order that an ARM processor with dot products wants
    repacked_avx2_bytes  the same for an x86 processor with AVX2
    parameters      weights that one token is multiplied with: without the embedding of the input and of the output
    kv_bytes        keys and values of one token in all layers, 16 bits each; window attention may need less
    state_bytes     what recurrent layers keep for each sequence, however long it is
    context         the longest context that the model was trained for
    """

    token_bytes: _Count
    repacked_bytes: _Count
    repacked_avx2_bytes: _Count = 0
    parameters: _Count
    kv_bytes: _Count
    state_bytes: _Count = 0
    layers: _Count
    heads: _Count
    embedding: _Count
    feed_forward: _Count
    vocabulary: _Count
    context: _Count
