"""Keep a runtime's greetings off a person's terminal, and out of a log whose lines are all JSON.

TFLite writes `INFO: Created TensorFlow Lite XNNPACK delegate for CPU.` straight to file
descriptor 2, once per process; neither runtime has a setting for it that both honour. So the
first load of each runtime happens with descriptor 2 turned to a memory file. What came in is
then written to the real one, without the INFO lines: a line that another thread wrote
meanwhile is late by some milliseconds, never lost.

The last words of a native crash would be held back, too: every model is opened in a child
process before, see `probe.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()
_greeted: set[str] = set()


@contextmanager
def hushed(runtime: str) -> Iterator[None]:
    """Run the body, the first time for `runtime`, without its INFO lines."""
    if runtime in _greeted:
        yield
        return
    with _lock:
        _greeted.add(runtime)
        real = os.dup(_STDERR)
        held = os.memfd_create("edged-stderr")
        os.dup2(held, _STDERR)
        try:
            yield
        finally:
            os.dup2(real, _STDERR)
            os.close(real)
            _repeat(held)


def _repeat(held: int) -> None:
    with os.fdopen(held, "rb") as file:
        file.seek(0)
        for line in file:
            if not line.startswith(b"INFO: "):
                os.write(_STDERR, line)
