"""The ledger with its journal: nothing is entered in the one that is not on disk in the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from edged.errors import BoardError
from edged.models.entries import Entry, Held
from edged.models.journal import Journal, read
from edged.models.ledger import Ledger, ledger_of

JOURNAL = "journal"


def read_ledger(state_dir: Path) -> Ledger:
    """Read what the store of a state folder holds, also while another process writes. Raises BoardError(`store-unreadable`)."""
    return ledger_of(read(state_dir / "models" / JOURNAL).entries)


class Book:
    """A ledger that this process writes, from any thread; the store's claim is held."""

    def __init__(self, state_dir: Path, tell: Callable[[Entry], None] = lambda _: None) -> None:
        """Open it; `tell` hears of each entry that was noted; `bad_lines` of the journal could not be read.

        Raises BoardError(`store-unwritable`, `store-unreadable`).
        """
        self._tell = tell
        self._journal = Journal(state_dir / "models" / JOURNAL)
        self._lock = threading.Lock()
        self.ledger = ledger_of(self._journal.found.entries)
        self.bad_lines = self._journal.found.bad
        if self.bad_lines:
            with suppress(BoardError):  # they stand, and the next start tries again
                self._journal.begin_anew(self.ledger.everything())

    def note(self, entry: Entry) -> None:
        """Put an entry to disk, then into the ledger. Raises BoardError(`store-unwritable`); then neither has it."""
        with self._lock:
            self._journal.append(entry)
            self.ledger.apply(entry)
            self._tell(entry)
            if self._journal.is_long:
                with suppress(BoardError):  # the long one stands, and the next entry tries again
                    self._journal.begin_anew(self.ledger.everything())

    def of(self, model: str) -> Held:
        """Give what is held of a model, as it is now."""
        with self._lock:
            return _copy(self.ledger.of(model))

    def models(self) -> dict[str, Held]:
        """Give what is held of each model, as it is now."""
        with self._lock:
            return {name: _copy(held) for name, held in self.ledger.models.items()}

    def kept(self) -> set[tuple[str, int]]:
        """Name the releases that must stay, see `Ledger.kept`."""
        with self._lock:
            return self.ledger.kept()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _copy(held: Held) -> Held:
    """Copy what the ledger changes in place, so that another thread may read it at leisure."""
    return msgspec.structs.replace(held, pinned={*held.pinned}, failures={**held.failures}, reports={**held.reports})
