"""Progress of long work: one line that is written over on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

_ELSEWHERE_S = 10.0
_TERMINAL_S = 0.1


class Progress:
    """Says how far something is, on standard error."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._terminal = sys.stderr.isatty()
        self._next = 0.0
        self._drawn = False

    def show(self, text: str) -> None:
        """Say `text`, unless something was said a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_S if self._terminal else _ELSEWHERE_S)
        if self._terminal:
            sys.stderr.write(f"\r{self._label}{text}\x1b[K")
            self._drawn = True
        else:
            sys.stderr.write(f"{self._label}{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line for what comes next."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
