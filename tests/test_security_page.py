"""Each test that docs/security.md names is there, and each code of the fleet manager's side has a line for people."""

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


def test_every_code_of_the_publishers_side_is_in_the_documents() -> None:
    documents = "".join(path.read_text(encoding="utf-8") for path in (REPO / "docs").glob("*.md"))
    places = [*(REPO / "edged" / "publisher").glob("*.py"), *(REPO / "edged" / "cli" / "fleet").glob("*.py")]
    raised = re.compile(r'(?:Error|Untrusted)(?:\.of)?\(\s*"([a-z]+(?:-[a-z0-9]+)+)"')
    found = {code for place in places for code in raised.findall(place.read_text(encoding="utf-8"))}
    assert len(found) > 20
    assert {code for code in found if f"`{code}`" not in documents} == set()
