"""The store of releases: coming in, damage, cuts at every write, what collects, who may write, hostile content."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import BoardError, BugError, Cancelled, OperatorError, PublisherError, ReleaseFaults
from edged.models.manifest import load_release
from edged.models.packed import PACKED, names_of, parse_packed
from edged.models.source import FolderSource
from edged.models.store import RESERVE, Store
from tests.conftest import REPO
from tests.descriptors import descriptors
from tests.stores import (
    Cut,
    blobs,
    check_blobs,
    cut_at,
    everything,
    fetch,
    ignore,
    install,
    large,
    lie,
    never,
    refused,
    renumber,
    seal,
    tiny,
)

pytest_plugins = ["tests.quick"]

NOBODY = 65534
MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


# -- coming in ----------------------------------------------------------------------------------


def test_a_release_reads_as_its_folder_did_which_is_not_needed_any_more(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    original = load_release(folder)
    content = {name: (folder / name).read_bytes() for name in names_of(original.manifest)}
    install(store, folder)
    shutil.rmtree(folder)
    release = store.load("twice", 1)
    assert (release.manifest, release.digest) == (original.manifest, original.digest)
    assert {name: path.read_bytes() for name, path in release.files.items()} == content
    (stored,) = store.releases()
    assert (stored.name, stored.release, stored.version, stored.task, stored.damage) == ("twice", 1, "1", "regress", "")
    assert stored.variants == {"fp32": len(content["twice.tflite"])}
    assert stored.size == sum(map(len, content.values()))
    assert sorted(os.listdir(stored.folder)) == ["model.toml", "release.json"]


def test_examine_writes_nothing_and_names_the_release_by_its_release_json(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    candidate = store.examine(FolderSource(folder))
    assert candidate.digest == hashlib.sha256((folder / PACKED).read_bytes()).hexdigest()
    assert candidate.manifest == load_release(folder).manifest
    assert store.need(candidate) == sum(seal.size for seal in candidate.packed.files.values())
    assert not (tmp_path / "state").exists()


def test_a_release_of_the_store_is_the_candidate_that_came_in(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    install(store, folder)
    assert store.candidate("twice", 1) == store.examine(FolderSource(folder))
    assert store.packed("twice", 1) == parse_packed((folder / PACKED).read_bytes(), "")


def test_blobs_are_named_by_their_content_and_read_only(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    check_blobs(store)
    for name in blobs(store):
        assert (store._root / "blobs" / "sha256" / name).stat().st_mode & 0o222 == 0


def test_two_releases_share_the_files_that_are_the_same(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one", 1))
    before = blobs(store)
    second = store.examine(FolderSource(tiny(tmp_path / "two", 2)))
    assert store.need(second) == second.packed.files["model.toml"].size
    install(store, tmp_path / "two")
    assert len(blobs(store) - before) == 1
    assert [each.release for each in store.releases()] == [2, 1]


def test_the_same_release_again_changes_nothing(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    install(store, folder)
    before = {path: path.stat().st_mtime_ns for path in store._root.rglob("*") if path.parent.name != "models"}
    install(store, folder)
    assert {path: path.stat().st_mtime_ns for path in store._root.rglob("*") if path.parent.name != "models"} == before


def test_progress_ends_at_what_was_to_do(store: Store, tmp_path: Path):
    source = FolderSource(large(tmp_path / "one", 3 * MIB + 5))
    candidate = store.examine(source)
    need, fetched, verified = store.need(candidate), [], []
    with store.claim():
        store.fetch(source, candidate, fetched.append, never)
        store.verify(candidate, verified.append, never)
        assert store.need(candidate) == 0
    for done in (fetched, verified):
        assert done == sorted(set(done))
        assert done[-1] == need
        assert max(later - earlier for earlier, later in zip([0, *done], done)) <= MIB


def test_bytes_are_on_disk_before_they_get_their_name_and_few_wait_in_memory(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = FolderSource(large(tmp_path / "one", 20 * MIB))
    candidate, events = store.examine(source), []
    write, fsync, rename = os.write, os.fsync, os.rename
    with store.claim(), monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: events.append(len(data)) or write(fd, data))
        patch.setattr(os, "fsync", lambda fd: events.append("sync") or fsync(fd))
        patch.setattr(os, "rename", lambda *names: events.append("name") or rename(*names))
        store.fetch(source, candidate, ignore, never)
    unsynced = 0
    for event, after in zip(events, [*events[1:], ""]):
        unsynced = 0 if event == "sync" else unsynced + (event if isinstance(event, int) else 0)
        assert unsynced <= 8 * MIB
        assert event != "name" or (unsynced == 0 and after == "sync")
    assert events.count("name") == 2


def test_one_file_under_two_names_is_fetched_once(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    shutil.copyfile(folder / "twice.tflite", folder / "again.tflite")
    with (folder / "model.toml").open("a") as file:
        file.write('\n[[variants]]\nname = "again"\nengine = "tflite"\nfile = "again.tflite"\n')
    release = install(store, seal(folder))
    assert release.files["twice.tflite"] == release.files["again.tflite"]
    assert len(blobs(store)) == 2


@pytest.mark.parametrize("step", ["fetch", "verify"])
def test_a_step_is_cancelled_within_one_piece_and_done_again_later(store: Store, tmp_path: Path, step: str):
    source = FolderSource(large(tmp_path / "one", 8 * MIB))
    candidate = store.examine(source)
    done: list[int] = []
    with store.claim():
        if step == "verify":
            store.fetch(source, candidate, ignore, never)
        with pytest.raises(Cancelled):
            getattr(store, step)(*([source] if step == "fetch" else []), candidate, done.append, lambda: len(done) >= 3)
        assert len(done) == 3
        assert os.listdir(store._root / "incoming") == []
        assert store.releases() == ()
        store.fetch(source, candidate, ignore, never)
        assert store.verify(candidate, ignore, never).manifest == candidate.manifest


# -- refused: not what was sealed ---------------------------------------------------------------


def test_a_faulty_or_unpacked_release_is_refused(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    (folder / PACKED).rename(folder / "aside")
    refused("not-packed", lambda: install(store, folder))
    (folder / "aside").rename(folder / PACKED)
    (folder / "twice.tflite").unlink()
    refused("file-changed", lambda: install(store, folder))
    assert everything(store) == set()


def test_a_manifest_with_faults_is_refused_with_their_lines(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    data = (folder / "model.toml").read_bytes() + b"\nsurprise = 1\n"
    (folder / "model.toml").write_bytes(data)
    lie(folder, lambda files: files | {"model.toml": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}})
    with pytest.raises(ReleaseFaults) as caught:
        install(store, folder)
    assert [fault.code for fault in caught.value.faults] == ["unknown-key"]


@pytest.mark.parametrize("name", ["twice.tflite", "model.toml"])
@pytest.mark.parametrize("change", ["flip", "grow", "cut"])
def test_a_file_changed_after_packing_is_refused(store: Store, tmp_path: Path, name: str, change: str):
    folder = tiny(tmp_path / "one")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes({"flip": data, "grow": data + b"\n", "cut": data[:-1]}[change])
    refused("file-changed", lambda: install(store, folder))
    assert os.listdir(store._root / "incoming") == []
    assert store.releases() == ()
    check_blobs(store)


def test_a_release_json_of_another_manifest_is_refused(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    content = msgspec.json.decode((folder / PACKED).read_bytes())
    for stale in ({"release": 2}, {"version": "2"}, {"name": "other"}, {"costs": {"other": content["costs"]["fp32"]}}):
        (folder / PACKED).write_bytes(msgspec.json.encode(content | stale, order="sorted"))
        refused("packed-stale", lambda: install(store, folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: {name: seal for name, seal in files.items() if name != "model.toml"},
        lambda files: {name: seal for name, seal in files.items() if name == "model.toml"},
        lambda files: files | {"more.bin": files["twice.tflite"]},
    ],
)
def test_a_release_json_that_names_other_files_than_the_manifest_is_refused(store: Store, tmp_path: Path, change):
    folder = lie(tiny(tmp_path / "one"), change)
    refused("packed-stale", lambda: install(store, folder))
    assert everything(store) == set()


@pytest.mark.parametrize("how", ["shrinks", "changes", "grows"])
def test_a_file_that_changes_while_it_is_read_never_becomes_a_blob(store: Store, tmp_path: Path, how: str):
    folder = large(tmp_path / "one", 4 * MIB)
    path, source = folder / "twice.tflite", FolderSource(folder)
    original = path.read_bytes()
    candidate = store.examine(source)

    def meddle(done: int) -> None:
        with path.open("r+b") as file:
            if how == "shrinks":
                file.truncate(2 * MIB)
            else:
                file.seek(3 * MIB if how == "changes" else 0, os.SEEK_SET if how == "changes" else os.SEEK_END)
                file.write(b"other")

    with store.claim():
        if how == "grows":  # what was sealed is still all there
            store.fetch(source, candidate, meddle, never)
        else:
            refused("file-changed", lambda: store.fetch(source, candidate, meddle, never))
            check_blobs(store)
            assert candidate.packed.files["twice.tflite"].sha256 not in blobs(store)
            assert os.listdir(store._root / "incoming") == []
            path.write_bytes(original)
            store.fetch(source, candidate, ignore, never)
        store.verify(candidate, ignore, never)


# -- room ---------------------------------------------------------------------------------------


def test_a_release_that_does_not_fit_is_refused_before_the_first_byte(tmp_path: Path):
    folder = large(tmp_path / "one", 5 * MIB)
    free = [RESERVE + 5 * MIB]
    store = Store(tmp_path / "state", free=lambda folder: free[0])
    source = FolderSource(folder)
    candidate = store.examine(source)
    assert store.room() == 5 * MIB
    with store.claim():
        error = refused("no-space", lambda: store.fetch(source, candidate, ignore, never), BoardError)
        assert "5.0 MiB" in error.text
        assert everything(store) == set()
        free[0] += store.need(candidate) - 5 * MIB
        store.fetch(source, candidate, ignore, never)
    free[0] = 0
    assert store.room() == 0


def test_a_claim_of_5_gib_costs_nothing(tmp_path: Path):
    """Sparse files: reading one would take long, keeping one would show."""
    size = 5 << 30
    store = Store(tmp_path / "state", free=lambda folder: 1 << 30)
    for name, code, family in (
        (PACKED, "packed-malformed", PublisherError),
        ("model.toml", "manifest-unreadable", PublisherError),
        ("twice.tflite", "no-space", BoardError),
    ):
        folder = tiny(tmp_path / f"of-{name}")
        if name != PACKED:
            lie(folder, lambda files, name=name: files | {name: {"sha256": "0" * 64, "size": size}})
        os.truncate(folder / name, size)
        refused(code, lambda folder=folder: install(store, folder), family)
        assert everything(store) == set()
    lie(folder, lambda files: files | {"twice.tflite": {"sha256": "0" * 64, "size": 1 << 50}})
    refused("file-changed", lambda: install(store, folder))


def test_a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_left(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = large(tmp_path / "one", 3 * MIB)
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < MIB:
            return write(fd, data)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        refused("no-space", lambda: install(store, folder), BoardError)
    assert os.listdir(store._root / "incoming") == []
    install(store, folder)


def counted(folder: Path, limit: int) -> Callable[[Path], int]:
    """Say how much is free of `limit` bytes that all in `folder` share, in blocks of 512 bytes."""
    return lambda _: RESERVE + limit - sum(-(-path.lstat().st_size // 512) * 512 for path in folder.rglob("*") if not path.is_dir())


def install_many(store: Store, folder: Path, count: int) -> None:
    """Install one release after the other and keep the last two, as a daemon does."""
    for number in range(1, count + 1):
        renumber(folder, number)
        install(store, folder)
        with store.claim():
            store.collect({("twice", number), ("twice", number - 1)})


def test_a_thousand_installs_leave_no_bytes_files_folders_or_descriptors(quick: Path):
    store = Store(quick / "state", free=counted(quick / "state", 64 << 10))
    folder = tiny(quick / "new")
    install_many(store, folder, 10)
    files, before = len(everything(store)), descriptors()
    for number in range(11, 1001):
        renumber(folder, number)
        install(store, folder)
        with store.claim():
            store.collect({("twice", number), ("twice", number - 1)})
    assert len(everything(store)) == files
    assert not descriptors() - before
    assert [each.release for each in store.releases()] == [1000, 999]
    assert len(blobs(store)) == 3
    check_blobs(store)


def in_child(test: Callable[[Path], None], folder: Path, *before: str) -> None:
    """Run a function of this module in a process of its own, in which it may do what it likes."""
    program = f"from pathlib import Path; from {test.__module__} import {test.__name__} as test; test(Path({str(folder)!r}))"
    done = subprocess.run([*before, sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def fits_a_small_disk(folder: Path) -> None:
    new = tiny(folder / "new")
    disk = folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={RESERVE + (256 << 10)},nr_inodes=64", "tmpfs", str(disk))
    store = Store(disk)
    install_many(store, new, 20)
    before = shutil.disk_usage(disk).free, os.statvfs(disk).f_ffree
    for number in range(21, 301):
        renumber(new, number)
        install(store, new)
        with store.claim():
            store.collect({("twice", number), ("twice", number - 1)})
    assert (shutil.disk_usage(disk).free, os.statvfs(disk).f_ffree) == before
    shutil.rmtree(new)
    error = refused("no-space", lambda: install(store, large(folder / "new", MIB)), BoardError)
    assert "1.0 MiB" in error.text


def test_hundreds_of_installs_fit_a_real_disk_that_has_room_for_a_few(tmp_path: Path, mounts: list[str]):
    in_child(fits_a_small_disk, tmp_path, *mounts)


# -- cuts ---------------------------------------------------------------------------------------


def test_wherever_a_process_ends_what_was_there_stays_and_the_step_is_done_again(quick: Path, monkeypatch: pytest.MonkeyPatch):
    """From an empty store, and from one that has the release before and another to be removed."""
    old, new = tiny(quick / "old", 1), tiny(quick / "new", 2)
    for prepared in (False, True):
        call = 0
        while True:
            store = Store(quick / f"state-{prepared}-{call}")
            if prepared:
                install(store, old)
            with cut_at(call, monkeypatch):
                try:
                    install(store, new)
                    with store.claim():
                        store.collect({("twice", 2)})
                    cut = False
                except Cut:
                    cut = True
            claim = store._claim
            if claim:
                claim.release()  # as the end of the process does
            check_blobs(store)
            numbers = [each.release for each in store.releases() if not each.damage]
            assert [each.release for each in store.releases()] == numbers, f"cut at call {call}"
            if prepared and 2 not in numbers:
                store.load("twice", 1)
            install(store, new)
            with store.claim():
                store.collect({("twice", 2)})
            assert everything(store) == _layout(store, 2)
            with store.claim():
                store.collect(())
            assert everything(store) == set()
            shutil.rmtree(quick / f"state-{prepared}-{call}")
            if not cut:
                break
            call += 1
        assert call > 20


def _layout(store: Store, *numbers: int) -> set[str]:
    """Name what a store with these releases of `twice` holds, to the file."""
    names = {f"blobs/sha256/{seal.sha256}" for number in numbers for seal in store.packed("twice", number).files.values()}
    folders = {f"releases/twice/{number}" for number in numbers}
    return names | folders | {f"{folder}/{file}" for folder in folders for file in ("model.toml", "release.json")} | {"releases/twice"}


def test_a_removal_that_is_cut_off_is_finished_by_the_next_collection(quick: Path, monkeypatch: pytest.MonkeyPatch):
    call, cut = 0, True
    while cut:
        store = Store(quick / f"state-{call}")
        for number in (1, 2):
            install(store, renumber(quick / "new", number) if (quick / "new").exists() else tiny(quick / "new"))
        with cut_at(call, monkeypatch):
            try:
                with store.claim():
                    store.remove("twice", 1)
                cut = False
            except Cut:
                pass
        assert store.load("twice", 2).manifest.release == 2
        store._claim.release() if store._claim else None
        with store.claim():
            store.collect({("twice", 2)})
        assert everything(store) == _layout(store, 2)
        call += 1
    assert call > 8


# -- who may write ------------------------------------------------------------------------------


def test_only_one_claims_the_store_and_the_other_is_told_who(store: Store, tmp_path: Path):
    with store.claim():
        error = refused("store-busy", Store(tmp_path / "state").claim, BoardError)
        assert f"process {os.getpid()} " in error.text
    claim = Store(tmp_path / "state").claim()
    assert claim.held
    claim.release()
    claim.release()
    assert not claim.held


def test_a_claim_ends_with_its_process_however_it_ends(store: Store, tmp_path: Path):
    program = f"""
