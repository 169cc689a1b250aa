"""Try a candidate release in a child process: start it, watch it, end it, and judge what it did.

The child is `edged.trial`. This side trusts nothing of it: it reads bounded amounts, never
waits without an end, and kills and reaps the child whatever happens. Where a runtime dies
while it only opens the model, another runtime is given its chance, as the daemon itself does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO

import msgspec

from edged.clock import NS, Clock
from edged.engines.choose import RUNTIMES, TEXT_RUNTIMES, available, text_builds
from edged.errors import BoardError, Cancelled
from edged.fleet.trial_words import Limits, Measured, Order, Predicted, TrialReport, TrialRequest
from edged.fleet.verdict import End, Ended, Said, judge, runtime_to_blame, signal_name

__all__ = ["Limits", "Measured", "Predicted", "TrialReport", "TrialRequest", "run_trial"]

_PROGRAM = ("-m", "edged.trial")
_POLL_S = 0.02  # how often memory and time are looked at; a quick model fills some 50 MiB meanwhile
_REAP_S = 10.0
_MOST_SAID = 1 << 18
_MOST_STDERR = 1 << 20
_TAIL = 2048
_PIECE = 1 << 16

# What the child keeps of the environment: what finds Python and its libraries, no secrets and no configuration.
_KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "VIRTUAL_ENV")
_OWN = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "GGML_NO_BACKTRACE": "1",  # else the runtime for texts starts a debugger as it crashes
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONIOENCODING": "utf-8",
}


def run_trial(request: TrialRequest, limits: Limits, cancelled: Callable[[], bool], clock: Clock) -> TrialReport:
    """Try a release; blocks until the child is gone: `limits.wall_s` for each runtime here at most, one second after `cancelled()`.

    Raises Cancelled, BoardError `trial-no-start` or `engine-missing`, and the error that `judge` finds.
    """
    runtimes = list(request.runtimes) or _installed(request.text)
    passed_over: dict[str, str] = {}
    while True:
        said, ended = _run_child(msgspec.structs.replace(request, runtimes=runtimes), limits, cancelled, clock)
        blamed = runtime_to_blame(said, ended)
        if blamed not in runtimes or (len(runtimes) == 1 and not request.text):  # what is for texts may have variants that need none
            return judge(request, limits, replace(said, passed_over={**passed_over, **said.passed_over}), ended)
        runtimes.remove(blamed)
        passed_over[blamed] = f"trial-crashed: {signal_name(ended.code)}{said.stage}"


def _installed(text: bool) -> list[str]:
    packages = [build.package for build in (text_builds() if text else available())]
    return [name for name, (package, _) in (TEXT_RUNTIMES if text else RUNTIMES).items() if package in packages]


def _run_child(request: TrialRequest, limits: Limits, cancelled: Callable[[], bool], clock: Clock) -> tuple[Said, Ended]:
    child = _Child(Order(request, limits, os.getpid()))
    until = clock.mono() + int(limits.wall_s * NS)
    try:
        while child.runs():
            if cancelled():
                raise Cancelled(f"the trial of {request.name} {request.release} was cancelled")
            if clock.mono() >= until:
                child.kill(End.WALL)
            time.sleep(_POLL_S)
            child.listen()
            child.weigh(limits.memory_mib)
        child.listen()
    finally:
        child.close()
    return child.said, child.ended


class _Child:
    """The process, and its two pipes: what it reports, and its standard error."""

    def __init__(self, order: Order) -> None:
        self.said = Said()
        self._end, self._waited_s = End.ITSELF, 0.0
        self._line, self._heard, self._stderr, self._tail = b"", 0, 0, b""
        try:
            report, self._process = _start(order)
        except OSError as error:
            text = f"the trial's process cannot be started: {error.strerror}"
            raise BoardError("trial-no-start", text, "see whether memory or processes are short") from error
        assert self._process.stderr is not None
        self._open: dict[IO[bytes], Callable[[bytes], bool]] = {report: self._take_report, self._process.stderr: self._take_stderr}
        for file in self._open:
            os.set_blocking(file.fileno(), False)

    @property
    def ended(self) -> Ended:
        """Say how it ended; after `close`."""
        code = self._process.returncode
        return Ended(self._end, -signal.SIGKILL if code is None else code, self._tail.decode(errors="replace"), self._waited_s)

    def runs(self) -> bool:
        """Say whether it lives; it is not reaped, so that its number, and that of its group, stay its own until `close`."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:  # somebody told the system that nobody waits for children
            return False

    def listen(self) -> None:
        """Take what is there to read, one piece of each pipe: so much a look, however fast or slowly it comes."""
        for file, take in list(self._open.items()):
            with contextlib.suppress(BlockingIOError):
                data = os.read(file.fileno(), _PIECE)
                if not data or not take(data):  # what is closed here fails there, and blocks nobody
                    del self._open[file]
                    file.close()

    def weigh(self, memory_mib: int) -> None:
        """Kill it where the model took more memory than this."""
        confined = self.said.confined
        if confined is not None and _anonymous_kib(self._process.pid) - confined.anon_kib > memory_mib << 10:
            self.kill(End.MEMORY)

    def kill(self, why: End) -> None:
        """End it; the first reason counts."""
        if self._end is End.ITSELF:
            self._end = why
            self._kill_all()

    def close(self) -> None:
        """Kill it, and what it may have started where the system could not forbid that, and reap it."""
        self._kill_all()
        self._waited_s = _waited_s(self._process.pid)  # now that it is dead: a wait counts once it is over, and the last may be the longest
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a dying disk; Python reaps it later
            self._process.wait(_REAP_S)
        for file in self._open:
            file.close()

    def _kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _take_report(self, data: bytes) -> bool:
        self._heard += len(data)
        *lines, self._line = (self._line + data).split(b"\n")
        try:
            for line in lines:
                self.said.hear(line)
        except (msgspec.DecodeError, RecursionError):
            self._heard = _MOST_SAID + 1
        if self._heard > _MOST_SAID:
            self.kill(End.NOISE)
        return self._heard <= _MOST_SAID

    def _take_stderr(self, data: bytes) -> bool:
        self._stderr += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        return self._stderr <= _MOST_STDERR


def _start(order: Order) -> tuple[IO[bytes], subprocess.Popen[bytes]]:
    """Start the child; give what it reports, and itself."""
    report, reported = os.pipe()
    file = os.fdopen(report, "rb", buffering=0)
    try:
        # The order lies in a memory file, so that nobody waits for the child to read it.
        with os.fdopen(reported, "wb"), os.fdopen(os.memfd_create("edged-trial"), "w+b") as given:
            given.write(msgspec.json.encode(order))
            given.seek(0)
            return file, subprocess.Popen(
                [sys.executable, *_PROGRAM, str(reported)],
                stdin=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=[reported],
                cwd="/", env={**{name: os.environ[name] for name in _KEPT if name in os.environ}, **_OWN}, start_new_session=True,
            )  # fmt: skip
    except OSError:
        file.close()
        raise


def _waited_s(pid: int) -> float:
    """Give how long a process could have run, and others did; 0 where the kernel does not count it."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / NS
    except (OSError, ValueError, IndexError):
        return 0.0


def _anonymous_kib(pid: int) -> int:
    """Give the memory that belongs to a process alone, in KiB; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file if line.startswith((b"RssAnon", b"RssShmem")))
        return sum(int(value.split()[0]) for value in fields.values())
    except (OSError, ValueError, IndexError):
        return 0
