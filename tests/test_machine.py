"""The table of an update's states: every pair of state and event."""

from __future__ import annotations

from itertools import product

import pytest

from edged.errors import BugError
from edged.fleet import machine
from edged.fleet.machine import EXITS, TABLE, after

BEFORE = ["evaluate", "wait", "fetch", "verify", "trial"]
STATES = [*BEFORE, "activate", "confirm", "committed", "rejected", "rolled_back", "superseded"]
EVENTS = ["done", "blocked", "refused", "failed", "exhausted", "cancelled", "replaced", "restarted", "lost"]

# Written out by hand, so that a slip in the table's comprehensions is seen.
EXPECTED = """
evaluate  done=fetch     blocked=wait failed=wait refused=rejected exhausted=rejected cancelled=rejected replaced=superseded lost=rejected restarted=evaluate
wait      done=evaluate                           refused=rejected exhausted=rejected cancelled=rejected replaced=superseded lost=rejected restarted=evaluate
fetch     done=verify    blocked=wait failed=wait refused=rejected exhausted=rejected cancelled=rejected replaced=superseded lost=rejected restarted=evaluate
verify    done=trial     blocked=wait failed=wait refused=rejected exhausted=rejected cancelled=rejected replaced=superseded lost=rejected restarted=evaluate
trial     done=activate  blocked=wait failed=wait refused=rejected exhausted=rejected cancelled=rejected replaced=superseded lost=rejected restarted=evaluate
activate  done=confirm   failed=rolled_back refused=rolled_back cancelled=rolled_back restarted=confirm
confirm   done=committed failed=rolled_back refused=rolled_back cancelled=rolled_back replaced=superseded
committed
rejected
rolled_back
superseded
"""  # noqa: E501


def expected() -> dict[tuple[str, str], str]:
    table = {}
    for line in EXPECTED.strip().splitlines():
        state, *pairs = line.split()
        table |= {(state, event): to for event, to in (pair.split("=") for pair in pairs)}
    return table


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)))
def test_each_pair_of_state_and_event(state: str, event: str):
    to = expected().get((state, event))
    if to is not None:
        assert after(state, event) == to
    else:
        with pytest.raises(BugError) as caught:
            after(state, event)
        assert caught.value.code == "no-such-transition"


def test_these_are_all_states_and_events():
    names = {value for name, value in vars(machine).items() if name.isupper() and isinstance(value, str)} - {machine.GAVE_WAY}
    assert names == {*STATES, *EVENTS}
    assert {state for state, _ in TABLE} | set(TABLE.values()) == set(STATES)
    assert {event for _, event in TABLE} == set(EVENTS)


def test_an_exit_is_left_by_nothing_and_reached_from_everywhere():
    assert not {state for state, _ in TABLE} & EXITS
    for state in set(STATES) - EXITS:
        reached, new = set(), {state}
        while new:
            reached |= new
            new = {to for (at, _), to in TABLE.items() if at in reached} - reached
        assert "committed" in reached, state
        assert {to for (at, _), to in TABLE.items() if at == state} & EXITS, f"nothing ends an update in {state}"


def test_what_served_is_never_just_rejected_and_what_never_served_is_never_rolled_back():
    assert not [pair for pair, to in TABLE.items() if pair[0] in ("activate", "confirm") and to == "rejected"]
    assert not [pair for pair, to in TABLE.items() if pair[0] in BEFORE and to == "rolled_back"]
