"""A model of 250 MB comes to a daemon that serves: how fast, in how much memory, and what becomes of the readings meanwhile.

Mosquitto, `edged fleet serve` and the daemon on this machine. While the file comes, one message of 130 readings each
10 ms goes through a pipeline, which makes a window of each.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.load import Results, Sender, packed_messages
from bench.parties import broker, pss_mib, recording
from tests.daemon import Daemon, on_topic
from tests.fleets import Fleet
from tests.rollouts import numbered, update_in
from tests.sites import MIB, Server, fleet_section, large

READINGS = 130
RATE = 100.0
_PIPELINE = f"""
[[pipelines]]
name = "moves"
model = "har"
source = {on_topic("bench/{key}/vib")}
decoder = {{ type = "packed", layout = "<hhh", channels = ["x", "y", "z"] }}
"""
_PATIENCE_S = 300.0
_ORDER = {"windows": 0, "seconds": 0.0}


@dataclass
class Pushed:
    """`rate` in MB/s from the first byte to the last, `extra` in MiB of PSS above what the daemon had before, at most.

    `received` is in bytes, `ratio` that by the size; `before` and `during`: p50 and p99 in ms, message in to result out,
    and results missing.
    """

    rate: float
    extra: float
    received: int
    ratio: float
    before: tuple[float, float, int]
    during: tuple[float, float, int]


def push(mib: float) -> Pushed:
    """Push a release whose file has so many MiB."""
    with tempfile.TemporaryDirectory() as name, broker() as port:
        folder = Path(name)
        fleet = Fleet(folder / "repository", "bench")
        fleet.add(numbered(folder / "small", 1))
        fleet.assign("dev:bench", {"har": 1}, **_ORDER)
        server = Server(fleet, port, folder / "serve.log").start()
        daemon = Daemon(folder / "d" / "board", _PIPELINE + fleet_section(fleet), port, device="bench", fleet="bench").start()
        try:
            _until(lambda: update_in(daemon.status()).get("state") == "committed", "the first release serves")
            turns = iter(range(3))
            before = _readings(port, daemon, lambda: next(turns, None) is not None, 1)
            fleet.add(large(folder, 2, mib))
            return _measured(port, fleet, daemon, mib, before)
        finally:
            daemon.kill()
            server.stop()


def _measured(port: int, fleet: Fleet, daemon: Daemon, mib: float, before: tuple[float, float, int]) -> Pushed:
    assert daemon.process is not None
    base, had, pid = pss_mib(daemon.process.pid), daemon.status()["fleet"]["received"], daemon.process.pid
    peaks, times, over = [base], list[float](), threading.Event()

    def watch() -> None:
        while not over.is_set():
            update = update_in(daemon.status())
            if update["release"] == 2 and update["state"] == "fetch" and update["bytes_done"]:
                times.append(time.monotonic())
                peaks.append(pss_mib(pid))
            if update["release"] == 2 and update["state"] not in ("evaluate", "fetch"):
                times.append(time.monotonic())
                over.set()
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    fleet.assign("dev:bench", {"har": 2}, **_ORDER)
    during = _readings(port, daemon, lambda: not over.is_set(), 0)
    watcher.join()
    received = daemon.status()["fleet"]["received"] - had
    rate = received / 1e6 / (times[-1] - times[0])
    return Pushed(rate, max(peaks) - base, received, received / (mib * MIB), before, during)


def _readings(port: int, daemon: Daemon, goes_on: Callable[[], bool], without: int) -> tuple[float, float, int]:
    """Send readings, a second's at a time, while `goes_on`; give p50, p99 and the number of results missing.

    So many messages are `without` a result: the first that ever comes fills half a window.
    """
    results, sender, sent = Results(port, daemon.out("moves")), Sender(port), list[float]()
    try:
        while goes_on():
            sent += sender.send(packed_messages(recording(), int(RATE), b"bench/1/vib", READINGS), RATE)
        results.wait_for(len(sent) - without)
    finally:
        sender.close()
        results.close()
    late = sorted((came - at) * 1000 for at, came in zip(sent[without:], results.times))
    return late[len(late) // 2], late[len(late) * 99 // 100], len(sent) - without - len(late)


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)
