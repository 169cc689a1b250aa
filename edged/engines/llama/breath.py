"""What a runner does between two pieces of work: say that it goes on, and pause where that is asked."""

from __future__ import annotations

from edged.clock import MS, Clock
from edged.engines.llama import wire

_SAY_NS = 100 * MS


class Breath:
    """Looks at the socket for its owner, who is at work."""

    def __init__(self, channel: wire.Channel[wire.Request], clock: Clock) -> None:
        self._channel, self._clock = channel, clock
        self._said = clock.mono()

    def between(self) -> None:
        """Pause where that is asked, and say now and then that work goes on. Raises Closed where the other side is gone."""
        while self._channel.waits():
            if isinstance(self._channel.receive(), wire.Pause):
                self._channel.send(wire.Paused())
                while not isinstance(self._channel.receive(), wire.Go):
                    pass
        self.stops()

    def stops(self) -> bool:
        """Say now and then that work goes on; give whether it shall not, as nobody is there any more.

        Cheap: the runtime calls it some hundred times in a decode. And it raises nothing, as nothing is raised through the runtime.
        """
        now = self._clock.mono()
        if now - self._said < _SAY_NS:
            return False
        self._said = now
        try:
            self._channel.send(wire.Working())
        except wire.Closed:
            return True
        return False
