"""The spool's file: rows in order, its bound, the space it gives back, kill -9. See test_spool_faults.py for damage and sick disks."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edged.spool.store import Row, SpoolError
from tests.conftest import REPO
from tests.spools import MIB, Full, MakeStore, ids, read_all, row, stores


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    with stores(tmp_path) as make:
        yield make


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize(
    "written",
    [
        Row(1, "main", 0, "out", b"", 0),
        Row(2**62, "floor", -(2**63), "wärme/\x00/☃", bytes(range(256)), 2, "application/json", {}, 2**63 - 1),
        Row(3, "main", 2**63 - 1, "", b"\x00", 1, "", {"ce-id": "ä\x00", "": ""}, -1),
    ],
)
def test_a_row_comes_back_as_it_was_also_after_a_restart(make_store: MakeStore, written: Row) -> None:
    store = make_store()
    store.open()
    store.write([written], [])
    assert store.read(written.queue, 0, 10) == [written]
    store.close()
    again = make_store()
    opened = again.open()
    assert (opened.waiting, opened.next_id, opened.moved) == ([(written.queue, written.stream, 1)], written.id + 1, None)
    assert again.read(written.queue, 0, 10) == [written]
    assert (again.count, again.oldest()) == (1, written.time)


def test_reading_gives_the_rows_of_one_queue_in_rising_order_from_where_it_left_off(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write([row(number, queue=("main", "floor")[number % 2]) for number in range(1, 21)], [])
    assert [each.id for each in store.read("main", 4, 3)] == [6, 8, 10]
    assert [each.id for each in store.read("floor", 0, 100)] == list(range(1, 21, 2))
    assert store.read("main", 20, 5) == store.read("elsewhere", 0, 5) == []


def test_one_read_is_bounded_in_bytes_but_gives_at_least_one_row(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write([row(1, 3 * MIB), row(2, 3 * MIB), row(3, 9 * MIB), row(4, 10)], [])
    assert [[each.id for each in store.read("main", after, 500)] for after in (0, 2, 3)] == [[1, 2], [3], [4]]


def test_what_is_gone_does_not_come_back_and_what_was_never_there_does_not_matter(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    store.write([row(number) for number in range(1, 11)], [])
    store.write([row(11)], [1, 2, 2, 5, 77])
    assert (ids(store), store.count, store.oldest()) == ([3, 4, 6, 7, 8, 9, 10, 11], 8, 3000)
    store.write([], ids(store))
    assert (ids(store), store.count, store.oldest()) == ([], 0, None)


def test_a_restart_tells_the_rows_of_every_queue_and_stream(make_store: MakeStore) -> None:
    store = make_store()
    store.open()
    rows = [row(number, queue=queue, stream=number % 3) for number, queue in enumerate(["main", "main", "floor", "main"], 1)]
    store.write(rows, [])
    store.close()
    assert sorted(store.open().waiting) == [("floor", 0, 1), ("main", 1, 2), ("main", 2, 1)]


def test_a_folder_that_is_missing_is_made_and_nobody_else_can_read_the_file(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b c?%#" / "spool.db"
    store = make_store(path=path)
    store.open()
    store.write([row(1)], [])
    assert {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {"spool.db": 0, "spool.db-wal": 0}


def test_writing_nothing_and_reading_leave_the_disk_alone(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1), row(2)], [])
    before = sizes(tmp_path)
    assert (store.write([], []).dropped, len(store.read("main", 0, 10)), store.oldest()) == ([], 2, 1000)
    assert sizes(tmp_path) == before


def test_opening_a_healthy_spool_does_not_change_it(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.close()
    before = sizes(tmp_path)
    store.open()
    assert sizes(tmp_path)["spool.db"] == before["spool.db"]
    store.close()
    assert sizes(tmp_path) == before


# -- the bound ----------------------------------------------------------------------------------

# Payload bytes from and to, and how many rows a group has at most.
MIXES = {
    "small": (1, 60, 1500),
    "half a page": (1900, 2200, 200),
    "a page": (3900, 4200, 90),
    "all": (0, 30_000, 30),
    "long": (1, 900_000, 2),
}


@pytest.mark.parametrize("full", ["drop-oldest", "refuse"])
@pytest.mark.parametrize("mix", MIXES)
def test_the_bound_holds_at_any_time_and_every_row_is_accounted_for(make_store: MakeStore, tmp_path: Path, full: Full, mix: str) -> None:
    chance = random.Random(mix)
    least, most, together = MIXES[mix]
    limit = 2 * MIB + 12_345
    store = make_store(limit, full)
    store.open()
    expected: dict[int, Row] = {}
    next_id, fullest = 1, 0
    for _ in range(40):
        numbers = range(next_id, next_id + chance.randint(1, together))
        group = [row(number, chance.randint(least, most), chance.choice(["main", "a" * 60]), number % 3) for number in numbers]
        next_id = numbers.stop
        gone = chance.sample(sorted(expected), len(expected) // 30)
        written = store.write(group, gone)
        for each in gone:
            del expected[each]
        expected |= {each.id: each for each in group if each.id not in written.refused}
        for dropped in written.dropped:
            oldest = expected.pop(next(iter(expected)))
            assert dropped == (oldest.queue, oldest.stream, oldest.id)
        assert store.count == len(expected)
        assert max(store.used_bytes, (tmp_path / "spool.db").stat().st_size) <= limit
        fullest = max(fullest, store.used_bytes)
    assert fullest > limit * (0.5 if mix == "long" else 0.9), "the bound is used, not only kept"
    assert {each.id: each for queue in ("main", "a" * 60) for each in read_all(store, queue)} == expected


def test_many_small_rows_respect_the_bound(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(4 * MIB)
    store.open()
    for first in range(1, 100_001, 2000):
        store.write([Row(number, "main", number, "t", b"12345678", 1) for number in range(first, first + 2000)], [])
        assert store.used_bytes <= 4 * MIB
    left = ids(store)
    assert left == list(range(100_001 - len(left), 100_001))
    assert len(left) > 40_000
    assert (tmp_path / "spool.db").stat().st_size <= 4 * MIB


def test_a_row_larger_than_the_whole_spool_is_refused_and_costs_no_other(make_store: MakeStore) -> None:
    store = make_store(MIB)
    store.open()
    store.write([row(1), row(2)], [])
    written = store.write([row(3), row(4, MIB), row(5)], [])
    assert (written.refused, written.dropped, ids(store)) == ([4], [], [1, 2, 3, 5])


def test_a_group_larger_than_the_spool_leaves_its_newest_rows(make_store: MakeStore) -> None:
    store = make_store(MIB)
    store.open()
    written = store.write([row(number, 100_000, stream=number) for number in range(1, 41)], [])
    left = ids(store)
    assert left == list(range(41 - len(left), 41))
    assert written.dropped == [("main", number, number) for number in range(1, 41 - len(left))]
    assert not written.refused


def test_refusing_keeps_the_old_rows_and_takes_new_ones_when_there_is_room_again(make_store: MakeStore) -> None:
    store = make_store(MIB, "refuse")
    store.open()
    written = store.write([row(number, 10_000) for number in range(1, 201)], [])
    taken = ids(store)
    assert taken == list(range(1, len(taken) + 1))
    assert written.refused == list(range(len(taken) + 1, 201))
    assert (store.write([row(201, 10_000)], []).refused, store.write([row(202, 10_000)], taken[:9]).refused) == ([201], [])


def test_a_bound_made_smaller_holds_from_the_first_write(make_store: MakeStore) -> None:
    store = make_store(8 * MIB)
    store.open()
    store.write([row(number, 10_000) for number in range(1, 501)], [])
    store.close()
    smaller = make_store(MIB)
    smaller.open()
    smaller.write([row(501)], [])
    assert smaller.used_bytes <= MIB
    assert ids(smaller)[-1] == 501


def test_an_emptied_spool_gives_its_space_back(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    for first in range(1, 20_001, 500):
        store.write([row(number, 1000) for number in range(first, first + 500)], [])
    assert store.used_bytes > 20 * MIB
    while chunk := store.read("main", 0, 500):
        store.write([], [each.id for each in chunk])
        assert sum(size for size, _ in sizes(tmp_path).values()) < 40 * MIB
    assert sum(size for size, _ in sizes(tmp_path).values()) < 8 * MIB
    assert (store.count, store.used_bytes <= 16_384, store.oldest()) == (0, True, None)


def test_the_log_stays_small_however_much_goes_through(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    for number in range(1, 400):
        store.write([row(number, 100_000)], [number - 1])
        assert sizes(tmp_path)["spool.db-wal"][0] < 5 * MIB


# -- the process ends ---------------------------------------------------------------------------

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from edged.clock import SystemClock
from edged.spool.store import Store
from tests.spools import row
store = Store(Path(sys.argv[1]), 1 << 30, "drop-oldest", SystemClock())
first = store.open().next_id
while True:
    group = [row(number, 1 + number % 3000) for number in range(first, first + 1 + first % 40)]
    store.write(group, [])
    first += len(group)
    print(first - 1, flush=True)
"""


def test_what_was_written_before_kill_9_is_there(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    store = make_store(1 << 30)
    for kill in range(1, 4):
        with subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, str(path)], cwd=REPO, stdout=subprocess.PIPE) as child:
            assert child.stdout
            last = 0
            for _ in range(40 * kill):
                last = int(child.stdout.readline())
            child.kill()
            last = int([str(last).encode(), *child.stdout.read().split(b"\n")[:-1]][-1])
        assert store.open().moved is None
        found = read_all(store)
        assert [each.id for each in found] == list(range(1, len(found) + 1))
        assert len(found) >= last
        assert all(each == row(each.id, 1 + each.id % 3000) for each in found)
        store.close()


def test_another_program_that_has_the_file_open_is_told_until_it_ends(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1)], [])
    with pytest.raises(sqlite3.OperationalError, match="locked"), closing(sqlite3.connect(tmp_path / "spool.db", timeout=0)) as other:
        other.execute("SELECT * FROM rows")
    second = make_store()
    with pytest.raises(SpoolError) as told:
        second.open()
    assert (told.value.code, "other program" in told.value.hint) == ("spool-failed", True)
    store.close()
    assert second.open().waiting == [("main", 0, 1)]
