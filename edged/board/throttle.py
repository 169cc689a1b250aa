"""The Raspberry Pi's throttle word: whether its firmware slows the processor down, for heat or for lack of voltage.

Bits 0 to 3 are now, bits 16 to 19 since the start: voltage too low, clock rate capped, throttled, soft temperature limit.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from edged.board.commands import Run
from edged.board.tree import Tree

SLOWED = 0b1110  # now, for whatever reason

_SYSFS = "sys/devices/platform/soc*/soc*:firmware/get_throttled"  # the Raspberry Pi 5 has an address in both names
_MAILBOX = "dev/vcio"
_PROGRAM = "usr/bin/vcgencmd"

_PROPERTY = 0xC0086400  # _IOWR(100, 0, char *), on 64-bit systems
_GET_THROTTLED = 0x00030046
_ANSWERED = 0x80000000


def throttle_word(tree: Tree) -> int | None:
    """Read the word from a file or from the firmware's mailbox; None where neither answers."""
    written = (tree.number(path, 16) for path in tree.find(_SYSFS))
    word = next((word for word in written if word is not None), None)
    return _ask_mailbox(tree.root / _MAILBOX) if word is None else word


def ask_program(tree: Tree, run: Run) -> int | None:
    """Ask `vcgencmd` for the word, which starts a process; None where it is not there or does not answer."""
    if not tree.has(_PROGRAM):
        return None
    _, _, word = (run(["vcgencmd", "get_throttled"]) or "").partition("throttled=")
    try:
        return int(word, 16)
    except ValueError:
        return None


def _ask_mailbox(device: Path) -> int | None:
    import fcntl

    # Size, request, tag, size of its value, its request, the value (which bits since the start to forget: none), end.
    message = bytearray(struct.pack("=8I", 32, 0, _GET_THROTTLED, 4, 0, 0, 0, 0))
    try:
        if not stat.S_ISCHR(os.stat(device).st_mode):
            return None
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _PROPERTY, message, True)
        finally:
            os.close(fd)
    except OSError:
        return None
    _, answer, _, _, _, word, _, _ = struct.unpack("=8I", message)
    return word if answer == _ANSWERED else None
