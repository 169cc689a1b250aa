"""The states of an update and what moves it from one to the next: one table.

    evaluate → wait → fetch → verify → trial → activate → confirm → committed

Exits: `rejected` (it never served), `rolled_back` (it served, and the last good release does again),
`superseded` (another update took its place). A pair that is not in the table is a bug of ours.
"""

from __future__ import annotations

from edged.errors import BugError

EVALUATE, WAIT, FETCH, VERIFY, TRIAL = "evaluate", "wait", "fetch", "verify", "trial"
ACTIVATE, CONFIRM, COMMITTED = "activate", "confirm", "committed"
REJECTED, ROLLED_BACK, SUPERSEDED = "rejected", "rolled_back", "superseded"

# Events. `refused` is a fault that stays; after `failed` it is tried again, `exhausted` says that it was tried often enough.
DONE, BLOCKED, REFUSED, FAILED, EXHAUSTED = "done", "blocked", "refused", "failed", "exhausted"
CANCELLED, REPLACED, RESTARTED, LOST = "cancelled", "replaced", "restarted", "lost"

EXITS = frozenset({COMMITTED, REJECTED, ROLLED_BACK, SUPERSEDED})
MAX_ATTEMPTS = 3

# Codes of what a board may come to have. An update that waits for it has not failed, nor has one that lets another go first.
# The last four are what a transfer waits for: a connection, a server that answers, one that has the file, and the next day's bytes.
BLOCKING = frozenset({"no-space", "memory-short", "offline", "no-server", "blob-not-found", "budget-spent"})
GAVE_WAY = "gave-way"

_NEXT = {EVALUATE: FETCH, FETCH: VERIFY, VERIFY: TRIAL, TRIAL: ACTIVATE, ACTIVATE: CONFIRM, CONFIRM: COMMITTED}

TABLE: dict[tuple[str, str], str] = {
    **{(state, DONE): after for state, after in _NEXT.items()},
    (WAIT, DONE): EVALUATE,
    # Before it serves, nothing but the update itself has to end.
    **{(state, BLOCKED): WAIT for state in (EVALUATE, FETCH, VERIFY, TRIAL)},
    **{(state, FAILED): WAIT for state in (EVALUATE, FETCH, VERIFY, TRIAL)},
    **{(state, event): REJECTED for state in (EVALUATE, WAIT, FETCH, VERIFY, TRIAL) for event in (REFUSED, EXHAUSTED, CANCELLED)},
    **{(state, REPLACED): SUPERSEDED for state in (EVALUATE, WAIT, FETCH, VERIFY, TRIAL, CONFIRM)},
    # From here on the way out leads over the last good release.
    **{(state, event): ROLLED_BACK for state in (ACTIVATE, CONFIRM) for event in (REFUSED, FAILED, CANCELLED)},
    # After the end of the process that worked on it. What it was to read may have gone with that process.
    **{(state, event): to for state in (EVALUATE, WAIT, FETCH, VERIFY, TRIAL) for event, to in ((LOST, REJECTED), (RESTARTED, EVALUATE))},
    (ACTIVATE, RESTARTED): CONFIRM,
}


def after(state: str, event: str) -> str:
    """Give the state that `event` leads to from `state`. Raises BugError(`no-such-transition`)."""
    if (state, event) not in TABLE:
        raise BugError("no-such-transition", f"an update in state {state} cannot take {event}")
    return TABLE[state, event]
