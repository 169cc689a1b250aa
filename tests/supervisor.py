"""What systemd does for a service with a watchdog: hears it, ends it when it goes silent, starts it again."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

from tests.daemon import Daemon
from tests.waiting import PATIENCE_S, until


class Supervisor:
    """Supervises one daemon. `heard` is all it said, `silences` how long it had been silent when it was ended; use it as a context."""

    def __init__(self, daemon: Daemon, watchdog_s: float) -> None:
        """The daemon's folder holds the socket."""
        self.heard: list[str] = []
        self.silences: list[float] = []
        self._daemon = daemon
        self._watchdog_s = watchdog_s
        self._address = daemon.folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        daemon.environ |= {"NOTIFY_SOCKET": str(self._address), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def __enter__(self) -> Supervisor:
        Path(self._address).unlink(missing_ok=True)
        self._socket.bind(str(self._address))
        self._socket.settimeout(self._watchdog_s)
        self._daemon.launch()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._daemon.kill()
        self._thread.join(PATIENCE_S)
        self._socket.close()

    def wait_for(self, word: str, times: int = 1) -> None:
        """Wait until it has said `word` so often."""
        until(lambda: sum(word in each for each in self.heard) >= times, f"{times} times {word}", self._daemon.tail)

    def _watch(self) -> None:
        ready, fed = False, time.monotonic()
        while not self._stopping:
            try:
                said = self._socket.recv(4096).decode()
                self.heard.append(said)
                ready = ready or "READY=1" in said
            except TimeoutError:
                said = ""
            now = time.monotonic()
            if "WATCHDOG=1" in said or not ready:
                fed = now
            elif now - fed > self._watchdog_s and not self._stopping:
                self.silences.append(now - fed)
                self._restart()
                ready, fed = False, time.monotonic()  # else a first word of READY=1 would count as silence since before

    def _restart(self) -> None:
        process = self._daemon.process
        assert process is not None
        os.killpg(process.pid, signal.SIGABRT)
        process.wait(PATIENCE_S)
        self._daemon.launch()
