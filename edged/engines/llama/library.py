"""Bind the C API of llama.cpp with ctypes: from the shared object of xllamacpp, or from llama-cpp-python.

Why not xllamacpp's own interface is in docs/decisions/0012-llama-through-its-c-api.md. Structures that are passed by value have
no version in C, so the layout below belongs to one version of the package, and what the library fills in as defaults is held
against what that version does. llama-cpp-python brings its own structures.
"""

from __future__ import annotations

import ctypes as c
import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.errors import BoardError

XLLAMACPP = "2026.10.11549"

_i32, _u32, _f32, _p, _bool, _char_p, _size = c.c_int32, c.c_uint32, c.c_float, c.c_void_p, c.c_bool, c.c_char_p, c.c_size_t
LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, _p)
ABORT = c.CFUNCTYPE(_bool, _p)
PROGRESS = c.CFUNCTYPE(_bool, _f32, _p)
# Fields that a later version may add behind the last one: the callee reads no further than its own size, and is given zeros.
_MORE = ("more", c.c_uint8 * 256)


class ModelParams(c.Structure):
    """`llama_model_params` of llama.h, version `XLLAMACPP`."""

    _fields_ = (
        *((name, _p) for name in ("devices", "tensor_buft_overrides")),
        *((name, _i32) for name in ("n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")),
        *((name, _p) for name in ("tensor_split", "progress_callback", "progress_callback_user_data", "kv_overrides")),
        *((name, _bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp")),
        _MORE,
    )  # fmt: skip


class ContextParams(c.Structure):
    """`llama_context_params` of llama.h, version `XLLAMACPP`."""

    _fields_ = (
        *((name, _u32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq", "n_outputs_max", "n_outputs_max_per_seq")),
        *((name, _i32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type", "pooling_type", "attention_type")),
        ("flash_attn_type", _i32),
        *((name, _f32) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        *((name, _f32) for name in ("yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", _u32),
        ("defrag_thold", _f32),
        *((name, _p) for name in ("cb_eval", "cb_eval_user_data")),
        *((name, _i32) for name in ("type_k", "type_v")),
        *((name, _p) for name in ("unnamed", "abort_callback", "abort_callback_data")),
        *((name, _bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", _p),
        ("n_samplers", _size),
        ("ctx_other", _p),
        _MORE,
    )  # fmt: skip


class BatchStruct(c.Structure):
    """`llama_batch` of llama.h: tokens, their places and sequences, and which of them give scores of the vocabulary."""

    _fields_ = (("n_tokens", _i32), *((name, _p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")))


class ChatMessage(c.Structure):
    """`llama_chat_message` of llama.h."""

    _fields_ = (("role", _char_p), ("content", _char_p))


class TokenData(c.Structure):
    """`llama_token_data` of llama.h: a token that may come next."""

    _fields_ = (("id", _i32), ("logit", _f32), ("p", _f32))


class TokenDataArray(c.Structure):
    """`llama_token_data_array` of llama.h."""

    _fields_ = (("data", c.POINTER(TokenData)), ("size", _size), ("selected", c.c_int64), ("sorted", _bool))


# What the library must fill in by itself; another layout would put something else in these places.
_MODEL_DEFAULTS: dict[str, object] = {
    "n_gpu_layers": -1, "load_mode": -1, "main_gpu": 0, "vocab_only": False, "check_tensors": False, "use_extra_bufts": True,
    "no_alloc": False,
}  # fmt: skip
_CONTEXT_DEFAULTS: dict[str, object] = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "pooling_type": -1, "flash_attn_type": -1, "yarn_ext_factor": -1.0,
    "type_k": 1, "type_v": 1, "embeddings": False, "offload_kqv": True, "no_perf": True, "op_offload": True, "swa_full": True,
    "kv_unified": False, "n_samplers": 0,
}  # fmt: skip

# name → (what it gives, what it takes); a model, a context, a vocabulary, a sampler are addresses
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LOG, _p)),
    "llama_model_get_vocab": (_p, (_p,)),
    "llama_model_n_embd": (_i32, (_p,)),
    "llama_model_n_ctx_train": (_i32, (_p,)),
    "llama_model_chat_template": (_char_p, (_p, _char_p)),
    "llama_model_is_recurrent": (_bool, (_p,)),
    "llama_model_is_hybrid": (_bool, (_p,)),
    "llama_model_has_encoder": (_bool, (_p,)),
    "llama_chat_apply_template": (_i32, (_char_p, c.POINTER(ChatMessage), _size, _bool, _p, _i32)),
    "llama_vocab_n_tokens": (_i32, (_p,)),
    "llama_vocab_bos": (_i32, (_p,)),
    "llama_vocab_get_add_bos": (_bool, (_p,)),
    "llama_vocab_is_eog": (_bool, (_p, _i32)),
    "llama_tokenize": (_i32, (_p, _char_p, _i32, _p, _i32, _bool, _bool)),
    "llama_token_to_piece": (_i32, (_p, _i32, _p, _i32, _i32, _bool)),
    "llama_free": (None, (_p,)),
    "llama_n_ctx": (_u32, (_p,)),
    "llama_set_abort_callback": (None, (_p, ABORT, _p)),
    "llama_decode": (_i32, (_p, BatchStruct)),
    "llama_get_memory": (_p, (_p,)),
    "llama_memory_seq_cp": (None, (_p, _i32, _i32, _i32, _i32)),
    "llama_memory_seq_rm": (_bool, (_p, _i32, _i32, _i32)),
    "llama_memory_seq_keep": (None, (_p, _i32)),
    "llama_get_logits": (_p, (_p,)),
    "llama_get_embeddings": (_p, (_p,)),
    "llama_sampler_init_grammar": (_p, (_p, _char_p, _char_p)),
    "llama_sampler_apply": (None, (_p, c.POINTER(TokenDataArray))),
    "llama_sampler_accept": (None, (_p, _i32)),
    "llama_sampler_free": (None, (_p,)),
}


@dataclass(frozen=True)
class Library:
    """The functions of the C API by their names, in `calls`, and the structures that they take by value."""

    calls: Any
    model_params: type[c.Structure]
    context_params: type[c.Structure]


def open_library(runtime: str) -> Library:
    """Load a runtime of `TEXT_RUNTIMES`, by name.

    Raises BoardError: `engine-missing` where it is not installed or does not load, `engine-abi` where it is another version than
    the one whose layout is known.
    """
    bound = _xllamacpp() if runtime == "xllamacpp" else _llama_cpp_python()
    missing = [name for name in _FUNCTIONS if not hasattr(bound.calls, name)]
    if missing:
        raise _other_abi(f"{runtime} has no {missing[0]}")
    for name, (gives, takes) in _FUNCTIONS.items():
        function = getattr(bound.calls, name)
        function.restype, function.argtypes = gives, list(takes)
    _new(bound, "llama_model_load_from_file", _p, _char_p, bound.model_params)
    _new(bound, "llama_init_from_model", _p, _p, bound.context_params)
    _check_defaults(_new(bound, "llama_model_default_params", bound.model_params)(), _MODEL_DEFAULTS, runtime)
    _check_defaults(_new(bound, "llama_context_default_params", bound.context_params)(), _CONTEXT_DEFAULTS, runtime)
    return bound


def _xllamacpp() -> Library:
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        raise BoardError("engine-missing", "xllamacpp is not installed", "pip install 'edged[text]'")
    if (version := importlib.metadata.version("xllamacpp")) != XLLAMACPP:
        raise _other_abi(f"xllamacpp {version} is installed, and this version of edged knows {XLLAMACPP}")
    # Not imported: the module's own code is not needed, and takes time and memory.
    path = next(iter(sorted(Path(spec.origin).parent.glob("xllamacpp*.so"))), None)
    if path is None:
        raise _other_abi("xllamacpp has no shared object")
    try:
        return Library(c.CDLL(str(path)), ModelParams, ContextParams)
    except OSError as error:  # another libc; libgomp is not there
        hint = "apt-get install libgomp1" if "libgomp" in str(error) else "pip install 'edged[text]'"
        raise BoardError("engine-missing", f"xllamacpp does not load: {error}", hint) from error


def _llama_cpp_python() -> Library:
    try:
        low: Any = importlib.import_module("llama_cpp.llama_cpp")
        return Library(low._lib, low.llama_model_params, low.llama_context_params)
    except (ImportError, AttributeError, OSError) as error:
        raise BoardError("engine-missing", f"llama-cpp-python does not load: {error}", "pip install 'edged[text]'") from error


def _new(bound: Library, name: str, gives: Any, *takes: Any) -> Any:
    function = getattr(bound.calls, name)
    function.restype, function.argtypes = gives, list(takes)
    return function


def _check_defaults(params: c.Structure, expected: dict[str, object], runtime: str) -> None:
    found = {name: getattr(params, name, None) for name in expected}
    if wrong := {name: value for name, value in found.items() if value != expected[name]}:
        name, value = next(iter(wrong.items()))
        raise _other_abi(f"{runtime} fills in {name} = {value}, where {expected[name]} was expected")


def _other_abi(text: str) -> BoardError:
    return BoardError("engine-abi", text, f"pip install xllamacpp=={XLLAMACPP}")
