"""Releases from outside that are not what they seem: names, links, devices, sizes, descriptors, release.json."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from edged.errors import OperatorError, PublisherError
from edged.models.packed import PACKED, FileSeal, parse_packed
from edged.models.source import FilesSource, FolderSource, source_of
from edged.models.store import Store
from tests.descriptors import descriptors
from tests.stores import base_packed, check_blobs, everything, ignore, install, lie, never, refused, seal, tiny


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


# -- hostile folders and files ------------------------------------------------------------------


@pytest.mark.parametrize("file", [PACKED, "model.toml", "twice.tflite"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [("fifo", "file-unreadable"), ("folder", "file-unreadable"), ("device", "file-outside"), ("link", "file-outside"), ("circle", "")],
)
def test_what_is_no_file_of_the_folder_is_refused_without_waiting_for_it(store: Store, tmp_path: Path, file: str, kind: str, code: str):
    folder = tiny(tmp_path / "one")
    path = folder / file
    path.rename(tmp_path / "aside")
    {
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "link": lambda: path.symlink_to(tmp_path / "aside"),
        "circle": lambda: path.symlink_to(path),
    }[kind]()
    with pytest.raises(PublisherError) as caught:
        install(store, folder)
    assert caught.value.code == code or kind == "circle", caught.value.text
    assert everything(store) == set()


def test_a_link_within_the_folder_is_followed(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    (folder / "twice.tflite").rename(folder / "real.tflite")
    (folder / "twice.tflite").symlink_to("real.tflite")
    assert stat.S_ISREG(install(store, folder).files["twice.tflite"].lstat().st_mode)


@pytest.mark.parametrize("name", ["../one/twice.tflite", "/etc/passwd", "a\x00b", "x" * 300, ".hidden", "sub/file", "..", "", "a\nb", "ü"])
def test_names_that_lead_elsewhere_are_refused_in_release_json_and_in_model_toml(store: Store, tmp_path: Path, name: str):
    folder = tiny(tmp_path / "one")
    lie(folder, lambda files: {"model.toml": files["model.toml"], name: files["twice.tflite"]})
    refused("packed-malformed", lambda: install(store, folder))
    text = (folder / "model.toml").read_text().replace('file = "twice.tflite"', f"file = {msgspec.json.encode(name).decode()}")
    (folder / "model.toml").write_text(text)
    sealed = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text.encode())}
    (folder / PACKED).write_bytes(msgspec.json.encode({**base_packed(), "files": {"model.toml": sealed}}, order="sorted"))
    refused("release-faults", lambda: install(store, folder))
    assert everything(store) == set()


def test_a_key_that_is_there_twice_is_refused_in_both_files(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    data = (folder / PACKED).read_bytes()
    assert data.startswith(b'{"costs":')
    for doubled in (
        data.replace(b'"release":1', b'"release":1,"release":1'),
        data.replace(b'"files":{', b'"files":{"model.toml":{"sha256":"' + b"0" * 64 + b'","size":1},'),
        data.replace(b"{", b'{"costs":{},', 1),
        data + b"\n",
        b" " + data,
        data.replace(b'"v":1', b'"v":1.0'),
    ):
        (folder / PACKED).write_bytes(doubled)
        refused("packed-malformed", lambda: install(store, folder))
    text = (folder / "model.toml").read_bytes().replace(b"release = 1\n", b"release = 1\nrelease = 1\n")
    (folder / "model.toml").write_bytes(text)
    (folder / PACKED).write_bytes(data)
    lie(folder, lambda files: files | {"model.toml": {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)}})
    refused("release-faults", lambda: install(store, folder))
    assert everything(store) == set()


def opened(folder: Path) -> dict:
    return {name: (folder / name).open("rb") for name in (PACKED, "model.toml", "twice.tflite")}


def test_files_that_were_handed_over_are_installed_wherever_their_position_is(store: Store, tmp_path: Path):
    files = opened(tiny(tmp_path / "one"))
    for file in files.values():
        file.seek(3)
    source = FilesSource(files, "handed over")
    with store.claim():
        candidate = store.examine(source)
        os.lseek(files["twice.tflite"].fileno(), 0, os.SEEK_END)  # by the other process, which shares it
        store.fetch(source, candidate, ignore, never)
        store.verify(candidate, ignore, never)
    source.close()
    assert all(file.closed for file in files.values())


@pytest.mark.parametrize("file", [PACKED, "model.toml", "twice.tflite"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket", "path only"])
def test_descriptors_of_what_is_no_file_are_refused_and_closed(tmp_path: Path, file: str, kind: str):
    before = descriptors()
    files = opened(tiny(tmp_path / "one"))
    files[file].close()
    if kind == "pipe":
        fd, writer = os.pipe()
        os.close(writer)
    elif kind == "socket":
        import socket

        one, other = socket.socketpair()
        fd = one.detach()
        other.close()
    else:
        flags = {"folder": os.O_RDONLY, "device": os.O_RDONLY, "path only": os.O_PATH}[kind]
        fd = os.open({"folder": tmp_path, "device": "/dev/zero", "path only": "/dev/null"}[kind], flags)
    files[file] = _Raw(fd)
    refused("file-unreadable", lambda: FilesSource(files, "handed over"))
    assert not descriptors() - before


class _Raw:
    """A descriptor that Python would not open as a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def test_a_descriptor_that_cannot_be_read_is_the_sources_fault(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    files = opened(folder)
    files["twice.tflite"].close()
    files["twice.tflite"] = (folder / "twice.tflite").open("ab")
    source = FilesSource(files, "handed over")
    candidate = store.examine(source)
    with store.claim():
        refused("file-unreadable", lambda: store.fetch(source, candidate, ignore, never))
    source.close()
    assert os.listdir(store._root / "incoming") == []


def test_a_file_that_was_not_handed_over_is_missed(store: Store, tmp_path: Path):
    for name, code in ((PACKED, "not-packed"), ("model.toml", "file-changed"), ("twice.tflite", "file-changed")):
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        files = opened(tiny(tmp_path / "one"))
        files.pop(name).close()
        source = FilesSource(files, "handed over")
        refused(code, lambda source=source: store.examine(source))
        source.close()


def test_what_is_no_source_is_the_operators_fault(tmp_path: Path):
    (tmp_path / "x.zip").write_bytes(b"")
    (tmp_path / "dangling.edgedpack").symlink_to(tmp_path / "nothing")
    for name in ("nothing", "x.zip", "nothing.edgedpack", "dangling.edgedpack", "x" * 5000, "a\x00b"):
        refused("no-such-source", lambda name=name: source_of(tmp_path / name), OperatorError)


# -- release.json -------------------------------------------------------------------------------


def test_release_json_is_canonical(tmp_path: Path):
    data = (tiny(tmp_path / "one") / PACKED).read_bytes()
    assert data == parse_packed(data, "").encode()
    assert b" " not in data
    assert list(msgspec.json.decode(data)) == ["costs", "files", "name", "release", "task", "v", "version"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda packed: {**packed, "v": 2},
        lambda packed: {**packed, "name": "../x"},
        lambda packed: {**packed, "release": 0},
        lambda packed: {**packed, "release": 2**53},
        lambda packed: {**packed, "release": True},
        lambda packed: {**packed, "extra": 1},
        lambda packed: {**packed, "files": {"../x": {"sha256": "0" * 64, "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "../../etc/passwd", "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64 + "\n", "size": 1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64, "size": -1}}},
        lambda packed: {**packed, "files": {"x": {"sha256": "0" * 64, "size": 1e300}}},
        lambda packed: [packed],
    ],
)
def test_a_hostile_release_json_is_malformed(edit):
    with pytest.raises(PublisherError) as caught:
        parse_packed(msgspec.json.encode(edit(base_packed()), order="sorted"), "release.json")
    assert caught.value.code == "packed-malformed"


def test_two_sizes_for_one_hash_are_found_out(store: Store, tmp_path: Path):
    folder = tiny(tmp_path / "one")
    shutil.copyfile(folder / "twice.tflite", folder / "again.tflite")
    with (folder / "model.toml").open("a") as file:
        file.write('\n[[variants]]\nname = "again"\nengine = "tflite"\nfile = "again.tflite"\n')
    seal(folder)
    with (folder / "again.tflite").open("ab") as file:
        file.write(b"more")
    sealed = parse_packed((folder / PACKED).read_bytes(), "").files["again.tflite"]
    lied = FileSeal(sealed.sha256, sealed.size + 4)
    lie(folder, lambda files: files | {"again.tflite": {"sha256": lied.sha256, "size": lied.size}})
    refused("file-changed", lambda: install(store, folder))
    check_blobs(store)


def test_a_release_json_with_wrong_bytes_raises_nothing_but_our_errors(tmp_path: Path):
    folder, chance = tiny(tmp_path / "one"), random.Random(7)
    sound = (folder / PACKED).read_bytes()
    for _ in range(300):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
        (folder / PACKED).write_bytes(data)
        store = Store(tmp_path / "state")
        with suppress(PublisherError):
            store.examine(FolderSource(folder))
