"""A link to a broker as bad as a test wants it: late, slow, cut, up and down, with messages lost, to another broker.

TCP loses no byte, so a lossy link is made of MQTT: single QoS 0 messages to the client are taken out.
The bytes are carried by a process of its own, see `tests.bad_link_process`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import topic_matches_sub

from tests.broker import free_port
from tests.waiting import PATIENCE_S

_REPO = Path(__file__).parent.parent


@dataclass(frozen=True)
class Traffic:
    """Messages one way: those carried, and those lost on purpose. Bytes are of whole PUBLISH packets."""

    messages: int = 0
    bytes: int = 0
    lost: int = 0
    lost_bytes: int = 0


class BadLink:
    """A port of loopback that leads to a broker; a good link at first. Use it as a context."""

    def __init__(self, *brokers: int) -> None:
        """Lead to the first of these ports that takes the connection, looked for anew with each connection."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bad_link_process"], cwd=_REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = free_port()  # it keeps its port while it is down
        self._ask("open", upstreams=brokers, port=self.port)

    def __enter__(self) -> BadLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections and the process."""
        self._process.communicate(timeout=PATIENCE_S)

    # -- connections ------------------------------------------------------------------------

    def use(self, *brokers: int) -> None:
        """Lead to other brokers; the connections to the old ones end."""
        self._ask("use", upstreams=brokers)

    def cut(self) -> None:
        """End all connections at once, with what is under way; new ones may come."""
        self._ask("cut")

    def down(self) -> None:
        """Cut, and refuse new connections."""
        self._ask("down")

    def up(self) -> None:
        """Take connections again."""
        self._ask("up")

    def alternate(self, up_s: float, down_s: float) -> None:
        """Be up and down by turns, up first, until `steady`."""
        self._ask("alternate", up_s=up_s, down_s=down_s)

    def steady(self) -> None:
        """Be up from now on."""
        self._ask("steady")

    def freeze(self) -> None:
        """Carry nothing and say nothing, as in a radio's shadow; connections stay open, new ones get no answer."""
        self._ask("freeze")

    def thaw(self) -> None:
        """Carry again, first what was held."""
        self._ask("thaw")

    # -- what comes through -----------------------------------------------------------------

    def set(self, *, round_trip_s: float = 0.0, rate: float = 0.0) -> None:
        """Be late by half the round trip each way, and carry at most `rate` bytes a second each way (0: no bound).

        All connections share the rate. Set it before they are made: their buffers follow it.
        """
        self._ask("set", round_trip_s=round_trip_s, rate=rate)

    def lose(self, part: str, chance: float, seed: int = 1) -> None:
        """Lose QoS 0 messages to the client whose topic holds `part`, each with this chance; 0 ends it."""
        self._ask("lose", part=part, chance=chance, seed=seed)

    def to_client(self, topic_filter: str) -> Traffic:
        """Count what went from the broker to its clients on topics that match."""
        return self._traffic("to_client", topic_filter)

    def to_broker(self, topic_filter: str) -> Traffic:
        """Count what went from the clients to the broker on topics that match."""
        return self._traffic("to_broker", topic_filter)

    @property
    def bytes_to_client(self) -> int:
        """Count all bytes from the broker, of every kind, the lost ones too."""
        return int(self._ask("counts")["to_client"]["total"])

    @property
    def bytes_to_broker(self) -> int:
        """Count all bytes to the broker, of every kind."""
        return int(self._ask("counts")["to_broker"]["total"])

    @property
    def accepted(self) -> int:
        """Count the connections that were made, also to no broker."""
        return int(self._ask("counts")["accepted"])

    @property
    def open(self) -> int:
        """Count the connections that stand."""
        return int(self._ask("counts")["open"])

    # -- inside -----------------------------------------------------------------------------

    def _traffic(self, way: str, topic_filter: str) -> Traffic:
        topics = self._ask("counts")[way]["topics"]
        rows = [row for topic, row in topics.items() if topic_matches_sub(topic_filter, topic)]
        return Traffic(*map(sum, zip(*rows))) if rows else Traffic()

    def _ask(self, name: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process of the link ended at {name!r}, see above"
        return json.loads(answer)
