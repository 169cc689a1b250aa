"""Pack a release: check all of it, run its goldens, count its costs, write `release.json`.

`release.json` is written last and only where there is no fault. It depends on the folder
alone: which runtime ran the goldens here is told, not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edged.atomic import write_atomic
from edged.engines.base import Engine
from edged.engines.choose import RUNTIMES, available, open_engine
from edged.errors import BoardError, EdgedError
from edged.models.costs import Costs, costs_of
from edged.models.graph import Graph
from edged.models.manifest import MANIFEST, Examined, Manifest, examine
from edged.models.packed import PACKED, Packed, names_of, seal_file
from edged.models.schema import Variant
from edged.packing.check import check_graphs
from edged.packing.goldens import Ran, ran_or_fault, run_golden
from edged.packing.texts import count_texts, run_texts

Say = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """A packed release: what was written, and the runs of its goldens."""

    packed: Packed
    manifest: Manifest
    path: Path
    ran: tuple[Ran, ...]


def pack(folder: Path, say: Say) -> Report:
    """Pack the release in `folder`; `say` gets a line for each step that may take long.

    Raises ReleaseFaults with every fault; PublisherError where there is no manifest to judge;
    BoardError(`engine-missing`) where no runtime is there to run goldens, `folder-unwritable`.
    """
    examined = examine(folder)
    say(f"checking {folder / MANIFEST}")
    graphs, texts = check_graphs(examined), count_texts(examined)
    ran = (*_run_goldens(examined, graphs, say), *run_texts(examined, texts, say))
    examined.refuse_faults()
    assert examined.manifest is not None
    costs = {**{name: costs_of(graph) for name, graph in graphs.items()}, **texts}
    packed = _seal(examined.manifest, folder, examined, costs, say)
    path = folder / PACKED
    try:
        write_atomic(path, packed.encode())
    except OSError as error:
        raise BoardError("folder-unwritable", f"{path} cannot be written: {error.strerror}", "check the folder's owner and mode") from None
    return Report(packed, examined.manifest, path, ran)


def _run_goldens(examined: Examined, graphs: dict[str, Graph], say: Say) -> tuple[Ran, ...]:
    """Load each variant without a fault with each runtime that is here, and run its goldens."""
    if not graphs or examined.manifest is None:
        return ()
    packages = [build.package for build in available()]
    runtimes = [name for name, (package, _) in RUNTIMES.items() if package in packages]
    if not runtimes:
        examined.refuse_faults()
        raise BoardError(
            "engine-missing", "no runtime for tflite is installed here, so goldens cannot be run", "pip install ai-edge-litert"
        )
    ran: list[Ran] = []
    for i, variant in enumerate(examined.manifest.variants):
        for runtime in runtimes if variant.name in graphs else []:
            say(f"running {variant.name} on {runtime}")
            engine = _open(examined, i, variant, runtime, graphs[variant.name])
            if engine is None:
                break  # said once is enough
            try:
                ran += _run(examined, i, variant, engine)
            finally:
                engine.close()
    return tuple(ran)


def _open(examined: Examined, i: int, variant: Variant, runtime: str, graph: Graph) -> Engine | None:
    """Load a variant with one runtime; None with a fault where that fails."""
    path = examined.files[variant.file]
    try:
        return open_engine(path, variant.engine, prefer=runtime, stateful=graph.stateful, batching=False)
    except EdgedError as error:
        text, hint = f"`{variant.file}` does not load with {runtime}: {error.text}", error.hint
        if graph.custom_ops:
            text += f"; it has operators of its own: {', '.join(graph.custom_ops)}"
            hint = "export the model with TensorFlow Lite's built-in operators only"
        examined.document.fault(("variants", i, "file"), error.code, text, hint)
        return None


def _run(examined: Examined, i: int, variant: Variant, engine: Engine) -> list[Ran]:
    """Run a variant's goldens; nothing where it has none or, with a fault, where they are not as promised."""
    return ran_or_fault(examined, i, variant, engine.build, lambda path: run_golden(engine, path))


def _seal(manifest: Manifest, folder: Path, examined: Examined, costs: dict[str, Costs], say: Say) -> Packed:
    files = {}
    for name in names_of(manifest):
        say(f"hashing {name}")
        files[name] = seal_file(examined.files.get(name, folder / name))
    return Packed(
        name=manifest.name,
        version=manifest.version,
        release=manifest.release,
        task=manifest.task,
        files=files,
        costs=costs,
    )
