"""Each test that docs/security.md names is there."""

from __future__ import annotations

import re

from tests.conftest import REPO


def test_every_attack_names_tests_that_exist() -> None:
    page = (REPO / "docs" / "security.md").read_text(encoding="utf-8")
    there = {name for path in (REPO / "tests").glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    assert named - there == set()
    attacks = [line for line in page.split("| attack |")[1].split("\n\n")[0].splitlines() if line.startswith("| ")]
    assert [line for line in attacks if "`test" not in line] == []
