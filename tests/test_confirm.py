"""Is a release in service good? Every row of the judgement, on both sides of its limit."""

from __future__ import annotations

import pytest

from edged.fleet.confirm import Watched, judge
from edged.models.entries import Policy, Refusal

POLICY = Policy(windows=100, seconds=60)
GONE = Refusal(family="board", code="model-not-loadable", text="a pipeline could not load it")


def watched(**seen: object) -> Watched:
    return Watched(**({"windows": 1000, "results": 1000, "seconds": 1000.0, "pipelines": 1} | seen))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ({"failed": GONE}, "model-not-loadable"),
        ({"failed": GONE, "stuck": True, "errors": 1000}, "model-not-loadable"),
        ({"stuck": True}, "model-hangs"),
        ({"stuck": True, "pipelines": 0, "windows": 0}, "model-hangs"),
        ({"errors": 1000, "results": 0}, "error-flood"),
        ({"errors": 51}, "error-flood"),
        ({"windows": 5, "errors": 5, "seconds": 0.1}, "error-flood"),
        ({"windows": 99, "errors": 5, "seconds": 0.1}, "error-flood"),
        ({"late": 51}, "latency-breach"),
        ({"results": 10, "late": 10, "windows": 10, "seconds": 0.1}, "latency-breach"),
        ({"late": 1000, "was_late": 0.05}, "latency-breach"),
    ],
)
def test_what_goes_back_at_once(seen: dict[str, object], code: str):
    judgement = judge(watched(**seen), POLICY)
    assert judgement.why is not None
    assert judgement.why.code == code
    assert judgement.why.text


@pytest.mark.parametrize(
    "seen",
    [
        {"errors": 50},  # as many as a model may have
        {"windows": 100, "errors": 4},  # too few to say
        {"late": 50},
        {"results": 100, "late": 9},
        {"late": 1000, "was_late": 0.051},  # it was so before: not this release's doing
        {"windows": 100, "results": 0},  # no output for a window that did not call for one
        {"seconds": 60.0, "windows": 100},
    ],
)
def test_what_is_good(seen: dict[str, object]):
    judgement = judge(watched(**seen), POLICY)
    assert (judgement.why, judgement.waits_for) == (None, "")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"pipelines": 0}, "no pipeline runs it"),
        ({"windows": 99}, "99 of 100 windows"),
        ({"windows": 0, "seconds": 0.0}, "0 of 100 windows"),
        ({"windows": 4, "errors": 4}, "4 of 100 windows"),
        ({"seconds": 59.4}, "1 s left"),
        ({"seconds": 0.0}, "60 s left"),
    ],
)
def test_what_is_waited_for(seen: dict[str, object], words: str):
    judgement = judge(watched(**seen), POLICY)
    assert (judgement.why, judgement.waits_for) == (None, words)


def test_a_policy_of_nothing_waits_only_for_a_pipeline():
    nothing = Policy(windows=0, seconds=0)
    assert judge(Watched(pipelines=1), nothing).waits_for == ""
    assert judge(Watched(), nothing).waits_for == "no pipeline runs it"
