"""Does something keep the board's clock right? The kernel knows."""

from __future__ import annotations

import ctypes

_STA_UNSYNC = 0x0040


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2): its first fields, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def read_unsynced() -> bool | None:
    """Ask the kernel whether nothing keeps its clock right; None where it does not say. Reads only: `modes` is 0."""
    timex = _Timex()
    try:
        answered = ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) >= 0
    except (OSError, AttributeError):
        return None
    return bool(timex.status & _STA_UNSYNC) if answered else None
