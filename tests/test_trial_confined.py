"""What a trial's child may not do, tried from inside one that has given up its rights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edged.trial import system_calls
from tests.conftest import REPO
from tests.waiting import PATIENCE_S

MEMORY_MIB = 64

# Confine, then do what the test says. `error` is the errno of what was refused, 0 where it was done.
PROGRAM = f"""
import ctypes, json, mmap, os, resource, signal, socket, subprocess, sys, threading
from edged.fleet.trial_words import Limits
from edged.trial.confine import confine
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*arguments):
    ctypes.set_errno(0)
    if libc.syscall(*[ctypes.c_long(each) for each in arguments]) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
libc.syscall.restype = ctypes.c_long
folder = sys.argv[2]
held = os.open(folder + "/mine", os.O_RDONLY)
told = confine(Limits({MEMORY_MIB}, 60, 600.0))
error = 0
try:
    exec(sys.argv[1])
except OSError as caught:
    error = caught.errno
except ValueError:  # as Python tells EPERM of a limit
    error = 1
print(json.dumps({{"error": error, "not": told.not_confined}}), flush=True)
"""

DENIED = {
    "a TCP socket": "socket.socket(socket.AF_INET)",
    "a UDP socket": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "a Unix socket": "socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "socket.socketpair()",
    "a raw netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a new file": "open(folder + '/new', 'w')",
    "a file by another number of open": "syscall(2, 0, 0o101, 0) if os.uname().machine == 'x86_64' else open(folder + '/new', 'w')",
    "an old file for writing": "os.open(folder + '/mine', os.O_RDWR)",
    "an old file for truncation": "os.open(folder + '/mine', os.O_RDONLY | os.O_TRUNC)",
    "a nameless file": "os.open(folder, os.O_TMPFILE | os.O_WRONLY)",
    "appending": "os.open(folder + '/mine', os.O_WRONLY | os.O_APPEND)",
    "truncating": "os.truncate(folder + '/mine', 0)",
    "removing": "os.unlink(folder + '/mine')",
    "renaming": "os.rename(folder + '/mine', folder + '/yours')",
    "linking": "os.link(folder + '/mine', folder + '/yours')",
    "a symbolic link": "os.symlink('/', folder + '/root')",
    "a folder": "os.mkdir(folder + '/d')",
    "removing a folder": "os.rmdir(folder)",
    "a pipe with a name": "os.mkfifo(folder + '/p')",
    "a mode": "os.chmod(folder + '/mine', 0o777)",
    "a mode of an open file": "os.fchmod(held, 0o777)",
    "an owner": "os.chown(folder + '/mine', os.getuid(), os.getgid())",
    "a time": "os.utime(folder + '/mine')",
    "an attribute": "os.setxattr(folder + '/mine', 'user.x', b'1')",
    "forking": "os.fork() or os._exit(9)",
    "spawning": "subprocess.run(['/bin/true'])",
    "spawning without fork": "os.posix_spawn('/bin/true', ['true'], {})",
    "executing": "os.execv('/bin/true', ['true'])",
    "killing the parent": "os.kill(os.getppid(), signal.SIGKILL)",
    "asking after the parent": "os.kill(os.getppid(), 0)",
    "killing the group": "os.kill(0, signal.SIGKILL)",
    "killing all": "os.kill(-1, signal.SIGKILL)",
    "a handle of the parent": "os.pidfd_open(os.getppid())",
    "the limits of the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "its own limits": "resource.setrlimit(resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA))",
    "the niceness of the parent": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "its own niceness": "os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "a group of its own": "os.setpgid(0, 0)",
    "shared memory without a name": "mmap.mmap(-1, 4096)",
    "io_uring": "syscall(425, 8, 0)",
    "new ways to mount": "syscall(430, 0, 0)",
    "a memory file beyond the limit": "f = os.memfd_create('x'); signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.ftruncate(f, 1 << 30)",
    "a terminal's input": "import fcntl; fcntl.ioctl(held, 0x5412, b'x')",
    "a hundred files more": "[os.dup(held) for _ in range(200)]",
}
PLAIN = {
    "reading": "assert os.read(os.open(folder + '/mine', os.O_RDONLY), 9) == b'mine'",
    "a thread": "t = threading.Thread(target=print, kwargs={'end': ''}); t.start(); t.join()",
    "a little memory": f"bytearray({MEMORY_MIB // 2} << 20)",
    "a memory file": "os.write(os.memfd_create('x'), b'x')",
    "a signal to itself": "signal.signal(signal.SIGUSR1, lambda *_: None); os.kill(os.getpid(), signal.SIGUSR1)",
    "looking at its own limits": "resource.getrlimit(resource.RLIMIT_DATA)",
    "writing where it was told to": "os.write(2, b'')",
}


def inside(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "mine").write_bytes(b"mine")
    command = [sys.executable, "-c", PROGRAM, code, str(folder)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S, start_new_session=True)


def answer(done: subprocess.CompletedProcess[str]) -> int:
    """Give the errno; skip where this system cannot filter calls."""
    assert done.returncode == 0, (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    if missing := [each for each in told["not"] if each.startswith("seccomp")]:
        pytest.skip(f"needs a kernel with seccomp filters: {missing[0]}")
    return int(told["error"])


@pytest.mark.parametrize("name", DENIED)
def test_what_a_trial_may_not_do_is_refused(name: str, tmp_path: Path) -> None:
    assert answer(inside(DENIED[name], tmp_path)) > 0
    assert os.listdir(tmp_path) == ["mine"]
    assert (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("name", PLAIN)
def test_what_a_trial_needs_is_left_to_it(name: str, tmp_path: Path) -> None:
    assert answer(inside(PLAIN[name], tmp_path)) == 0


def test_every_denied_call_is_refused_by_its_number(tmp_path: Path) -> None:
    machine = os.uname().machine
    if machine not in (system_calls.X86_64, system_calls.AARCH64):
        pytest.skip(f"needs x86_64 or aarch64, this is {machine}")
    numbers = [*system_calls.denied(machine), *(n for n in range(424, 520) if n not in system_calls.COMMON_ALLOWED)]
    code = (
        f"wrong = []\nfor n in {numbers}:\n  try: syscall(n, -1, -1, -1, -1, -1, -1); wrong.append(n)\n"
        "  except OSError as e: e.errno in (1, 38) or wrong.append(n)\nassert not wrong, wrong"
    )
    assert answer(inside(code, tmp_path)) == 0


def test_a_piece_of_memory_beyond_the_limit_ends_it(tmp_path: Path) -> None:
    answer(inside("", tmp_path))
    done = inside(f"bytearray({MEMORY_MIB + 1} << 20)", tmp_path)
    assert done.returncode == -signal.SIGSYS, done.stderr


def test_a_piece_of_memory_that_grows_beyond_the_limit_ends_it(tmp_path: Path) -> None:
    answer(inside("", tmp_path))
    done = inside(f"m = bytearray(40 << 20)\nwhile len(m) < {4 * MEMORY_MIB} << 20: m += bytes(1 << 20)", tmp_path)
    assert done.returncode == -signal.SIGSYS, done.stderr


def test_many_pieces_of_memory_end_at_a_hard_limit(tmp_path: Path) -> None:
    code = f"many = [bytearray(16 << 20) for _ in range({10 * MEMORY_MIB // 16})]"
    done = inside(f"try: {code}\nexcept MemoryError: raise OSError(12, 'memory')", tmp_path)
    assert answer(done) == 12


def test_processor_time_beyond_the_limit_ends_it() -> None:
    code = (
        "from edged.trial.confine import confine\nfrom edged.fleet.trial_words import Limits\n"
        "confine(Limits(64, 1, 60.0))\nwhile True: pass"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, timeout=PATIENCE_S, check=False)
    assert done.returncode == -signal.SIGXCPU


def test_an_abort_is_still_an_abort(tmp_path: Path) -> None:
    assert inside("os.abort()", tmp_path).returncode == -signal.SIGABRT


def test_threads_that_ran_before_are_filtered_too(tmp_path: Path) -> None:
    code = PROGRAM.replace("told = confine", "go, found = threading.Event(), []\nnever = threading.Event()\n" + (
        "def late():\n    go.wait()\n    try: socket.socket()\n    except OSError as e: found.append(e.errno)\n"
        "t = threading.Thread(target=late); t.start()\ntold = confine"
    ))  # fmt: skip
    (tmp_path / "mine").write_bytes(b"mine")
    command = [sys.executable, "-c", code, "go.set(); t.join(); error = found[0]", str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert answer(done) == 1
    # Landlock holds one thread only, so it is not claimed where there were more.
    assert [each.split(":")[0] for each in json.loads(done.stdout)["not"]] == ["landlock"]


def test_the_filter_is_had_also_where_only_the_older_call_is_allowed(tmp_path: Path) -> None:
    # As under systemd, whose @system-service has no seccomp(2) but prctl(2).
    refuse = "import edged.trial.seccomp as s\ndef no(*_): raise OSError(1, 'Operation not permitted')\ns.syscall = no\ntold = confine"
    (tmp_path / "mine").write_bytes(b"mine")
    command = [sys.executable, "-c", PROGRAM.replace("told = confine", refuse), DENIED["a TCP socket"], str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert answer(done) == 1


@pytest.mark.parametrize("name", ["a new file", "an old file for writing", "removing", "truncating", "a folder", "executing"])
def test_landlock_holds_without_the_filter(name: str, tmp_path: Path) -> None:
    code = PROGRAM.replace(
        "told = confine", "import edged.trial.seccomp\nedged.trial.seccomp.knows = lambda machine: False\ntold = confine"
    )
    (tmp_path / "mine").write_bytes(b"mine")
    command = [sys.executable, "-c", code, DENIED[name], str(tmp_path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    told = json.loads(done.stdout)
    if missing := [each for each in told["not"] if each.startswith("landlock")]:
        pytest.skip(f"needs a kernel with Landlock (5.13 and switched on): {missing[0]}")
    assert told["error"] == 13
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_what_a_system_does_not_offer_is_told_and_the_rest_holds() -> None:
    code = (
        "import os, edged.trial.seccomp as s, edged.trial.landlock as l, json\n"
        "def no(*_): raise OSError(38, 'Function not implemented')\n"
        "s.syscall = s.prctl = l.syscall = no\n"
        "from edged.trial.confine import confine\nfrom edged.fleet.trial_words import Limits\n"
        "told = confine(Limits(64, 5, 60.0)); print(json.dumps([told.confined, told.not_confined]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    held, lacking = json.loads(done.stdout)
    assert held == ["cpu limit", "memory limit", "file limits", "no new privileges"]
    assert lacking == ["landlock: Function not implemented", "seccomp: Function not implemented"]
