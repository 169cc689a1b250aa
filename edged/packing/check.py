"""Hold a release's graphs to what its manifest says of them, without running them.

Each function notes faults in the document of `model.toml`, so that they come with file, line
and key, beside those of the manifest itself.
"""

from __future__ import annotations

from math import prod

from edged.config.check import Document
from edged.errors import EdgedError
from edged.models.graph import Graph, read_graph
from edged.models.manifest import Examined, Manifest
from edged.models.schema import Variant
from edged.packing.fit import fits, likely_fix, without_batch
from edged.preprocess.chain import ChainFaults, compile_chain

_COMPUTED = ("float32", "int8", "uint8", "int16")  # what engines take and give


def check_graphs(examined: Examined) -> dict[str, Graph]:
    """Check the chain and every variant of a manifest that could be built; give the graphs without a fault, by variant."""
    document, manifest = examined.document, examined.manifest
    if manifest is None or manifest.input.kind == "text":
        return {}
    shape = _chain_shape(document, manifest)
    graphs: dict[str, Graph] = {}
    for i, variant in enumerate(manifest.variants):
        before = len(document.faults)
        graph = _graph(document, i, variant, examined)
        if graph is not None:
            _tensors(document, i, manifest, graph, shape)
        if graph is not None and len(document.faults) == before:
            graphs[variant.name] = graph
    if graphs and manifest.input.stateful and not any(graph.stateful for graph in graphs.values()):
        hint = "remove it: it costs one interpreter for each stream"
        document.fault(("input", "stateful"), "not-stateful", "is true, and no variant keeps anything between calls", hint)
    return graphs


def _chain_shape(document: Document, manifest: Manifest) -> tuple[int, ...] | None:
    """Give the shape that preprocessing makes of one input, None where it does not compile."""
    given = manifest.input
    if not given.channels:
        return None
    try:
        return compile_chain(given.preprocess, given.samples, len(given.channels), given.rate_hz, given.channels).output_shape
    except ChainFaults as error:
        for fault in error.faults:
            place = ("input", "samples") if fault.index is None else ("input", "preprocess", fault.index)
            document.fault(place, "bad-preprocess", fault.text, fault.hint)
        return None


def _graph(document: Document, i: int, variant: Variant, examined: Examined) -> Graph | None:
    """Read a variant's file; None with a fault where it is no sound graph."""
    path = examined.files.get(variant.file)
    if path is None or variant.engine != "tflite":  # that fault is there already
        return None
    try:
        return read_graph(path)
    except EdgedError as error:
        document.fault(("variants", i, "file"), error.code, f"`{variant.file}`: {error.text}", error.hint)
        return None


def _tensors(document: Document, i: int, manifest: Manifest, graph: Graph, shape: tuple[int, ...] | None) -> None:
    place, file = ("variants", i, "file"), manifest.variants[i].file
    for word, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if len(tensors) != 1:
            text = f"`{file}` has {len(tensors)} {word}s, and one is taken"
            document.fault(place, "tensors-unsupported", text, f"export the model with one {word}")
            return
        if tensors[0].dtype not in _COMPUTED:
            text = f"`{file}` has an {word} of type {tensors[0].dtype}"
            document.fault(place, "tensors-unsupported", text, f"export it with one of: {', '.join(_COMPUTED)}")
    wanted = without_batch(graph.inputs[0])
    if shape is not None and not fits(shape, wanted):
        text = f"preprocessing gives {list(shape)}, the input of `{file}` wants {list(wanted)}"
        document.fault(place, "shape-mismatch", text, likely_fix(shape, wanted, manifest.input))
    _outputs(document, place, manifest, file, graph)
    if graph.stateful and not manifest.input.stateful:
        text = f"`{file}` keeps values from one call to the next"
        document.fault(place, "stateful", text, "add `stateful = true` to [input]")


def _outputs(document: Document, place: tuple[str | int, ...], manifest: Manifest, file: str, graph: Graph) -> None:
    wanted, given = without_batch(graph.inputs[0]), without_batch(graph.outputs[0])
    count = prod(given)
    if manifest.task == "classify" and count != len(manifest.output.labels):
        text = f"{len(manifest.output.labels)} labels, and the output of `{file}` has {count} values"
        document.fault(("output", "labels"), "labels-mismatch", text, f"give {count} labels, in the order of the output")
    if manifest.task == "anomaly" and manifest.output.score == "output" and count != 1:
        text = f"score `output` takes one value, and the output of `{file}` has {count}"
        document.fault(place, "output-mismatch", text, 'export it with one output, or write `score = "mse"`')
    if manifest.task == "anomaly" and manifest.output.score != "output" and not fits(given, wanted):
        text = f"score `{manifest.output.score}` compares output {list(given)} and input {list(wanted)} of `{file}`"
        document.fault(place, "output-mismatch", text, 'they must have one shape; or write `score = "output"`')
