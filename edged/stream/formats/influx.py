r"""A result as a line of InfluxDB line protocol.

    pump,device=press-7,line=a,model=pump-anomaly,variant=int8 anomaly=false,latency_ms=1.1,release=14i,score=9.71 1795407141123000000

The measurement is the pipeline. Tags are the labels, the device, the model and the variant; a
label with the name of one of the latter gets `label_` before it, and of two that would be
written alike the last stays; a stream without labels has
its key as the tag `key`. Fields are the plain values of the output, `values` as `v0`, `v1`, …,
the alarm, the release and the latency, the path of a cascade as `words/large`; nested output (`scores`, `vector`) is left out, so are
numbers that are not finite. Numbers of the output are floats, whatever their value, because a field keeps one type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from edged.records import Result
from edged.stream.decoders.times import iso_ns

_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_SPECIAL = re.compile(r"([, =])")


class Influx:
    """Timestamps are nanoseconds made from `time`, which has milliseconds."""

    content_type = "text/plain; charset=utf-8"
    encode_binary = None

    def encode(self, result: Result) -> bytes:
        """Give the line."""
        head = _head(result.pipeline, result.device, result.model.name, result.model.variant, result.key, tuple(result.labels.items()))
        fields = ",".join(f"{_name(name)}={value}" for name, value in _fields(result))
        return f"{head} {fields} {iso_ns(result.time)}".encode()


@lru_cache(4096)
def _head(pipeline: str, device: str, model: str, variant: str, key: str, labels: tuple[tuple[str, str], ...]) -> str:
    tags = {"device": _name(device), "model": _name(model), "variant": _name(variant)}
    if labels:
        given = {_name(name): _name(value) for name, value in labels}  # a tag that is there twice would have the line refused
        tags |= {f"label_{name}" if name in tags else name: value for name, value in given.items()}
    elif key:
        tags["key"] = _name(key)
    return ",".join([_name(pipeline), *(f"{name}={value}" for name, value in sorted(tags.items()) if name and value)])


def _fields(result: Result) -> Iterator[tuple[str, str]]:
    yield "release", f"{result.model.release}i"
    if math.isfinite(result.timing.total_ms):
        yield "latency_ms", repr(float(result.timing.total_ms))
    if result.alarm is not None:
        yield "alarm", _value(result.alarm)
    for name, value in result.output.items():
        if name == "path":
            yield name, _value("/".join(value))
            continue
        many = [(f"v{i}", each) for i, each in enumerate(value)] if isinstance(value, list) else [(name, value)]
        for field, each in many:
            text = _value(each)
            if text:
                yield field, text


def _value(value: Any) -> str:
    """Write a field's value; empty for what has no form here."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = _CONTROL.sub(" ", value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    if isinstance(value, (int, float)) and math.isfinite(value):
        return repr(float(value))
    return ""


def _name(text: str) -> str:
    """Escape a measurement, tag or field name, or a tag's value.

    Control characters become spaces; a backslash at the end, which would escape the separator after it, is dropped.
    """
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text).rstrip("\\"))
