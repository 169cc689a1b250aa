"""Record what the sources of a configuration deliver, without running any model."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from edged.clock import NS, Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.errors import BoardError
from edged.service.wiring import wire_sources
from edged.stream.recording import Recorder

LOOK_S = 0.25


def record(
    loaded: Loaded, out: Path, clock: Clock, rng: random.Random, seconds: float, stop: threading.Event, progress: Callable[[str], None]
) -> int:
    """Write a recording to `out` until `stop`, the end of all sources or `seconds` (0: no limit); give the number of messages.

    Raises BoardError(`cannot-write`). `progress` gets a line for people now and then.
    """
    try:
        file = out.open("xb")
    except FileExistsError:
        raise BoardError("cannot-write", f"{out} exists already", "name another file; recordings are never overwritten") from None
    except OSError as error:
        raise BoardError("cannot-write", f"cannot write {out}: {error.strerror}", "check the folder's owner and space") from None
    with file:
        parts = wire_sources(loaded, clock, rng, None, "-record")
        recorder = Recorder(file, clock, parts.run)
        lanes = [lane for lane in parts.lanes if not isinstance(lane.options.source, schema.PipelineSource)]
        for lane in lanes:
            lane.source.start(recorder.deliver_for(lane.options.name))
        for link in parts.links.values():
            link.start()
        end = clock.mono() + int(seconds * NS)
        try:
            while not stop.wait(LOOK_S) and not all(lane.source.finished for lane in lanes) and (not seconds or clock.mono() < end):
                problems = "".join(f"; {name}: {link.state.text}" for name, link in parts.links.items() if link.state.text)
                progress(f"{recorder.messages:,} messages, {recorder.bytes / 1e6:.1f} MB{problems}")
        finally:
            for lane in lanes:
                lane.source.stop()
            for link in parts.links.values():
                link.stop()
            for broker in parts.brokers:
                broker.stop()
    return recorder.messages
