"""Whether a runtime for language models was built for any processor of an architecture, or on this board for its own."""

from __future__ import annotations

import importlib.metadata

# Wheels of the index have such a tag; pip gives one that it built here the plain name of the platform. Those of xllamacpp for ARM
# have no instructions beyond ARMv8.0: no `sdot` is in the machine code of 2026.10.11549.
_TAG = "manylinux"


def is_for_any(package: str) -> bool:
    """Say whether an installed package came as a wheel for many systems; a package that is not there counts as one that will."""
    try:
        return _TAG in (importlib.metadata.distribution(package).read_text("WHEEL") or "")
    except importlib.metadata.PackageNotFoundError:
        return True
