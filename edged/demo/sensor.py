"""A simulated sensor: plays recordings one after the other for ever, while event time goes on."""

from __future__ import annotations

from collections.abc import Sequence

from edged.demo.recordings import Recording


class Sensor:
    """One sensor. Its readings are numbered from 0; pure, the same each time."""

    def __init__(self, name: str, recordings: Sequence[Recording], first: int, rate_hz: float, start_ms: int) -> None:
        """Begin with recording `first`; the time of reading 0 is `start_ms`, milliseconds since 1970 UTC."""
        turn = first % len(recordings)
        order = [*recordings[turn:], *recordings[:turn]]
        self.name = name
        self._readings = [(each.activity, reading) for each in order for reading in each.readings]
        self._rate_hz = rate_hz
        self._start_ms = start_ms

    def payload(self, number: int) -> bytes:
        """Give a reading as the message that a sensor sends: `{"ts":ms,"acc":{"x":mg,"y":mg,"z":mg}}`."""
        x, y, z = self._at(number)[1]
        return f'{{"ts":{self.time_ms(number)},"acc":{{"x":{x},"y":{y},"z":{z}}}}}'.encode()

    def time_ms(self, number: int) -> int:
        """Give the event time of a reading, milliseconds since 1970 UTC."""
        return self._start_ms + round(number * 1000 / self._rate_hz)

    def number_at(self, time_ms: int) -> int:
        """Give the number of the reading nearest to an event time."""
        return round((time_ms - self._start_ms) * self._rate_hz / 1000)

    def activity(self, number: int) -> str:
        """Say what the person does at a reading."""
        return self._at(number)[0]

    def activity_of(self, first: int, last: int) -> str:
        """Say what the person does from reading `first` to `last`, both included; empty where it changes meanwhile."""
        activities = {self.activity(number) for number in range(first, last + 1)}
        return activities.pop() if len(activities) == 1 else ""

    def _at(self, number: int) -> tuple[str, tuple[int, int, int]]:
        return self._readings[number % len(self._readings)]
