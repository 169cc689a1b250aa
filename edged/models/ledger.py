"""What a journal's entries add up to: which release of each model serves, which is good, how its update stands. Pure.

A release is active from the entry that says `activate` on, so a daemon that is killed in the
middle of a swap starts with the new one. It is good when it is committed. Until then a crash of
the daemon counts against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edged.models.entries import Began, Ended, Entry, Everything, Failure, Fell, Held, Moved, Pinned, Removed, Restored, Tried, Update

MOST_FAILURES = 16  # remembered for a model
MOST_REPORTS = 8
_PLACED = frozenset({"trial", "activate", "confirm", "committed"})
_BURNT = frozenset({"rejected", "rolled_back"})
_LEFT = _BURNT | {"superseded"}
# Ends that say nothing of the release: the same one may come again at once.
NOT_FINAL = frozenset({
    "cancelled", "source-lost", "rolled-back-by-operator", "store-damaged", "swap-timeout",
    "no-space", "memory-short", "offline", "no-server", "blob-not-found", "budget-spent",
})  # fmt: skip


@dataclass
class Ledger:
    """All models by name. `running`: a daemon began and did not end cleanly, or runs now."""

    models: dict[str, Held] = field(default_factory=dict)
    running: bool = False

    def of(self, model: str) -> Held:
        """Give what is held of a model; nothing is held of one that never came."""
        return self.models.get(model) or Held()

    def kept(self) -> set[tuple[str, int]]:
        """Name the releases that must stay: active, good, pinned, and those of updates under way."""
        keep: set[tuple[str, int]] = set()
        for name, held in self.models.items():
            numbers = {held.active, held.last_good, held.previous, *held.pinned}
            if held.update and held.update.state not in _LEFT:
                numbers.add(held.update.release)
            keep |= {(name, number) for number in numbers if number is not None}
        return keep

    def everything(self) -> Everything:
        """Give one entry that says the same as all before it."""
        return Everything(models=self.models, running=self.running)

    def apply(self, entry: Entry) -> None:
        """Take one entry in."""
        if isinstance(entry, Everything):
            self.models, self.running = entry.models, entry.running
        elif isinstance(entry, Began):
            self._fall()
            self._begin()
        elif isinstance(entry, Fell):
            self._fall()
        elif isinstance(entry, Ended):
            self.running = False
        else:
            _apply(self.models.setdefault(entry.model, Held()), entry)

    def _begin(self) -> None:
        for held in self.models.values():
            held.restarts += held.unproven
        self.running = True

    def _fall(self) -> None:
        """Count a crash against what was new, where a daemon began and did not end."""
        for held in self.models.values():
            held.crashes += self.running and held.unproven
        self.running = False


def ledger_of(entries: Iterable[Entry]) -> Ledger:
    """Add up the entries of a journal."""
    ledger = Ledger()
    for entry in entries:
        ledger.apply(entry)
    return ledger


def _apply(held: Held, entry: Moved | Tried | Restored | Pinned | Removed) -> None:
    if isinstance(entry, Moved):
        _moved(held, entry)
    elif isinstance(entry, Tried):
        held.reports[entry.release] = {**held.reports.pop(entry.release, {}), **entry.report}
        _forget_oldest(held.reports, MOST_REPORTS)
    elif isinstance(entry, Restored):
        _serve(held, held.last_good, entry.at)
    elif isinstance(entry, Pinned):
        (held.pinned.add if entry.on else held.pinned.discard)(entry.release)
    else:
        _removed(held, entry)


def _moved(held: Held, entry: Moved) -> None:
    held.update = Update(
        release=entry.release,
        version=entry.version,
        digest=entry.digest,
        input=entry.input,
        kind=entry.kind,
        state=entry.state,
        attempt=entry.attempt,
        since=entry.at,
        source=entry.source,
        policy=entry.policy,
        why=entry.why,
    )
    if entry.state in _PLACED and entry.release >= held.highest:
        held.highest, held.highest_digest = entry.release, entry.digest
    if entry.state == "activate":
        _serve(held, entry.release, entry.at)
    elif entry.state == "committed":
        if held.last_good != entry.release:
            held.previous, held.last_good = held.last_good, entry.release
        held.failures.pop(entry.input, None)
    elif entry.state == "rolled_back":
        _serve(held, held.last_good, entry.at)
    if entry.state in _BURNT and entry.why.code not in NOT_FINAL:
        held.failures.pop(entry.input, None)
        held.failures[entry.input] = Failure(release=entry.release, state=entry.state, at=entry.at, why=entry.why)
        _forget_oldest(held.failures, MOST_FAILURES)


def _serve(held: Held, release: int | None, at: int) -> None:
    if held.active != release:
        held.active, held.since = release, at
    held.crashes = held.restarts = 0


def _removed(held: Held, entry: Removed) -> None:
    held.pinned.discard(entry.release)
    held.reports.pop(entry.release, None)
    held.failures = {key: failure for key, failure in held.failures.items() if failure.release != entry.release}
    if held.previous == entry.release:
        held.previous = None
    if held.update is not None and held.update.release == entry.release and held.update.state in _BURNT:
        held.update = None


def _forget_oldest(remembered: dict[Any, Any], most: int) -> None:
    while len(remembered) > most:
        del remembered[next(iter(remembered))]
