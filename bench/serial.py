"""What a serial line costs: the daemon reads a pseudo-terminal that a firmware in a process of its own writes to.

The model is that of the demo, made for the rate that is sent. Results go to standard output, through a pipe.
A pseudo-terminal has no baud rate: it says what the daemon can take, not what a wire carries.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.parties import EDGED, HERE, MODEL_DIR, cpu_s
from bench.serial_sender import FAST_HZ
from bench.text import Row
from tests.releases import changed

SAMPLES, HOP = 260, 130
SETTLE_S = 3.0
CONFIG = """
[device]
id = "bench"
state_dir = "{folder}/state"
[control]
socket = "{folder}/control.sock"
[[pipelines]]
name = "har"
model_dir = "{model}"
source = {{ type = "serial", port = "{port}", framing = "{framing}" }}
outputs = [ {{ type = "stdout" }} ]
queue = {{ full = "block" }}
"""


def rows(quick: bool) -> Iterator[Row]:
    """Measure everything, once; three minutes, or one with `quick`."""
    seconds = 10.0 if quick else 30.0
    for count in (10, 100):
        yield from _paced(count, seconds)
    yield _slow(seconds)
    for form in ("framed", "csv"):
        yield _ceiling(form, 5.0 if quick else 10.0)


@dataclass
class _Daemon:
    """A running daemon: its process, how it is asked, and when each of its results came."""

    process: subprocess.Popen[bytes]
    config: Path
    master: int
    results: list[float] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        """Ask it; nothing as long as it does not answer."""
        done = subprocess.run([str(EDGED), "status", "--json", "--config", str(self.config)], capture_output=True)
        status: dict[str, Any] = json.loads(done.stdout or "{}")
        return status if "pipelines" in status else {}

    def collect(self) -> None:
        """Note when each result came, until the daemon ends."""
        assert self.process.stdout is not None
        while data := os.read(self.process.stdout.fileno(), 65536):
            self.results += [time.monotonic()] * data.count(b"\n")

    def send(self, form: str, rate: float, count: int, seconds: float) -> subprocess.Popen[bytes]:
        """Let a firmware send, see `bench.serial_sender`."""
        words = [sys.executable, "-m", "bench.serial_sender", *map(str, (self.master, form, rate, count, seconds))]
        return subprocess.Popen(words, cwd=HERE.parent, pass_fds=[self.master], stdout=subprocess.PIPE)


@contextmanager
def _daemon(framing: str, rate_hz: float) -> Iterator[_Daemon]:
    """Run the daemon on a pseudo-terminal, with a model for `rate_hz`; give it once the port is open."""
    master, slave = pty.openpty()
    tty.setraw(slave, termios.TCSANOW)
    with tempfile.TemporaryDirectory() as folder:
        release = changed(MODEL_DIR, Path(folder) / "har", ("rate_hz = 26.0", f"rate_hz = {rate_hz}"))
        config = Path(folder) / "edged.toml"
        config.write_text(CONFIG.format(folder=folder, model=release, port=os.ttyname(slave), framing=framing))
        process = subprocess.Popen([str(EDGED), "run", "--config", str(config)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        daemon = _Daemon(process, config, master)
        collector = threading.Thread(target=daemon.collect)
        collector.start()
        try:
            while not _is_open(status := daemon.status()):
                if process.poll() is not None or (status and status["pipelines"][0]["state"] == "failed"):
                    sys.exit("the daemon cannot run this")
            yield daemon
        finally:
            process.terminate()
            process.wait()
            collector.join()
            os.close(master)
            os.close(slave)


def _is_open(status: dict[str, Any]) -> bool:
    return (
        bool(status.get("serial")) and status["serial"][0]["state"] == "open" and status["pipelines"][0]["state"] in ("waiting", "running")
    )


def _paced(count: int, seconds: float) -> Iterator[Row]:
    """4 kHz in real time, `count` readings a frame: processor time, and how late results are behind the last byte that they need."""
    rate = 4000.0
    with _daemon("framed", rate) as daemon:
        sender = daemon.send("framed", rate, count, seconds + 2 * SETTLE_S)
        time.sleep(SETTLE_S)
        before, start = cpu_s(daemon.process.pid), time.monotonic()
        time.sleep(seconds)
        used = (cpu_s(daemon.process.pid) - before) / (time.monotonic() - start) * 100
        sent = json.loads(sender.communicate()[0])
        time.sleep(1)
        status = daemon.status()
    line = status["serial"][0]
    what = f"4 kHz, {count} readings a frame"
    yield Row(
        f"{what}: processor", f"{used:.1f} % of one core, {line['readings']:,} readings, {_lost(line)}", used, "≤ 15 %", 15.0, above=False
    )
    windows = (sent["readings"] - SAMPLES) // HOP + 1
    completing = [sent["times"][-(-(SAMPLES + HOP * window) // count) - 1] for window in range(windows)]
    waits = sorted((came - last) * 1e3 for came, last in zip(daemon.results, completing))
    p50, p99 = (waits[int(len(waits) * part)] for part in (0.5, 0.99))
    missing = windows - len(daemon.results)
    yield Row(f"{what}: last byte to result", f"p50 {p50:.2f} ms, {len(waits)} results, {missing} missing", p99, "p99, ms")


def _slow(seconds: float) -> Row:
    """26 Hz, a reading a frame, as from a small accelerometer."""
    with _daemon("framed", 26.0) as daemon:
        sender = daemon.send("framed", 26.0, 1, seconds + SETTLE_S + 1)
        time.sleep(SETTLE_S)
        before, start = cpu_s(daemon.process.pid), time.monotonic()
        time.sleep(seconds)
        used = (cpu_s(daemon.process.pid) - before) / (time.monotonic() - start) * 100
        sender.communicate()
    return Row("26 Hz, a reading a frame: processor", f"{used:.1f} % of one core", used, "–")


def _ceiling(form: str, seconds: float) -> Row:
    """As fast as the pseudo-terminal takes it: how many readings a second reach the model's windows."""
    with _daemon("framed" if form == "framed" else "lines", FAST_HZ) as daemon:
        sender = daemon.send(form, 0.0, 100, seconds)
        time.sleep(1)
        before, start = daemon.status(), time.monotonic()
        time.sleep(max(1.0, seconds - 3))
        after = daemon.status()
        rate = (_readings(after) - _readings(before)) / (time.monotonic() - start)
        sender.communicate()
        line = after["serial"][0]
    return Row(f"ceiling, {form}, 100 at a time", f"{rate:,.0f} readings/s, {_lost(line)}", rate, "–")


def _readings(status: dict[str, Any]) -> int:
    return int(status["pipelines"][0]["readings"])


def _lost(line: dict[str, Any]) -> str:
    faults = {name: count for name, count in line["faults"].items() if count}
    return f"faults {faults}" if faults else "none lost"
