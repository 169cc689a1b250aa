"""One TFLite interpreter, allocated for a fixed number of windows; wraps all that it raises.

Both runtimes have the same `Interpreter`. Tensors are copied in and out, and no views into its
memory are made: measured, a view costs more than the copy it saves. As there are none, the three
calls of a run go to the wrapped C++ object itself: `Interpreter.invoke` would look for views
each time, which is a tenth of a small net's time. `invoke` releases the GIL in both.

The file is mapped, not read: it must not change or shrink while a graph is open. Neither may
it be hostile: tflite-runtime does not verify a flatbuffer and crashes, or takes all memory, on
a truncated one. Here only identifier and size are looked at; its structure must have been
checked before.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engines.base import Build, Tensor
from edged.engines.chatter import hushed
from edged.engines.quantize import INTEGERS, conversion
from edged.errors import BoardError, PublisherError

MAX_BYTES = 2**31 - 1  # a flatbuffer's offsets reach no further
_IDENTIFIER = b"TFL3"
# What the interpreter's C++ errors become in Python.
_FOREIGN = (ValueError, RuntimeError, TypeError, OverflowError, MemoryError)

# Operations that keep state between calls: in variable tensors, or in resources.
_VARIABLE_OPS = frozenset(
    {
        "SVDF",
        "RNN",
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
    }
)
_RESOURCE_OPS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})


class Graph:
    """An interpreter for `windows` windows a call.

    `variables` and `resources` say where the graph keeps state between calls; `reset`
    reaches variables only, resources are forgotten by opening the graph anew.
    """

    def __init__(self, path: Path, module: Any, build: Build, threads: int, windows: int = 1) -> None:
        """Map and allocate `path` with the interpreter module `module`.

        Raises PublisherError `model-not-loadable`, and `tensors-unsupported` where the graph
        has not one input and one output of float32 or per-tensor quantized integers;
        BoardError `engine-missing` where the runtime's build does not go with this numpy.
        """
        try:
            with hushed(str(build)):
                self._interpreter = _interpreter(path, module, build.resolver, threads)
                inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
                self.input, self.output = _only(path, "input", inputs), _only(path, "output", outputs)
                self._in, self._out = inputs[0]["index"], outputs[0]["index"]
                if windows > 1:
                    self._interpreter.resize_tensor_input(self._in, [windows, *self.input.shape])
                self._interpreter.allocate_tensors()
            ops = {op["op_name"] for op in self._interpreter._get_ops_details()}
        except SystemError as error:  # tflite-runtime 2.14 imports under numpy 2, and fails at its first use
            hint = "`pip install ai-edge-litert` or `pip install 'numpy<2'`"
            raise BoardError("engine-missing", f"{build} does not work with numpy {np.__version__}", hint) from error
        except _FOREIGN as error:
            raise _not_loadable(path, _first_line(error), f"load it with {build} where the model is made") from error
        self.variables, self.resources = bool(ops & _VARIABLE_OPS), bool(ops & _RESOURCE_OPS)
        self._in_shape = (windows, *self.input.shape) if windows > 1 else _ints(inputs[0]["shape"])
        self._in_bare = self._in_shape != (windows, *self.input.shape)  # no leading 1
        self._out_shape = (windows, *self.output.shape)
        calls = self._interpreter._interpreter
        self._set, self._invoke, self._get = calls.SetTensor, calls.Invoke, calls.GetTensor

    def run(self, raw: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run the input's own dtype [windows, *input.shape]; give the output's, [windows, *output.shape], the caller's own.

        Raises BoardError(`infer-failed`).
        """
        try:
            self._set(self._in, raw.reshape(self._in_shape) if self._in_bare else raw)
            self._invoke()
            out = self._get(self._out, 0)
            # A graph may decide the size of its output while it runs; one that does not fit is refused here.
            return out if out.shape == self._out_shape else out.reshape(self._out_shape)
        except _FOREIGN as error:
            raise BoardError("infer-failed", f"the interpreter failed: {_first_line(error)}", "see `edged doctor`") from error

    def reset(self) -> None:
        """Set the variable tensors to their start values."""
        try:
            self._interpreter.reset_all_variables()
        except _FOREIGN as error:
            raise BoardError("infer-failed", f"the interpreter failed to reset: {_first_line(error)}") from error


def check_file(path: Path) -> None:
    """See that `path` is a regular file of a possible size with the identifier of a TFLite flatbuffer.

    Raises BoardError `model-file-missing` or PublisherError `model-not-loadable`.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a FIFO would block
            raise _not_loadable(path, "not a regular file", "name the .tflite file itself")
        with open(path, "rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BoardError("model-file-missing", f"{path}: {error.strerror}", "install the release again") from error
    if head[4:] != _IDENTIFIER or size > MAX_BYTES:
        raise _not_loadable(path, "not a TFLite model" if size <= MAX_BYTES else f"{size} bytes", "convert it with the TFLite converter")


def _interpreter(path: Path, module: Any, resolver: str, threads: int) -> Any:
    kinds = module.OpResolverType
    kind = {"xnnpack": kinds.AUTO, "builtin": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES}[resolver]
    return module.Interpreter(model_path=os.fspath(path), num_threads=threads, experimental_op_resolver_type=kind)


def _only(path: Path, side: str, details: list[dict[str, Any]]) -> Tensor:
    """Describe the one tensor of a side."""
    if len(details) != 1:
        names = ", ".join(detail["name"] for detail in details) or "none"
        raise _unsupported(path, f"has {len(details)} {side}s ({names})", f"export a graph with one {side}")
    detail = details[0]
    name, shape, signature = detail["name"], _ints(detail["shape"]), _ints(detail["shape_signature"])
    dtype, scales = np.dtype(detail["dtype"]).name, detail["quantization_parameters"]["scales"]
    if dtype != "float32" and dtype not in INTEGERS:
        raise _unsupported(path, f"{side} {name!r} is {dtype}", f"edged takes float32, {', '.join(INTEGERS)}")
    if len(scales) > 1:
        raise _unsupported(path, f"{side} {name!r} is quantized per axis", "quantize it per tensor")
    if -1 in signature[1:] or 0 in shape:
        raise _unsupported(path, f"{side} {name!r} has the open shape {signature}", "fix every dimension but the first")
    scale, zero_point = detail["quantization"]
    batchable = signature[:1] == (-1,)
    tensor = Tensor(name, shape[1:] if shape[:1] == (1,) else shape, dtype, float(scale), int(zero_point), batchable)
    try:
        conversion(tensor)  # before memory is allocated: kernels abort the process on such scales
    except ValueError as error:
        raise _unsupported(path, f"{side} {name!r} has {error}", "convert the model again") from error
    return tensor


def _ints(shape: Any) -> tuple[int, ...]:
    return tuple(int(dimension) for dimension in shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _not_loadable(path: Path, text: str, hint: str) -> PublisherError:
    return PublisherError("model-not-loadable", f"{path.name}: {text}", hint)


def _unsupported(path: Path, text: str, hint: str) -> PublisherError:
    return PublisherError("tensors-unsupported", f"{path.name}: {text}", hint)
