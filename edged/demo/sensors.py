"""The demo of sensors: they play recordings, and the ear for results judges what comes back."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from edged.clock import MS, Clock
from edged.demo import settings
from edged.demo.pace import Pace
from edged.demo.recordings import load_recordings
from edged.demo.sender import Sender
from edged.demo.sensor import Sensor
from edged.demo.stage import Stage, results_of
from edged.demo.tally import Scoreboard
from edged.models.manifest import load_release


@dataclass(frozen=True)
class Plan:
    """What the user asked for: seconds of real time, speed against it, how many sensors."""

    seconds: float
    speed: float
    sensors: int


class SensorsPlay:
    """Sensors on a stage; a context, as the stage is."""

    def __init__(self, plan: Plan, clock: Clock, rng: random.Random, environ: Mapping[str, str]) -> None:
        """Prepare; nothing runs yet. Raises BoardError(`demo-folder`)."""
        self.plan = plan
        input_ = load_release(settings.RELEASE).manifest.input
        self.pace = Pace(input_.samples, input_.hop, input_.rate_hz * plan.speed)
        # Event time ends at about now, however fast it runs: sensors do not send from the future.
        start_ms = int(clock.wall() // MS - plan.seconds * (plan.speed - 1) * 1000)
        recordings = load_recordings()
        sensors = [Sensor(f"band-{i + 1}", recordings, i, input_.rate_hz, start_ms) for i in range(plan.sensors)]
        self.board = Scoreboard(sensors)
        config = settings.keep(environ, "edged", settings.sensors_text())
        self.stage = Stage(config, [results_of(settings.PIPELINE)], self._take, clock, rng)
        self._clock = clock
        self._sender = Sender(sensors, self.pace.rate_hz, clock, self._send, lambda: self.stage.waiting)

    def __enter__(self) -> SensorsPlay:
        """Start the stage; raises what that does."""
        self.stage.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        try:
            self._sender.stop()
        finally:
            self.stage.__exit__()

    def start(self) -> None:
        """Let the sensors send."""
        self._sender.start()

    def stop(self) -> None:
        """Let the sensors fall silent; results still come in."""
        self._sender.stop()

    @property
    def expected(self) -> int:
        """Count the windows that the readings sent so far complete."""
        return sum(self.pace.completed(tally.sent) for tally in self.board.tallies)

    @property
    def missing(self) -> int:
        """Count the results that are to come yet."""
        return self.expected - self.board.total().windows

    @property
    def over(self) -> bool:
        """Say that nothing more will happen: never, sensors send for ever."""
        return False

    def _send(self, sensor: Sensor, number: int) -> None:
        payload = sensor.payload(number)
        self.board.note_sent(sensor.name, number, self._clock.mono())
        self.stage.publish(settings.topic_of(sensor.name), payload)

    def _take(self, topic: bytes, payload: bytes, now: int) -> None:
        self.board.take(payload, now)
