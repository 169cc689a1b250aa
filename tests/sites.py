"""A site as a fleet manager has it: a repository, its server as a process of its own, and boards that take its orders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bad_link import BadLink
from tests.conftest import REPO
from tests.daemon import Daemon, Status, on_topic
from tests.fleets import Fleet
from tests.rollouts import numbered, update_in
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

MIB = 1 << 20
DEVICE, GROUP = "dev:press-7", "group:line-3"
QUICK = {"windows": 0, "seconds": 0.0}

PIPELINE = f"""
[[pipelines]]
name = "moves"
model = "har"
source = {on_topic("$FLEET/{key}")}
decoder = {{ type = "json", channels = ["x", "y", "z"], time = "ts" }}
"""


def fleet_section(fleet: Fleet, *groups: str, more: str = "") -> str:
    """Write the `[fleet]` of a board's configuration."""
    root = fleet.public / "metadata" / "1.root.json"
    return f'\n[fleet]\nroot = "{root}"\ngroups = {json.dumps(list(groups))}\n{more}\n'


def large(folder: Path, release: int, mib: float) -> Path:
    """Make a packed release `har` whose model file has so many MiB of noise behind it: no two pieces are alike."""

    def pad(made: Path) -> None:
        with (made / "har_float.tflite").open("ab") as file:
            file.write(os.urandom(int(mib * MIB)))

    made = folder / f"har-{release}"
    numbered(made, release, prepare=pad)
    return made


class Site:
    """A fleet, a broker, a bad link to it for the board, a server; boards by `board`."""

    def __init__(self, folder: Path, make_daemon: MakeDaemon, port: int, *others: int) -> None:
        """The broker is at `port`; the board's link may also lead to `others`."""
        self.folder, self.port = folder, port
        self.name = f"f-{abs(hash(str(folder))) % 10**12}"
        self.fleet = Fleet(folder / "repository", self.name)
        self.link = BadLink(port, *others)
        self.server = Server(self.fleet, port, folder / "serve.log")
        self._make = make_daemon

    def board(self, more: str = "", link: bool = True, section: str = "") -> Daemon:
        """Make a board that is not started yet."""
        config = PIPELINE + (section or fleet_section(self.fleet, "line-3", more=more))
        return self._make(config, self.link.port if link else self.port, fleet=self.name)

    def close(self) -> None:
        """End what was started; boards are their fixture's."""
        self.server.stop(signal.SIGKILL)
        self.link.close()


class Server:
    """`edged fleet serve` of one repository on one broker."""

    def __init__(self, fleet: Fleet, port: int, log: Path, *options: str, scheme: str = "mqtt") -> None:
        """`options` are more of the command's."""
        self._fleet, self.port, self._log = fleet, port, log
        self._options, self._scheme = options, scheme
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start it, and wait until it is connected."""
        command = [sys.executable, "-m", "edged.cli.main", "fleet", "serve", str(self._fleet.folder)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--broker", f"{self._scheme}://127.0.0.1:{self.port}", *self._options],
                cwd=REPO,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: "connected" in self._text() or self._ended(), "the server is connected", self._text)
        assert not self._ended(), self._text()
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def _text(self) -> str:
        return self._log.read_text(errors="replace")


def order_in(status: Status, model: str = "har") -> dict[str, Any]:
    """Give what a status says of the fleet's order of a model; empty where there is none."""
    return next((each for each in status["fleet"]["orders"] if each["model"] == model), {})


def until_update(daemon: Daemon, release: int, *states: str, model: str = "har") -> dict[str, Any]:
    """Wait until the update to a release is in one of these states; give it."""

    def there(status: Status) -> bool:
        update = update_in(status, model)
        return bool(update) and update["release"] == release and update["state"] in states

    return update_in(daemon.until(there, f"{model} {release} is {' or '.join(states)}"), model)


def until_fetched(daemon: Daemon, release: int, least: int, most: Callable[[], object] = str) -> dict[str, Any]:
    """Wait until a fetch is under way and has so many bytes."""

    def there(status: Status) -> bool:
        update = update_in(status)
        return bool(update) and (update["release"], update["state"]) == (release, "fetch") and (update["bytes_done"] or 0) >= least

    return update_in(daemon.until(there, f"har {release} has {least} bytes"))
