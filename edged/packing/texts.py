"""Check the variants of a release for texts: count what each costs, load it with each runtime that is here, run its goldens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edged.engines.base import Build
from edged.engines.choose import TEXT_RUNTIMES, open_engine, text_builds
from edged.errors import BoardError, EdgedError
from edged.models.costs import Costs
from edged.models.gguf_costs import costs_of_gguf, with_head
from edged.models.linear_costs import costs_of_linear
from edged.models.manifest import Examined, Release
from edged.models.schema import Variant
from edged.packing.goldens import Ran, ran_or_fault
from edged.packing.text_goldens import run_text_golden
from edged.packing.use import text_use

LLAMA_MISSING = "pip install 'edged[text]'"


def count_texts(examined: Examined) -> dict[str, Costs]:
    """Count the costs of the variants of a manifest for texts, by name; with a fault, of none whose file is not sound."""
    manifest = examined.manifest
    if manifest is None or manifest.input.kind != "text":
        return {}
    counted = ((variant.name, _counted(examined, i, variant)) for i, variant in enumerate(manifest.variants))
    return {name: costs for name, costs in counted if costs is not None}


def _counted(examined: Examined, i: int, variant: Variant) -> Costs | None:
    files = examined.files
    names = [variant.file, *([variant.head] if variant.head else [])]
    if variant.engine == "tflite" or any(name not in files for name in names):  # that fault is there already
        return None
    key, name = "file", variant.file
    try:
        if variant.engine == "linear":
            return costs_of_linear(files[name])
        costs = costs_of_gguf(files[name])
        if not variant.head:
            return costs
        key, name = "head", variant.head
        return with_head(costs, files[name])
    except EdgedError as error:
        examined.document.fault(("variants", i, key), error.code, f"`{name}`: {error.text}", error.hint)
        return None


def run_texts(examined: Examined, costs: dict[str, Costs], say: Callable[[str], None]) -> tuple[Ran, ...]:
    """Load each variant of `costs` with each runtime that is here, and run its goldens; what fails is a fault.

    Raises the faults, else BoardError(`engine-missing`), where there is no runtime for one of them.
    """
    if not costs or examined.manifest is None:
        return ()
    release = Release(examined.manifest, Path(examined.document.file).parent, examined.digest, examined.files)
    ran: list[Ran] = []
    for i, variant in enumerate(examined.manifest.variants):
        builds = [build for build in text_builds() if build.engine == variant.engine] if variant.name in costs else []
        if variant.name in costs and not builds:
            examined.refuse_faults()
            text = f"no runtime for {variant.engine} is installed here, so {variant.name} cannot be loaded"
            raise BoardError("engine-missing", text, LLAMA_MISSING)
        for build in builds:
            say(f"running {variant.name} on {build.package}")
            ran += _run(examined, i, release, variant, build)
    return tuple(ran)


def _run(examined: Examined, i: int, release: Release, variant: Variant, build: Build) -> list[Ran]:
    runtime = next((name for name, (package, _) in TEXT_RUNTIMES.items() if package == build.package), None)
    use = text_use(release, variant)
    try:
        engine = open_engine(release.path_of(variant), variant.engine, text=use, prefer=runtime)
    except EdgedError as error:
        text = f"`{variant.file}` does not load with {build.package}: {error.text}"
        examined.document.fault(("variants", i, "file"), error.code, text, error.hint)
        return []
    try:
        return ran_or_fault(examined, i, variant, engine.build, lambda path: run_text_golden(engine, use, path))
    finally:
        engine.close()
