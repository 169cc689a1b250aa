"""Record what the sources of a configuration deliver, without running any model."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from edged.clock import NS, Clock
from edged.config import schema
from edged.config.load import Loaded
from edged.errors import BoardError
from edged.service.parts import Lane, Parts
from edged.service.wiring import wire_sources
from edged.stream.recording import Recorder

LOOK_S = 0.25


def record(
    loaded: Loaded, out: Path, clock: Clock, rng: random.Random, seconds: float, stop: threading.Event, progress: Callable[[str], None]
) -> int:
    """Write a recording to `out` until `stop`, the end of all sources or `seconds` (0: no limit); give the number of messages.

    Raises BoardError(`cannot-write`). `progress` gets a line for people now and then.
    """
    parts = wire_sources(loaded, clock, rng)
    lanes = [lane for lane in parts.lanes if not isinstance(lane.options.source, schema.PipelineSource)]
    try:
        with _new_file(out) as file:
            recorder = Recorder(file, clock, parts.run)
            end = clock.mono() + int(seconds * NS) if seconds else None
            try:
                _start(parts, lanes, recorder)
                while not (stop.wait(LOOK_S) or recorder.error or all(lane.source.finished for lane in lanes)):
                    if end is not None and clock.mono() >= end:
                        break
                    progress(_so_far(parts, recorder))
            finally:
                _stop(parts, lanes)
    finally:
        parts.end_brokers()
    if recorder.error:
        text = f"cannot go on writing {out}: {recorder.error.strerror}"
        raise BoardError("cannot-write", text, "what was recorded until then is sound; free space or name another file")
    return recorder.messages


def _start(parts: Parts, lanes: list[Lane], recorder: Recorder) -> None:
    for lane in lanes:
        lane.source.start(recorder.deliver_for(lane.options.name))
    for link in parts.links.values():
        link.start()


def _stop(parts: Parts, lanes: list[Lane]) -> None:
    for lane in lanes:
        lane.source.stop()
    for link in parts.links.values():
        link.stop()


def _so_far(parts: Parts, recorder: Recorder) -> str:
    problems = "".join(f"; {name}: {link.state.text}" for name, link in parts.links.items() if link.state.text)
    return f"{recorder.messages:,} messages, {recorder.bytes / 1e6:.1f} MB{problems}"


def _new_file(path: Path) -> FileIO:
    try:
        return FileIO(path, "x")
    except FileExistsError:
        raise BoardError("cannot-write", f"{path} exists already", "name another file; recordings are never overwritten") from None
    except OSError as error:
        raise BoardError("cannot-write", f"cannot write {path}: {error.strerror}", "check the folder's owner and space") from None
