"""The daemon as a child process: `edged run` with a configuration, a socket and a state folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edged.errors import DaemonUnreachable
from edged.service.ask import ask
from tests.conftest import REPO
from tests.waiting import PATIENCE_S, until

HAR = REPO / "edged" / "demo" / "har"
XYZ_MS = '{ type = "json", channels = ["x", "y", "z"], time = "ts" }'

Status = dict[str, Any]


def edged(*args: str, cwd: Path, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run one `edged` command to its end."""
    return subprocess.run(_command(*args), cwd=cwd, env=_environment(**environ), input=stdin, capture_output=True, timeout=PATIENCE_S)


def pipeline(name: str, source: str, *, decoder: str = XYZ_MS, model: Path = HAR, outputs: str = "", more: str = "") -> str:
    """Write one `[[pipelines]]` of a configuration; `source`, `decoder` and `outputs` are TOML values."""
    outputs = f"outputs = {outputs}\n" if outputs else ""
    return f'\n[[pipelines]]\nname = "{name}"\nmodel_dir = "{model}"\nsource = {source}\ndecoder = {decoder}\n{outputs}{more}\n'


def on_topic(topic: str, more: str = "") -> str:
    """Write an MQTT source."""
    return f'{{ type = "mqtt", topic = "{topic}"{more} }}'


class Daemon:
    """One daemon, which may be started again in the same folder. `device` and `fleet` are in its topics."""

    def __init__(self, folder: Path, config: str, port: int = 0, device: str = "press-7", fleet: str = "") -> None:
        """Write `config`, its own keys and, with a `port`, `[mqtt.main]` into the folder, which is made.

        `$FLEET` in `config` stands for the fleet, which is another for each test: so are the topics that begin with it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.device = device
        self.fleet = fleet or "".join(char if char.isalnum() else "-" for char in folder.parent.name.lower())[:60].strip("-")
        self.file = folder / "edged.toml"
        self.socket = folder / "s"
        self.process: subprocess.Popen[bytes] | None = None
        self.module = "edged.cli.main"  # what is run; a test may put something of its own around it
        self.environ: dict[str, str] = {}
        own = f'[device]\nfleet = "{self.fleet}"\nid = "{device}"\nstate_dir = "{folder / "state"}"\n[control]\nsocket = "{self.socket}"\n'
        main = f'[mqtt.main]\nurl = "mqtt://127.0.0.1:{port}"\n' if port else ""
        self.file.write_text(f'{own}[log]\nformat = "json"\n{main}{config.replace("$FLEET", self.fleet)}')

    def topic(self, rest: str) -> str:
        """Give a topic of this device, such as `status`."""
        return f"edged/1/{self.fleet}/{self.device}/{rest}"

    def out(self, name: str) -> str:
        """Give the default topic of a pipeline's results."""
        return self.topic(f"out/{name}")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Give what the daemon logged, over all its starts."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return [json.loads(line) if line.startswith("{") else {"event": line} for line in lines]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Give the log entries of one event."""
        return [line for line in self.log if line.get("event") == event]

    def launch(self, stdin: Any = subprocess.DEVNULL, stdout: Any = subprocess.DEVNULL) -> Daemon:
        """Start the process, without waiting for anything."""
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", self.module, "run", "--config", str(self.file)]
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=_environment(**self.environ), stdin=stdin, stdout=stdout, stderr=log, start_new_session=True
            )
        return self

    def start(self) -> Daemon:
        """Start it, and wait until it runs and every broker is connected."""
        self.launch()
        return self.wait_connected()

    def wait_connected(self) -> Daemon:
        """Wait until it runs and every broker is connected."""
        self.until(is_connected, "the daemon is connected")
        return self

    def status(self) -> Status:
        """Ask over the control socket."""
        return ask(self.socket, "status", PATIENCE_S)

    def pipeline(self, name: str) -> Status:
        """Ask, and give the part of one pipeline."""
        return pipeline_in(self.status(), name)

    def until(self, condition: Callable[[Status], Any], what: str) -> Status:
        """Wait until the status fulfils `condition`; give that status."""
        last: Status = {}

        def holds() -> Status | None:
            assert self.process is not None
            assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}\n{self.tail()}"
            try:
                last.update(self.status())
            except DaemonUnreachable:
                return None
            return last if condition(last) else None

        return until(holds, what, lambda: f"{json.dumps(last)}\n{self.tail()}")

    def wait(self) -> int:
        """Wait until it has ended, and nothing that it started is left; give its exit code."""
        assert self.process is not None
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon does not end\n{self.tail()}") from None
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, wait until it has ended; give its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it with SIGKILL, where it still runs."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE_S)

    def tail(self) -> str:
        """Give the end of its log, to explain a failure."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]


def is_connected(status: Status) -> bool:
    """Say whether a daemon runs and all its brokers are connected."""
    return status["state"] == "running" and all(each["state"] == "connected" for each in status["brokers"].values())


def pipeline_in(status: Status, name: str) -> Status:
    """Give the part of a status that is about one pipeline."""
    found: Status = next(each for each in status["pipelines"] if each["name"] == name)
    return found


def codes(status: Status) -> set[str]:
    """Give the codes of the conditions that hold."""
    return {each["code"] for each in status["health"]}


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "edged.cli.main", *args]


def _environment(**more: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("EDGED")}
    return {**mine, "PYTHONPATH": str(REPO), **more}
