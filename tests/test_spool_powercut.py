"""The spool after a power cut at any point: everything that was written is there, whatever the disk lost of what was not synced."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.spool import file
from edged.spool import store as store_module
from edged.spool.store import Row, Store
from tests.powercut import Disk, Event, Mark, Recorder, sqlite_library
from tests.spools import MIB, MakeStore, read_all, row, stores

QUEUES = ("main", "floor")
CUTS = 400

Rows = dict[int, Row]


@pytest.fixture
def recorder() -> Recorder:
    """Give a layer below SQLite that records; skip where Python has an SQLite of its own inside."""
    library = sqlite_library()
    if library is None:
        pytest.skip("needs a Python whose sqlite3 uses a shared libsqlite3.so.0, such as that of the distribution")
    return Recorder(library)


@pytest.fixture
def make_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStore]:
    """Make stores whose log is emptied, and whose file shrinks, a hundred times as often: a short record holds much of it."""
    monkeypatch.setattr(file, "_PRAGMAS", (*file._PRAGMAS, "wal_autocheckpoint = 20", "journal_size_limit = 65536"))
    monkeypatch.setattr(store_module, "_SPARE_BYTES", 100_000)
    with stores(tmp_path / "life") as make:
        yield make


def record(recorder: Recorder, make_store: MakeStore) -> list[Rows]:
    """Live through outages, drains, a full spool and restarts; mark each write that returned, and give the rows after each."""
    chance = random.Random(1)
    states: list[Rows] = [{}]
    next_id, dropped = 1, set()
    with recorder:
        store = make_store(MIB // 4)
        store.open()
        for step in range(160):
            rows = states[-1].copy()
            fresh = range(next_id, next_id + (0 if step % 40 > 25 else chance.randint(1, 12)))  # a drain after each 25 writes
            group = [row(number, chance.choice([10, 300, 9000]), chance.choice(QUEUES)) for number in fresh]
            gone = list(rows) if step % 40 == 39 else chance.sample(sorted(rows), len(rows) // (20 if group else 2))
            dropped |= {number for _, _, number in store.write(group, gone).dropped}
            rows |= {each.id: each for each in group}
            states.append({number: each for number, each in rows.items() if number not in dropped and number not in gone})
            recorder.mark(len(states) - 1)
            next_id = fresh.stop
            if step % 50 == 49:
                store.close()
                store.open()
        store.close()
    assert dropped, "it was full at some time"
    return states


def cuts(log: list[Event], chance: random.Random) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Give the files after power cuts at points all over the record, each with the number of the last mark before it."""
    points = set(chance.sample(range(1, len(log)), CUTS))
    disk, marked = Disk(), 0
    for at, event in enumerate(log):
        if isinstance(event, Mark):
            marked = event.value
        else:
            disk.follow(event)
        if at in points:
            yield marked, disk.cut(chance)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Lay out what a power cut left; give the path of the spool."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "spool.db"


def found_in(store: Store) -> Rows:
    return {each.id: each for queue in QUEUES for each in read_all(store, queue)}


def test_a_power_cut_at_any_point_loses_nothing_that_was_written(recorder: Recorder, make_store: MakeStore, tmp_path: Path) -> None:
    states = record(recorder, make_store)
    chance = random.Random(2)
    for marked, files in cuts(recorder.log, chance):
        store = make_store(path=put(tmp_path / "after", files))
        opened = store.open()
        assert (opened.moved, opened.why) == (None, "")
        found = found_in(store)
        # The write that was under way took place as a whole, or not at all.
        assert found in states[marked : marked + 2], f"after write {marked}"
        assert sum(count for _, _, count in opened.waiting) == store.count == len(found)
        store.write([row(opened.next_id)], list(found))
        assert found_in(store) == {opened.next_id: row(opened.next_id)}
        store.close()


def test_a_spool_that_does_not_sync_is_caught(
    recorder: Recorder, make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_PRAGMAS", (*file._PRAGMAS, "synchronous = NORMAL"))
    states = record(recorder, make_store)
    lost = 0
    for marked, files in cuts(recorder.log, random.Random(3)):
        store = make_store(path=put(tmp_path / "after", files))
        store.open()
        lost += found_in(store) not in states[marked : marked + 2]
        store.close()
    assert lost > CUTS // 20
