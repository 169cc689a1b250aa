"""Pipelines that are slow because a real model has much to do, one for each policy of a full queue; and what they take."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from bench.parties import recording
from soak.scene import BROKER, Scene
from soak.settle import until_still
from soak.signals import Signal
from tests.daemon import HAR, Status
from tests.releases import changed

DROPPING = ("drop-oldest", "drop-newest", "latest")
POLICIES = (*DROPPING, "block")
SAMPLES, HOP = 260, 2  # the model looks at each message 130 times
PATIENT = "patient"  # the connection of the pipeline whose queue blocks


class Slow:
    """The signals of slow pipelines, and their tables for a configuration."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._release: Path = changed(HAR, scene.folder / "models" / "har", (f"hop = {SAMPLES // 2}", f"hop = {HOP}"))

    def signals(self, prefix: str = "", qos: int = 0) -> list[Signal]:
        """Give one signal a policy."""
        return [self._signal(prefix + policy, qos) for policy in POLICIES]

    def tables(self, signals: list[Signal], size: int, port: int) -> str:
        """Write pipelines of class background with queues of that size; the one that blocks has a connection to itself."""
        tables = [BROKER.format(name=PATIENT, port=port)]
        for signal, policy in zip(signals, POLICIES):
            options = f'class = "background"\nqueue = {{ size = {size}, full = "{policy}" }}\n'
            outputs = 'outputs = [ { type = "mqtt", when = "change" } ]'
            tables.append(self._scene.tables(signal, broker=PATIENT if policy == "block" else "main", more=options + outputs))
        return "".join(tables)

    def capacity(self, port: int, messages: int) -> float:
        """Measure how many messages a second a daemon works off in the four pipelines, with nobody in its way."""
        signals = self.signals("gauge-", qos=1)
        daemon = self._scene.daemon(self.tables(signals, messages, port), port, device="gauge").start()
        publisher = self._scene.publisher(port, signals, "gauge")
        publisher.send(messages)
        first, began = worked(daemon.status()), time.monotonic()
        last = worked(until_still(daemon, lambda status: worked(status) >= messages, "the messages to measure are worked off"))
        rate = (last - first) / (time.monotonic() - began)
        daemon.kill()
        self._scene.report.number(capacity_a_second=rate, windows_a_message=SAMPLES // HOP, measured_messages=last - first)
        return rate

    def _signal(self, name: str, qos: int) -> Signal:
        rows = np.array(recording(), np.float32)
        return Signal(name, keys=2, samples=SAMPLES, hop=HOP, sizes=(SAMPLES,), rate_hz=26.0, qos=qos, release=self._release, cycle=rows)


def worked(status: Status) -> int:
    """Count the messages that all pipelines have worked off."""
    return sum(int(each["messages"]) for each in status["pipelines"])
