"""Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999): bytes without a zero, so that a zero can end a frame."""

from __future__ import annotations

_RUN = 254  # the longest run without a zero that one code byte can announce
_FULL = 255  # its code: no zero follows


def stuff(data: bytes) -> bytes:
    """Give `data` without zeros, one byte longer and one more for each full run of 254; the closing zero is not added."""
    stuffed = bytearray()
    runs = data.split(b"\0")
    for run in runs:
        _append(stuffed, run)
    last = runs[-1]
    if last and not len(last) % _RUN:
        del stuffed[-1]  # a full run says itself that no zero follows it; at the end none does
    return bytes(stuffed)


def unstuff(data: bytes) -> bytes:
    """Give what `stuff` was given. Raises ValueError for bytes that it never makes: a zero, or a run that ends beyond the end."""
    if 0 in data:
        raise ValueError("a zero in stuffed bytes")
    # A code byte stands where a zero was, so it becomes one in place: one step for each run, not for each byte.
    packet = bytearray(data)
    end = len(packet)
    after_full = []
    at = 0
    while at < end:
        code = packet[at]
        packet[at] = 0
        at += code
        if code == _FULL:
            after_full.append(at)
    if at != end:
        raise ValueError(f"a run ends {at - end} bytes beyond the end")
    for place in reversed(after_full):
        del packet[place : place + 1]
    del packet[:1]
    return bytes(packet)


def _append(stuffed: bytearray, run: bytes) -> None:
    """Append a run without a zero and, by its last code, the zero after it."""
    for start in range(0, len(run) - _RUN + 1, _RUN):
        stuffed.append(_FULL)
        stuffed += run[start : start + _RUN]
    rest = run[len(run) - len(run) % _RUN :]
    stuffed.append(len(rest) + 1)
    stuffed += rest
