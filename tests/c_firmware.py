"""The firmware library, compiled: its Makefile run into a folder of the test's own, and a firmware in the hand of a test."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from firmware_bridge.messages import Result
from tests.conftest import REPO
from tests.waiting import PATIENCE_S

FIRMWARE = REPO / "firmware_bridge" / "firmware"
LETTERS = {1: "h", 2: "i", 3: "f"}  # of struct, by the protocol's kind of samples
LINE_MOST = 65536

_PACKAGES = {
    "make": "make",
    "gcc": "gcc libc6-dev",
    "g++": "g++",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}


def need(*programs: str) -> None:
    """Skip the test where one of these programs is missing."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        packages = " ".join(_PACKAGES[program] for program in missing)
        pytest.skip(f"needs {' and '.join(missing)}: apt install {packages}")


def make(target: str, build: Path, **variables: object) -> str:
    """Make a target of the firmware's Makefile into the folder `build`; give what it prints."""
    need("make")
    command = ["make", "-s", "-C", str(FIRMWARE), target, f"BUILD={build}", *(f"{name}={value}" for name, value in variables.items())]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout


@dataclass(frozen=True)
class Driver:
    """The shared object of test/driven.c."""

    functions: ctypes.CDLL

    @classmethod
    def load(cls, path: Path) -> Driver:
        """Load it; `make("shared", folder)` makes it."""
        functions = ctypes.CDLL(str(path))
        functions.driven_begin.restype = ctypes.c_void_p
        functions.driven_begin.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_uint, ctypes.c_uint32]
        functions.driven_poll.restype = ctypes.c_size_t
        functions.driven_poll.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
        functions.driven_receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        functions.driven_fault.argtypes = [*[ctypes.c_uint] * 3, ctypes.c_uint32, *[ctypes.c_char_p] * 4]
        for name in ("at", "sample", "flush", "text", "event", "end", "counts", "result"):
            getattr(functions, f"driven_{name}").argtypes = [ctypes.c_void_p, *_ARGUMENTS.get(name, [])]
        return cls(functions)

    def begin(
        self, *, kind: int = 1, channels: int = 3, ring: int = 400, block: int = 60, session: int = 0x1234, now: int = 0
    ) -> Firmware | None:
        """Begin a firmware, at `now` of a clock with 1,000,000 ticks a second; None where the library refuses it. Sizes are bytes."""
        handle = self.functions.driven_begin(kind, channels, ring, block, session, now)
        return Firmware(self.functions, handle, struct.Struct(f"<{channels}{LETTERS[kind]}"), now) if handle else None


_COUNTS = (
    *("dropped", "received", "bad-stuffing", "too-short", "too-long", "bad-crc"),
    *("other-version", "unknown-type", "bad-body", "other-session"),
)
_ARGUMENTS: dict[str, list[type]] = {
    "at": [ctypes.c_uint32],
    "sample": [ctypes.c_char_p],
    "text": [ctypes.c_char_p],
    "event": [ctypes.c_uint, ctypes.c_int, ctypes.c_char_p],
    "counts": [ctypes.POINTER(ctypes.c_uint32)],
    "result": [ctypes.c_char_p, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)],
}


class Firmware:
    """One compiled firmware, whose clock and line the test holds; `end` it."""

    def __init__(self, functions: ctypes.CDLL, handle: int, reading: struct.Struct, now: int) -> None:
        self._functions = functions
        self._handle = handle
        self._line = ctypes.create_string_buffer(LINE_MOST)
        self.reading = reading
        self.now = now

    def end(self) -> None:
        self._functions.driven_end(self._handle)

    def at(self, now: int) -> None:
        """Set its clock, in ticks; it counts to 2**32 - 1, then from 0."""
        self.now = now % 2**32
        self._functions.driven_at(self._handle, self.now)

    def sample(self, raw: bytes) -> bool:
        """Take one reading now; the bytes are those of its samples in memory."""
        assert len(raw) == self.reading.size
        return bool(self._functions.driven_sample(self._handle, raw))

    def flush(self) -> bool:
        return bool(self._functions.driven_flush(self._handle))

    def text(self, text: bytes) -> bool:
        return bool(self._functions.driven_text(self._handle, text))

    def event(self, code: int, value: int, words: bytes) -> bool:
        return bool(self._functions.driven_event(self._handle, code, value, words))

    def receive(self, data: bytes) -> None:
        self._functions.driven_receive(self._handle, data, len(data))

    def poll(self, takes: int = LINE_MOST) -> bytes:
        """Poll once, with a line that takes so many bytes now; give them."""
        count = self._functions.driven_poll(self._handle, takes, self._line)
        return self._line.raw[:count]

    @property
    def counts(self) -> dict[str, int]:
        """Give what was counted, by the names of the protocol."""
        counts = (ctypes.c_uint32 * len(_COUNTS))()
        self._functions.driven_counts(self._handle, counts)
        return {name: count for name, count in zip(_COUNTS, counts) if count}

    @property
    def dropped(self) -> int:
        return self.counts.get("dropped", 0)

    def result(self) -> tuple[int, Result]:
        """Give how many results came, and the last one."""
        label = ctypes.create_string_buffer(64)
        score, has_score, alarm = ctypes.c_float(), ctypes.c_int(), ctypes.c_int()
        count = self._functions.driven_result(self._handle, label, score, has_score, alarm)
        return count, Result(label.value.decode("utf-8", "replace"), score.value if has_score.value else None, bool(alarm.value))
