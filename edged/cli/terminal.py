"""What a command needs to know of its terminal, and how to draw on it live; plain ANSI."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import sleep
from typing import TextIO

from edged.cli.columns import fit

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_CLEAR_LINE_END = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether to colour: on a terminal that can, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def size(stream: TextIO, columns: int) -> tuple[int, int]:
    """Give columns (at most `columns`, which is also what a file has) and lines of the terminal."""
    try:
        found = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return columns, 24
    # A serial console that was never told its size says 0.
    return min(found.columns or columns, columns), found.lines or 24


def frame(text: str, lines: int) -> str:
    """Give what draws `text` over the frame before, cut to `lines`; its lines must fit the terminal already."""
    shown = text.rstrip("\n").split("\n")
    if len(shown) > lines:
        shown = [*shown[: lines - 1], fit(f"… {len(shown) - lines + 1} more lines", 40)]
    return _HOME + "\r\n".join(line + _CLEAR_LINE_END for line in shown) + _CLEAR_BELOW


@contextmanager
def alternate_screen(stream: TextIO) -> Iterator[None]:
    """Draw on a screen of its own; afterwards the terminal is as it was, whatever happened."""
    stream.write(_ENTER)
    stream.flush()
    try:
        with _keys():
            yield
    finally:
        stream.write(_LEAVE)
        stream.flush()


@contextmanager
def _keys() -> Iterator[None]:
    """Have keys without Enter and without echo; Ctrl-C still interrupts."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def key(seconds: float) -> str:
    """Wait at most `seconds` for a key; give it, or nothing."""
    if not sys.stdin.isatty():
        sleep(seconds)
        return ""
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else ""
