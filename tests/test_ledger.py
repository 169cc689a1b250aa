"""What a journal's entries add up to: fixed rows, and what holds after any legal sequence of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.fleet.machine import EXITS, TABLE
from edged.models.entries import Began, Ended, Entry, Everything, Fell, Held, Moved, Pinned, Refusal, Removed, Restored, Tried
from edged.models.journal import parse
from edged.models.ledger import MOST_FAILURES, MOST_REPORTS, NOT_FINAL, Ledger, ledger_of

NO = Refusal()
WHY = Refusal(family="publisher", code="golden-differs", text="another result")


def moved(release: int, state: str, *, at: int = 1, model: str = "har", kind: str = "install", why: Refusal = NO) -> Moved:
    digest = f"{release:064x}"
    return Moved(at=at, model=model, release=release, digest=digest, input=f"input {release}", kind=kind, state=state, why=why)


def way(release: int, *states: str, at: int = 1) -> list[Entry]:
    """Give the entries of an update up to the last of these states, which follow on `activate`."""
    return [moved(release, state, at=at) for state in ("evaluate", "fetch", "verify", "trial", *states)]


def committed(*releases: int) -> list[Entry]:
    return [entry for release in releases for entry in way(release, "activate", "confirm", "committed")]


def held(entries: list[Entry]) -> Held:
    return ledger_of(entries).of("har")


def standing(entries: list[Entry]) -> tuple[int | None, int | None, int | None]:
    found = held(entries)
    return found.active, found.last_good, found.previous


def kept(entries: list[Entry]) -> set[int]:
    return {release for _, release in ledger_of(entries).kept()}


@pytest.mark.parametrize(
    ("entries", "active", "last_good", "previous"),
    [
        ([], None, None, None),
        (way(1), None, None, None),
        (way(1, "activate"), 1, None, None),
        (way(1, "activate", "rolled_back"), None, None, None),
        (committed(1), 1, 1, None),
        ([*committed(1), *way(2)], 1, 1, None),
        ([*committed(1), *way(2, "activate")], 2, 1, None),
        ([*committed(1), *way(2, "activate", "confirm")], 2, 1, None),
        (committed(1, 2), 2, 2, 1),
        (committed(1, 2, 3), 3, 3, 2),
        ([*committed(1), *way(2, "activate", "confirm", "rolled_back")], 1, 1, None),
        ([*committed(1, 2), *way(3, "activate", "rolled_back")], 2, 2, 1),
        ([*committed(1), *way(2, "activate", "confirm", "superseded"), *way(3)], 2, 1, None),
        ([*committed(1), *way(2, "activate", "confirm", "superseded"), *way(3, "rejected"), Restored(at=9, model="har")], 1, 1, None),
        ([*committed(1, 2), *(moved(1, state, kind="rollback") for state in ("activate", "confirm", "committed"))], 1, 1, 2),
        ([*committed(1, 2), Removed(model="har", release=1)], 2, 2, None),
    ],
)
def test_what_serves_what_is_good_and_what_was_before(entries: list[Entry], active: int, last_good: int, previous: int):
    assert standing(entries) == (active, last_good, previous)
    assert kept(entries) >= {active, last_good, previous} - {None}


@pytest.mark.parametrize(
    ("entries", "numbers"),
    [
        (way(1), {1}),
        (way(1, "rejected"), set()),
        (way(1, "superseded"), set()),
        ([*committed(1), *way(2, "activate", "confirm", "superseded")], {1, 2}),
        ([*committed(1, 2), *way(3)], {1, 2, 3}),
        (committed(1, 2, 3), {2, 3}),
        ([*committed(1, 2, 3), *way(4, "activate", "rolled_back")], {2, 3}),
        ([*committed(1), Pinned(model="har", release=1, on=True), *committed(2, 3)], {1, 2, 3}),
        ([*committed(1), Pinned(model="har", release=1, on=True), *committed(2, 3), Pinned(model="har", release=1, on=False)], {2, 3}),
    ],
)
def test_what_must_stay(entries: list[Entry], numbers: set[int]):
    assert kept(entries) == numbers


def test_since_is_when_a_release_began_to_serve_not_when_it_was_proven():
    entries = [*way(1, "activate", at=5), moved(1, "confirm", at=6), moved(1, "committed", at=7)]
    assert held(entries).since == 5
    assert held([*entries, *way(2, "activate", at=8), moved(2, "rolled_back", at=9)]).since == 9


@pytest.mark.parametrize(
    ("entries", "crashes", "restarts"),
    [
        ([], 0, 0),
        ([Began(at=1)], 0, 1),  # it was installed without a daemon
        ([Began(at=1), Ended(at=2), Began(at=3)], 0, 2),
        ([Began(at=1), Began(at=2)], 1, 2),
        ([Began(at=1), Began(at=2), Began(at=3)], 2, 3),
        ([Began(at=1), Fell(at=2), Began(at=3)], 1, 2),  # one end counts once
        ([Began(at=1), Fell(at=2), Fell(at=2)], 1, 1),
        ([Fell(at=2)], 0, 0),
        ([Began(at=1), Began(at=2), moved(1, "committed"), Began(at=3)], 1, 2),
        ([Began(at=1), Began(at=2), *way(2, "activate")], 0, 0),
    ],
)
def test_ends_and_starts_count_while_a_release_is_new(entries: list[Entry], crashes: int, restarts: int):
    found = held([*way(1, "activate", "confirm"), *entries])
    assert (found.crashes, found.restarts) == (crashes, restarts)


def test_the_end_of_a_daemon_is_not_held_against_what_came_after_it():
    entries = [Began(at=1), *way(1, "activate", "confirm")]
    assert held(entries).crashes == 0
    assert held([*entries, Began(at=2)]).crashes == 1


def test_failures_are_remembered_by_what_they_depend_on_and_are_bounded():
    entries = [entry for number in range(1, 100) for entry in [*way(number)[:1], moved(number, "rejected", why=WHY)]]
    failures = held(entries).failures
    assert list(failures) == [f"input {number}" for number in range(100 - MOST_FAILURES, 100)]
    assert failures["input 99"].why == WHY


@pytest.mark.parametrize("code", sorted(NOT_FINAL))
def test_an_end_that_says_nothing_of_the_release_is_not_remembered(code: str):
    assert held([*way(1), moved(1, "rejected", why=Refusal(code=code))]).failures == {}


def test_a_failure_is_forgotten_when_the_release_is_removed_or_committed():
    failed = [*way(2), moved(2, "rejected", why=WHY)]
    assert held(failed).failures
    assert held([*failed, Removed(model="har", release=2)]).failures == {}
    assert held([*failed, Removed(model="har", release=1)]).failures
    assert held([*failed, *committed(2)]).failures == {}


def test_reports_of_one_release_add_up_and_are_bounded():
    entries: list[Entry] = [Tried(model="har", release=number, report={"p50_ms": number}) for number in range(1, 50)]
    entries.append(Tried(model="har", release=49, report={"shadow": {"disagreed": 0}}))
    reports = held(entries).reports
    assert len(reports) == MOST_REPORTS
    assert reports[49] == {"p50_ms": 49, "shadow": {"disagreed": 0}}


# -- what holds after any legal sequence -----------------------------------------------------------


@st.composite
def journals(draw: st.DrawFn) -> list[Entry]:
    """Give entries as the control path may write them, of two models."""
    entries: list[Entry] = []
    ledger, at = Ledger(), 0
    numbers = st.integers(1, 6)
    for _ in range(draw(st.integers(0, 40))):
        at += 1
        model = draw(st.sampled_from(["har", "pump"]))
        now = ledger.of(model)
        under_way = now.update is not None and now.update.state not in EXITS
        choice = draw(st.integers(0, 9))
        entry: Entry
        if choice <= 5 and under_way:
            assert now.update is not None
            to = draw(st.sampled_from(sorted({to for (state, _), to in TABLE.items() if state == now.update.state})))
            code = draw(st.sampled_from(["", "golden-differs", "cancelled"])) if to in ("rejected", "rolled_back") else ""
            entry = moved(now.update.release, to, at=at, model=model, kind=now.update.kind, why=Refusal(code=code))
        elif choice <= 5:
            back = now.last_good if now.unproven else now.previous
            if back is not None and draw(st.booleans()):
                entry = moved(back, "activate", at=at, model=model, kind="rollback")
            else:
                entry = moved(draw(numbers), "evaluate", at=at, model=model)
        elif choice == 6 and now.unproven and now.last_good is not None and not under_way:
            entry = Restored(at=at, model=model)
        elif choice == 7:
            entry = Pinned(model=model, release=draw(numbers), on=draw(st.booleans()))
        elif choice == 8:
            entry = draw(st.sampled_from([Began(at=at), Ended(at=at), Fell(at=at)]))
        else:
            number = draw(numbers)
            if number in (now.active, now.last_good, *now.pinned) or (under_way and now.update and now.update.release == number):
                continue
            entry = draw(st.sampled_from([Removed(model=model, release=number), Tried(model=model, release=number, report={"p50_ms": at})]))
        entries.append(entry)
        ledger.apply(entry)
    return entries


@settings(max_examples=300, deadline=None)
@given(journals())
def test_after_any_legal_sequence(entries: list[Entry]):
    ledger, highest = Ledger(), {"har": 0, "pump": 0}
    for entry in entries:
        before = ledger.of(entry.model).active if isinstance(entry, Moved) else None
        ledger.apply(entry)
        keep = ledger.kept()
        for model, now in ledger.models.items():
            needed = {now.active, now.last_good, now.previous, *now.pinned} - {None}
            if now.update and now.update.state not in EXITS:
                needed.add(now.update.release)
            assert {(model, release) for release in needed} <= keep
            assert now.highest >= highest[model]
            assert now.highest >= max([0, *({now.active, now.last_good, now.previous} - {None})])
            assert now.previous is None or now.previous != now.last_good
            assert len(now.failures) <= MOST_FAILURES
            assert len(now.reports) <= MOST_REPORTS
            highest[model] = now.highest
        if isinstance(entry, Moved):
            now = ledger.of(entry.model)
            if entry.state == "rolled_back":
                assert now.active == now.last_good
            elif entry.state == "activate":
                assert now.active == entry.release
            else:
                assert now.active == before, "nothing else changes what serves"
            if entry.state == "committed":
                assert now.active == now.last_good == entry.release


@settings(max_examples=200, deadline=None)
@given(journals(), st.integers(0, 40))
def test_one_entry_says_the_same_as_all_before_it(entries: list[Entry], where: int):
    ledger = ledger_of(entries[:where])
    line = msgspec.json.encode(ledger.everything())
    again = ledger_of([msgspec.json.decode(line, type=Everything)])
    assert again == ledger
    for entry in entries[where:]:
        ledger.apply(entry)
        again.apply(entry)
    assert again == ledger


def test_bytes_that_are_no_journal_add_up_to_nothing():
    assert ledger_of(parse(b"not a journal\n" * 3).entries) == Ledger()


def test_what_was_removed_is_no_news_any_more():
    entries = [*way(1), moved(2, "rejected", why=WHY)]
    assert held([*entries, Removed(model="har", release=2)]).update is None
    assert held([*entries, Removed(model="har", release=7)]).update is not None
