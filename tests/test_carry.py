"""The file between a clean stop and the next start: whole, or a fault in words; written and removed so that no kill leaves half of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.config import schema
from edged.errors import BoardError
from edged.stream import carry
from edged.stream.alarm import AlarmMemory
from edged.stream.carried import Carried, CarriedStream, Identity
from edged.stream.postprocess import Memory
from edged.stream.timeline import NEVER, Mark
from edged.stream.windows import Tail
from tests.conftest import REPO

HERE = Identity("har", 3, b"b" * 16, b"o" * 16, 3)
_TITLE = b"edged windows 1\n"


def stream(topic: bytes, size: int = 8) -> CarriedStream:
    memory = Memory(b"\0" * 24, AlarmMemory(True, 5, None), ("running", True))
    return CarriedStream(topic, (("axis", "x"),), 1, 2, Tail(2, True, b"\0" * size, b"\0" * size), Mark(NEVER, 0, b""), memory)


def part(*topics: bytes, size: int = 8) -> Carried:
    return Carried(HERE, 7, [stream(topic, size) for topic in topics])


def sealed(body: bytes) -> bytes:
    return _TITLE + zlib.crc32(body).to_bytes(4, "big") + body


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "windows"


# -- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [{}, {"pump": part()}, {"pump": part(b"in/a", b"\xff"), "fan": part(b"in/b")}])
def test_what_was_saved_is_taken_once(path: Path, parts: dict[str, Carried]) -> None:
    carry.save(path, parts)
    assert carry.take(path) == carry.Taken(True, parts)
    assert carry.take(path) == carry.Taken(False)
    assert list(path.parent.iterdir()) == []


def test_only_its_owner_may_read_it(path: Path) -> None:
    carry.save(path, {})
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_its_folder_nothing_is_found_and_a_save_says_what_to_do(path: Path) -> None:
    assert carry.take(path / "missing" / "file") == carry.Taken(False)
    with pytest.raises(BoardError, match="No such file") as caught:
        carry.save(path / "missing" / "file", {})
    assert (caught.value.code, bool(caught.value.hint)) == ("windows-not-kept", True)


def test_beyond_its_bound_the_largest_part_is_left_out_and_its_readings_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "MAX_BYTES", 4096)
    small, large = part(b"in/a", size=800), part(b"in/a", b"in/b", size=800)
    carry.save(path, {"large": large, "small": small, "tiny": part()})
    assert path.stat().st_size <= 4096
    assert carry.take(path).parts == {"large": large.emptied(), "small": small, "tiny": part()}
    assert large.emptied().readings == 7


def test_only_what_goes_on_after_a_stop_is_carried() -> None:
    def pipeline(called: str, **source: str) -> dict[str, object]:
        return {"name": called, "source": source, "decoder": {"type": "json", "channels": ["v"]}, "model": "m"}

    pipelines = [
        pipeline("judge", type="pipeline", name="summary"),
        pipeline("summary", type="pipeline", name="pump"),
        pipeline("pump", type="mqtt", topic="in"),
        pipeline("replay", type="file", path="x.csv"),
        pipeline("after", type="pipeline", name="replay"),
        pipeline("typed", type="stdin"),
    ]
    assert carry.lasting(msgspec.convert(pipelines, list[schema.Pipeline])) == {"pump", "summary", "judge"}


# -- damaged, foreign, hostile ----------------------------------------------------------------


def fault_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    taken = carry.take(path)
    assert (taken.found, taken.parts, path.exists()) == (True, {}, False)
    assert str(path) in taken.fault
    return taken.fault


def test_a_file_cut_at_any_byte_or_with_any_bit_changed_is_a_fault(path: Path) -> None:
    carry.save(path, {"pump": part(b"in/a")})
    data = path.read_bytes()
    assert all(fault_of(path, data[:size]) for size in range(len(data)))
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert fault_of(path, broken)
    assert fault_of(path, data + b"\0")


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(sealed)))
def test_foreign_bytes_are_a_fault_also_under_a_right_checksum(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "foreign"
    if data != sealed(b"\x80"):
        assert fault_of(path, data)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=9)),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=3), anything, min_size=1, max_size=3))
def test_other_messagepack_under_a_right_checksum_is_a_fault(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, object]) -> None:
    assert fault_of(tmp_path_factory.getbasetemp() / "other", sealed(msgspec.msgpack.encode(parts)))


@pytest.mark.parametrize(
    "body", [b"\xdf\xff\xff\xff\xff", b"\x81\xa1a\x93\xdd\xff\xff\xff\xff", b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01"]
)
def test_a_length_or_depth_that_is_not_there_takes_no_memory(path: Path, body: bytes) -> None:
    assert fault_of(path, sealed(body))


def test_another_version_is_told_from_damage(path: Path) -> None:
    assert "another version" in fault_of(path, sealed(b"\x80").replace(b"1", b"2", 1))


def test_a_file_that_is_too_long_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "MAX_BYTES", 1 << 20)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert carry.take(path) == carry.Taken(True, fault=f"{path} is longer than 1 MiB")


def test_what_is_no_file_is_a_fault_and_nobody_waits_for_it(path: Path) -> None:
    os.mkfifo(path)
    assert "it is not a file" in carry.take(path).fault
    assert not path.exists()
    path.mkdir()
    assert "cannot be removed" in carry.take(path).fault


def test_a_file_that_cannot_be_removed_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of this run would leave it there, and the next start would take it for that of a clean stop."""
    carry.save(path, {"pump": part(b"in/a")})

    def refuse(folder: Path) -> None:
        raise OSError(30, "Read-only file system", str(folder))

    monkeypatch.setattr(carry, "sync_folder", refuse)
    assert carry.take(path) == carry.Taken(True, fault=f"{path} cannot be removed: Read-only file system")


