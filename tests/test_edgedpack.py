"""Releases as one file: writing them, reading them back, and every way in which such a file can lie."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import stat
import struct
import subprocess
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from edged.cli.main import main
from edged.errors import BoardError, EdgedError, OperatorError, PublisherError
from edged.models.edgedpack import MOST_FILES, PackSource
from edged.models.packed import PACKED, FileSeal, Packed, parse_packed
from edged.models.source import FilesSource, FolderSource, source_of
from edged.models.store import Store
from edged.packing.into import pack_into
from tests.conftest import REPO
from tests.descriptors import descriptors
from tests.releases import changed
from tests.stores import MIB, base_packed, everything, ignore, install, large, never, refused, tiny

HAR = REPO / "edged" / "demo" / "har"


def write(folder: Path, target: Path) -> Path:
    """Pack a folder as `edged pack --into` does after its checks."""
    pack_into(FolderSource(folder), parse_packed((folder / PACKED).read_bytes(), ""), target)
    return target


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Give a sound pack of a tiny release."""
    return write(tiny(tmp_path / "one"), tmp_path / "one.edgedpack")


def sealed(**files: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Give a release.json for these files, and the files."""
    named = {name.replace("_", "."): data for name, data in files.items()}
    seals = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in named.items()}
    return msgspec.json.encode({**base_packed(), "files": seals}, order="sorted"), named


def forge(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    """Write any zip."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in entries:
            archive.writestr(name, data)
    return path


def opens(path: Path) -> Callable[[], object]:
    return lambda: source_of(path).close()


# -- writing ------------------------------------------------------------------------------------


def test_a_pack_gives_what_its_folder_gives(pack: Path, tmp_path: Path):
    source, folder = source_of(pack), FolderSource(tmp_path / "one")
    store = Store(tmp_path / "state")
    assert store.examine(source) == store.examine(folder)
    for name in ("model.toml", "twice.tflite"):
        with source.open(name) as packed, folder.open(name) as file:
            assert packed.read() == file.read()
            packed.seek(-3, os.SEEK_END)
            file.seek(-3, os.SEEK_END)
            assert packed.read(100) == file.read()
    source.close()
    shutil.rmtree(tmp_path / "one")
    assert install(store, pack).manifest.name == "twice"


def test_a_pack_holds_stored_files_release_json_first_then_by_name(pack: Path):
    with zipfile.ZipFile(pack) as archive:
        assert archive.namelist() == ["release.json", "model.toml", "twice.tflite"]
        assert archive.testzip() is None
        assert {(info.compress_type, info.date_time, info.extra) for info in archive.infolist()} == {(0, (1980, 1, 1, 0, 0, 0), b"")}


def test_other_programs_can_read_a_pack(pack: Path):
    if not shutil.which("unzip"):
        pytest.skip("needs another program that reads zip files: apt install unzip")
    assert subprocess.run(["unzip", "-t", str(pack)], capture_output=True).returncode == 0


def test_the_same_folder_gives_the_same_bytes_everywhere(tmp_path: Path):
    data, files = sealed(model_toml=b"name = 1\n", a_bin=bytes(range(256)))
    for place in ("one", "two"):
        (tmp_path / place).mkdir(mode=0o700)
        for name, content in sorted(files.items(), reverse=place == "two"):
            (tmp_path / place / name).write_bytes(content)
            os.utime(tmp_path / place / name, (0, 1_000_000_000 if place == "two" else 0))
        (tmp_path / place / PACKED).write_bytes(data)
        write(tmp_path / place, tmp_path / f"{place}.edgedpack")
    one, two = ((tmp_path / f"{place}.edgedpack").read_bytes() for place in ("one", "two"))
    assert one == two
    assert hashlib.sha256(one).hexdigest() == "e18a225b5df82de032ff574b939504a162fc2ed8d0a6c615ef25dfaedc0bf006"


@pytest.mark.parametrize("change", ["flip", "grow", "cut", "remove"])
def test_a_file_that_is_not_what_was_sealed_is_not_packed_and_an_older_pack_stays(pack: Path, tmp_path: Path, change: str):
    before = pack.read_bytes()
    path = tmp_path / "one" / "twice.tflite"
    data = path.read_bytes()
    path.unlink()
    if change != "remove":
        path.write_bytes({"flip": data[:-1] + bytes([data[-1] ^ 1]), "grow": data + b"x", "cut": data[:-1]}[change])
    refused("file-changed", lambda: write(tmp_path / "one", pack))
    assert pack.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["one", "one.edgedpack"]


def test_an_older_pack_is_replaced_in_one_step_and_a_leftover_is_no_obstacle(pack: Path, tmp_path: Path):
    before = pack.read_bytes()
    pack.write_bytes(b"older")
    (tmp_path / ".one.edgedpack.part").write_bytes(b"left" * 10_000)
    with pack.open("rb") as reader:
        write(tmp_path / "one", pack)
        assert reader.read() == b"older"
    assert pack.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["one", "one.edgedpack"]


def test_a_target_that_cannot_be_written_is_the_boards_fault(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "folder.edgedpack").mkdir()
    for target in (tmp_path / "none" / "x.edgedpack", tmp_path / "folder.edgedpack", pack / "x.edgedpack", Path("/proc/x.edgedpack")):
        refused("target-unwritable", lambda target=target: write(tmp_path / "one", target), BoardError)
    for target in ("x.zip", "x", ".edgedpack", ""):
        refused("bad-target", lambda target=target: write(tmp_path / "one", tmp_path / target), OperatorError)
    before = pack.read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = refused("target-unwritable", lambda: write(tmp_path / "one", pack), BoardError)
    assert "No space" in error.text
    assert pack.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["folder.edgedpack", "one", "one.edgedpack"]


def test_the_command_writes_the_pack_and_says_where_and_how_large(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, target = changed(HAR, tmp_path / "har"), tmp_path / "har.edgedpack"
    assert main(["pack", str(folder), "--into", str(target)]) == 0
    size = target.stat().st_size
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {target}, {size:,} bytes"
    assert main(["pack", str(folder), "--into", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == {"path": str(target), "bytes": size}
    assert install(Store(tmp_path / "state"), target).manifest.name == "har"
    assert main(["pack", str(folder), "--json"]) == 0
    assert "file" not in json.loads(capsys.readouterr().out)


def test_the_command_refuses_a_wrong_name_before_it_works_and_packs_nothing_faulty(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, target = changed(HAR, tmp_path / "har", ("hop = 130", "hop = 0")), tmp_path / "har.edgedpack"
    assert main(["pack", str(folder), "--into", str(tmp_path / "har.zip"), "--json"]) != 0
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-target"
    assert main(["pack", str(folder), "--into", str(target)]) == 1
    assert not target.exists()


# -- refused ------------------------------------------------------------------------------------


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def device(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFCHR | 0o777) << 16
    return info


A = b"a" * 40
GOOD, FILES = sealed(a=A)


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([(PACKED, GOOD), ("a", A), ("b", A)], "pack-files-differ"),
        ([(PACKED, GOOD)], "pack-files-differ"),
        ([(PACKED, GOOD), ("a", A + b"a")], "pack-size-differs"),
        ([(PACKED, GOOD), ("a", A[:-1])], "pack-size-differs"),
        ([(PACKED, GOOD), ("a", A), ("a", A)], "pack-duplicate"),
        ([(PACKED, GOOD), (PACKED, GOOD), ("a", A)], "pack-duplicate"),
        ([("a", A), (PACKED, GOOD)], "pack-malformed"),
        ([("a", A)], "pack-malformed"),
        ([], "pack-malformed"),
        ([(PACKED, GOOD), ("../a", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("/etc/passwd", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("sub/a", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("..", A)], "pack-bad-name"),
        ([(PACKED, GOOD), (".a", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("C:\\a", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("ä", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("a\x1b[31m", A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("a" * 129, A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("a" * 60_000, A)], "pack-bad-name"),
        ([(PACKED, GOOD), ("sub/", b"")], "pack-not-a-file"),
        ([(PACKED, GOOD), (link("a"), A)], "pack-not-a-file"),
        ([(PACKED, GOOD), (device("a"), A)], "pack-not-a-file"),
        ([(link(PACKED), GOOD), ("a", A)], "pack-not-a-file"),
        ([(PACKED, GOOD), *((f"f{i}", b"") for i in range(MOST_FILES))], "pack-too-many-files"),
        ([(PACKED, GOOD), *((f"f{i}", b"") for i in range(10_000))], "pack-malformed"),
        ([(PACKED, b"{}"), ("a", A)], "packed-malformed"),
        ([(PACKED, GOOD + b" "), ("a", A)], "packed-malformed"),
        ([(PACKED, b"x" * (2 * MIB)), ("a", A)], "packed-malformed"),
        ([(PACKED, b""), ("a", A)], "packed-malformed"),
    ],
)
def test_what_is_no_pack_of_a_release_is_refused_and_closed(tmp_path: Path, entries: list, code: str):
    before = descriptors()
    refused(code, opens(forge(tmp_path / "x.edgedpack", entries)))
    assert not descriptors() - before


def test_a_sound_forgery_is_taken(tmp_path: Path):
    """What the tests above change is sound by itself."""
    source = source_of(forge(tmp_path / "x.edgedpack", [(PACKED, GOOD), ("a", A)]))
    assert source.packed() == GOOD
    assert source.open("a").read() == A
    refused("file-changed", lambda: source.open("b"))
    source.close()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_pack_is_refused_unread(tmp_path: Path, method: int):
    path = forge(tmp_path / "x.edgedpack", [(PACKED, GOOD), ("a", bytes(50 * MIB))], method)
    assert path.stat().st_size < MIB
    tracemalloc.start()
    refused("pack-compressed", opens(path))
    assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    tracemalloc.stop()


def test_a_bomb_within_a_bomb_is_only_a_file(tmp_path: Path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(16):
            archive.writestr(f"{i}.zip", bytes(MIB))
    path = forge(tmp_path / "x.edgedpack", [(PACKED, GOOD), ("a", A), ("a.zip", inner.getvalue())])
    refused("pack-files-differ", opens(path))


def directory(data: bytes) -> int:
    """Give where the directory begins."""
    return data.index(b"PK\1\2")


def patched(pack: Path, at: Callable[[bytes], int], value: bytes) -> Path:
    data = bytearray(pack.read_bytes())
    start = at(data)
    data[start : start + len(value)] = value
    pack.write_bytes(data)
    return pack


def second(data: bytes) -> int:
    return data.index(b"PK\1\2", directory(data) + 4)


def end(data: bytes) -> int:
    return data.rindex(b"PK\5\6")


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [
        (lambda data: directory(data) + 8, struct.pack("<H", 1), "pack-encrypted"),
        (lambda data: directory(data) + 8, struct.pack("<H", 0x40), "pack-encrypted"),
        (lambda data: second(data) + 8, struct.pack("<H", 0x2000), "pack-encrypted"),
        (lambda data: second(data) + 8, struct.pack("<H", 8), "pack-malformed"),
        (lambda data: second(data) + 10, struct.pack("<H", 8), "pack-compressed"),
        (lambda data: second(data) + 10, struct.pack("<H", 99), "pack-compressed"),
        (lambda data: second(data) + 20, struct.pack("<I", 5), "pack-compressed"),
        (lambda data: second(data) + 20, struct.pack("<II", 5, 5), "pack-malformed"),
        (lambda data: second(data) + 20, struct.pack("<II", 1 << 31, 1 << 31), "pack-malformed"),
        (lambda data: second(data) + 42, struct.pack("<I", 0), "pack-malformed"),  # the bytes of another file
        (lambda data: second(data) + 42, struct.pack("<I", 0xFFFFFFF0), "pack-malformed"),
        (lambda data: second(data) + 46, b"MODEL", "pack-malformed"),  # another name than stands before the bytes
        (lambda data: second(data) + 46, b"mo\0", "pack-bad-name"),
        (lambda data: 8, struct.pack("<H", 8), "pack-malformed"),
        (lambda data: 0, b"XX", "pack-malformed"),
        (lambda data: 28, struct.pack("<H", 60_000), "pack-malformed"),
        (lambda data: end(data) + 12, struct.pack("<I", 0xFFFFFFF0), "pack-malformed"),
        (lambda data: end(data) + 12, struct.pack("<I", 1), "pack-malformed"),
        (lambda data: end(data) + 16, struct.pack("<I", 0xFFFFFFF0), "pack-malformed"),
        (lambda data: end(data) + 16, struct.pack("<I", 0), "pack-malformed"),
        (lambda data: end(data), b"XX", "pack-malformed"),
    ],
)
def test_a_directory_that_lies_is_refused(pack: Path, at: Callable[[bytes], int], value: bytes, code: str):
    tracemalloc.start()
    refused(code, opens(patched(pack, at, value)))
    assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    tracemalloc.stop()


@pytest.mark.parametrize("size", [1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_forged_size_of_the_directory_is_never_allocated(tmp_path: Path, size: int):
    """A file so large that the size could be true, but for what no release needs."""
    path = tmp_path / "x.edgedpack"
    with path.open("wb") as file:
        file.truncate(20 << 30)
        file.seek(0, os.SEEK_END)
        at = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, max(0, at - size)))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, at, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    tracemalloc.start()
    refused("pack-malformed", opens(path))
    assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    tracemalloc.stop()


def test_files_that_overlap_are_refused(tmp_path: Path):
    """One run of bytes as the content of two files, as bombs without compression do."""
    data, _ = sealed(a=A, b=A)
    path = forge(tmp_path / "x.edgedpack", [(PACKED, data), ("a", A), ("b", A)])
    content = path.read_bytes()
    third = content.index(b"PK\1\2", second(content) + 4)
    (offset,) = struct.unpack_from("<I", content, second(content) + 42)
    refused("pack-malformed", opens(patched(path, lambda data: third + 42, struct.pack("<I", offset))))


def test_bytes_before_and_between_are_refused(pack: Path, tmp_path: Path):
    data = pack.read_bytes()
    pack.write_bytes(b"#!/bin/sh\n" + data)
    refused("pack-malformed", opens(pack))
    at = directory(data)
    hidden = bytearray(data[:at] + b"hidden" + data[at:])
    pack.write_bytes(hidden)
    refused("pack-malformed", opens(pack))
    struct.pack_into("<I", hidden, end(hidden) + 16, at + 6)  # and the end says where the directory is now
    pack.write_bytes(hidden)
    refused("pack-malformed", opens(pack))


def test_a_pack_that_was_cut_short_is_refused_wherever(pack: Path):
    data = pack.read_bytes()
    for size in [*range(0, 60), *range(60, len(data), 17), *range(len(data) - 40, len(data))]:
        pack.write_bytes(data[:size])
        refused("pack-malformed", opens(pack))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_pack_that_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, kind: str):
    path = tmp_path / "x.edgedpack"
    if kind == "folder":
        path.mkdir()
        refused("not-packed", lambda: source_of(path).packed())  # as any folder
        return
    os.mkfifo(path) if kind == "fifo" else path.symlink_to("/dev/zero")
    before = descriptors()
    refused("file-unreadable", opens(path))
    assert not descriptors() - before


def test_a_pack_that_shrinks_while_it_is_read_gives_no_blob(tmp_path: Path):
    path = write(large(tmp_path / "one", 4 * MIB), tmp_path / "one.edgedpack")
    store, source = Store(tmp_path / "state"), source_of(path)
    candidate = store.examine(source)
    with store.claim():
        refused("file-changed", lambda: store.fetch(source, candidate, lambda done: os.truncate(path, 2 * MIB), never))
        assert candidate.packed.files["twice.tflite"].sha256 not in os.listdir(store._root / "blobs" / "sha256")
        assert os.listdir(store._root / "incoming") == []
    source.close()


def test_a_pack_with_a_changed_byte_is_refused_by_its_hash(pack: Path, tmp_path: Path):
    data = bytearray(pack.read_bytes())
    data[directory(data) - 10] ^= 1
    pack.write_bytes(data)
    store = Store(tmp_path / "state")
    refused("file-changed", lambda: install(store, pack))
    assert store.releases() == ()
    assert os.listdir(store._root / "incoming") == []


def test_a_descriptor_of_a_pack_is_read_wherever_its_position_is(pack: Path, tmp_path: Path):
    file = pack.open("rb")
    file.seek(100)
    source = PackSource(file, "handed over")
    file.seek(7)
    store = Store(tmp_path / "state")
    with store.claim():
        candidate = store.examine(source)
        store.fetch(source, candidate, ignore, never)
        store.verify(candidate, ignore, never)
    source.close()
    assert file.closed


def test_no_bytes_of_a_pack_raise_anything_but_our_errors_and_none_costs_memory(pack: Path, tmp_path: Path):
    """What is accepted in spite of a change gives the sealed bytes, or none."""
    sound, chance = pack.read_bytes(), random.Random(11)
    store, accepted, before = Store(tmp_path / "state"), 0, descriptors()
    places = [0, 28, directory(sound), second(sound), end(sound)]
    tracemalloc.start()
    for number in range(600):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            at = min(len(data) - 1, chance.choice(places) + chance.randrange(46) if number % 2 else chance.randrange(len(data)))
            data[at : at + chance.choice((1, 1, 1, 0, 4))] = chance.choice((chance.randbytes(1), b"\xff" * 4, b"", b"\0\0\0\x80"))
        if number % 7 == 0:
            data = bytearray(chance.randbytes(chance.randrange(3000)))
        pack.write_bytes(data)
        with suppress(PublisherError):
            source = source_of(pack)
            with suppress(PublisherError):
                candidate = store.examine(source)
                for name, seal in candidate.packed.files.items():
                    with source.open(name) as file:
                        accepted += hashlib.sha256(file.read()).hexdigest() == seal.sha256
            source.close()
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()
    assert accepted > 0
    assert not descriptors() - before
    assert everything(store) == set() if store._root.exists() else True


# -- beyond 4 GiB -------------------------------------------------------------------------------


def _head(name: str, size: int, big: bool) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, size, size) if big else b""
    shown = 0xFFFFFFFF if big else size
    return struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 0, shown, shown, len(name), len(extra)) + name.encode() + extra


def _entry(name: str, size: int, offset: int, big: bool) -> bytes:
    far = offset > 0xFFFFFFFF
    extra = struct.pack("<2H2Q", 1, 16 + 8 * far, size, size) if big else struct.pack("<2H", 1, 8) if far else b""
    extra += struct.pack("<Q", offset) if far else b""
    shown, place = 0xFFFFFFFF if big else size, 0xFFFFFFFF if far else offset
    fixed = (b"PK\1\2", 0x32D, 45, 0, 0, 0, 33, 0, shown, shown, len(name), len(extra), 0, 0, 0, 0, place)
    return struct.pack("<4s6H3I5H2I", *fixed) + name.encode() + extra


def test_files_beyond_4_gib_are_read_at_their_places(tmp_path: Path):
    """A sparse pack: two files of 5 GiB, then a small one. Only its directory and its ends are read."""
    size, path = 5 << 30, tmp_path / "x.edgedpack"
    seals = {"a": FileSeal("0" * 64, size), "b": FileSeal("0" * 64, size), "c": FileSeal("0" * 64, len(A))}
    data = Packed(name="twice", version="1", release=1, task="regress", files=seals, costs={}).encode()
    sizes = {PACKED: len(data), **{name: seal.size for name, seal in seals.items()}}
    entries = b""
    with path.open("wb") as file:
        for name, bytes_ in sizes.items():
            entries += _entry(name, bytes_, file.tell(), bytes_ >= size)
            file.write(_head(name, bytes_, bytes_ >= size))
            start = file.tell()
            file.write(data if name == PACKED else A)
            file.seek(start + bytes_ - 1)
            file.write(b"}" if name == PACKED else name.encode())
        at = file.tell()
        file.write(entries)
        after = file.tell()
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, len(sizes), len(sizes), len(entries), at))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, after, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(sizes), len(sizes), len(entries), 0xFFFFFFFF, 0))
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()] == list(sizes.values())
    source = source_of(path)
    assert source.packed() == data
    for name, seal in seals.items():
        with source.open(name) as opened:
            assert opened.read(3) == A[:3]
            assert opened.seek(-1, os.SEEK_END) == seal.size - 1
            assert opened.read(5) == name.encode()
    source.close()


def test_the_writer_makes_fields_of_zip64_where_a_file_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the limit of 4 GiB set to 64 bytes: to hash and write 4 GiB takes too long here."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 64)
    data, files = sealed(a=A, b=bytes(100))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    source = FilesSource({name: (tmp_path / name).open("rb") for name in files}, "files")
    size = pack_into(source, parse_packed(data, ""), tmp_path / "x.edgedpack")
    source.close()
    assert (tmp_path / "x.edgedpack").stat().st_size == size
    assert (tmp_path / "x.edgedpack").read_bytes().count(b"PK\6\6") == 1
    source = source_of(tmp_path / "x.edgedpack")
    assert source.open("b").read() == bytes(100)
    source.close()


def test_errors_of_a_pack_are_the_publishers(tmp_path: Path):
    (tmp_path / "x.edgedpack").write_bytes(b"")
    with pytest.raises(EdgedError) as caught:
        source_of(tmp_path / "x.edgedpack")
    assert caught.value.family == "publisher"