import time; from pathlib import Path; from edged.models.store import Store
claim = Store(Path({str(tmp_path / "state")!r})).claim(); print("held", flush=True); time.sleep(600)"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPO, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == "held\n"
            assert f"process {child.pid} " in refused("store-busy", store.claim, BoardError).text
        finally:
            child.send_signal(signal.SIGKILL)
    store.claim().release()


def test_a_claim_does_not_go_over_to_programs_that_are_started(store: Store):
    claim = store.claim()
    with subprocess.Popen(["sleep", "600"], close_fds=False) as child:
        try:
            claim.release()
            store.claim().release()
        finally:
            child.kill()


def test_nothing_is_written_without_the_claim(store: Store, tmp_path: Path):
    source = FolderSource(tiny(tmp_path / "one"))
    candidate = store.examine(source)
    store.claim().release()
    for write in (
        lambda: store.fetch(source, candidate, ignore, never),
        lambda: store.verify(candidate, ignore, never),
        lambda: store.remove("twice", 1),
        lambda: store.collect(()),
    ):
        with pytest.raises(BugError):
            write()
    assert everything(store) == set()


def test_reading_needs_no_claim(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    with store.claim():
        other = Store(tmp_path / "state")
        assert [each.release for each in other.releases()] == [1]
        assert other.load("twice", 1)


def test_a_store_that_is_no_folder_is_the_boards_fault(tmp_path: Path):
    (tmp_path / "state").write_text("a file where the folder should be")
    refused("store-unwritable", Store(tmp_path / "state").claim, BoardError)


def is_told_that_it_is_anothers(folder: Path) -> None:
    new = tiny(folder / "new")
    store = Store(folder / "state")
    install(store, new)
    if os.geteuid() == 0:
        owner = "root"
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    else:
        owner = ""
        for path in (store._root / "lock", store._root / "incoming", store._root):
            path.chmod(0o500)
    error = refused("store-unwritable", store.claim, BoardError)
    assert "Permission denied" in error.text
    assert owner in error.text
    assert store.load("twice", 1)


def test_a_store_of_another_user_says_whose_it_is_and_can_be_read() -> None:
    if not Path("/").stat().st_mode & 0o001:
        pytest.skip("here other users than root may not even enter /")
    folder = Path(tempfile.mkdtemp())  # not below a folder that only root may enter
    folder.chmod(0o755)
    try:
        in_child(is_told_that_it_is_anothers, folder)
    finally:
        for path in folder.rglob("*"):
            path.chmod(0o700) if path.is_dir() else None
        shutil.rmtree(folder)


def is_told_that_it_is_read_only(folder: Path) -> None:
    new, disk = tiny(folder / "new"), folder / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "tmpfs", str(disk))
    store = Store(disk)
    install(store, new)
    claim = store.claim()
    candidate = store.examine(FolderSource(renumber(new, 2)))
    claim.release()
    mount("-o", "remount,ro", str(disk))
    error = refused("store-unwritable", store.claim, BoardError)
    assert "Read-only file system" in error.text
    assert "state_dir" in error.hint
    assert store.load("twice", 1)
    mount("-o", "remount,rw", str(disk))
    with store.claim():
        store.fetch(FolderSource(new), candidate, ignore, never)


