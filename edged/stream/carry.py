"""One file for the time between a clean stop and the next start: what the pipelines carry over.

    edged windows 1 ⏎    what it is, and its version
    CRC-32               of the rest, big-endian
    {NAME: Carried, …}   MessagePack, see `carried.py`

It is written at a clean stop and removed by the next start before anything runs, so a run that
crashes leaves none: that it is there says that the stop was clean. What is in it counts as
bytes from outside when it is read again.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edged.atomic import sync_folder, write_atomic
from edged.config import schema
from edged.errors import BoardError
from edged.stream.assembly import RING_BYTES
from edged.stream.carried import Carried

MAX_BYTES = RING_BYTES
_TITLE = b"edged windows 1\n"
_HEAD = len(_TITLE) + 4
_AROUND = 80  # bytes at most for a part's name and what MessagePack puts around it

_decode = msgspec.msgpack.Decoder(dict[str, Carried]).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass
class Taken:
    """What was found at a start: `parts` by pipeline; `fault` says why there are none where there should be.

    `found` says whether the last run stopped cleanly.
    """

    found: bool
    parts: dict[str, Carried] = field(default_factory=dict)
    fault: str = ""


def save(path: Path, parts: dict[str, Carried]) -> None:
    """Write what pipelines carry over, durably, also where that is nothing.

    Where it is more than MAX_BYTES, the largest parts lose their streams; the next start
    counts those readings. Raises BoardError(`windows-not-kept`) where it cannot be written.
    """
    body = _encode(_within(parts, MAX_BYTES - _HEAD))
    try:
        write_atomic(path, _TITLE + zlib.crc32(body).to_bytes(4, "big") + body, 0o600)
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}; the readings of unfinished windows are lost"
        raise BoardError("windows-not-kept", text, "check its folder's owner and mode, and the space there") from error


def take(path: Path) -> Taken:
    """Read the file and remove it, durably; raises nothing, whatever is there.

    A file that cannot be removed is not used: after a crash it would be taken for that of a
    clean stop.
    """
    try:
        taken = _read(path)
    except FileNotFoundError:
        return Taken(False)
    except OSError as error:
        taken = Taken(True, fault=f"{path} cannot be read: {error.strerror}")
    try:
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        return Taken(True, fault=f"{path} cannot be removed: {error.strerror}")
    return taken


def lasting(pipelines: Iterable[schema.Pipeline]) -> set[str]:
    """Name the pipelines whose readings go on after a stop: those of brokers, and those that feed on such a pipeline.

    Files are read from their start again: what was carried would meet its own readings.
    """
    feeds = {each.name: each.source for each in pipelines}
    names = {name for name, source in feeds.items() if isinstance(source, schema.MqttSource)}
    more = names
    while more:
        more = {name for name, source in feeds.items() if isinstance(source, schema.PipelineSource) and source.name in more} - names
        names |= more
    return names


def _read(path: Path) -> Taken:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is not a file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    head, body = data[:_HEAD], memoryview(data)[_HEAD:]
    if len(data) > MAX_BYTES:
        return Taken(True, fault=f"{path} is longer than {MAX_BYTES >> 20} MiB")
    if not head.startswith(_TITLE):
        return Taken(True, fault=f"{path} is of another version of edged, or none of its files")
    if head[len(_TITLE) :] != zlib.crc32(body).to_bytes(4, "big"):
        return Taken(True, fault=f"{path} is damaged: its checksum is wrong")
    try:
        return Taken(True, _decode(body))
    except ValueError as error:
        return Taken(True, fault=f"{path} is damaged: {str(error)[:200]}")


def _within(parts: dict[str, Carried], most: int) -> dict[str, msgspec.Raw]:
    """Encode the parts; the largest go without their streams as long as all are more than `most` bytes."""
    encoded = {name: _encode(part) for name, part in parts.items()}
    size = sum(len(part) + _AROUND for part in encoded.values())
    for name in sorted(encoded, key=lambda each: len(encoded[each]), reverse=True):
        if size <= most:
            break
        size -= len(encoded[name])
        encoded[name] = _encode(parts[name].emptied())
        size += len(encoded[name])
    return {name: msgspec.Raw(part) for name, part in encoded.items()}
