"""Stores for tests of the spool's file, and rows to put in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from edged.clock import VirtualClock
from edged.spool.store import Row, Store

MIB = 1 << 20
WALL = 1_800_000_000_000_000_000  # when the tests take place, in nanoseconds
Full = Literal["drop-oldest", "refuse"]
MakeStore = Callable[..., Store]


@contextmanager
def stores(folder: Path) -> Iterator[MakeStore]:
    """Give a function that makes a store, at one and the same path in `folder`; it is not open yet. All are closed in the end."""
    made: list[Store] = []

    def make(max_bytes: int = 64 * MIB, full: Full = "drop-oldest", path: Path = folder / "spool.db", wall: int = WALL) -> Store:
        made.append(Store(path, max_bytes, full, VirtualClock(wall)))
        return made[-1]

    yield make
    for store in made:
        store.close()


def row(number: int, size: int = 100, queue: str = "main", stream: int = 0) -> Row:
    """Give a row whose content follows from its id."""
    return Row(number, queue, stream, f"out/{number}", random.Random(number).randbytes(size), 1, time=number * 1000)


def read_all(store: Store, queue: str = "main") -> list[Row]:
    """Read all rows of a queue, as a broker's connection would."""
    found: list[Row] = []
    while chunk := store.read(queue, found[-1].id if found else 0, 500):
        found += chunk
    return found


def ids(store: Store) -> list[int]:
    """Read the ids of all rows of the queue `main`."""
    return [each.id for each in read_all(store)]
