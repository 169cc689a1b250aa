"""Conditions, and the shape of the snapshot that carries them."""

from __future__ import annotations

from threading import Thread

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import NS, VirtualClock
from edged.errors import PeerError
from edged.service.health import Conditions
from edged.service.snapshot import BrokerStatus, Condition, Latency, PipelineStatus, Snapshot, is_healthy, read


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(1_700_000_000 * NS)


def test_healthy_is_the_absence_of_conditions(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    assert conditions.list() == []
    conditions.set("broker-unreachable", "error", "no route", subject="main")
    assert conditions.clear("broker-unreachable", "main")
    assert conditions.list() == []
    assert not conditions.clear("broker-unreachable", "main")


def test_since_stays_when_text_or_severity_change(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    assert conditions.set("readings-rejected", "info", "1 reading", subject="pump")
    clock.advance(60 * NS)
    assert not conditions.set("readings-rejected", "info", "2 readings", subject="pump")
    assert conditions.set("readings-rejected", "warning", "3 readings", subject="pump", hint="see evt/rejected")
    (only,) = conditions.list()
    assert only == Condition("readings-rejected", "warning", "2023-11-14T22:13:20.000Z", "3 readings", "see evt/rejected", "pump", 60.0)


def test_a_condition_that_comes_back_has_a_new_since(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    conditions.set("hot", "warning", "81 °C")
    conditions.clear("hot")
    clock.advance(5 * NS)
    conditions.set("hot", "warning", "82 °C")
    assert conditions.list()[0].since == "2023-11-14T22:13:25.000Z"


def test_subjects_are_apart(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    conditions.set("broker-unreachable", "error", "no route", subject="main")
    conditions.set("broker-unreachable", "error", "no route", subject="floor")
    conditions.clear("broker-unreachable", "main")
    assert [c.subject for c in conditions.list()] == ["floor"]


def test_the_worst_comes_first_then_the_oldest(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    for code, severity in [("a", "info"), ("b", "warning"), ("c", "error"), ("d", "error"), ("e", "warning")]:
        conditions.set(code, severity, "")
        clock.advance(NS)
    assert [c.code for c in conditions.list()] == ["c", "d", "b", "e", "a"]


def test_the_age_of_a_condition_survives_a_jump_of_the_wall_clock(clock: VirtualClock) -> None:
    conditions = Conditions(clock)
    conditions.set("hot", "warning", "")
    clock.advance(3 * NS)
    clock._wall = 2_000_000_000 * NS
    assert conditions.list()[0].for_s == 3


def test_threads_may_set_and_clear_while_another_lists(clock: VirtualClock) -> None:
    conditions = Conditions(clock)

    def churn(subject: str) -> None:
        for _ in range(500):
            conditions.set("c", "error", "", subject=subject)
            conditions.clear("c", subject)

    threads = [Thread(target=churn, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        conditions.list()
    assert conditions.list() == []


def test_only_errors_are_unhealthy() -> None:
    assert is_healthy(Snapshot())
    assert is_healthy(Snapshot(health=[Condition("a", "warning"), Condition("b", "info")]))
    assert not is_healthy(Snapshot(health=[Condition("b", "info"), Condition("a", "error")]))


def test_a_snapshot_survives_the_wire() -> None:
    snapshot = Snapshot(
        device="press-7",
        brokers={"main": BrokerStatus("mqtt://x", "connected", 3.0, "5")},
        pipelines=[PipelineStatus("pump", "running", latency_ms=Latency(0.3, 0.8, 1.1), rejected={"missing-channel acc.z": 3})],
        health=[Condition("hot", "warning", "2023-11-14T22:13:20.000Z", "81 °C", for_s=2.0)],
    )
    assert read(msgspec.json.decode(msgspec.json.encode(snapshot))) == snapshot


def test_the_snapshot_has_the_fields_that_other_programs_rely_on() -> None:
    top = {"v", "device", "version", "uptime_s", "state", "board", "memory", "brokers", "pipelines", "models", "spool", "fleet", "health"}
    pipeline = {"name", "state", "model", "release", "variant", "engine", "readings", "windows", "results"}
    pipeline |= {"rejected", "dropped", "latency_ms", "queue", "last_result"}
    written = msgspec.to_builtins(Snapshot(pipelines=[PipelineStatus()], health=[Condition("c", "info")]))
    assert top <= written.keys()
    assert pipeline <= written["pipelines"][0].keys()
    assert {"p50", "p95", "p99"} == written["pipelines"][0]["latency_ms"].keys()
    assert {"code", "severity", "since", "text"} <= written["health"][0].keys()


def test_fields_of_a_newer_daemon_are_ignored_and_missing_ones_have_defaults() -> None:
    read_back = read({"v": 2, "device": "d", "moon_phase": 3, "pipelines": [{"name": "p", "colour": "red"}]})
    assert read_back.device == "d"
    assert read_back.pipelines == [PipelineStatus("p")]
    assert read({}) == Snapshot()


scalars = st.none() | st.booleans() | st.integers() | st.just(1.5) | st.sampled_from(["", "text", "\x1b[2J"])
keys = st.sampled_from([*Snapshot.__struct_fields__, *PipelineStatus.__struct_fields__, "moon_phase"])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8)


@given(st.dictionaries(keys, values, max_size=4))
def test_an_answer_of_any_shape_is_read_or_refused(answer: dict[str, object]) -> None:
    try:
        read(answer)
    except PeerError as error:
        refused = error.code
    else:
        refused = ""
    assert refused in ("", "snapshot-unreadable")
