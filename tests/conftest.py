"""What many tests need: data that ships with the project, and assets that may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
ASSETS = Path(os.environ.get("EDGED_TEST_ASSETS", REPO.parent / "shared" / "assets"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Give the folder of test data that ships with the project."""
    return DATA


@pytest.fixture(scope="session")
def assets() -> Path:
    """Give the folder of recordings whose licences keep them out of the project; skip without it."""
    if not ASSETS.is_dir():
        pytest.skip(f"needs recordings that cannot ship with the project; set EDGED_TEST_ASSETS (looked in {ASSETS})")
    return ASSETS
