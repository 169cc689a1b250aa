"""Questions that go to a person, and what comes back: in time, late, twice, wrong, hostile."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import NS, iso
from edged.errors import ConfigFaults, OperatorError
from edged.models.manifest import load_release
from edged.records import Batch
from edged.stream import escalation as module
from edged.stream.escalation import Escalation
from tests.broker import Mosquitto
from tests.daemon import HAR, on_topic, pipeline
from tests.lanes import START_NS, Lane
from tests.peer import Peer
from tests.recordings import window_message
from tests.test_cascade import har_cascade
from tests.test_config_meaning import BROKER, PIPELINE, load
from tests.text_lanes import PUMP, TEXT, UNKNOWN, with_cascade

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

ASKS = {"topic": "q", "answers": "a", "wait_s": 10}


class Asking:
    """A lane that asks; what it asked, and the answers by hand."""

    def __init__(self, release: Path, decoder: dict[str, Any] = TEXT, **asks: Any) -> None:
        self.questions: list[dict[str, Any]] = []
        self.woken = 0
        self.lane = Lane(release, decoder, escalate={**ASKS, **asks})
        self.escalation = Escalation("a", 10, self.lane.clock, lambda data: self.questions.append(json.loads(data)), self._wake)
        self.lane.pipeline.escalation = self.escalation

    def answer(self, *payloads: bytes | str | dict[str, Any] | None) -> None:
        """Let answers come, and the worker look."""
        data = [json.dumps(each) if isinstance(each, dict) else each for each in payloads]
        self.escalation.put(Batch([b"a"] * len(data), [each.encode() if isinstance(each, str) else each for each in data], 0, 0))
        assert self.lane.pipeline.take() is None

    def wait(self, seconds: float) -> None:
        self.lane.clock.advance(int(seconds * NS))

    @property
    def last(self) -> Any:
        return self.lane.kept.results[-1]

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(with_cascade(tmp_path / "r", second=0.99))


def test_what_no_stage_is_sure_of_is_published_at_once_and_asked(asking: Asking) -> None:
    asking.lane.put_texts(PUMP, UNKNOWN)
    sure, unsure = asking.lane.kept.results
    assert (sure.output["band"], unsure.output["band"], unsure.output["path"]) == ("accept", "escalate", ["words", "large"])
    assert asking.questions == [
        {
            "v": 1,
            "id": unsure.id,
            "pipeline": "lane",
            "device": "device",
            "key": "key=a",
            "labels": {"key": "a"},
            "text": UNKNOWN,
            "guess": {"label": "valve", "score": unsure.output["score"]},
            "choices": ["pump", "valve"],
            "answer_to": "a",
            "until": iso(START_NS + 10 * NS),
        }
    ]
    assert (asking.escalation.asked, asking.escalation.open) == (1, 1)


def test_an_answer_in_time_is_a_result_of_its_own(asking: Asking) -> None:
    asking.lane.put_texts(UNKNOWN)
    before = asking.last
    asking.wait(9.5)
    asking.answer({"id": before.id, "label": "pump", "by": "kim", "more": 1})
    result = asking.last
    assert result.id == f"{before.id}-answer"
    assert result.output == {
        "label": "pump",
        "score": 1.0,
        "path": ["words", "large", "answer"],
        "band": "accept",
        "answers": before.id,
        "by": "kim",
    }
    assert (result.window, result.model, result.key, result.time) == (before.window, before.model, before.key, before.time)
    assert result.timing.total_ms == pytest.approx(before.timing.total_ms + 9500)
    assert [each.changed for each in asking.lane.kept.outgoing] == [True, True]
    counters, asked = asking.lane.counters, asking.escalation
    assert (counters.results, counters.late_results, counters.dropped) == (2, 0, {})
    assert (asked.answered, asked.open, asked.dropped) == (1, 0, {})
    assert asking.lane.pipeline.busy_since == 0


def test_an_answer_that_agrees_changes_nothing(asking: Asking) -> None:
    asking.lane.put_texts(UNKNOWN)
    asking.answer({"id": asking.last.id, "label": "valve"})
    assert [each.changed for each in asking.lane.kept.outgoing] == [True, False]
    assert "by" not in asking.last.output


@pytest.mark.parametrize(
    ("answers", "dropped"),
    [
        pytest.param([{"id": "$", "label": "pump"}] * 2, {"answer-twice": 1}, id="twice"),
        pytest.param([{"id": "elsewhere", "label": "pump"}], {"answer-unknown": 1}, id="unknown"),
        pytest.param([{"id": "$", "label": "fan"}], {"answer-no-choice": 1}, id="no choice"),
        pytest.param([{"id": "$", "label": "fan"}, {"id": "$", "label": "pump"}], {"answer-no-choice": 1}, id="no choice, then one"),
        pytest.param(["", "{", "[]", "null", b"\xff", None], {"answer-malformed": 6}, id="garbage"),
        pytest.param([{"id": "$"}, {"label": "pump"}, {"id": 1, "label": "pump"}], {"answer-malformed": 3}, id="half"),
        pytest.param([{"id": "$", "label": "pump", "by": "x" * 201}, "[" * 100_000], {"answer-malformed": 2}, id="too much"),
    ],
)
def test_what_is_no_answer_is_counted_by_its_reason(asking: Asking, answers: list[Any], dropped: dict[str, int]) -> None:
    asking.lane.put_texts(UNKNOWN)
    id_ = asking.last.id
    asking.answer(*[{**each, "id": id_} if isinstance(each, dict) and each.get("id") == "$" else each for each in answers])
    assert asking.escalation.dropped == dropped
    assert asking.lane.pipeline.last_error is None
    assert len(asking.lane.kept.results) <= 2


def test_a_late_answer_is_too_late(asking: Asking) -> None:
    asking.lane.put_texts(UNKNOWN)
    asking.wait(10)
    assert asking.escalation.open == 0
    asking.answer({"id": asking.last.id, "label": "pump"})
    assert (asking.escalation.dropped, asking.escalation.unanswered) == ({"answer-late": 1}, 1)
    assert len(asking.lane.kept.results) == 1


def test_open_questions_are_bounded_and_the_oldest_goes(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    asking.lane.put_texts(*[UNKNOWN] * 5)
    assert asking.escalation.dropped == {"question-let-go": 2}
    ids = [each.id for each in asking.lane.kept.results]
    asking.answer(*({"id": each, "label": "pump"} for each in ids))
    assert [each.output["answers"] for each in asking.lane.kept.results[5:]] == ids[2:]
    assert asking.escalation.dropped == {"question-let-go": 2, "answer-late": 2}


def test_answers_that_wait_are_bounded(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    asking.lane.put_texts(UNKNOWN)
    done: list[bool] = []
    asking.escalation.put(Batch([b"a"] * 5, [b"x"] * 5, 0, 0, lambda: done.append(True)))
    asking.lane.pipeline.take()
    assert asking.escalation.dropped == {"answer-queue-full": 3, "answer-malformed": 2}
    assert (done, asking.woken) == ([True], 1)


def test_the_bytes_of_answers_that_wait_are_bounded(asking: Asking) -> None:
    asking.lane.put_texts(UNKNOWN)
    answer = {"id": asking.questions[0]["id"], "label": "pump"}
    long = json.dumps({**answer, "more": "x" * 20_000}).encode()
    tracemalloc.start()
    for _ in range(100):
        asking.escalation.put(Batch([b"a"], [bytes(bytearray(long))], 0, 0))
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()
    asking.answer(answer)
    assert (asking.escalation.dropped, asking.last.output["answers"]) == ({"answer-malformed": 100}, answer["id"])


@given(data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_answer_or_counted(data: bytes) -> None:
    lane = Lane(HAR, {"type": "json", "channels": ["x", "y", "z"], "time": "ts"})
    escalation = Escalation("a", 10, lane.clock, lambda question: None, lambda: None)
    escalation.put(Batch([b"a"], [data], 0, 0))
    assert escalation.take() == []
    assert sum(escalation.dropped.values()) == 1


def test_a_person_is_asked_no_more_often_than_the_release_allows(tmp_path: Path) -> None:
    asking = Asking(with_cascade(tmp_path / "r", second=0.99, more="per_hour = 2"))
    asking.lane.put_texts(*[UNKNOWN] * 4)
    assert [each.output["band"] for each in asking.lane.kept.results] == ["escalate"] * 2 + ["abstain"] * 2
    assert len(asking.questions) == 2
    asking.wait(1800)
    asking.lane.put_texts(UNKNOWN, UNKNOWN)
    assert len(asking.questions) == 3


def test_a_window_is_asked_without_a_text(tmp_path: Path) -> None:
    release = har_cascade(tmp_path / "har", accept=1.0)
    asking = Asking(release, {"type": "json", "channels": ["x", "y", "z"], "time": "ts"})
    asking.lane.put(("in/a", window_message("running_01")))
    (question,) = asking.questions
    assert question["guess"]["label"] == "running"
    assert "text" not in question


def test_the_question_has_the_text_as_the_model_got_it(tmp_path: Path) -> None:
    folder = with_cascade(tmp_path / "r", second=0.99)
    manifest = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(manifest.replace('kind = "text"\n', 'kind = "text"\nmax_chars = 5\n'))
    asking = Asking(folder)
    asking.lane.put_texts("?" * 1000)
    assert asking.questions[0]["text"] == "?????"
    assert asking.last.output["cut"] == 995


def test_a_question_outlives_a_change_of_the_model(asking: Asking, tmp_path: Path) -> None:
    asking.lane.put_texts(UNKNOWN)
    id_ = asking.last.id
    release = load_release(with_cascade(tmp_path / "next", second=0.99))
    asking.lane.pipeline.swap(asking.lane.around.load(asking.lane.pipeline.options, release))
    asking.answer({"id": id_, "label": "pump"})
    assert asking.last.output["answers"] == id_


def test_answers_go_out_in_the_middle_of_a_long_batch(asking: Asking) -> None:
    asking.lane.put_texts(UNKNOWN)
    asking.escalation.put(Batch([b"a"], [json.dumps({"id": asking.last.id, "label": "pump"}).encode()], 0, 0))
    asking.lane.put_texts(*[PUMP] * 100)
    bands = [each.output["path"][-1] for each in asking.lane.kept.results]
    assert bands.index("answer") == 65  # a question, and as many texts as go through together
    assert asking.lane.pipeline.busy_since == 0


def test_questions_without_a_cascade_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as raised:
        Lane(HAR, {"type": "json", "channels": ["x", "y", "z"]}, escalate=ASKS)
    assert raised.value.code == "nothing-to-escalate"


# -- the configuration ------------------------------------------------------------------------

ESCALATE = "pipelines[0].escalate"
RESULTS = "edged/1/local/press-7/out/pump"
WITH_OUTPUT = 'outputs = [ { type = "mqtt", topic = "results/{line}" } ]\n'


@pytest.mark.parametrize(
    ("escalate", "more", "key", "code"),
    [
        ('topic = "q"', "", f"{ESCALATE}.answers", "missing-key"),
        ('answers = "a"', "", f"{ESCALATE}.topic", "missing-key"),
        ('topic = "q/+", answers = "a"', "", f"{ESCALATE}.topic", "bad-topic"),
        ('topic = "q", answers = "a/#"', "", f"{ESCALATE}.answers", "bad-topic"),
        ('topic = "q", answers = "{line}/a"', "", f"{ESCALATE}.answers", "bad-topic"),
        ('topic = "q", answers = "q"', "", f"{ESCALATE}.answers", "topic-loop"),
        (f'topic = "{RESULTS}", answers = "a"', "", f"{ESCALATE}.topic", "duplicate-topic"),
        ('topic = "results/one", answers = "a"', WITH_OUTPUT, f"{ESCALATE}.topic", "duplicate-topic"),
        ('topic = "q", answers = "edged/1/{fleet}/{device}/out/{pipeline}"', "", f"{ESCALATE}.answers", "duplicate-topic"),
        ('topic = "q", answers = "edged/1/{fleet}/{device}/evt/answer"', "", f"{ESCALATE}.answers", "duplicate-topic"),
        ('topic = "plant/q/vib", answers = "a"', "", f"{ESCALATE}.topic", "topic-loop"),
        ('topic = "q", answers = "a", broker = "none"', "", f"{ESCALATE}.broker", "unknown-broker"),
        ('topic = "q", answers = "a", wait_s = 0', "", f"{ESCALATE}.wait_s", "bad-value"),
    ],
)
def test_each_mistake_about_questions_is_named(tmp_path: Path, escalate: str, more: str, key: str, code: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load(tmp_path, f"{BROKER}{PIPELINE}escalate = {{ {escalate} }}\n{more}")
    assert [(fault.key, fault.code) for fault in caught.value.faults] == [(key, code)]


def test_questions_and_answers_may_have_the_names_of_the_board(tmp_path: Path) -> None:
    asks = 'escalate = { topic = "ask/{device}/{pipeline}", answers = "told/{device}/{pipeline}" }\n'
    escalate = load(tmp_path, BROKER + PIPELINE + asks).config.pipelines[0].escalate
    assert escalate is not None
    assert (escalate.wait_s, escalate.broker) == (60.0, "main")


# -- with a broker ----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_person_answers_over_the_broker(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path, version: str) -> None:
    release = with_cascade(tmp_path / "r", second=0.99)
    asks = 'escalate = { topic = "{fleet}/ask/{pipeline}", answers = "{fleet}/told/{device}", wait_s = 3600, broker = "desk" }'
    desk = f'[mqtt.desk]\nurl = "mqtt://127.0.0.1:{broker.port}"\nversion = "{version}"\n'
    orders = pipeline("orders", on_topic("$FLEET/order"), decoder='{ type = "text" }', model=release, more=asks)
    daemon = make_daemon(desk + orders, broker.port).start()
    told, out = f"{daemon.fleet}/told/press-7", daemon.out("orders")
    with Peer(broker.port, out, f"{daemon.fleet}/ask/orders", version=version) as person:
        person.publish_all(f"{daemon.fleet}/order", [UNKNOWN, PUMP])
        (question,) = person.results(f"{daemon.fleet}/ask/orders")
        assert (question["text"], question["answer_to"]) == (UNKNOWN, told)
        asked = next(each for each in person.results(out, 2) if each["output"]["band"] == "escalate")
        assert asked["id"] == question["id"]
        person.publish(told, json.dumps({"id": question["id"], "label": "pump", "by": "kim"}))
        answered = person.results(out, 3)[-1]
        assert (answered["id"], answered["output"]["label"], answered["output"]["answers"]) == (
            f"{asked['id']}-answer",
            "pump",
            asked["id"],
        )
        for payload in (json.dumps({"id": question["id"], "label": "valve"}), "garbage", json.dumps({"id": "x", "label": "pump"})):
            person.publish(told, payload)
        expected = {"answer-twice": 1, "answer-malformed": 1, "answer-unknown": 1}
        status = daemon.until(lambda each: each["pipelines"][0]["dropped"] == expected, "wrong answers are counted")
        cascade = status["pipelines"][0]["cascade"]
        assert (cascade["asked"], cascade["answered"], cascade["open"], cascade["bands"]["escalate"]) == (1, 1, 0, 1)
        assert len(person.on(out)) == 3
    assert daemon.stop() == 0


def test_the_daemon_of_a_file_waits_for_answers_as_long_as_they_count(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    release = with_cascade(tmp_path / "r", second=0.99)
    (tmp_path / "orders.txt").write_text(UNKNOWN)
    asks = 'escalate = { topic = "{fleet}/ask", answers = "{fleet}/told", wait_s = 3600 }'
    source, outputs = f'{{ type = "file", path = "{tmp_path}/orders.txt" }}', '[ { type = "file", path = "out.jsonl" } ]'
    orders = pipeline("orders", source, decoder='{ type = "text" }', model=release, outputs=outputs, more=asks)
    daemon = make_daemon(orders, broker.port)
    with Peer(broker.port, f"{daemon.fleet}/ask") as person:
        daemon.launch()
        (question,) = person.results(f"{daemon.fleet}/ask")
        daemon.wait_connected()
        person.publish(f"{daemon.fleet}/told", json.dumps({"id": question["id"], "label": "pump"}))
        assert daemon.wait() == 0
    results = [msgspec.json.decode(line) for line in (daemon.folder / "out.jsonl").read_bytes().splitlines()]
    assert [each["output"]["band"] for each in results] == ["escalate", "accept"]
