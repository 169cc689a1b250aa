"""From raw outputs to verdicts: scores, smoothing, alarm, and what a NaN does."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import NS
from edged.errors import PublisherError
from edged.models.schema import Alarm, Input, Manifest, Output, Smooth, Variant
from edged.stream.alarm import AlarmState
from edged.stream.postprocess import State, Task, Verdict, make_task
from edged.stream.smooth import make_smoother

LABELS = ["stationary", "walking", "running"]


def task_of(task: str, **output: Any) -> Task:
    variant = Variant(name="fp32", engine="tflite", file="m.tflite")
    manifest = Manifest(
        name="m", version="1", release=1, task=task, input=Input(kind="tensor"), output=Output(**output), variants=[variant]
    )
    return make_task(manifest)


def rows(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def judge(task: Task, state: State, raw: Any, end_s: float = 0.0, given: Any = None) -> Verdict | None:
    """Judge one window by its raw output."""
    raw = rows(raw)
    scores = task.outputs(raw if given is None else rows(given), raw)
    return task.finish(state, scores[0], int(end_s * NS))


def verdict_of(task: Task, state: State, raw: Any, end_s: float = 0.0, given: Any = None) -> Verdict:
    verdict = judge(task, state, raw, end_s, given)
    assert verdict is not None
    return verdict


# -- scores -----------------------------------------------------------------------------------


def test_classify_gives_the_largest_score_and_all_scores_by_label() -> None:
    task = task_of("classify", labels=LABELS)
    verdict = verdict_of(task, task.new_state(), [0.1, 0.7, 0.2])
    assert verdict.output == {"label": "walking", "score": 0.7, "scores": {"stationary": 0.1, "walking": 0.7, "running": 0.2}}
    assert verdict.alarm is None


@pytest.mark.parametrize("raw", [[1.0, 2.0, 3.0], [-1000.0, 0.0, 1000.0], [3e38, -3e38, 3e38], [0.0, 0.0, 0.0]])
def test_activations_agree_with_scipy_and_do_not_overflow(raw: list[float]) -> None:
    from scipy.special import expit, softmax

    for name, reference in (("softmax", lambda x: softmax(x, axis=1)), ("sigmoid", expit)):
        task = task_of("classify", labels=LABELS, activation=name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scores = task.outputs(rows(raw), rows(raw))
        np.testing.assert_allclose(scores, reference(rows(raw).astype(np.float64)), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(("score", "expected"), [("mse", (1 + 16) / 4), ("mae", (1 + 4) / 4), ("max", 4.0)])
def test_anomaly_scores_compare_output_and_input(score: str, expected: float) -> None:
    task = task_of("anomaly", score=score, threshold=100.0)
    inputs = np.zeros((1, 2, 2), np.float32)
    raw = rows([1.0, 0.0, 0.0, -4.0])
    np.testing.assert_allclose(task.outputs(inputs, raw), [expected])


def test_anomaly_score_can_be_the_output_itself() -> None:
    task = task_of("anomaly", score="output", threshold=0.5)
    np.testing.assert_array_equal(task.outputs(np.zeros((2, 9), np.float32), rows([0.25], [0.75])), [0.25, 0.75])


def test_scores_of_many_windows_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(7)
    inputs, raw = rng.normal(size=(20, 4, 3)).astype(np.float32), rng.normal(size=(20, 4, 3)).astype(np.float32)
    for task in (
        task_of("classify", labels=[str(i) for i in range(12)], activation="softmax"),
        task_of("anomaly", threshold=1.0),
        task_of("regress"),
        task_of("embed"),
    ):
        together = task.outputs(inputs, raw)
        alone = np.concatenate([task.outputs(inputs[i : i + 1], raw[i : i + 1]) for i in range(20)])
        np.testing.assert_allclose(together, alone, rtol=1e-14)


def test_regress_and_embed_give_the_output_as_a_list() -> None:
    regress, embed = task_of("regress"), task_of("embed")
    assert verdict_of(regress, regress.new_state(), [21.4]).output == {"values": [21.4]}
    assert verdict_of(embed, embed.new_state(), [0.5, -0.25]).output == {"vector": [0.5, -0.25]}


@pytest.mark.parametrize(
    ("task", "inputs", "raw"),
    [
        (task_of("classify", labels=LABELS), np.zeros((1, 4), np.float32), np.zeros((1, 2), np.float32)),
        (task_of("anomaly", threshold=1.0), np.zeros((1, 4), np.float32), np.zeros((1, 5), np.float32)),
        (task_of("anomaly", score="output", threshold=1.0), np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)),
    ],
)
def test_an_output_of_another_size_than_the_manifest_says_is_the_publishers(task: Task, inputs: np.ndarray, raw: np.ndarray) -> None:
    with pytest.raises(PublisherError) as caught:
        task.outputs(inputs, raw)
    assert caught.value.code == "output-mismatch"


def test_a_task_on_text_is_refused_by_name() -> None:
    with pytest.raises(PublisherError) as caught:
        task_of("generate")
    assert caught.value.code == "task-unsupported"


def test_outputs_are_plain_json_and_numbers_are_short() -> None:
    task = task_of("classify", labels=LABELS)
    output = verdict_of(task, task.new_state(), [1 / 3, 0.9, 1e-9]).output
    assert json.loads(json.dumps(output)) == output
    assert output["scores"] == {"stationary": 0.333333, "walking": 0.9, "running": 1e-9}


# -- threshold --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "score", "anomaly"), [("above", 12.3, True), ("above", 12.2, False), ("below", 12.3, True), ("below", 12.4, False)]
)
def test_anomaly_begins_at_the_threshold(side: str, score: float, anomaly: bool) -> None:
    task = task_of("anomaly", score="output", threshold=12.3, anomalous=side)
    verdict = verdict_of(task, task.new_state(), [score])
    assert verdict.output == {"score": score, "threshold": 12.3, "anomaly": anomaly}
    assert verdict.alarm is anomaly


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6), st.sampled_from(["above", "below"]))
def test_anomaly_agrees_with_the_numbers_beside_it(score: float, threshold: float, side: str) -> None:
    task = task_of("anomaly", score="output", threshold=threshold, anomalous=side)
    output = verdict_of(task, task.new_state(), [score]).output
    expected = output["score"] >= output["threshold"] if side == "above" else output["score"] <= output["threshold"]
    assert output["anomaly"] is expected


# -- smoothing --------------------------------------------------------------------------------


def test_mean_is_over_the_last_windows_and_over_those_there_are_before() -> None:
    smoother = make_smoother(Smooth(op="mean", windows=3))
    means = [float(smoother.add(np.array([value]))[0][0]) for value in (3.0, 5.0, 7.0, 9.0)]
    assert means == [3.0, 4.0, 5.0, 7.0]


def test_ewma_begins_at_the_first_row_and_takes_alpha_from_windows() -> None:
    smoother = make_smoother(Smooth(op="ewma", windows=3))  # alpha 0.5
    assert [float(smoother.add(np.array([value]))[0][0]) for value in (8.0, 0.0, 0.0)] == [8.0, 4.0, 2.0]


def test_vote_shares_are_the_scores_and_a_tie_goes_to_the_label_voted_for_last() -> None:
    task = task_of("classify", labels=["a", "b", "c"], smooth=Smooth(op="vote", windows=5))
    state = task.new_state()
    a, b, c = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    labels = [verdict_of(task, state, raw).output["label"] for raw in (a, b, a, b, c)]
    assert labels == ["a", "b", "a", "b", "b"]
    assert verdict_of(task, state, c).output == {"label": "c", "score": 0.4, "scores": {"a": 0.2, "b": 0.4, "c": 0.4}}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_vote_is_the_majority_of_the_last_windows(votes: list[int], windows: int) -> None:
    smoother = make_smoother(Smooth(op="vote", windows=windows))
    for vote in votes:
        shares, leader = smoother.add(np.eye(4)[vote])
    last = votes[-windows:]
    counts = Counter(last)
    tied = [vote for vote in counts if counts[vote] == max(counts.values())]
    assert leader == max(tied, key=lambda vote: max(i for i, each in enumerate(last) if each == vote))
    np.testing.assert_allclose(shares, [counts[i] / len(last) for i in range(4)])


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=60), st.integers(1, 10))
def test_mean_has_no_memory_of_older_windows(values: list[float], windows: int) -> None:
    """A running sum would: 1e30 in, 1e30 out, and small values are gone."""
    smoother = make_smoother(Smooth(op="mean", windows=windows))
    for value in values:
        mean, _ = smoother.add(np.array([value]))
    np.testing.assert_array_equal(mean, np.mean(np.array(values[-windows:])[:, None], axis=0))


@pytest.mark.parametrize("op", ["mean", "vote", "ewma"])
def test_a_gap_makes_smoothing_begin_anew(op: str) -> None:
    task = task_of("classify", labels=["a", "b"], smooth=Smooth(op=op, windows=5))
    state = task.new_state()
    for _ in range(5):
        judge(task, state, [1.0, 0.0])
    state.gap()
    assert verdict_of(task, state, [0.0, 1.0]).output["label"] == "b"


# -- alarm ------------------------------------------------------------------------------------


def alarms(alarm: Alarm, *steps: tuple[float, float], below: bool = False) -> list[bool]:
    """Step through (seconds, score) pairs."""
    state = AlarmState(alarm, below)
    return [state.step(score, int(seconds * NS)) for seconds, score in steps]


def test_alarm_stays_as_it_is_between_on_and_off() -> None:
    alarm = Alarm(label="x", on=0.9, off=0.7)
    assert alarms(alarm, (0, 0.8), (1, 0.9), (2, 0.8), (3, 0.7), (4, 0.69), (5, 0.8)) == [False, True, True, True, False, False]


def test_alarm_waits_until_the_score_was_there_for_min_s() -> None:
    alarm = Alarm(label="x", on=0.9, off=0.7, min_s=2)
    assert alarms(alarm, (0, 0.9), (1, 0.95), (2, 0.9)) == [False, False, True]
    assert alarms(alarm, (0, 0.9), (1, 0.8), (2, 0.9), (3, 0.9), (4, 0.9)) == [False, False, False, False, True]


def test_no_new_alarm_within_quiet_s_of_the_last_end() -> None:
    alarm = Alarm(label="x", on=0.9, off=0.7, quiet_s=10)
    assert alarms(alarm, (0, 1), (1, 0), (2, 1), (10, 1), (11, 1)) == [True, False, False, False, True]


def test_alarm_on_low_scores_is_the_mirror_image() -> None:
    alarm = Alarm(on=0.1, off=0.3)
    assert alarms(alarm, (0, 0.2), (1, 0.1), (2, 0.2), (3, 0.31), below=True) == [False, True, True, False]


def test_a_clock_set_back_does_not_silence_the_alarm() -> None:
    alarm = Alarm(label="x", on=0.9, off=0.7, min_s=5, quiet_s=5)
    year = 365 * 86400
    steps = [(year, 1), (year + 5, 1), (year + 6, 0), (0, 1), (4, 1), (5, 1)]
    assert alarms(alarm, *steps) == [False, True, False, False, False, True]


@given(
    st.lists(st.tuples(st.integers(-3, 10), st.floats(0, 1), st.booleans()), max_size=60),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 9),
    st.integers(0, 9),
    st.booleans(),
)
def test_alarm_promises_hold_for_any_scores(
    steps: list[tuple[int, float, bool]], high: float, low: float, min_s: int, quiet_s: int, below: bool
) -> None:
    """Each "on" has its "off", and on, off, min_s and quiet_s are kept, whatever the clock does."""
    on, off = (min(high, low), max(high, low)) if below else (max(high, low), min(high, low))
    state = AlarmState(Alarm(on=on, off=off, min_s=min_s, quiet_s=quiet_s), below)
    now, was = 0, False
    begins = ends = 0
    ended: int | None = None  # where the clock was set back since, the earliest time since
    runs: list[int] = []  # times of the windows beyond `on` since it was last not so, or not known
    for seconds, score, gap in steps:
        now += seconds * NS
        if gap:
            state.gap()
            runs.clear()
        ended = None if ended is None else min(ended, now)
        assert state.on == was, "a gap changes nothing by itself"
        is_on = state.step(score, now)
        beyond = score <= on if below else score >= on
        runs = [*runs, now] if beyond else []
        if is_on and not was:
            assert beyond
            assert now - min(runs) >= min_s * NS
            assert ended is None or now - ended >= quiet_s * NS
            begins += 1
        elif was and not is_on:
            assert score > off if below else score < off
            ended = now
            ends += 1
        was = is_on
    assert begins - ends == was


def test_the_alarm_judges_the_smoothed_score_of_its_label() -> None:
    task = task_of("classify", labels=LABELS, smooth=Smooth(op="mean", windows=2), alarm=Alarm(label="running", on=0.8, off=0.5))
    state = task.new_state()
    quiet, loud = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    assert [verdict_of(task, state, raw).alarm for raw in (quiet, loud, loud, quiet, quiet)] == [False, False, True, True, False]


def test_an_alarm_of_an_anomaly_has_its_own_levels() -> None:
    task = task_of("anomaly", score="output", threshold=5.0, alarm=Alarm(on=8.0, off=4.0))
    state = task.new_state()
    verdicts = [verdict_of(task, state, [score]) for score in (6.0, 8.0, 4.5, 3.0)]
    assert [each.output["anomaly"] for each in verdicts] == [True, True, False, False]
    assert [each.alarm for each in verdicts] == [False, True, True, False]


# -- what changed, and what a gap and a NaN do ------------------------------------------------


def test_changed_is_the_first_verdict_and_then_a_new_label_or_alarm() -> None:
    task = task_of("classify", labels=["a", "b"], alarm=Alarm(label="a", on=0.9, off=0.6))
    state = task.new_state()
    raws = ([0.8, 0.2], [0.7, 0.3], [0.95, 0.05], [0.9, 0.1], [0.4, 0.6])
    assert [verdict_of(task, state, raw).changed for raw in raws] == [True, False, True, False, True]


def test_an_alarm_that_is_on_over_a_gap_is_neither_lost_nor_told_twice() -> None:
    task = task_of("anomaly", score="output", threshold=1.0, alarm=Alarm(on=1.0, off=0.5))
    state = task.new_state()
    assert verdict_of(task, state, [2.0]).alarm
    state.gap()
    verdict = verdict_of(task, state, [0.7])
    assert (verdict.alarm, verdict.changed) == (True, True)  # the anomaly has ended, the alarm not yet
    assert verdict_of(task, state, [0.0]).alarm is False


@pytest.mark.parametrize(
    "task",
    [
        task_of("classify", labels=LABELS, activation="softmax", smooth=Smooth(op="mean", windows=4)),
        task_of("classify", labels=LABELS, smooth=Smooth(op="vote", windows=4), alarm=Alarm(label="running", on=0.9, off=0.1)),
        task_of("anomaly", threshold=1.0, smooth=Smooth(op="ewma", windows=4)),
        task_of("regress"),
        task_of("embed", smooth=Smooth(op="mean", windows=2)),
    ],
)
def test_an_output_that_is_no_number_gives_no_verdict_and_leaves_no_trace(task: Task) -> None:
    good, zero = [0.25, 0.5, 0.25], [0.0, 0.0, 0.0]
    disturbed, calm = task.new_state(), task.new_state()
    for state in (disturbed, calm):
        judge(task, state, good, 1.0, given=zero)
    assert judge(task, disturbed, [np.nan, 0.5, 0.25], 2.0, given=zero) is None
    assert judge(task, disturbed, zero, 3.0, given=zero) == judge(task, calm, zero, 3.0, given=zero)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("task", [task_of("anomaly", threshold=1.0), task_of("regress"), task_of("classify", labels=LABELS)])
def test_an_infinite_score_gives_no_verdict(task: Task, infinite: float) -> None:
    assert judge(task, task.new_state(), [infinite, 0.5, 0.25], given=[0.0, 0.0, 0.0]) is None


def test_a_label_that_the_model_rules_out_has_score_zero() -> None:
    task = task_of("classify", labels=LABELS, activation="softmax")
    assert verdict_of(task, task.new_state(), [-np.inf, 1.0, 1.0]).output["scores"] == {"stationary": 0.0, "walking": 0.5, "running": 0.5}


@given(st.lists(st.floats(width=32), min_size=3, max_size=3), st.sampled_from(["none", "softmax", "sigmoid"]))
def test_any_raw_output_gives_finite_json_or_nothing(raw: list[float], activation: str) -> None:
    task = task_of("classify", labels=LABELS, activation=activation)
    verdict = judge(task, task.new_state(), raw)
    if verdict is not None:
        json.dumps(verdict.output, allow_nan=False)


# -- against published numbers ----------------------------------------------------------------


def test_scores_of_recorded_outputs_are_their_mean_squared_error(assets: Path) -> None:
    golden = np.load(assets / "models/ad01/ad01_golden.npz")
    inputs, raw = golden["in_fp32"], golden["out_fp32_nodelegate"]
    scores = task_of("anomaly", threshold=20.0).outputs(inputs, raw)
    expected = [sum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True)) / len(x) for x, y in zip(inputs, raw, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_the_published_score_of_a_recording_is_met(assets: Path, data: Path) -> None:
    """The mean over its 196 windows of one real recording, as published with the model: 9.70710781339692."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert to run the model")
    frames = np.fromfile(assets / "data/ad01/normal_id_01_00000000_hist_librosa.bin", "<f4").reshape(200, 128)
    windows = np.lib.stride_tricks.sliding_window_view(frames, 5, axis=0).transpose(0, 2, 1).reshape(196, 640)
    interpreter = litert.Interpreter(str(data / "ad01/ad01_fp32.tflite"), num_threads=1)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [196, 640])
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(windows))
    interpreter.invoke()
    raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    task = task_of("anomaly", threshold=20.0)
    state = task.new_state()
    verdicts = [task.finish(state, scores, i * NS) for i, scores in enumerate(task.outputs(windows, raw))]
    published = 9.70710781339692
    assert np.mean([each.output["score"] for each in verdicts if each]) == pytest.approx(published, abs=1e-3)
