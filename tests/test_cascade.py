"""Cascades, in this process: cheap stages first, budgets, bands, and stages that fail or do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import NS, VirtualClock
from edged.errors import BoardError, OperatorError, PublisherError
from edged.models.manifest import Release, load_release
from edged.stream.budget import Budget
from edged.stream.cascade import CascadeInference
from edged.stream.loading import Usage, in_order, load_best, stages_with
from tests.daemon import HAR
from tests.lanes import Lane
from tests.linears import LABELS, linear_arrays, written
from tests.recordings import window_message
from tests.text_lanes import PUMP, TEXT, UNKNOWN, VALVE, Opener, text_release, with_cascade

HOUR = 3600 * NS


def told(lane: Lane) -> list[tuple[str, list[str], str]]:
    return [(each.output["label"], each.output["path"], each.output["band"]) for each in lane.kept.results]


def cascade_of(lane: Lane) -> CascadeInference:
    assert isinstance(lane.pipeline.inference, CascadeInference)
    return lane.pipeline.inference


def counts(lane: Lane) -> dict[str, tuple[int, int, int, int]]:
    return {
        each.name: (each.counts.asked, each.counts.accepted, each.counts.over_budget, each.counts.failed)
        for each in cascade_of(lane).stages
    }


# -- the way through --------------------------------------------------------------------------


def test_a_stage_is_asked_only_what_the_one_before_was_not_sure_of(tmp_path: Path) -> None:
    lane = Lane(with_cascade(tmp_path / "r"), TEXT)
    lane.put_texts(PUMP, UNKNOWN, VALVE, UNKNOWN)
    assert told(lane) == [
        ("pump", ["words"], "accept"),
        ("valve", ["words", "large"], "accept"),
        ("valve", ["words"], "accept"),
        ("valve", ["words", "large"], "accept"),
    ]
    assert counts(lane) == {"words": (4, 2, 0, 0), "large": (2, 2, 0, 0)}
    assert {each.model.variant for each in lane.kept.results} == {"large"}
    assert cascade_of(lane).bands == {"accept": 4, "escalate": 0, "abstain": 0}


def test_what_no_stage_is_sure_of_is_published_as_abstained(tmp_path: Path) -> None:
    lane = Lane(with_cascade(tmp_path / "r", second=0.99), TEXT)
    lane.put_texts(UNKNOWN, PUMP)
    assert told(lane) == [("valve", ["words", "large"], "abstain"), ("pump", ["words"], "accept")]
    assert lane.kept.results[0].output["score"] == pytest.approx(0.9526, abs=1e-4)


def test_where_no_stage_is_sure_the_surest_one_is_believed(tmp_path: Path) -> None:
    lane = Lane(with_cascade(tmp_path / "r", accept=0.9999, second=1.0), TEXT)
    lane.put_texts("oil leak stuck", "leak")  # of the first, `large` says valve with 0.51; of the second, pump with 0.9996
    assert told(lane) == [("pump", ["words", "large"], "abstain")] * 2
    assert [each.output["score"] for each in lane.kept.results] == [pytest.approx(0.7296, abs=1e-4), pytest.approx(0.9996, abs=1e-4)]


def test_the_threshold_is_held_against_the_score_as_it_is_told(tmp_path: Path) -> None:
    lane = Lane(with_cascade(tmp_path / "a"), TEXT)
    lane.put_texts(PUMP)
    score = lane.kept.results[0].output["score"]
    for accept, path in ((score, ["words"]), (score + 1e-6, ["words", "large"])):
        lane = Lane(with_cascade(tmp_path / f"{accept}", accept=accept), TEXT)
        lane.put_texts(PUMP)
        assert lane.kept.results[0].output["path"] == path


def test_smoothing_is_over_what_the_stages_said(tmp_path: Path) -> None:
    folder = changed(with_cascade(tmp_path / "r"), "[output]\n", '[output]\nsmooth = { op = "mean", windows = 2 }\n')
    lane = Lane(folder, TEXT)
    lane.put_texts(PUMP, UNKNOWN)
    assert told(lane)[1][1:] == (["words", "large"], "accept")
    assert lane.kept.results[1].output["score"] == pytest.approx((0.98795 + 0.04743) / 2, abs=1e-4)


def test_windows_go_through_a_cascade_as_texts_do(tmp_path: Path) -> None:
    folder = har_cascade(tmp_path / "har", accept=1.0)
    lane = Lane(folder, {"type": "json", "channels": ["x", "y", "z"], "time": "ts"})
    payload = window_message("running_01")
    lane.put(("in/a", payload))
    result = lane.kept.results[0]
    assert (result.output["path"], result.output["band"]) == (["first", "fp32"], "abstain")
    lane = Lane(har_cascade(tmp_path / "sure", accept=0.5), {"type": "json", "channels": ["x", "y", "z"], "time": "ts"})
    lane.put(("in/a", payload))
    assert told(lane) == [("running", ["first"], "accept")]


def har_cascade(folder: Path, accept: float) -> Path:
    """Write the release of the demo as a cascade of the same file twice."""
    shutil.copytree(HAR, folder)
    (folder / "release.json").unlink(missing_ok=True)
    stages = "".join(f'[[cascade.stages]]\nuse = "{name}"\naccept = {accept}\n' for name in ("first", "fp32"))
    with (folder / "model.toml").open("a") as file:
        file.write(f'\n[[variants]]\nname = "first"\nengine = "tflite"\nfile = "har_float.tflite"\n[cascade]\n{stages}')
    return folder


# -- budgets ----------------------------------------------------------------------------------


def test_a_stage_over_its_budget_is_not_asked_and_the_answer_before_stands(tmp_path: Path) -> None:
    lane = Lane(with_cascade(tmp_path / "r", per_hour=2), TEXT)
    lane.put_texts(*[UNKNOWN] * 5)
    assert [path for _, path, _ in told(lane)] == [["words", "large"]] * 2 + [["words"]] * 3
    assert [band for _, _, band in told(lane)] == ["accept"] * 2 + ["abstain"] * 3
    assert counts(lane) == {"words": (5, 0, 0, 0), "large": (2, 2, 3, 0)}
    lane.clock.advance(HOUR // 2)
    lane.put_texts(UNKNOWN, UNKNOWN)
    assert [path for _, path, _ in told(lane)[5:]] == [["words", "large"], ["words"]]


def test_what_the_first_stage_has_no_budget_for_is_dropped_and_counted(tmp_path: Path) -> None:
    folder = changed(with_cascade(tmp_path / "r"), "accept = 0.9\n", "accept = 0.9\nper_hour = 1\n")
    lane = Lane(folder, TEXT)
    lane.put_texts(PUMP, PUMP, VALVE)
    assert (len(lane.kept.results), lane.counters.dropped) == (1, {"over-budget": 2})


@given(per_hour=st.integers(1, 10_000), steps=st.lists(st.tuples(st.integers(0, 2 * HOUR), st.integers(0, 20_000)), max_size=20))
def test_no_hour_sees_more_than_was_saved_and_came_back(per_hour: int, steps: list[tuple[int, int]]) -> None:
    clock = VirtualClock()
    budget = Budget(per_hour, clock)
    taken: list[tuple[int, int]] = []
    for wait, wanted in steps:
        clock.advance(wait)
        got = budget.take(wanted)
        assert 0 <= got <= wanted
        taken.append((clock.mono(), got))
        for i, (at, _) in enumerate(taken):  # a full bucket, and what came back since
            assert sum(each for _, each in taken[i:]) <= per_hour + (clock.mono() - at) * per_hour // HOUR


def test_a_token_that_comes_back_once_a_day_comes_back() -> None:
    clock = VirtualClock()
    budget = Budget(1, clock)
    assert budget.take(5) == 1
    for _ in range(59):
        clock.advance(60 * NS)
        assert budget.take(1) == 0
    clock.advance(60 * NS)
    assert budget.take(5) == 1
    assert Budget(0, clock).take(10**9) == 10**9


# -- stages that fail -------------------------------------------------------------------------


def scripted(folder: Path, answer: Any) -> tuple[Lane, Opener]:
    """Give a lane whose first stage is of engine linear and whose second one is scripted."""
    changed(with_cascade(folder), 'engine = "linear"\nfile = "large.npz"', 'engine = "llama"\nfile = "words.gguf"')
    opener = Opener(answer)
    return Lane(folder, TEXT, opener=opener), opener


def changed(folder: Path, old: str, new: str) -> Path:
    """Put one text of a manifest, its first, in place of another."""
    manifest = (folder / "model.toml").read_text()
    assert old in manifest
    (folder / "model.toml").write_text(manifest.replace(old, new, 1))
    return folder


def test_a_stage_that_fails_leaves_the_answer_before_and_shows(tmp_path: Path) -> None:
    error = BoardError("runner-crash-loop", "it crashes again and again", "")

    def crash(text: str) -> list[float]:
        raise error

    lane, _ = scripted(tmp_path / "r", crash)
    lane.put_texts(PUMP, UNKNOWN)
    assert told(lane) == [("pump", ["words"], "accept"), ("pump", ["words"], "abstain")]
    assert lane.pipeline.last_error is error
    assert counts(lane)["large"] == (1, 0, 0, 1)
    assert (lane.counters.dropped, lane.counters.failed_windows) == ({}, 0)


def test_a_stage_that_says_no_number_leaves_the_answer_before(tmp_path: Path) -> None:
    lane, _ = scripted(tmp_path / "r", lambda text: [np.nan, 0.0])
    lane.put_texts(UNKNOWN)
    assert told(lane) == [("pump", ["words"], "abstain")]


def test_the_next_stage_stands_in_for_a_first_one_that_fails(tmp_path: Path) -> None:
    lane, _ = scripted(tmp_path / "r", lambda text: [0.0, 9.0])
    first = cascade_of(lane).stages[0].model

    def broken(*_: object) -> None:
        raise BoardError("infer-failed", "no")

    first.scores = broken  # type: ignore[method-assign, assignment]
    lane.put_texts(PUMP)
    assert told(lane) == [("valve", ["large"], "accept")]


def test_where_all_stages_fail_the_reason_is_counted(tmp_path: Path) -> None:
    def crash(text: str) -> list[float]:
        raise BoardError("runner-hung", "it hangs")

    lane, _ = scripted(tmp_path / "r", crash)
    cascade_of(lane).stages[0].model.scores = lambda *_: [np.array([np.nan, np.nan])]  # type: ignore[method-assign, assignment]
    lane.put_texts(PUMP)
    assert lane.counters.dropped == {"model-nan": 1}


def test_calls_are_as_large_as_the_slowest_stage_likes(tmp_path: Path) -> None:
    lane, opener = scripted(tmp_path / "r", lambda text: [0.0, 9.0])
    lane.put_texts(*[UNKNOWN] * 9)
    assert [len(each) for each in opener.opened[0].asked] == [4, 4, 1]


# -- which stages are loaded ------------------------------------------------------------------


def test_later_stages_come_first_and_bring_the_earlier_ones(tmp_path: Path) -> None:
    release = load_release(with_cascade(tmp_path / "r"))
    assert [each.name for each in in_order(release)] == ["large", "words"]
    assert [each.use for each in stages_with(release, "large")] == ["words", "large"]
    assert [each.use for each in stages_with(release, "words")] == ["words"]
    lane = Lane(tmp_path / "r", TEXT)
    change = lane.pipeline.swap(lane.around.load(lane.pipeline.options, release, order=["words"]))
    lane.pipeline.take()
    assert change.error is None
    lane.put_texts(UNKNOWN)
    assert told(lane) == [("pump", ["words"], "abstain")]
    assert lane.kept.results[0].model.variant == "words"


def test_a_variant_that_is_no_stage_runs_alone(tmp_path: Path) -> None:
    folder = changed(with_cascade(tmp_path / "r"), '[[cascade.stages]]\nuse = "words"\naccept = 0.9\n', "")
    inference, _ = load_best(load_release(folder), Opener(lambda text: text), ["words"])
    assert not isinstance(inference, CascadeInference)


def test_a_stage_that_does_not_load_is_left_out_and_told(tmp_path: Path) -> None:
    folder = with_cascade(tmp_path / "r")
    (folder / "words.npz").write_bytes(b"no npz")
    lane = Lane(folder, TEXT)
    lane.put_texts(UNKNOWN)
    assert told(lane) == [("valve", ["large"], "accept")]
    assert list(lane.around.not_loaded) == [("lane", "words")]


def other_model(folder: Path, **changes: Any) -> Release:
    """Give another model's release, which says `valve` to everything."""
    text_release(folder, name="other")
    written(folder / "words.npz", linear_arrays(), coef=linear_arrays()["coef"] * 0, intercept=np.array([0.0, 9.0]))
    release = load_release(folder)
    manifest = msgspec.structs.replace(release.manifest, **changes)
    return Release(manifest, release.folder, release.digest, release.files)


