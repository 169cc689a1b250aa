"""The spool's file when it is damaged, taken away, or on a disk that fails: never a refusal to start, and back to work by itself."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edged.clock import NS, SystemClock
from edged.spool import file
from edged.spool.store import Row, SpoolError, Store
from tests.conftest import REPO
from tests.powercut import Recorder, sqlite_library
from tests.spools import MIB, WALL, MakeStore, ids, read_all, row, stores

PAGE = 4096
NOBODY = 65534


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    with stores(tmp_path) as make:
        yield make


def fails(code: str, what: Callable[[], object], path: Path) -> None:
    """Hold that `what` fails with `code`, names the file and says what to do."""
    with pytest.raises(SpoolError) as told:
        what()
    assert told.value.code == code, told.value.text
    assert str(path) in told.value.text
    assert told.value.hint
    assert told.value.family == "board"


def in_child(test: Callable[[Path], None], folder: Path, *before: str) -> None:
    """Run a function of this module in a process of its own, in which it may do what it likes."""
    program = f"from pathlib import Path; from {test.__module__} import {test.__name__} as test; test(Path({str(folder)!r}))"
    done = subprocess.run([*before, sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def fill(store: Store, rows: int = 300) -> None:
    """Leave a spool of some pages, closed."""
    store.open()
    store.write([row(number, 1000) for number in range(1, rows + 1)], [])
    store.close()


# -- damage that shows when it is opened --------------------------------------------------------


def garbage_header(path: Path) -> None:
    path.write_bytes(b"\xa5" * 100 + path.read_bytes()[100:])


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def half_a_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 77)


def torn_index(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(3 * PAGE, len(data), PAGE):
        if data[at] == 10:  # a leaf of an index
            data[at : at + 512] = random.Random(at).randbytes(512)
    path.write_bytes(data)


def torn_table_and_not_closed_cleanly(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = next(at for at in range(9 * PAGE, len(data), PAGE) if data[at] == 13)  # a leaf of the table
    data[at : at + 512] = bytes(512)
    path.write_bytes(data)
    file.beside(path, file.WAL).write_bytes(bytes(100))


def other_schema(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, what TEXT)")


def newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {file.VERSION + 1}")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "someone's").write_bytes(b"work")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = [
    garbage_header,
    zero_bytes,
    half_a_header,
    truncated,
    torn_index,
    torn_table_and_not_closed_cleanly,
    other_schema,
    newer_version,
    a_folder,
    a_pipe,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_moved_aside_untouched_and_a_new_spool_is_begun(
    make_store: MakeStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "spool.db"
    fill(make_store())
    damage(path)
    before = path.read_bytes() if path.is_file() else b""
    store = make_store()
    opened = store.open()
    assert opened.moved == tmp_path / "spool.db.corrupt-2027-01-15T080000.000Z"
    assert (opened.waiting, opened.next_id, bool(opened.why)) == ([], 1, True)
    if opened.moved.is_file():
        assert opened.moved.read_bytes() == before
    store.write([row(1)], [])
    store.close()
    again = make_store().open()
    assert (again.waiting, again.moved, again.why) == ([("main", 0, 1)], None, "")


@pytest.mark.parametrize("damage", [garbage_header, zero_bytes, half_a_header, newer_version, a_folder])
def test_the_log_of_a_damaged_file_goes_aside_with_it(make_store: MakeStore, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    fill(make_store())
    damage(tmp_path / "spool.db")
    wal = b"\x37\x7f\x06\x82" + bytes(100)
    (tmp_path / "spool.db-wal").write_bytes(wal)
    (tmp_path / "spool.db-shm").write_bytes(b"shm")
    store = make_store()
    moved = store.open().moved
    assert moved
    assert moved.with_name(f"{moved.name}-wal").read_bytes() == wal
    assert moved.with_name(f"{moved.name}-shm").read_bytes() == b"shm"
    store.write([row(1)], [])
    assert ids(store) == [1]


@pytest.mark.parametrize("garbage", [b"\xa5" * 5000, b"x", None])
def test_a_log_of_garbage_is_moved_aside_and_the_rows_of_a_sound_file_are_kept(
    make_store: MakeStore, tmp_path: Path, garbage: bytes | None
) -> None:
    fill(make_store())
    wal = tmp_path / "spool.db-wal"
    if garbage is None:
        wal.mkdir()
    else:
        wal.write_bytes(garbage)
    opened = make_store().open()
    assert opened.moved == tmp_path / "spool.db.corrupt-2027-01-15T080000.000Z-wal"
    assert opened.moved.is_dir() if garbage is None else opened.moved.read_bytes() == garbage
    assert (opened.waiting, "log" in opened.why) == ([("main", 0, 300)], True)


def test_a_log_without_its_file_is_not_read_into_a_new_one(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1)], [])
    wal = (tmp_path / "spool.db-wal").read_bytes()
    store.close()
    (tmp_path / "spool.db").unlink()
    (tmp_path / "spool.db-wal").write_bytes(wal)
    assert make_store().open().waiting == []


def test_only_the_newest_file_is_kept_aside_and_a_folder_is_never_deleted(make_store: MakeStore, tmp_path: Path) -> None:
    for second, damage in enumerate([garbage_header, a_folder, truncated, zero_bytes]):
        fill(make_store())
        damage(tmp_path / "spool.db")
        (tmp_path / "spool.db-wal").write_bytes(b"\x37\x7f\x06\x82 log")
        store = make_store(wall=WALL + second * NS)
        store.open()
        store.close()
        (tmp_path / "spool.db").unlink()
    name = "spool.db.corrupt-2027-01-15T08000"
    assert sorted(os.listdir(tmp_path)) == [f"{name}1.000Z", f"{name}3.000Z", f"{name}3.000Z-wal"]
    assert (tmp_path / f"{name}1.000Z" / "someone's").read_bytes() == b"work"


def test_whatever_bytes_are_damaged_the_spool_works_when_it_is_opened_again(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    fill(make_store(), 60)
    sound = path.read_bytes()
    for seed in range(80):
        chance = random.Random(seed)
        data = bytearray(sound)
        for _ in range(chance.choice([1, 3, 30])):
            at = chance.randrange(len(data))
            data[at : at + chance.choice([1, 8, 512])] = chance.randbytes(chance.choice([1, 8, 512]))
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])
        store = make_store()
        if why := use(store):
            assert (why, use(store)) == ("spool-corrupt", ""), f"seed {seed}"
        store.close()


def use(store: Store) -> str:
    """Open a spool, read it, add to it and empty it; give the code of what fails."""
    try:
        next_id = store.open().next_id
        read_all(store)
        store.write([row(next_id)], [1, 2, 3, 58, 59])
        store.write([], ids(store))
    except SpoolError as error:
        return error.code
    return ""


# -- damage that shows later --------------------------------------------------------------------


def torn_in_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    leaves = [at for at in range(0, len(data), PAGE) if data[at] == 13]
    at = leaves[len(leaves) // 2]
    data[at : at + PAGE] = b"\x7f" * PAGE
    path.write_bytes(data)


def a_row_of_other_types(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE rows SET payload = 'text', topic = x'ff' WHERE id = 150")
        db.commit()


def a_topic_that_is_no_text(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE rows SET topic = CAST(x'ff41' AS TEXT) WHERE id = 150")
        db.commit()


def properties_that_are_none(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE rows SET properties = CAST('[1]' AS BLOB) WHERE id = 150")
        db.commit()


@pytest.mark.parametrize("damage", [torn_in_the_middle, a_row_of_other_types, a_topic_that_is_no_text, properties_that_are_none])
def test_damage_found_while_reading_is_told_and_the_next_open_moves_the_file_aside(
    make_store: MakeStore, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "spool.db"
    fill(make_store())
    damage(path)
    store = make_store()
    assert store.open().moved is None
    for _ in range(2):
        fails("spool-corrupt", lambda: read_all(store), path)
        fails("spool-corrupt", lambda: store.write([row(301)], []), path)
    opened = store.open()
    assert (opened.moved is not None, opened.waiting, store.count) == (True, [], 0)
    store.write([row(301)], [])
    assert ids(store) == [301]


def test_damage_found_while_writing_is_told_and_the_next_open_moves_the_file_aside(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    fill(make_store())
    torn_in_the_middle(path)
    store = make_store()
    store.open()
    fails("spool-corrupt", lambda: store.write([row(301)], list(range(1, 301))), path)
    assert store.open().moved
    store.write([row(301)], [])
    assert ids(store) == [301]


# -- taken away beneath a store that has it open ------------------------------------------------


def delete_file(path: Path) -> None:
    path.unlink()


def delete_log(path: Path) -> None:
    file.beside(path, file.WAL).unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def put_garbage(path: Path) -> None:
    path.with_name("other").write_bytes(b"garbage")
    path.with_name("other").replace(path)


def put_another_spool(path: Path) -> None:
    other = Store(path.with_name("other"), MIB, "refuse", SystemClock())
    other.open()
    other.write([row(999)], [])
    other.close()
    path.with_name("other").replace(path)


@pytest.mark.parametrize("take", [delete_file, delete_log, delete_folder, put_garbage, put_another_spool])
def test_rows_of_a_file_that_was_taken_away_get_a_new_one(make_store: MakeStore, tmp_path: Path, take: Callable[[Path], None]) -> None:
    path = tmp_path / "folder" / "spool.db"
    store = make_store(path=path)
    store.open()
    store.write([row(number, 5000) for number in range(1, 301)], [])
    take(path)
    store.write([row(301)], [7])
    assert ids(store) == [number for number in range(1, 302) if number != 7]
    store.write([row(302)], [])
    store.close()
    again = make_store(path=path)
    opened = again.open()
    assert (opened.waiting, opened.moved) == ([("main", 0, 301)], None)
    assert [each.payload for each in read_all(again)][:3] == [row(number, 5000).payload for number in (1, 2, 3)]


def test_opening_again_keeps_the_rows_of_a_file_that_was_taken_away(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1), row(2)], [])
    (tmp_path / "spool.db").unlink()
    assert store.open().waiting == [("main", 0, 2)]
    assert ids(store) == [1, 2]


# -- a disk that fails --------------------------------------------------------------------------


@pytest.fixture
def recorder() -> Recorder:
    """Give a layer below SQLite that can fail; skip where Python has an SQLite of its own inside."""
    library = sqlite_library()
    if library is None:
        pytest.skip("needs a Python whose sqlite3 uses a shared libsqlite3.so.0, such as that of the distribution")
    return Recorder(library)


def test_no_row_of_a_write_that_could_not_be_synced_remains(make_store: MakeStore, tmp_path: Path, recorder: Recorder) -> None:
    with recorder:
        store = make_store()
        store.open()
        store.write([row(1), row(2)], [])
        recorder.failing_syncs = True
        for _ in range(3):
            fails("spool-io-error", lambda: store.write([row(3), row(4)], [1]), tmp_path / "spool.db")
        recorder.failing_syncs = False
        assert ids(store) == [2]
        written = store.write([row(5)], [1])
        assert (written.dropped, written.refused, ids(store), store.count) == ([], [], [2, 5], 2)
        store.close()


def test_rows_dropped_by_a_write_that_failed_are_told_by_the_next(make_store: MakeStore, tmp_path: Path, recorder: Recorder) -> None:
    with recorder:
        store = make_store(MIB)
        store.open()
        store.write([row(number, 10_000, stream=7) for number in range(1, 301)], [])
        held = set(ids(store))
        recorder.failing_syncs = True
        fails("spool-io-error", lambda: store.write([row(number, 10_000) for number in range(301, 321)], []), tmp_path / "spool.db")
        recorder.failing_syncs = False
        dropped = store.write([row(number, 10_000) for number in range(301, 321)], []).dropped
        assert len(dropped) == len(set(dropped)) > 0
        assert {number for _, _, number in dropped} == held - set(ids(store))
        assert store.count == len(ids(store))
        store.close()


def test_rows_lost_while_a_failing_disk_was_let_go_of_are_told(make_store: MakeStore, tmp_path: Path, recorder: Recorder) -> None:
    path = tmp_path / "spool.db"
    with recorder:
        store = make_store()
        store.open()
        store.write([row(1)], [])
        recorder.failing_syncs = True
        fails("spool-io-error", lambda: store.write([row(2)], []), path)
        recorder.failing_syncs = False
        path.unlink()
        fails("spool-corrupt", lambda: store.write([row(2)], []), path)
        assert store.open().waiting == []
        store.write([row(2)], [])
        assert ids(store) == [2]
        store.close()


def test_a_row_that_no_database_can_hold_changes_nothing(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1)], [])
    for bad in (Row(3, "main", 2**63, "t", b"", 1), Row(3, "main", 0, "\ud800", b"", 1), row(2)):
        fails("spool-failed", lambda bad=bad: store.write([row(2), bad], [1]), tmp_path / "spool.db")  # type: ignore[misc]
    assert ids(store) == [1]
    store.write([row(2)], [])
    assert (ids(store), store.count) == ([1, 2], 2)


def test_a_folder_that_is_a_file_is_told(make_store: MakeStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "spool.db"
    store = make_store(path=path)
    fails("spool-failed", store.open, path)
    fails("spool-failed", lambda: store.write([row(1)], []), path)
    (tmp_path / "file").unlink()
    store.write([row(1)], [])
    assert ids(store) == [1]


def test_rows_of_an_earlier_run_are_not_passed_over_where_the_first_open_failed(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    holder = make_store()
    holder.open()
    holder.write([row(1)], [])
    store = make_store()
    fails("spool-failed", store.open, path)
    holder.close()
    fails("spool-corrupt", lambda: store.write([row(1)], []), path)
    opened = store.open()
    assert (opened.waiting, opened.moved) == ([("main", 0, 1)], None)


def keeps_to_a_limit_on_file_size(folder: Path) -> None:
    path = folder / "spool.db"
    store = Store(path, 64 * MIB, "drop-oldest", SystemClock())
    store.open()
    store.write([row(number, 1000) for number in range(1, 101)], [])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))
    big = [row(number, 100_000) for number in range(101, 141)]
    for _ in range(2):
        fails("spool-io-error", lambda: store.write(big, [1, 2, 3]), path)
        assert ids(store) == list(range(1, 101))
    store.write([row(101)], [1])  # what is small still fits
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.write([row(number, 100_000) for number in range(102, 142)], [2, 3])
    assert ids(store) == list(range(4, 142))
    store.close()


def test_a_file_that_may_not_grow_takes_what_fits_and_all_when_it_may_again(tmp_path: Path) -> None:
    in_child(keeps_to_a_limit_on_file_size, tmp_path)


# -- file systems that are full or read-only ----------------------------------------------------


@pytest.fixture
def mounts(tmp_path: Path) -> list[str]:
    """Give what goes before a command so that it may mount; what it mounts ends with it. Skip where nobody may."""
    before = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    tried = shutil.which("unshare") and subprocess.run([*before, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True)
    if not tried or tried.returncode:
        pytest.skip("needs to mount a small file system: util-linux, and root with CAP_SYS_ADMIN or user namespaces")
    return before


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def recovers_from_a_full_disk(folder: Path) -> None:
    mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder))
    path, ballast = folder / "spool.db", folder / "ballast"
    store = Store(path, 64 * MIB, "drop-oldest", SystemClock())
    store.open()
    store.write([row(number, 1000) for number in range(1, 501)], [])
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    big = [row(number, 10_000) for number in range(501, 601)]
    for _ in range(2):
        fails("spool-disk-full", lambda: store.write(big, [1, 2]), path)
        assert (ids(store), store.count) == (list(range(1, 501)), 500)
    fails("spool-disk-full", Store(folder / "second.db", MIB, "refuse", SystemClock()).open, folder / "second.db")
    ballast.unlink()
    store.write(big, [1, 2])
    assert ids(store) == list(range(3, 601))
    store.close()
    assert Store(path, 64 * MIB, "drop-oldest", SystemClock()).open().waiting == [("main", 0, 598)]


def test_a_full_disk_is_told_changes_nothing_and_is_over_when_there_is_room(tmp_path: Path, mounts: list[str]) -> None:
    in_child(recovers_from_a_full_disk, tmp_path, *mounts)


def test_sqlite_that_finds_no_room_is_told_as_a_full_disk(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store()
    store.open()
    store.write([row(1)], [])
    db = store._db
    assert db
    db.execute("PRAGMA max_page_count = 100")
    for _ in range(2):
        fails("spool-disk-full", lambda: store.write([row(2, MIB)], [1]), tmp_path / "spool.db")
    db.execute("PRAGMA max_page_count = 100000")
    store.write([row(2, MIB)], [1])
    assert ids(store) == [2]


def recovers_from_a_read_only_file_system(folder: Path) -> None:
    mount("-t", "tmpfs", "tmpfs", str(folder))
    path = folder / "spool.db"
    store = Store(path, 64 * MIB, "drop-oldest", SystemClock())
    store.open()
    store.write([row(1)], [])
    store.close()
    mount("-o", "remount,ro", str(folder))
    fails("spool-read-only", store.open, path)
    for _ in range(2):
        fails("spool-read-only", lambda: store.write([row(2)], []), path)
    fails("spool-read-only", Store(folder / "a" / "second.db", MIB, "refuse", SystemClock()).open, folder / "a" / "second.db")
    mount("-o", "remount,rw", str(folder))
    store.write([row(2)], [])
    assert ids(store) == [1, 2]
    store.close()


def test_a_read_only_file_system_is_told_and_is_over_when_it_can_be_written(tmp_path: Path, mounts: list[str]) -> None:
    in_child(recovers_from_a_read_only_file_system, tmp_path, *mounts)


def recovers_from_lost_permissions(folder: Path) -> None:
    if os.geteuid() == 0:  # whom permissions do not stop
        os.chown(folder, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    path = folder / "spool.db"
    store = Store(path, 64 * MIB, "drop-oldest", SystemClock())
    store.open()
    store.write([row(1)], [])
    folder.chmod(0)
    for _ in range(2):
        fails("spool-no-permission", lambda: store.write([row(2)], [1]), path)
    folder.chmod(0o700)
    store.write([row(2)], [])
    store.close()
    folder.chmod(0o500)
    path.chmod(0o400)
    for _ in range(2):
        fails("spool-no-permission", store.open, path)
        fails("spool-no-permission", lambda: store.write([row(3)], []), path)
    fails("spool-no-permission", Store(folder / "second.db", MIB, "refuse", SystemClock()).open, folder / "second.db")
    folder.chmod(0o700)
    path.chmod(0o600)
    store.write([row(3)], [])
    assert ids(store) == [1, 2, 3]
    store.close()


def test_permissions_that_are_lost_are_told_and_used_when_they_are_back() -> None:
    if not Path("/").stat().st_mode & 0o001:
        pytest.skip("here other users than root may not even enter /")
    folder = Path(tempfile.mkdtemp())  # not below a folder that only root may enter
    try:
        in_child(recovers_from_lost_permissions, folder)
    finally:
        shutil.rmtree(folder)