def test_a_store_on_a_read_only_disk_says_so_and_can_be_read(tmp_path: Path, mounts: list[str]):
    in_child(is_told_that_it_is_read_only, tmp_path, *mounts)


# -- going --------------------------------------------------------------------------------------


def test_remove_takes_a_release_and_what_only_it_needed(store: Store, tmp_path: Path):
    for number in (1, 2):
        install(store, tiny(tmp_path / str(number), number))
    with store.claim():
        store.remove("twice", 1)
        assert everything(store) == _layout(store, 2)
        refused("no-such-release", lambda: store.remove("twice", 1), OperatorError)
        store.remove("twice", 2)
    assert everything(store) == set()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_collect_never_takes_what_is_kept_and_leaves_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    folder = tmp_path_factory.mktemp("collect")
    store, new = Store(folder / "state"), tiny(folder / "new")
    numbers = data.draw(st.sets(st.integers(1, 9), max_size=5), "installed")
    for number in numbers:
        install(store, renumber(new, number))
    kept = data.draw(st.sets(st.integers(1, 9)), "kept")
    before = {number: store.candidate("twice", number) for number in numbers & kept}
    with store.claim():
        size = sum(path.stat().st_size for path in store._root.rglob("*") if path.is_file())
        freed = store.collect({("twice", number) for number in kept} | {("other", 1)})
        assert freed == size - sum(path.stat().st_size for path in store._root.rglob("*") if path.is_file())
    assert {number: store.candidate("twice", number) for number in numbers & kept} == before
    assert everything(store) == (_layout(store, *before) if before else set())
    check_blobs(store)


