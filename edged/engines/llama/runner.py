"""The process that runs one model for texts: `python -m edged.engines.llama.runner FD`, FD being its end of a socket.

Memory comes back for certain when it ends, and a crash of the runtime takes nobody along. It listens nowhere, writes no file, and
ends where the other end of its socket is closed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import threading
from pathlib import Path

from edged.clock import Clock, SystemClock
from edged.engines.llama import wire
from edged.engines.llama.breath import Breath
from edged.engines.llama.jobs import JOBS, Job
from edged.engines.llama.library import open_library
from edged.engines.llama.model import Aborted, Model
from edged.errors import EdgedError

_NICE = 10


def serve(channel: wire.Channel[wire.Request], clock: Clock) -> None:
    """Load what the first frame says, and answer until the other side is gone, or says what is no frame."""
    with contextlib.suppress(wire.Closed, wire.Garbled, Aborted):
        order = channel.receive()
        if not isinstance(order, wire.Load):
            return
        try:
            job = _load(order, Breath(channel, clock), clock)
        except EdgedError as error:
            channel.send(_failed(error))
            return
        channel.send(job.ready)
        while True:
            request = channel.receive()
            if isinstance(request, (wire.Pause, wire.Go)):
                continue  # it came too late
            try:
                channel.send(job.answer(request))
            except EdgedError as error:
                channel.send(_failed(error))


def _load(order: wire.Load, breath: Breath, clock: Clock) -> Job:
    model = Model(open_library(order.runtime), Path(order.path), breath.stops)
    return JOBS[order.job](model, order, breath, clock)


def _failed(error: EdgedError) -> wire.Failed:
    return wire.Failed(family=error.family, code=error.code, text=error.text, hint=error.hint)


def _step_back() -> None:
    """Leave the processor to the daemon, and be the first to go when memory is short."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _end_with(end: socket.socket) -> None:
    """Wait until the other end is closed, and end then, wherever the runtime hangs."""
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def main() -> None:
    """Run with the socket whose descriptor the command line names."""
    _step_back()
    end = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()
    try:
        serve(wire.Channel(end, wire.requests), SystemClock())
    except MemoryError as error:
        raise SystemExit(f"MemoryError: {error}") from error
    # Not by way of the interpreter's end: the runtime's threads may still be there.
    os._exit(0)


if __name__ == "__main__":
    main()
