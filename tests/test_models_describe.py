"""The page about releases says what the code does."""

from __future__ import annotations

from pathlib import Path

from edged.models.describe import EXAMPLE, describe
from edged.models.manifest import parse_manifest

PAGE = Path(__file__).parent.parent / "docs" / "releases.md"


def test_the_page_is_made_from_the_schema() -> None:
    """Mend it with `python -m edged.models.describe > docs/releases.md`."""
    assert PAGE.read_text(encoding="utf-8") == describe()


def test_the_example_has_no_faults() -> None:
    document, manifest = parse_manifest(EXAMPLE.encode(), "model.toml")
    assert document.faults == []
    assert manifest is not None
