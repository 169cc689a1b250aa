"""docs/text.md does what it says: its commands, as somebody types them who has labelled texts and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.config.load import load_config
from edged.models.manifest import load_release
from edged.stream.cascade import ABSTAIN, ACCEPT, ESCALATE
from edged.stream.escalation import ANSWER, Answer, Question
from tests.conftest import REPO
from tests.walking import PART, Walk

pytest.importorskip("sklearn", reason="needs the package scikit-learn: pip install 'edged[fit]'")

PAGE = (REPO / "docs" / "text.md").read_text(encoding="utf-8")


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    made = Walk(tmp_path)
    yield made
    made.kill()


def test_the_page_does_what_it_says(walk: Walk) -> None:
    """From a table to results: a release is fitted, judged, packed and run; of what it says, the page shows the same."""
    printed = [walk.take(part) for part in PART.finditer(PAGE) if not part["heading"]]
    *_, run, check = filter(None, printed)
    release = load_release(walk.folder / "my-orders")
    assert [variant.name for variant in release.manifest.variants] == ["words"]
    assert release.manifest.cascade is not None
    assert 0.5 < release.manifest.cascade.stages[0].accept < 1
    shown = [json.loads(each)["output"] for each in run.splitlines()]
    on_the_page = re.findall(r'"output":\{"label":"([^"]+)".*"band":"(\w+)"\} …', PAGE)
    assert [(each["label"], each["band"]) for each in shown] == on_the_page
    assert "no faults" in check
    assert load_config(walk.folder / "my-orders.mqtt.toml", {}).config.pipelines[0].escalate is not None


def test_question_and_answer_have_the_fields_that_the_page_shows() -> None:
    question = json.loads(re.search(r'^\{"v":1,"id":"k3v6….*?\}$', PAGE, re.MULTILINE | re.DOTALL)[0].replace("\n", ""))  # type: ignore[index]
    assert question.keys() == set(Question.__struct_fields__)
    answer = json.loads(re.search(r'^\{"id":"k3v6….*\}$', PAGE, re.MULTILINE)[0])  # type: ignore[index]
    assert answer.keys() == set(Answer.__struct_fields__)
    assert f"k3v6…-{ANSWER}" in PAGE
    assert set(re.findall(r"^\| `(\w+)` \| (?:the last|none was)", PAGE, re.MULTILINE)) == {ACCEPT, ESCALATE, ABSTAIN}


def test_releases_on_the_page_have_no_faults(tmp_path: Path) -> None:
    """Those that are whole: one finds fields, one writes sentences."""
    blocks = [block for block in re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if block.startswith("name = ")]
    tasks = []
    for block in blocks:
        (tmp_path / "model.toml").write_text(block, encoding="utf-8")
        (tmp_path / re.findall(r'^file = "(.*)"$', block, re.MULTILINE)[0]).touch()
        tasks.append(load_release(tmp_path).manifest.task)
    assert tasks == ["extract", "generate"]