def test_what_an_earlier_removal_left_does_not_hinder_the_next(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    (store._root / "releases" / "twice" / ".1.gone").mkdir()
    (store._root / "releases" / "twice" / ".1.gone" / "model.toml").write_text("left")
    with store.claim():
        store.remove("twice", 1)
    assert everything(store) == set()


def test_collect_takes_whatever_else_lies_around(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    wanted = everything(store)
    releases = store._root / "releases"
    for path in ("twice/.2.part/model.toml", "twice/.1.gone/release.json", "twice/.1.gone/deep/er", "old/active", "twice/active", "X/1"):
        (releases / path).parent.mkdir(parents=True, exist_ok=True)
        (releases / path).write_text("left")
    (releases / "twice" / "1" / ".model.toml.part").write_text("left")
    (releases / "twice" / "7").write_text("a file, no release")
    (releases / "link").symlink_to(outside)
    (store._root / "incoming" / ("0" * 64)).write_text("half of")
    (store._root / "blobs" / "sha256" / ("0" * 64)).write_text("nobody's")
    (store._root / "blobs" / "sha256" / "link").symlink_to(outside / "precious")
    (store._root / "journal").write_text("not the store's")
    with store.claim():
        assert store.collect([("twice", 1), ("twice", 7)]) > 0
    assert everything(store) == wanted | {"journal"}
    assert (outside / "precious").read_text() == "x"


@pytest.mark.parametrize("damage", [b"{}", b"", None, "name"])
def test_while_a_kept_release_is_damaged_no_blob_goes(store: Store, tmp_path: Path, damage):
    for number in (1, 2):
        install(store, tiny(tmp_path / str(number), number))
    path = store._root / "releases" / "twice" / "1" / PACKED
    sound = path.read_bytes()
    if damage is None:
        path.unlink()
    elif damage == "name":  # still a release.json, of a blob that nobody has
        path.write_bytes(sound.replace(parse_packed(sound, "").files["twice.tflite"].sha256.encode(), b"0" * 64))
    else:
        path.write_bytes(damage)
    before = blobs(store)
    with store.claim():
        store.collect([("twice", 1)])
    assert blobs(store) == before
    assert [(each.release, bool(each.damage)) for each in store.releases()] == [(1, True)]
    install(store, tmp_path / "1")
    with store.claim():
        store.collect([("twice", 1)])
    assert everything(store) == _layout(store, 1)


# -- damage -------------------------------------------------------------------------------------


def test_a_lost_or_cut_blob_is_noticed_and_mended_by_installing_again(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    path = store.load("twice", 1).files["twice.tflite"]
    for damage in (
        path.unlink,
        lambda: path.chmod(0o644) or os.truncate(path, 10),
        lambda: path.unlink() or path.symlink_to("/etc/passwd"),
    ):
        damage()
        refused("store-damaged", lambda: store.load("twice", 1), BoardError)
        assert store.releases()[0].damage
        install(store, tmp_path / "one")
        store.load("twice", 1)


def test_a_blob_that_went_bad_is_found_by_verify_and_brought_again_by_fetch(store: Store, tmp_path: Path):
    source = FolderSource(tiny(tmp_path / "one"))
    with store.claim():
        candidate = fetch(store, source)
        path = store._root / "blobs" / "sha256" / candidate.packed.files["twice.tflite"].sha256
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
        refused("store-damaged", lambda: store.verify(candidate, ignore, never), BoardError)
        assert not path.exists()
        assert store.releases() == ()
        refused("store-damaged", lambda: store.verify(candidate, ignore, never), BoardError)
        store.fetch(source, candidate, ignore, never)
        store.verify(candidate, ignore, never)
    check_blobs(store)


@pytest.mark.parametrize("content", [None, b"{}", b"\xff", b"[" * 100_000, b"name = 1", b""])
@pytest.mark.parametrize("file", ["release.json", "model.toml"])
def test_damage_in_the_store_is_said_to_be_damage_and_mended(store: Store, tmp_path: Path, file: str, content: bytes | None):
    install(store, tiny(tmp_path / "one"))
    path = store._root / "releases" / "twice" / "1" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    refused("store-damaged", lambda: store.load("twice", 1), BoardError)
    refused("store-damaged", lambda: store.candidate("twice", 1), BoardError)
    assert [each.damage != "" for each in store.releases()] == [True]
    install(store, tmp_path / "one")
    assert store.load("twice", 1).manifest.release == 1


def test_a_release_in_anothers_place_is_damage(store: Store, tmp_path: Path):
    install(store, tiny(tmp_path / "one"))
    (store._root / "releases" / "twice" / "1").rename(store._root / "releases" / "twice" / "2")
    refused("store-damaged", lambda: store.load("twice", 2), BoardError)
    refused("store-damaged", lambda: store.packed("twice", 2), BoardError)


@pytest.mark.parametrize("name", ["", ".", "..", "../releases/twice", "/etc", "T", "twice\n", "twice/1", "\x00", "x" * 500, "a\x1b[31m"])
def test_hostile_names_are_no_releases(store: Store, tmp_path: Path, name: str):
    install(store, tiny(tmp_path / "one"))
    with store.claim():
        for ask in (store.load, store.packed, store.candidate, store.remove):
            refused("no-such-release", lambda ask=ask: ask(name, 1), OperatorError)


def test_a_release_that_is_not_there_names_those_that_are(store: Store, tmp_path: Path):
    assert "edged models install" in refused("no-such-release", lambda: store.load("twice", 1), OperatorError).hint
    install(store, tiny(tmp_path / "one", 4))
    assert "4" in refused("no-such-release", lambda: store.load("twice", 1), OperatorError).hint
    refused("no-such-release", lambda: store.load("twice", -4), OperatorError)