def asks_other(folder: Path, where: str) -> Path:
    """Write a cascade of `words` and another model, in this order or the other."""
    text_release(folder)
    order = ["words", "other"] if where == "behind" else ["other", "words"]
    with (folder / "model.toml").open("a") as file:
        file.write("[cascade]\n" + "".join(f'[[cascade.stages]]\nuse = "{use}"\naccept = 0.9\n' for use in order))
    return folder


@pytest.mark.parametrize(("where", "path"), [("behind", ["words", "other"]), ("before", ["other"])])
def test_another_model_of_the_board_may_be_a_stage(tmp_path: Path, where: str, path: list[str]) -> None:
    other = other_model(tmp_path / "other")
    lane = Lane(asks_other(tmp_path / "r", where), TEXT, find=lambda name: {"other": other}[name])
    lane.put_texts(UNKNOWN)
    assert told(lane) == [("valve", path, "accept")]


def test_a_model_that_is_not_installed_is_left_out_and_told(tmp_path: Path) -> None:
    def find(name: str) -> Release:
        raise OperatorError("no-such-model", f"there is no {name}")

    lane = Lane(asks_other(tmp_path / "r", "behind"), TEXT, find=find)
    lane.put_texts(UNKNOWN)
    assert told(lane) == [("pump", ["words"], "abstain")]
    assert lane.around.not_loaded["lane", "other"].code == "no-such-model"


