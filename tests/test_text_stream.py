"""Texts down the data path, in this process: decoding, cutting, the four tasks, and what goes wrong on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import iso
from edged.config import schema
from edged.engines.text import Written
from edged.errors import BoardError, BugError, OperatorError, PublisherError, ReleaseFaults
from edged.models.manifest import load_release
from edged.models.template import parse_render
from edged.records import EMPTY_TEXT, MALFORMED, MISSING_FIELD, TOO_LARGE, WRONG_TYPE
from edged.stream.decoders import text as text_decoder
from edged.stream.decoders.text import TextMessages
from edged.stream.loading import load_best
from tests.daemon import HAR
from tests.lanes import START_NS, Lane
from tests.linears import LABELS
from tests.releases import changed
from tests.text_lanes import PUMP, TEXT, VALVE, Opener, failing, text_release


@pytest.fixture
def words(tmp_path: Path) -> Lane:
    """Give a lane that classifies by words."""
    return Lane(text_release(tmp_path / "r"), TEXT)


# -- classify ---------------------------------------------------------------------------------


def test_each_message_is_a_text_of_the_stream_of_its_topic(words: Lane) -> None:
    words.put(("in/a", PUMP), ("in/b", VALVE), ("in/a", VALVE))
    results = words.kept.results
    assert [(each.key, each.output["label"]) for each in results] == [("key=a", "pump"), ("key=b", "valve"), ("key=a", "valve")]
    assert {each.clock for each in results} == {"arrival"}
    assert {(each.window.start, each.window.end, each.window.samples) for each in results} == {(iso(START_NS), iso(START_NS), 1)}
    assert {each.model.engine for each in results} == {"linear"}
    assert len({each.id for each in results}) == 3
    scores = results[0].output["scores"]
    assert sum(scores.values()) == pytest.approx(1.0)
    assert results[0].output["score"] == scores["pump"]


def test_log_odds_are_divided_by_the_variants_temperature(tmp_path: Path) -> None:
    def scores(more: str) -> dict[str, float]:
        lane = Lane(text_release(tmp_path / f"r{len(more)}", more=more), TEXT)
        lane.put_texts(PUMP)
        found: dict[str, float] = lane.kept.results[0].output["scores"]
        return found

    cold, warm = scores(""), scores("temperature = 4.0\n")
    odds = [np.log(each["pump"] / each["valve"]) for each in (cold, warm)]
    assert odds[0] == pytest.approx(4 * odds[1], rel=1e-4)


def test_smoothing_and_alarm_work_on_texts_as_on_windows(tmp_path: Path) -> None:
    output = 'smooth = { op = "mean", windows = 2 }\nalarm = { label = "valve", on = 0.9, off = 0.3 }\n'
    lane = Lane(text_release(tmp_path / "r", output=output), TEXT)
    lane.put_texts(PUMP, VALVE, VALVE, PUMP)
    assert [each.result.alarm for each in lane.kept.outgoing] == [False, False, True, True]
    assert [each.changed for each in lane.kept.outgoing] == [True, True, True, False]
    halves = [each.result.output["scores"]["valve"] for each in lane.kept.outgoing]
    assert halves[1] == pytest.approx((halves[0] + halves[2]) / 2, rel=1e-4)


def test_a_model_that_says_no_number_says_nothing(tmp_path: Path) -> None:
    lane = Lane(text_release(tmp_path / "r", engine="llama"), TEXT, opener=Opener(lambda text: [float(text), 0.0]))
    lane.put_texts("1", "nan", "-inf", "2")
    assert len(lane.kept.results) == 3  # minus infinity is a label that cannot be
    assert lane.counters.dropped == {"model-nan": 1}


def test_a_model_of_other_labels_than_the_release_is_the_publishers(tmp_path: Path) -> None:
    lane = Lane(text_release(tmp_path / "r", engine="llama"), TEXT, opener=Opener(lambda text: [0.0, 0.0, 0.0]))
    lane.put_texts("one")
    assert isinstance(lane.pipeline.last_error, PublisherError)
    assert lane.pipeline.last_error.code == "output-mismatch"


# -- the other tasks --------------------------------------------------------------------------


def lane_of(folder: Path, task: str, answer: Any, **options: Any) -> tuple[Lane, Opener]:
    output = {"extract": '[output.schema]\ntype = "object"\nproperties = { unit = { type = "string" } }\n'}.get(task, "")
    opener = Opener(answer)
    return Lane(text_release(folder, task=task, engine="llama", output=output), TEXT, opener=opener, **options), opener


def test_embed_gives_the_vector(tmp_path: Path) -> None:
    lane, _ = lane_of(tmp_path / "r", "embed", lambda text: [0.6, 0.8, 0.0])
    lane.put_texts("one")
    assert lane.kept.results[0].output == {"vector": [0.6, 0.8, 0.0]}


def test_generate_gives_the_text_and_says_what_cut_it_short(tmp_path: Path) -> None:
    lane, opener = lane_of(
        tmp_path / "r", "generate", lambda text: Written(f"{text}!", 2, "deadline" if text == "b" else ""), deadline_ms=1234
    )
    lane.put_texts("a", "b")
    assert [each.output for each in lane.kept.results] == [{"text": "a!"}, {"text": "b!", "truncated": "deadline"}]
    assert set(opener.opened[0].deadlines) == {1234.0}


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("no json", id="no JSON"),
        pytest.param("[1]", id="no object"),
        pytest.param('{"unit": 3}', id="wrong type"),
        pytest.param('{"unit": "PUMP 3", "more": 1}', id="a field that nobody asked for"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param(Written('{"unit": "PU', 4, "max_tokens"), id="cut short"),
        pytest.param(Written('{"unit": "PUMP 3"}', 4, "deadline"), id="whole by chance"),
    ],
)
def test_extract_gives_the_fields_and_counts_what_is_none(tmp_path: Path, written: Any) -> None:
    answers = {"good": '{"unit": "PUMP 3"}', "bad": written}
    lane, _ = lane_of(tmp_path / "r", "extract", answers.__getitem__)
    lane.put_texts("good", "bad", "good")
    assert [each.output for each in lane.kept.results] == [{"fields": {"unit": "PUMP 3"}}] * 2
    assert lane.counters.dropped == {"extract-invalid": 1}
    assert lane.counters.failed_windows == 1


# -- what goes wrong --------------------------------------------------------------------------


def test_a_runner_that_fails_costs_the_texts_of_that_call_only(tmp_path: Path) -> None:
    lane, opener = lane_of(tmp_path / "r", "generate", failing(BoardError("runner-crashed", "it crashed", "")))
    lane.put_texts("first", "a", "b", "c", "d", "bad", "e", "f", "g", "h")
    assert opener.opened[0].asked == [["first", "a", "b", "c"], ["d", "bad", "e", "f"], ["g", "h"]]
    assert [each.output["text"] for each in lane.kept.results] == ["first", "a", "b", "c", "g", "h"]
    assert lane.counters.dropped == {"runner-crashed": 4}
    assert (lane.counters.windows, lane.counters.failed_windows, lane.counters.results) == (10, 4, 6)
    assert lane.pipeline.last_error is not None
    assert lane.pipeline.last_error.code == "runner-crashed"


def test_a_bug_costs_the_batch_it_shows_in(tmp_path: Path) -> None:
    lane, _ = lane_of(tmp_path / "r", "generate", failing(BugError("engine-misused", "ours")))
    lane.put_texts("bad", "a")
    assert (lane.kept.results, lane.counters.dropped) == ([], {"engine-misused": 2})
    lane.put_texts("a")
    assert len(lane.kept.results) == 1


def test_a_long_call_is_seen_to_go_on_and_an_idle_pipeline_stays_idle(tmp_path: Path) -> None:
    lane, opener = lane_of(tmp_path / "r", "generate", lambda text: at_work(text))
    seen: list[int] = []

    def at_work(text: str) -> str:
        for _ in range(3):
            lane.clock.advance(10**9)
            opener.opened[0].progress()
            seen.append(lane.clock.mono() - lane.pipeline.busy_since)
        return text

    lane.clock.advance(10**9)
    lane.put_texts("a")
    assert seen == [0, 0, 0]
    opener.opened[0].progress()
    assert lane.pipeline.busy_since == 0


def test_results_later_than_the_deadline_are_counted(tmp_path: Path) -> None:
    lane, _ = lane_of(tmp_path / "r", "generate", lambda text: lane.clock.advance(600_000_000) or text)
    lane.put_texts("a")
    assert lane.counters.late_results == 1


# -- decoding ---------------------------------------------------------------------------------


def test_messages_without_a_text_are_refused_by_their_reason_and_begin_no_stream(words: Lane) -> None:
    words.put(("in/x", ""), ("in/x", " \n\t"), ("in/x", b"\xff\xfe"), ("in/x", None), ("in/a", PUMP), ("in/a", " "))
    assert words.counters.rejected == {EMPTY_TEXT: 3, MALFORMED: 1, TOO_LARGE: 1}
    assert (words.counters.messages, words.counters.readings, words.counters.results) == (6, 1, 1)
    assert [each.key for each in words.pipeline.assembly.streams.streams] == ["key=a"]
    assert len(words.rejected) == 5


def test_a_topic_that_is_not_ours_is_refused(words: Lane) -> None:
    words.put(("elsewhere/b/c", PUMP), ("in/a", PUMP))
    assert (words.counters.rejected, words.counters.results) == ({"unknown-topic": 1}, 1)


@pytest.mark.parametrize(("keep", "left"), [("start", "abcd"), ("end", "efgh")])
def test_a_long_text_is_cut_at_the_end_the_release_says_and_the_result_tells(tmp_path: Path, keep: str, left: str) -> None:
    opener = Opener(lambda text: text)
    release = text_release(tmp_path / "r", task="generate", engine="llama", given=f'max_chars = 4\nkeep = "{keep}"\n')
    lane = Lane(release, TEXT, opener=opener)
    lane.put_texts("abcdefgh", "abcd")
    assert [each.output for each in lane.kept.results] == [{"text": left, "cut": 4}, {"text": "abcd"}]


def test_more_streams_than_the_pipeline_holds_in_one_batch(tmp_path: Path) -> None:
    lane = Lane(text_release(tmp_path / "r"), TEXT, max_streams=2)
    lane.put(*[(f"in/{i}", PUMP) for i in range(7)])
    assert [each.key for each in lane.kept.results] == [f"key={i}" for i in range(7)]
    assert len(lane.pipeline.assembly.streams.streams) == 2


# -- texts made of JSON -----------------------------------------------------------------------

RENDER = 'render = "{pipeline}: {output.score} on {labels.pump} {{{output.anomaly}}}"\n'
ALARM = {"pipeline": "pump", "output": {"score": 9.71, "anomaly": True}, "labels": {"pump": "7"}}


def test_a_text_is_made_of_the_fields_of_a_message(tmp_path: Path) -> None:
    lane = Lane(text_release(tmp_path / "r", task="generate", engine="llama", given=RENDER), TEXT, opener=Opener(lambda text: text))
    missing = {**ALARM, "output": {"score": 1}}
    lane.put_texts(json.dumps(ALARM), json.dumps(missing), "no json", "[1]", json.dumps({**ALARM, "output": 3}))
    assert [each.output["text"] for each in lane.kept.results] == ["pump: 9.71 on 7 {true}"]
    assert lane.counters.rejected == {
        f"{MISSING_FIELD} output.anomaly": 1,
        f"{MISSING_FIELD} output.score": 1,
        MALFORMED: 1,
        WRONG_TYPE: 1,
    }


@pytest.mark.parametrize("payload", [b"[" * 100_000, b'{"a":' * 100_000, b"\x00", b"{", b"null", b'{"a": 1e999}', b'{"a": "\\ud800"}'])
def test_hostile_json_is_refused(payload: bytes) -> None:
    found = TextMessages(schema.TextDecoder(), "{a}").decode([payload, b'{"a": "x"}'], [b"t", b"t"])
    assert found.texts == [None, "x"]


def test_a_rendered_text_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_decoder, "MAX_RENDERED", 100)
    decoder = TextMessages(schema.TextDecoder(), "{a}" * 20)
    found = decoder.decode([json.dumps({"a": "x" * 5}).encode(), json.dumps({"a": "x" * 6}).encode()], [b"t", b"t"])
    assert [len(each or "") for each in found.texts] == [100, 0]
    assert [each.reason for each in found.rejected] == [TOO_LARGE]


@given(st.dictionaries(st.sampled_from("abc"), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
@settings(max_examples=50, deadline=None)
def test_any_value_renders_as_text_or_as_json(fields: dict[str, Any]) -> None:
    payload = json.dumps(fields).encode()
    found = TextMessages(schema.TextDecoder(), "<{a}>").decode([payload], [b"t"])
    if "a" not in fields:
        assert found.rejected[0].reason == MISSING_FIELD
        return
    text = found.texts[0]
    assert text is not None
    shown = text[1:-1]
    assert (shown if isinstance(fields["a"], str) else json.loads(shown)) == fields["a"]


def test_render_is_text_and_paths_and_braces_are_written_twice() -> None:
    assert parse_render("a {b.c}{{d}} {e}") == ["a ", ("b", "c"), "{", "d", "}", " ", ("e",)]


@pytest.mark.parametrize("render", ["{", "a}", "{a", "{a..b}", "{.a}", "{ a}", "{}", "{{a}"])
def test_a_render_that_is_none_is_said_so(render: str) -> None:
    with pytest.raises(ValueError, match=r"brace|path"):
        parse_render(render)


# -- both sides fit together ------------------------------------------------------------------


def test_a_decoder_of_readings_does_not_fit_a_model_of_texts_nor_the_other_way(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as raised:
        Lane(text_release(tmp_path / "r"), {"type": "json", "channels": ["v"]})
    assert raised.value.code == "decoder-does-not-fit"
    assert raised.value.text == "pipeline lane: the decoder json gives readings, orders takes texts"
    with pytest.raises(OperatorError) as raised:
        Lane(HAR, TEXT)
    assert "the decoder text gives texts, har takes readings" in raised.value.text


def test_a_gguf_file_that_is_cut_never_reaches_the_library(tmp_path: Path) -> None:
    folder = text_release(tmp_path / "r", engine="llama")
    whole = (folder / "words.gguf").read_bytes()
    (folder / "words.gguf").write_bytes(whole[:-1])
    opener = Opener(lambda text: text)
    with pytest.raises(PublisherError) as raised:
        load_best(load_release(folder), opener)
    assert (raised.value.code, opener.opened) == ("gguf-malformed", [])


def test_the_engine_hears_what_the_release_says(tmp_path: Path) -> None:
    given = 'template = "Order: {text} is"\nsystem = "S"\nmax_chars = 90\n[[input.examples]]\ntext = "t"\nanswer = "pump"\n'
    opener = Opener(lambda text: [0.0, 0.0])
    Lane(text_release(tmp_path / "r", engine="llama", given=given, more="context = 77\n"), TEXT, opener=opener)
    use = opener.opened[0].use
    assert (use.task, use.labels, use.max_chars, use.context, use.head, use.schema) == ("classify", LABELS, 90, 77, None, b"")
    assert (use.prompt.template, use.prompt.system, use.prompt.examples, use.prompt.chat) == (
        "Order: {text} is",
        "S",
        (("t", "pump"),),
        False,
    )


def test_a_temperature_of_a_graph_is_refused(tmp_path: Path) -> None:
    folder = changed(HAR, tmp_path / "har", ('file = "har_float.tflite"', 'file = "har_float.tflite"\ntemperature = 2.0'))
    with pytest.raises(ReleaseFaults) as raised:
        load_release(folder)
    assert [(each.key, each.code) for each in raised.value.faults] == [("variants[0].temperature", "wrong-engine")]


def test_results_of_texts_are_plain_json(words: Lane) -> None:
    words.put_texts(PUMP)
    assert msgspec.json.decode(msgspec.json.encode(words.kept.results[0]))["output"]["label"] == "pump"
