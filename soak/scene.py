"""Where a scenario plays: its folder, brokers, daemons and clients, all of which end with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from soak.ledger import Ledger
from soak.listener import Listener
from soak.publisher import Publisher
from soak.report import Report
from soak.signals import Signal
from tests.broker import Mosquitto
from tests.daemon import Daemon
from tests.peer import Peer

BROKER = '[mqtt.{name}]\nurl = "mqtt://127.0.0.1:{port}"\n'


# For a pipeline that is to lose nothing: Mosquitto sends more at once to who was away than a queue of the usual size holds (`backlog`).
LOSSLESS = 'queue = { full = "block" }\n'


class Scene:
    """One run of one scenario; use it as a context. All that is random in it follows from `seed`."""

    def __init__(self, scenario: str, folder: Path, seed: int = 1, say: Callable[[str], None] = print) -> None:
        """`folder` gets the files and logs of all parts; progress goes to `say`."""
        self.folder = folder
        self.rng = random.Random(seed)
        self.report = Report(scenario, seed, folder, say)
        self._stack = ExitStack()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def broker(self, name: str, **options: Any) -> Mosquitto:
        """Make a broker, which is not started yet."""
        mosquitto = Mosquitto(self.folder / name, **options)
        self._stack.callback(mosquitto.kill)
        return mosquitto

    def daemon(self, config: str, port: int, device: str = "press-7", make: Callable[..., Daemon] = Daemon) -> Daemon:
        """Make a daemon, which is not started yet."""
        daemon = make(self.folder / device, config, port, device, "soak")
        self._stack.callback(daemon.kill)
        return daemon

    def peer(self, port: int, *filters: str) -> Peer:
        """Connect a client that keeps what it hears."""
        return self._stack.enter_context(Peer(port, *filters))

    def publisher(self, port: int, signals: Sequence[Signal], name: str = "sensors") -> Publisher:
        """Connect what publishes signals."""
        publisher = Publisher(port, signals, random.Random(self.rng.random()), name)
        self._stack.callback(publisher.close)
        return publisher

    def listener(self, port: int, signals: Sequence[Signal], device: str = "press-7") -> Ledger:
        """Subscribe to a device's results; give the ledger that fills."""
        ledger = Ledger(signals)
        listener = Listener(port, ledger, device)
        self._stack.callback(listener.close)
        return ledger

    def tables(self, *signals: Signal, broker: str = "main", more: str = "") -> str:
        """Write the pipelines of signals; their models are made."""
        return "".join(signal.table(self.folder / "models", broker, more) for signal in signals)
