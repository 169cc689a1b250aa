"""The serial ports of a configuration: their paths, what two pipelines say of one port, and which ports take results.

No port is opened and none has to be there: a board may be plugged in later. All functions take a
draft: a part with a fault of its own is None and is passed over; ports are written one way, as `files.resolve` does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edged.config.check import Document
from edged.config.places import Path
from edged.config.schema import BridgeDecoder, Pipeline, SerialOutput, SerialSource
from edged.config.words import show

Pipelines = Sequence[tuple[int, Pipeline]]

_EXAMPLE = 'write a whole path, such as "/dev/edged/SERIAL" or "/dev/ttyACM0"'


def check_serial_lines(pipelines: Pipelines, document: Document) -> None:
    """Note each fault in how `pipelines`, with their index, use serial ports."""
    for i, source in _sources(pipelines):
        _check_path(source.port, ("pipelines", i, "source", "port"), document)
    _check_clashes(pipelines, document)
    for i, pipeline in pipelines:
        for k, output in enumerate(pipeline.outputs or []):
            if isinstance(output, SerialOutput) and output.port is not None:
                _check_output(output.port, pipeline, pipelines, ("pipelines", i, "outputs", k), document)
        _check_decoder(pipeline, i, document)


def _sources(pipelines: Pipelines) -> Iterator[tuple[int, SerialSource]]:
    return ((i, pipeline.source) for i, pipeline in pipelines if isinstance(pipeline.source, SerialSource))


def _check_path(port: str | None, path: Path, document: Document) -> None:
    if port is None:
        return
    if not port.strip():
        document.fault(path, "bad-path", "is empty", _EXAMPLE)
    elif "\0" in port or not port.startswith("/"):
        document.fault(path, "bad-path", f"{show(port)} is not the path of a port", _EXAMPLE)


def _check_clashes(pipelines: Pipelines, document: Document) -> None:
    """Note where a pipeline says something else of a port than the first that reads it."""
    first: dict[str, tuple[Pipeline, SerialSource]] = {}
    for i, pipeline in pipelines:
        source = pipeline.source
        if not isinstance(source, SerialSource) or not source.port:
            continue
        other, before = first.setdefault(source.port, (pipeline, source))
        for key in ("baud", "framing"):
            here, there = getattr(source, key), getattr(before, key)
            if here != there and None not in (here, there):
                text = f"is {show(here)} here and {show(there)} in pipeline {show(other.name or '')}, for the same port {show(source.port)}"
                document.fault(("pipelines", i, "source", key), "serial-clash", text, "a port has one: write the same in both")


def _check_output(port: str, pipeline: Pipeline, pipelines: Pipelines, path: Path, document: Document) -> None:
    """Note results that no firmware listens for; `port` is empty where it is the one of the pipeline's own source."""
    candidates = pipelines if port else [(0, pipeline)]
    readers = [source for _, source in _sources(candidates) if port in ("", source.port)]
    if any(source.framing == "lines" for source in readers):
        text = "goes to a port of plain lines, and a sketch that prints lines takes no results"
        hint = 'remove this output, or write `framing = "framed"` where the firmware speaks the bridge protocol'
        document.fault(path, "lines-take-no-results", text, hint)
    elif readers or any(_may_be_the_one(each) for _, each in candidates):
        return
    elif port:
        known = ", ".join(sorted({show(source.port) for _, source in _sources(pipelines)})) or "none"
        document.fault((*path, "port"), "no-serial-source", f"{show(port)} is read by no serial source", f"ports with a source: {known}")
    else:
        text = "names no port, and the source of this pipeline is not a serial one"
        document.fault(path, "no-serial-source", text, "add `port = …`, one that a serial source reads")


def _may_be_the_one(pipeline: Pipeline) -> bool:
    """Say whether a pipeline may read any port once the fault in its source is mended."""
    return pipeline.source is None or (isinstance(pipeline.source, SerialSource) and pipeline.source.port is None)


def _check_decoder(pipeline: Pipeline, i: int, document: Document) -> None:
    """Note a pipeline that lives on the default decoder, which is for serial lines alone."""
    if not isinstance(pipeline.decoder, BridgeDecoder) or pipeline.source is None or isinstance(pipeline.source, SerialSource):
        return
    if "decoder" in document.values["pipelines"][i]:
        text, hint = "of type `bridge` takes what a serial source gives, and this is another one", "choose the decoder of these messages"
        document.fault(("pipelines", i, "decoder"), "no-serial-source", text, hint)
    else:
        document.fault(("pipelines", i, "decoder"), "missing-key", "is missing", "add `decoder = { … }`")
