"""Where a board looks for what its fleet says: retained messages, a web server, a folder on a stick. None of them is trusted.

A repository on a web server or in a folder is what `edged fleet` keeps in `public/`: `metadata/3.root.json`,
`desired/dev/press-7.json`, `desired/grp/line-3.json`, `blobs/sha256/…`.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edged.errors import PeerError
from edged.exchange.desired import MAX_DESIRED_BYTES
from edged.exchange.targets import MAX_TARGETS_BYTES, file_name
from edged.fleet.mailbox import Mailbox

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MQTT = "mqtt"
_TIMEOUT_S = 10.0
_WHOLE_S = 30.0
_CHUNK = 64 << 10


class Pending(PeerError):
    """A repository has still to answer: it is no fault, and nothing is known yet."""

    def __init__(self, name: str) -> None:
        super().__init__("repository-asked", f"{name} is asked, and has not answered yet", "nothing is to be done")


class Repository(Protocol):
    """One place to look. `pushes` says that news come by themselves; others are asked now and then."""

    name: str
    pushes: bool

    def metadata(self, name: str) -> bytes | None:
        """Give metadata such as `root/3`; None where there is none. Raises PeerError(`metadata-missing`, `repository-unreachable`)."""

    def desired(self, audience: str) -> bytes | None:
        """Give the desired document for an audience; None where there is none. Raises PeerError(`repository-unreachable`)."""


class MqttRepository:
    """What came over MQTT and is retained there."""

    name, pushes = MQTT, True

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def metadata(self, name: str) -> bytes | None:
        """See `Repository`. Only the end of the chain of roots may be missing: all else a broker has lost, or holds back."""
        found = self._mailbox.metadata(name)
        if found is None and (not name.startswith("root/") or self._mailbox.metadata("timestamp") is None):
            text = f"the broker has not given `_repo/{name}`"
            raise PeerError("metadata-missing", text, "it is asked for again; the fleet manager runs `edged fleet publish DIR`")
        return found

    def desired(self, audience: str) -> bytes | None:
        """See `Repository`."""
        return self._mailbox.desired(audience)


class FolderRepository:
    """A copy of `public/` on this board, such as on a stick."""

    pushes = False

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def metadata(self, name: str) -> bytes | None:
        """See `Repository`."""
        return self._read(Path("metadata", file_name(name)), MAX_TARGETS_BYTES)

    def desired(self, audience: str) -> bytes | None:
        """See `Repository`."""
        return self._read(_desired_path(audience), MAX_DESIRED_BYTES)

    def _read(self, path: Path, most: int) -> bytes | None:
        try:
            fd = os.open(self._folder / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                return file.read(most + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreachable(f"{self._folder / path} cannot be read: {error.strerror or error}") from None


class HttpRepository:
    """A web server that serves `public/`. An answer may take its time, also for ever: ask it aside, see `aside.py`."""

    pushes = False

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    def metadata(self, name: str) -> bytes | None:
        """See `Repository`."""
        return self._get(f"metadata/{file_name(name)}", MAX_TARGETS_BYTES)

    def desired(self, audience: str) -> bytes | None:
        """See `Repository`."""
        return self._get(_desired_path(audience).as_posix(), MAX_DESIRED_BYTES)

    def _get(self, path: str, most: int) -> bytes | None:
        import urllib3  # late: it comes with tuf, and few boards use HTTP

        url = f"{self.name}/{path}"
        try:
            with urllib3.PoolManager(timeout=_TIMEOUT_S, retries=False) as pool:
                answer = pool.request("GET", url, redirect=False, preload_content=False)
                with closing(answer):
                    data = _read_within(answer, most, url)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise unreachable(f"{url} cannot be read: {error}") from None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise unreachable(f"{url} answers with HTTP status {answer.status}")
        return data


def _read_within(answer: BaseHTTPResponse, most: int, url: str) -> bytes:
    """Read a byte more than `most` at most, and not for longer than a server needs that wants to be read."""
    data, end = bytearray(), time.monotonic() + _WHOLE_S
    while len(data) <= most and (part := answer.read1(_CHUNK, decode_content=False)):
        data += part
        if time.monotonic() > end:
            raise unreachable(f"{url} comes too slowly")
    return bytes(data[: most + 1])


def _desired_path(audience: str) -> Path:
    """Names of audiences are plain by the configuration that they come from."""
    kind, _, name = audience.partition(":")
    return Path("desired", {"dev": "dev", "group": "grp"}[kind], f"{name}.json")


def unreachable(text: str) -> PeerError:
    """Say that a repository does not give what it may have."""
    return PeerError("repository-unreachable", text, "it is tried again; check `repositories` in `[fleet]`, and the way there")
