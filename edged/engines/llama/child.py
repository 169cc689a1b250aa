"""One runner as a child process: what it is started with, how it is ended, and what it died of."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import Literal

from edged.engines.llama import wire
from edged.engines.llama.model import lacks_memory

_PROGRAM = ("-m", "edged.engines.llama.runner")
_REAP_S = 10.0
_TAIL = 2048
_PIECE = 1 << 16

# What the child keeps of the environment: what finds Python and its libraries, no secrets and no configuration.
_KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "VIRTUAL_ENV")
_OWN = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # How often a thread looks whether the others are ready before it sleeps, which they are soon where nobody else wants the
    # processor. Without a limit a decode takes some twenty times as long where somebody does; where nobody does, this costs 2 %.
    "GOMP_SPINCOUNT": "2000",
    "GGML_NO_BACKTRACE": "1",  # else it starts a debugger as it crashes
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONIOENCODING": "utf-8",
}
Code = Literal["runner-crashed", "runner-out-of-memory", "runner-hung", "runner-garbled"]


class Gone(Exception):
    """A runner that failed, and is reaped."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Child:
    """A runner that was started, with the channel to it."""

    def __init__(self, order: wire.Load, patience_s: float) -> None:
        """Start it and tell it what to load. `patience_s` as of `Channel`. Raises Gone where the system starts no process."""
        ours, theirs = socket.socketpair()
        heard, said = os.pipe()
        os.set_blocking(said, False)  # what is too much is lost there; nobody waits
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, *_PROGRAM, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, pass_fds=[theirs.fileno()], cwd="/",
                    env={**{name: os.environ[name] for name in _KEPT if name in os.environ}, **_OWN}, start_new_session=True,
                )  # fmt: skip
        except BaseException as error:
            ours.close()
            os.close(heard)
            if isinstance(error, OSError):
                raise Gone("runner-crashed", f"it cannot be started: {error}") from error
            raise
        finally:
            os.close(said)
        self.pid = self._process.pid
        self._heard = heard
        self.channel: wire.Channel[wire.Reply] = wire.Channel(ours, wire.replies, patience_s)
        with contextlib.suppress(wire.Closed, wire.Silent):  # it died already, or hangs: seen when its answer is taken
            self.channel.send(order)

    def kill(self) -> None:
        """End it, whatever it does, and reap it."""
        self._process.kill()
        self._reap()

    def hung(self, seconds: float) -> Gone:
        """End one that said nothing for so long."""
        self.kill()
        return Gone("runner-hung", f"it said nothing for {seconds:g} s")

    def garbled(self, why: str) -> Gone:
        """End one whose words make no sense."""
        self.kill()
        return Gone("runner-garbled", f"it sent what is no answer: {why[:200]}")

    def ended(self) -> Gone:
        """Give why one ended that closed its socket."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_S)
        code = self._process.poll()
        if code is None:
            return self.garbled("it closed its socket, and lives")
        said = self._tail()
        self._reap()
        if code == -signal.SIGKILL or lacks_memory(said):
            return Gone("runner-out-of-memory", "the kernel killed it" if code == -signal.SIGKILL else f"it got no memory: {said[-200:]}")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return Gone("runner-crashed", f"{how}{f': {said[-400:]}' if said else ''}")

    def _tail(self) -> str:
        os.set_blocking(self._heard, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._heard, _PIECE):
                said = (said + data)[-_TAIL:]
        return said.decode(errors="replace").strip()

    def _reap(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a dying disk; Python reaps it later
            self._process.wait(_REAP_S)
        self.channel.close()
        if self._heard >= 0:
            os.close(self._heard)
            self._heard = -1
