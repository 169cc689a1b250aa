"""The table of engines and runtimes; a runtime is imported when a model is opened with it.

`tflite` has two: LiteRT (`ai-edge-litert`), preferred because it is 2 to 12 times faster on
int8, and `tflite-runtime`. Their int8 results differ by some LSB, so a `Build` names which.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from edged import __version__
from edged.engines.base import Build, Engine
from edged.errors import BoardError, BugError

if TYPE_CHECKING:
    from edged.engines.text import TextEngine, TextUse

# name → (package on PyPI, Python package), best first
RUNTIMES = {
    "litert": ("ai-edge-litert", "ai_edge_litert"),
    "tflite-runtime": ("tflite-runtime", "tflite_runtime"),
}

# engine → architecture → instruction sets without which its packages end in an illegal instruction. XNNPACK looks at the
# processor as it starts; packages of llama.cpp for x86 are built for AVX2 and FMA, those for ARM for any 64-bit one.
NEEDS: dict[str, dict[str, tuple[str, ...]]] = {
    "tflite": {"aarch64": ("asimd",), "x86_64": ()},
    "llama": {"aarch64": ("asimd",), "x86_64": ("avx2", "fma")},
    "linear": {"aarch64": (), "x86_64": ()},
}
# The same for engine `llama`.
TEXT_RUNTIMES = {
    "xllamacpp": ("xllamacpp", "xllamacpp"),
    "llama-cpp-python": ("llama-cpp-python", "llama_cpp"),
}
PARTS = ("tflite", "llama", "linear")  # the engines that are part of this version


def available() -> list[Build]:
    """List the runtimes installed here, best first, without importing them. That one loads is seen at the first model."""
    return [_build(name, "xnnpack") for name, (_, module) in RUNTIMES.items() if importlib.util.find_spec(module)]


def text_builds() -> list[Build]:
    """List what runs models for texts here, best first, without importing it: runtimes of `llama`, and `linear`, which is edged's own."""
    found = [name for name, (_, module) in TEXT_RUNTIMES.items() if importlib.util.find_spec(module)]
    return [*(llama_build(name) for name in found), Build("linear", "edged", __version__, "numpy")]


def llama_build(name: str) -> Build:
    """Name a runtime of `TEXT_RUNTIMES`, with the version that is installed."""
    package = TEXT_RUNTIMES[name][0]
    return Build("llama", package, _version(package), "cpu")


@overload
def open_engine(
    path: Path,
    engine: str,
    *,
    prefer: str | None = None,
    threads: int = 1,
    resolver: str = "xnnpack",
    stateful: bool = False,
    batching: bool = True,
) -> Engine: ...


@overload
def open_engine(
    path: Path, engine: str, *, text: TextUse, prefer: str | None = None, threads: int | None = None, urgency: str = "normal"
) -> TextEngine: ...


def open_engine(
    path: Path,
    engine: str,
    *,
    text: TextUse | None = None,
    prefer: str | None = None,
    threads: int | None = None,
    urgency: str = "normal",
    resolver: str = "xnnpack",
    stateful: bool = False,
    batching: bool = True,
) -> Engine | TextEngine:
    """Load the variant file at `path`, whose structure the caller has checked, with an engine of that name.

    `text` says what a variant for texts does: engines `llama` and `linear` need it, and then give a TextEngine. `prefer` takes one
    runtime of `RUNTIMES` or `TEXT_RUNTIMES` and no other. `threads` and `urgency` as `LlamaEngine` says; `resolver`, `stateful` and
    `batching` as `TfliteEngine`. Raises BoardError `engine-missing` where nothing here runs `engine`, BoardError
    `model-file-missing`, PublisherError `model-not-loadable` or `tensors-unsupported`, and what the engines for texts say.
    """
    if engine not in PARTS:
        raise BoardError("engine-missing", f"engine {engine!r} is not part of this version of edged", "choose a variant of another engine")
    if engine != "tflite":
        if text is None:
            raise BugError("engine-misused", f"engine {engine!r} is for texts, and was not told what to do with them")
        return _open_text(path, engine, text, prefer, threads, urgency)
    name, interpreter = _first_that_loads(list(RUNTIMES), path) if prefer is None else _load([prefer], lambda _: "")
    from edged.engines.tflite import TfliteEngine

    return TfliteEngine(path, interpreter, _build(name, resolver), threads=threads or 1, stateful=stateful, batching=batching)


def _open_text(path: Path, engine: str, use: TextUse, prefer: str | None, threads: int | None, urgency: str) -> TextEngine:
    if engine == "linear":
        from edged.engines.linear import LinearEngine

        return LinearEngine(path, use)
    from edged.engines.llama.engine import LlamaEngine

    faults: list[BoardError] = []
    for name in TEXT_RUNTIMES if prefer is None else [prefer]:
        if name not in TEXT_RUNTIMES or importlib.util.find_spec(TEXT_RUNTIMES[name][1]) is None:
            continue
        try:
            return LlamaEngine(path, use, llama_build(name), threads=threads, urgency=urgency)
        except BoardError as error:
            if error.code not in ("engine-missing", "engine-abi"):
                raise
            faults.append(error)
    if faults:
        raise faults[0]
    packages = " and ".join(package for package, _ in TEXT_RUNTIMES.values())
    raise BoardError("engine-missing", f"nothing here runs language models: {packages} are not installed", "pip install 'edged[text]'")


def _first_that_loads(names: list[str], path: Path) -> tuple[str, Any]:
    """Import the first runtime that is there, whole, and does not crash here over this model."""
    from edged.engines.probe import crash_of

    if not path.is_file():
        return _load(names, lambda _: "")
    return _load(names, lambda module: crash_of(module, path))


def _load(names: list[str], crash: Callable[[str], str]) -> tuple[str, Any]:
    from edged.engines.chatter import hushed

    faults = []
    for name in names:
        package, module = RUNTIMES[name]
        if importlib.util.find_spec(module) is None:
            faults.append(f"{package} is not installed")
            continue
        if fault := crash(module):
            faults.append(f"{package} {fault}")
            continue
        try:
            with hushed(f"import {name}"):
                return name, importlib.import_module(f"{module}.interpreter")
        except (ImportError, AttributeError, OSError) as error:  # what a wheel for another numpy or libc raises
            faults.append(f"{package} does not load: {error}")
    packages = " or ".join(f"`pip install {RUNTIMES[name][0]}`" for name in names)
    raise BoardError("engine-missing", f"nothing here runs tflite models: {'; '.join(faults)}", packages)


def _build(name: str, resolver: str) -> Build:
    package = RUNTIMES[name][0]
    return Build("tflite", package, _version(package), resolver)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # unpacked by hand
        return "unknown"
