"""What the broker holds of this fleet's metadata, as it comes to a subscription: which versions, and how new."""

from __future__ import annotations

import threading

from tuf.api.metadata import Metadata, Timestamp

from edged.errors import OperatorError
from edged.exchange.targets import MAX_TIMESTAMP_BYTES, METADATA
from edged.publisher.metadata import SNAPSHOT, TARGETS, TIMESTAMP, Stand, is_past

_MOST = 10_000  # names that are remembered; the rest is cleared by a later run


class Shelf:
    """Names of metadata that the broker holds, and its timestamp. Filled by the link's thread, read by another."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._timestamp = b""
        self._lock = threading.Lock()

    def take(self, name: str, payload: bytes | None) -> None:
        """Note metadata that came, called `targets/3` or `timestamp`."""
        if not METADATA.fullmatch(name):
            return
        with self._lock:
            if payload == b"":
                self._names.discard(name)
            elif len(self._names) < _MOST:
                self._names.add(name)
            if name == TIMESTAMP:
                self._timestamp = payload if payload and len(payload) <= MAX_TIMESTAMP_BYTES else b""

    def holds(self, timestamp: bytes) -> bool:
        """Say whether this is the timestamp that came last."""
        with self._lock:
            return self._timestamp == timestamp

    def past(self, stand: Stand) -> list[str]:
        """Name what no board needs any more: targets and snapshots older than the one before the present."""
        versions = {TARGETS: stand.targets.signed.version, SNAPSHOT: stand.snapshot.signed.version}
        with self._lock:
            return sorted(name for name in self._names if is_past(name, versions))

    def check_not_newer(self, stand: Stand) -> None:
        """Raise OperatorError(`copy-older`) where the broker has a newer timestamp, signed by the present key: boards would refuse ours."""
        with self._lock:
            data = self._timestamp
        version = _version_of(data, stand) if data else 0
        if version > stand.timestamp.signed.version:
            text = f"the broker has timestamp {version}, and this folder {stand.timestamp.signed.version}: it is an older copy"
            raise OperatorError("copy-older", text, "use the folder that was published last, or copy it here")


def _version_of(data: bytes, stand: Stand) -> int:
    """Give the version of a timestamp that verifies; 0 for any other bytes: the broker is not trusted."""
    try:
        metadata: Metadata[Timestamp] = Metadata.from_bytes(data)
        stand.root.signed.verify_delegate(TIMESTAMP, metadata.signed_bytes, metadata.signatures)
        return int(metadata.signed.version)
    except Exception:  # whatever bytes from outside make of the library
        return 0
