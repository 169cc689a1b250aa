"""Which values, and under which shape: select, reshape, flatten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edged.preprocess import ops
from edged.preprocess.form import Array, Form, Refusal, Step, written


def select(op: ops.Select, form: Form) -> tuple[Step, Form]:
    """Compile `select`: columns of the last axis by index, or by name as long as they are channels."""
    indexes = [_index(channel, form) for channel in op.channels]
    names = tuple(form.names[i] for i in indexes) if form.names else ()
    taken = np.array(indexes, dtype=np.intp)

    def step(windows: Array) -> Array:
        return windows.take(taken, axis=-1)

    return step, replace(form, shape=(*form.shape[:-1], len(indexes)), names=names)


def _index(channel: int | str, form: Form) -> int:
    columns = form.shape[-1]
    if isinstance(channel, int):
        if channel < columns:
            return channel
        raise Refusal(f"has no column {channel}: {columns} come in", f"write 0 to {columns - 1}")
    if channel in form.names:
        return form.names.index(channel)
    if form.names:
        raise Refusal(f"`{channel}` is not a channel here", f"known here: {', '.join(form.names[:20])}")
    raise Refusal(f"`{channel}` is a name, and the columns have none here", f"write an index, 0 to {columns - 1}")


def reshape(op: ops.Reshape, form: Form) -> tuple[Step, Form]:
    """Compile `reshape`: the same values in row-major order."""
    after = Form(tuple(op.shape))
    if after.size != form.size:
        text = f"{written(after.shape)} holds {after.size} values, and {written(form.shape)} come in, {form.size}"
        raise Refusal(text, "make both the same", after)

    def step(windows: Array) -> Array:
        return windows.reshape(len(windows), *after.shape)

    return step, after


def flatten(op: ops.Flatten, form: Form) -> tuple[Step, Form]:
    """Compile `flatten`: row-major (`C`) or column-major (`F`), as numpy.ravel of one window."""
    axes = (0, *range(len(form.shape), 0, -1)) if op.order == "F" else tuple(range(len(form.shape) + 1))

    def step(windows: Array) -> Array:
        return windows.transpose(axes).reshape(len(windows), form.size)

    return step, Form((form.size,))