# -- killed at each step ----------------------------------------------------------------------

NEW = {"new": part(b"in/b")}

# Steps are counted where the system is asked for something: open, rename, remove by Python's own audit, fsync by hand.
KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec
from edged.stream import carry
from edged.stream.carried import Carried

left = int(sys.argv[2])
fsync = os.fsync

def step(event, args):
    global left
    if event in ("open", "os.rename", "os.remove", "fsync") and armed:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def counted_fsync(fd):
    step("fsync", ())
    fsync(fd)

armed = False
os.fsync = counted_fsync
sys.addaudithook(step)
path, parts = Path(sys.argv[3]), msgspec.msgpack.decode(bytes.fromhex(sys.argv[4]), type=dict[str, Carried])
armed = True
carry.save(path, parts) if sys.argv[1] == "save" else carry.take(path)
"""


def killed_at(step: int, what: str, path: Path) -> bool:
    """Save or take in a child that kills itself before a step; say whether it came so far."""
    parts = msgspec.msgpack.encode(NEW).hex()
    child = subprocess.run([sys.executable, "-c", KILLED, what, str(step), str(path), parts], cwd=REPO, capture_output=True, check=False)
    assert child.returncode in (0, -signal.SIGKILL), child.stderr
    return child.returncode != 0


@pytest.mark.parametrize("before", [None, {"old": part(b"in/a")}])
def test_a_save_killed_at_any_step_leaves_the_old_file_or_the_new_or_none(path: Path, before: dict[str, Carried] | None) -> None:
    old = carry.Taken(False) if before is None else carry.Taken(True, before)
    new = carry.Taken(True, NEW)
    found = []
    killed = True
    while killed:
        if before is not None:
            carry.save(path, before)
        killed = killed_at(len(found), "save", path)
        found.append(carry.take(path))
    assert all(each in (old, new) for each in found)
    assert (found[0], found[-1]) == (old, new)
    assert len(found) > 5  # open, fsync, rename, open of the folder, its fsync; and one that was not killed


def test_a_take_killed_at_any_step_leaves_the_file_or_none(path: Path) -> None:
    whole = carry.Taken(True, {"old": part(b"in/a")})
    found = []
    killed = True
    while killed:
        carry.save(path, whole.parts)
        killed = killed_at(len(found), "take", path)
        found.append(carry.take(path))
    assert all(each in (whole, carry.Taken(False)) for each in found)
    assert (found[0], found[-1]) == (whole, carry.Taken(False))
    assert len(found) > 4  # open, remove, open of the folder, its fsync; and one that was not killed
