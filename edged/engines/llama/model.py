"""A loaded model and its contexts: tokens, batches, scores of the vocabulary, embeddings, as numpy sees them."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.llama.library import ABORT, LOG, PROGRESS, BatchStruct, ChatMessage, Library
from edged.errors import BoardError, PublisherError

MOST_SEQUENCES = 256  # LLAMA_MAX_SEQ
_MMAP = 1  # LLAMA_LOAD_MODE_MMAP: pages of the file are given back when memory is short
_POOLING_NONE = 0  # embeddings of each token
_LOG_BYTES = 4096
_LOUD = (3, 4, 5)  # warnings, errors, and what goes on with the line before
_NO_ROOM, _ABORTED = 1, 2  # what llama_decode says
_GGUF = b"GGUF"


class _Said:
    """The last warnings and errors of the library, which has one place for them in a process."""

    def __init__(self) -> None:
        self.tail = b""
        self.callback = LOG(self._add)

    def text(self) -> str:
        return self.tail.decode(errors="replace").strip()[-400:] or "it says nothing"

    def _add(self, level: int, text: bytes, _: object) -> None:
        if level in _LOUD:
            self.tail = (self.tail + text)[-_LOG_BYTES:]


_SAID = _Said()


class Aborted(Exception):
    """A decode was stopped."""


class Model:
    """The weights and the vocabulary. `stops` is asked while they are loaded."""

    def __init__(self, library: Library, path: Path, stops: Callable[[], bool]) -> None:
        """Load a file whose structure the caller has checked.

        Raises BoardError: `model-file-missing`, `runner-out-of-memory`; PublisherError(`model-not-loadable`).
        """
        self.calls: Any = library.calls
        self.library = library
        self.calls.llama_log_set(_SAID.callback, None)
        self.calls.llama_backend_init()
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise BoardError("model-file-missing", f"`{path.name}` cannot be read: {error}", "install the release again") from error
        if magic != _GGUF:
            raise PublisherError("model-not-loadable", f"`{path.name}` is no GGUF file", "give a .gguf file")

        loaded = PROGRESS(lambda part, _: not stops())
        params: Any = self.calls.llama_model_default_params()
        params.n_gpu_layers, params.load_mode, params.use_extra_bufts = 0, _MMAP, True
        field = dict(type(params)._fields_)["progress_callback"]
        params.progress_callback = c.cast(loaded, field)
        self.handle = self.calls.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            if lacks_memory(self.said()):
                raise BoardError("runner-out-of-memory", f"there is no memory for the model: {self.said()}", "choose a smaller variant")
            raise PublisherError("model-not-loadable", f"llama.cpp does not load `{path.name}`: {self.said()}", "publish another file")
        self.vocab = self.calls.llama_model_get_vocab(self.handle)
        self.words: int = self.calls.llama_vocab_n_tokens(self.vocab)
        self.width: int = self.calls.llama_model_n_embd(self.handle)
        self.trained_context: int = self.calls.llama_model_n_ctx_train(self.handle)
        self.keeps_state = bool(self.calls.llama_model_is_recurrent(self.handle) or self.calls.llama_model_is_hybrid(self.handle))

    def tokens(self, text: str, control: bool) -> list[int]:
        """Give the tokens of a text. `control`: what is written like a control token becomes one; never so for a text from outside."""
        data = text.encode()
        room = np.empty(len(data) + 8, np.int32)
        count = self.calls.llama_tokenize(self.vocab, data, len(data), room.ctypes.data, len(room), False, control)
        if count < 0:
            raise PublisherError("model-not-loadable", f"its vocabulary cannot write {text[:40]!r}", "publish another file")
        return room[:count].tolist()

    def first(self) -> list[int]:
        """Give the token that a text begins with, where the model wants one."""
        return [self.calls.llama_vocab_bos(self.vocab)] if self.calls.llama_vocab_get_add_bos(self.vocab) else []

    def something(self) -> list[int]:
        """Give a token to begin with where there is no other: the model's own for that, or a line's end."""
        bos = self.calls.llama_vocab_bos(self.vocab)
        return [bos] if bos >= 0 else self.tokens("\n", False)[:1]

    def piece(self, token: int) -> bytes:
        """Give the bytes that a token stands for; none for a control token."""
        room = c.create_string_buffer(256)
        count = self.calls.llama_token_to_piece(self.vocab, token, c.cast(room, c.c_void_p), len(room), 0, False)
        return room.raw[: max(count, 0)]

    def ends(self, token: int) -> bool:
        """Say whether an answer ends with this token."""
        return bool(self.calls.llama_vocab_is_eog(self.vocab, token))

    def chat(self, turns: Sequence[tuple[str, str]], answer: bool) -> str:
        """Put turns (role, content) into the model's own chat template; `answer`: and begin the assistant's next one.

        Raises PublisherError(`chat-template-unsupported`).
        """
        template = self.calls.llama_model_chat_template(self.handle, None)
        messages = (ChatMessage * len(turns))(*(ChatMessage(role.encode(), content.encode()) for role, content in turns))
        room = c.create_string_buffer(4096 + 64 * len(turns))
        count = -1
        if template is not None:
            count = self.calls.llama_chat_apply_template(template, messages, len(turns), answer, c.cast(room, c.c_void_p), len(room))
        if not 0 <= count <= len(room):
            text = "the model has no chat template" if template is None else "llama.cpp does not know the model's chat template"
            raise PublisherError("chat-template-unsupported", text, "say `chat = false`, and write the turns into `template` and `system`")
        return room.raw[:count].decode(errors="replace")

    def said(self) -> str:
        """Give the last thing that the library said."""
        return _SAID.text()


class Context:
    """Room for sequences of tokens, and what was computed of them. Arrays that it gives are views that the next decode overwrites."""

    def __init__(
        self, model: Model, *, tokens: int, block: int, batch: int, sequences: int, threads: int, embeddings: bool = False
    ) -> None:
        """Take room for `tokens` in all, of which `batch` go in with one decode, computed `block` at a time.

        Raises BoardError(`runner-out-of-memory`) where there is not enough memory, as far as the library sees it, and
        PublisherError(`model-unsupported`) for an encoder: it wants a text whole, and made of its parts its vectors would be wrong.
        """
        self.model, self._calls = model, model.calls
        params: Any = self._calls.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = tokens, batch, block, sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = params.swa_full = True  # sequences share a prefix, also where attention looks back a window only
        params.embeddings = embeddings
        if embeddings:
            params.pooling_type = _POOLING_NONE
        self.handle = self._calls.llama_init_from_model(model.handle, params)
        if not self.handle:
            text = f"there is no memory for a context of {tokens} tokens: {model.said()}"
            raise BoardError("runner-out-of-memory", text, "choose a smaller variant, or a smaller `context`")
        self.memory = self._calls.llama_get_memory(self.handle)
        if not self.memory or self._calls.llama_model_has_encoder(model.handle):
            text = "it is an encoder, such as BERT, and texts are read by models that write, token after token"
            raise PublisherError("model-unsupported", text, "take a model of another family, such as llama, qwen or gemma")
        self.tokens: int = self._calls.llama_n_ctx(self.handle)
        self.batch, self.block = batch, block
        self.evaluated = 0  # tokens so far
        self._rows = 0
        self._width = model.width if embeddings else model.words
        self._read = self._calls.llama_get_embeddings if embeddings else self._calls.llama_get_logits
        self._abort: Any = None

    def decode(self, tokens: Sequence[int], places: Sequence[int], sequences: Sequence[Sequence[int]], wanted: Sequence[int]) -> None:
        """Compute `tokens` at `places` in their sequences, at most `batch`.

        `wanted`: 1 for a token whose row `rows` shall give. Raises Aborted, BoardError(`runner-crashed`) where the library refuses.
        """
        count = len(tokens)
        token, place, want = np.asarray(tokens, np.int32), np.asarray(places, np.int32), np.asarray(wanted, np.int8)
        counts = np.fromiter(map(len, sequences), np.int32, count)
        ids = np.fromiter((each for some in sequences for each in some), np.int32, int(counts.sum()))
        addresses = (ids.ctypes.data + 4 * (np.cumsum(counts) - counts)).astype(np.uint64)
        at = [array.ctypes.data for array in (place, counts, addresses, want)]
        code = self._calls.llama_decode(self.handle, BatchStruct(count, token.ctypes.data, None, *at))
        if code == _ABORTED:
            raise Aborted
        if code != 0:
            why = "no room is left" if code == _NO_ROOM else f"code {code}"
            raise BoardError("runner-crashed", f"llama.cpp cannot decode {count} tokens: {why}; {self.model.said()}", "report this")
        self.evaluated += count
        self._rows = int(want.sum())

    def rows(self) -> NDArray[np.float32]:
        """Give the rows of the last decode, in the order of its tokens: scores of the vocabulary, or embeddings."""
        address = self._read(self.handle)
        return np.ctypeslib.as_array(c.cast(address, c.POINTER(c.c_float)), (self._rows, self._width))

    def fill(self, tokens: Sequence[int], sequence: int, between: Callable[[], None]) -> None:
        """Compute the first tokens of a sequence block by block, `between` after each."""
        for at in range(0, len(tokens), self.block):
            part = tokens[at : at + self.block]
            self.decode(part, range(at, at + len(part)), [(sequence,)] * len(part), [0] * len(part))
            between()

    def copy(self, source: int, target: int) -> None:
        """Let a sequence begin with all tokens of another."""
        self._calls.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def drop(self, sequence: int, place: int = -1) -> None:
        """Forget a sequence, from `place` on."""
        self._calls.llama_memory_seq_rm(self.memory, sequence, place, -1)

    def keep(self, sequence: int) -> None:
        """Forget all sequences but one."""
        self._calls.llama_memory_seq_keep(self.memory, sequence)

    def close(self) -> None:
        """Give its memory back."""
        self._calls.llama_free(self.handle)

    def watch(self, stop: Callable[[], bool] | None) -> None:
        """Have `stop` called all the time during a decode; it ends where that says so. None: not any more."""
        self._abort = ABORT(lambda _: stop()) if stop else ABORT()
        self._calls.llama_set_abort_callback(self.handle, self._abort, None)


def lacks_memory(words: str) -> bool:
    """Say whether words of the library, or of Python, mean that the system gave no memory."""
    return any(each in words for each in ("bad_alloc", "MemoryError", "failed to allocate", "Cannot allocate memory", "out of memory"))
