"""What a link is subscribed to, and what of it the broker refused. No I/O."""

from __future__ import annotations

from edged.clock import NS

REFUSED_NS = 5 * NS  # after which what was refused is asked for again: a node of a cluster refuses for seconds when another died


class Subscriptions:
    """Filters with their QoS; for any thread: what another is reading is replaced, not changed."""

    def __init__(self) -> None:
        self._qos: dict[str, int] = {}
        self._refused_at = 0  # monotonic ns; 0: nothing is refused, or it was asked for again

    def add(self, topic_filter: str, qos: int = 0) -> int:
        """Note a filter; give the QoS that it has, the highest that was asked for."""
        self._qos = {**self._qos, topic_filter: max(qos, self._qos.get(topic_filter, 0))}
        return self._qos[topic_filter]

    def all(self) -> list[tuple[str, int]]:
        """Give all of them, as a client takes them."""
        return list(self._qos.items())

    def answered(self, filters: int, refused: bool, now: int) -> bool:
        """Note the broker's answer to so many filters at once; say whether all there are stand by it."""
        if refused:
            self._refused_at = now or 1
        return not refused and filters == len(self._qos)

    def is_due(self, now: int) -> bool:
        """Say, once, that it is time to ask again for what was refused."""
        due = self._refused_at != 0 and now - self._refused_at > REFUSED_NS
        self._refused_at = 0 if due else self._refused_at
        return due
