"""The bounded queue before a pipeline: what a source puts in, a worker takes out.

When `size` messages wait, the policy decides: `block` makes the source wait (a broker that
waits for acknowledgements anyway is only turned away beyond HELD_BYTES), `drop-oldest`
and `drop-newest` let messages go, `latest` keeps the newest message of each topic. What is
let go is counted, and its batch still counts as worked off, so that a broker does not hold it.
One lock, taken once a batch.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edged.config import schema
from edged.records import Batch

HELD_BYTES = 8 << 20  # Mosquitto 2.0.11 sends up to 20 messages for each acknowledgement, however many are open


class Inbox:
    """Batches waiting for one pipeline. `overfull`: a broker was turned away, and should not come back before there is room."""

    def __init__(self, queue: schema.Queue, wake: Callable[[], None]) -> None:
        """`wake` is called after each batch that was put in."""
        self._queue = queue
        self._wake = wake
        self.size = queue.size
        self._batches: deque[Batch] = deque()
        self._room = threading.Condition()
        self._closed = False
        self._held = 0  # bytes
        self.overfull = False
        self.waiting = 0
        self.dropped = 0

    def put(self, batch: Batch) -> bool:
        """Take a batch by the policy; False, and it is not taken, when the inbox is closed. Called by the source's thread."""
        with self._room:
            if self._closed:
                return False
            if self._held + batch.size > HELD_BYTES and batch.connection and self._queue.full == "block":
                self.overfull = True
                return False
            if self.waiting + len(batch.topics) > self._queue.size:
                self._make_room(batch)
                if self._closed:
                    return False
            if batch.topics:
                self._batches.append(batch)
                self.waiting += len(batch.topics)
                self._held += batch.size
            elif batch.done:
                batch.done()
        self._wake()
        return True

    def take(self) -> Batch | None:
        """Give the oldest batch, or None. Called by the worker."""
        if not self._batches:
            return None
        with self._room:
            if not self._batches:
                return None
            batch = self._batches.popleft()
            self.waiting -= len(batch.topics)
            self._held -= batch.size
            self.overfull = self.overfull and self._held > HELD_BYTES // 2
            self._room.notify()
            return batch

    def forget_before(self, connection: int) -> None:
        """Let go of what came on earlier connections: the broker sends it again on this one."""
        with self._room:
            stays = [each for each in self._batches if not 0 < each.connection < connection]
            self._batches = deque(stays)
            self.waiting = sum(len(each.topics) for each in stays)
            self._held = sum(each.size for each in stays)
            self.overfull = False
            self._room.notify()

    def close(self) -> None:
        """Take no more; a source that waits is let go."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _make_room(self, batch: Batch) -> None:
        policy = self._queue.full
        if policy == "block":
            if batch.done:
                # The thread that receives must not wait: it also sends what makes room.
                return
            # A batch larger than the whole queue waits for an empty one.
            while not self._closed and self.waiting and self.waiting + len(batch.topics) > self._queue.size:
                self._room.wait()
        elif policy == "drop-newest":
            self._trim(batch, slice(0, max(0, self._queue.size - self.waiting)))
        else:
            if policy == "latest":
                self._keep_latest(batch)
            self._trim(batch, slice(-self._queue.size, None))
            while self._batches and self.waiting + len(batch.topics) > self._queue.size:
                self._let_go(self._batches[0], self.waiting + len(batch.topics) - self._queue.size)

    def _let_go(self, oldest: Batch, excess: int) -> None:
        self.waiting -= min(excess, len(oldest.topics))
        self._trim(oldest, slice(excess, None))
        if not oldest.topics:
            self._batches.popleft()
            self._held -= oldest.size
            if oldest.done:
                oldest.done()

    def _trim(self, batch: Batch, keep: slice) -> None:
        before = len(batch.topics)
        batch.topics = batch.topics[keep]
        batch.payloads = batch.payloads[keep]
        self.dropped += before - len(batch.topics)

    def _keep_latest(self, newest: Batch) -> None:
        """Reduce everything that waits, and `newest`, to the last message of each topic."""
        seen: set[bytes] = set()
        for batch in (newest, *reversed(self._batches)):
            last = {topic: i for i, topic in enumerate(batch.topics)}
            keep = sorted(i for topic, i in last.items() if topic not in seen)
            seen.update(last)
            self.dropped += len(batch.topics) - len(keep)
            batch.topics = [batch.topics[i] for i in keep]
            batch.payloads = [batch.payloads[i] for i in keep]
        for batch in [each for each in self._batches if not each.topics]:
            self._batches.remove(batch)
            self._held -= batch.size
            if batch.done:
                batch.done()
        self.waiting = sum(len(each.topics) for each in self._batches)


def default_queue(options: schema.Pipeline) -> schema.Queue:
    """A file can wait, and so can a broker that keeps what is not acknowledged; a sensor cannot, and nobody waits for `background`."""
    source = options.source
    kept = isinstance(source, schema.MqttSource) and source.qos > 0 and options.class_ != "background"
    return schema.Queue(full="block") if kept or isinstance(source, (schema.FileSource, schema.StdinSource)) else schema.Queue()