def test_a_model_of_other_labels_or_another_kind_does_not_fit(tmp_path: Path) -> None:
    release = load_release(asks_other(tmp_path / "r", "before"))
    other = other_model(tmp_path / "other")
    turned = written(other.folder / "words.npz", linear_arrays(), labels=np.array(LABELS[::-1]))
    assert turned.exists()
    output = msgspec.structs.replace(other.manifest.output, labels=list(LABELS[::-1]))
    others = {
        "by the same labels": Release(msgspec.structs.replace(other.manifest, output=output), other.folder, other.digest, other.files),
        "input kind window": windows_of_two_labels(tmp_path / "har"),
    }
    for words, found in others.items():
        with pytest.raises(PublisherError, match=words) as raised:
            load_best(release, Opener(lambda text: text), usage=Usage(find=lambda name, found=found: found))  # type: ignore[misc]
        assert raised.value.code == "cascade-does-not-fit"


def windows_of_two_labels(folder: Path) -> Release:
    release = load_release(HAR)
    output = msgspec.structs.replace(release.manifest.output, labels=list(LABELS))
    return Release(msgspec.structs.replace(release.manifest, output=output), release.folder, release.digest, release.files)


def test_what_was_loaded_is_closed_where_the_cascade_does_not_come_together(tmp_path: Path) -> None:
    release = load_release(asks_other(tmp_path / "r", "behind"))
    gguf = load_release(text_release(tmp_path / "g", engine="llama", name="other"))
    opener = Opener(lambda text: text)
    output = msgspec.structs.replace(gguf.manifest.output, labels=["a", "b"])
    other = Release(msgspec.structs.replace(gguf.manifest, output=output), gguf.folder, gguf.digest, gguf.files)
    with pytest.raises(PublisherError):
        load_best(release, opener, usage=Usage(find=lambda name: other))
    assert [each.closed for each in opener.opened] == [True]


def test_closing_closes_all_stages(tmp_path: Path) -> None:
    lane, opener = scripted(tmp_path / "r", lambda text: [0.0, 9.0])
    lane.pipeline.close()
    assert [each.closed for each in opener.opened] == [True]
    with pytest.raises(Exception, match="closed"):
        cascade_of(lane).stages[0].model.scores(np.array([PUMP], object), np.zeros(1, np.intp))


def test_the_times_of_a_window_count_whole(tmp_path: Path) -> None:
    lane, _ = scripted(tmp_path / "r", lambda text: lane.clock.advance(5_000_000) or [0.0, 9.0])
    lane.put_texts(UNKNOWN)
    assert lane.kept.results[0].timing.infer_ms == 5.0
