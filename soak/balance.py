"""The counters of a status add up: what came in is a result, or counted as rejected or dropped, or still on its way.

Of one pipeline, since the daemon started (`edged/stream/counters.py`, `edged/service/report.py`):

    windows  = results + dropped[model-nan]
    readings = samples × windows + dropped[gap] + dropped[stream-let-go] + rejected[late] + rejected[duplicate] + held
               where windows do not overlap; `held` are those of unfinished windows, fewer than `samples` a stream,
               less those that a daemon took over from its last run

and between two looks at a daemon that has nothing to do, without a disaster from one to the other:

    published         = messages + dropped[queue-full]
    published, broken = rejected[wrong-length]
    results           = results at the subscriber
    published         = results + rejected + dropped, all reasons, where a message is one input

Nothing waits in a spool then, and no spool dropped anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from soak.ledger import Ledger
from soak.publisher import Publisher
from soak.signals import Signal
from tests.daemon import Status, pipeline_in


@dataclass(frozen=True)
class Look:
    """What everyone has counted, while nothing is on its way."""

    status: Status
    published: dict[str, int]
    bad: dict[str, int]
    heard: dict[str, int]


def look(status: Status, signals: list[Signal], publisher: Publisher, ledger: Ledger) -> Look:
    """Note what publisher and subscriber have counted, beside a status."""
    heard = {signal.name: 0 for signal in signals}
    for track in ledger.tracks.values():
        heard[track.signal.name] += track.results
    published = {signal.name: publisher.total(signal) for signal in signals}
    return Look(status, published, {signal.name: publisher.bad(signal) for signal in signals}, heard)


def totals(signal: Signal, status: Status) -> Iterator[str]:
    """Give what does not add up in the counters of one pipeline."""
    one = pipeline_in(status, signal.name)
    dropped, rejected, name = one["dropped"], one["rejected"], signal.name
    if one["windows"] != one["results"] + dropped.get("model-nan", 0):
        yield f"{name}: windows {one['windows']:,}, results {one['results']:,}, dropped {dropped}"
    if signal.hop == signal.samples:
        let_go = dropped.get("gap", 0) + dropped.get("stream-let-go", 0) + rejected.get("late", 0) + rejected.get("duplicate", 0)
        held = one["readings"] - signal.samples * one["windows"] - let_go
        if abs(held) > signal.keys * (signal.samples - 1):
            yield f"{name}: {held:,} readings unaccounted for: {one['readings']:,} in, {one['windows']:,} windows, {dropped}, {rejected}"


def between(signal: Signal, before: Look, after: Look) -> Iterator[str]:
    """Give what does not add up in one pipeline between two looks at one run of a daemon."""
    name = signal.name
    then, now = pipeline_in(before.status, name), pipeline_in(after.status, name)
    published, bad = after.published[name] - before.published[name], after.bad[name] - before.bad[name]
    messages, results = now["messages"] - then["messages"], now["results"] - then["results"]
    dropped, rejected = _rise(then["dropped"], now["dropped"]), _rise(then["rejected"], now["rejected"])
    if published != messages + dropped.get("queue-full", 0):
        yield f"{name}: published {published:,}, messages {messages:,}, dropped {dropped}"
    if bad != rejected.get("wrong-length", 0):
        yield f"{name}: {bad:,} broken messages, rejected {rejected}"
    if signal.qos and results != after.heard[name] - before.heard[name]:
        yield f"{name}: {results:,} results, {after.heard[name] - before.heard[name]:,} at the subscriber"
    if not signal.hop and published != results + sum(rejected.values()) + sum(dropped.values()):
        yield f"{name}: published {published:,}, results {results:,}, rejected {rejected}, dropped {dropped}"


def spool(before: Look, after: Look) -> Iterator[str]:
    """Give what is wrong with the spool of a daemon that has nothing to do."""
    now = after.status["spool"]
    if now["results"] or now["state"] != "empty":
        yield f"nothing is on its way, but the spool is {now}"
    if now["dropped"] != before.status["spool"]["dropped"]:
        yield f"the spool dropped {now['dropped']}, before {before.status['spool']['dropped']}"


def _rise(then: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {reason: count - then.get(reason, 0) for reason, count in now.items() if count != then.get(reason, 0)}
