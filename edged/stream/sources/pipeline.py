"""The results of one pipeline as the messages of the next: JSON, with the labels kept."""

from __future__ import annotations

import msgspec

from edged.clock import Clock
from edged.hold import Hold
from edged.records import Batch, Outgoing
from edged.stream.formats.choose import make_format
from edged.stream.sources.reader import Deliver
from edged.stream.streams import Labels

_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


class PipelineSource:
    """A source to one pipeline, an output to the other. It delivers in the other's worker thread."""

    finished = False
    error = ""
    failing: str | None = None

    def __init__(self, clock: Clock) -> None:
        self.dropped: dict[str, int] = {}
        self._clock = clock
        self._encode = make_format("json").encode
        self._to: Deliver | None = None
        self._stopped = False

    def start(self, deliver: Deliver) -> None:
        """Let results through from now on."""
        self._to = deliver

    def stop(self) -> None:
        """Let nothing more through; a message whose results come later stays unacknowledged, and comes again after a restart."""
        self._stopped = self._stopped or self._to is not None
        self._to = None

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        """Take results of the other pipeline; they are safe when those that are made of them are."""
        to = self._to
        if self._stopped and hold:
            hold.take()  # for good
        if to is not None:
            topics = [msgspec.json.encode(each.result.labels) for each in outgoing]
            payloads: list[bytes | None] = [self._encode(each.result) for each in outgoing]
            if hold:
                hold.take()
            to(Batch(topics, payloads, self._clock.wall(), self._clock.mono(), hold.release if hold else None))

    def close(self) -> None:
        """Do nothing: the inbox behind it is closed by its own pipeline."""

    @staticmethod
    def labels_of(topic: bytes) -> Labels | None:
        """Give back the labels of the result."""
        try:
            return tuple(_decode_labels(topic).items())
        except msgspec.DecodeError:
            return None
