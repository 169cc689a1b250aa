"""One GET of a range over HTTP, in a thread of its own: reading a socket cannot be asked in between whether somebody wants to stop."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from http.client import HTTPException
from queue import Full, Queue
from typing import TYPE_CHECKING

from edged.errors import PeerError
from edged.exchange.pieces import piece_bounds
from edged.fleet.transfer.carriers.base import TICK_S, Broken, Piece, not_found

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

READ_BYTES = 16 << 10  # at once: a slow link is seen to send something
_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(?:\d{1,16}|\*)")

Event = int | Piece | PeerError
"""So many bytes came; a piece is whole; it ended with this error."""


class Range(threading.Thread):
    """Consecutive pieces of the blob at a URL. What comes of it is in `events`, in order; never more is read than asked for."""

    def __init__(self, pool: PoolManager, url: str, sha256: str, size: int, numbers: list[int], name: str) -> None:
        super().__init__(name="transfer-http", daemon=True)
        self.events: Queue[Event] = Queue(4)
        self._pool, self._url, self._sha256, self._size, self._numbers = pool, url, sha256, size, numbers
        self._server = name
        self._first = piece_bounds(size, numbers[0])[0]
        self._end = sum(piece_bounds(size, numbers[-1]))
        self._stopped = threading.Event()
        self._response: BaseHTTPResponse | None = None

    def stop(self) -> None:
        """End it, from another thread; a connection that is just being made ends by its own timeout."""
        self._stopped.set()
        if self._response is not None:
            with suppress(Exception):  # it may have ended meanwhile; older versions of urllib3 have no way to do it
                self._response.shutdown()

    def run(self) -> None:
        """Read, and tell."""
        from urllib3.exceptions import HTTPError

        try:
            self._read()
        except PeerError as error:
            self._tell(error)
        except (HTTPError, HTTPException, OSError, ValueError, AttributeError) as error:  # AttributeError: a TLS socket that `stop` ended
            self._tell(Broken(f"{self._server} cannot be read: {str(error)[:200]}"))

    def _read(self) -> None:
        headers = {"Range": f"bytes={self._first}-{self._end - 1}", "Accept-Encoding": "identity"}
        response = self._pool.request(
            "GET", self._url, headers=headers, preload_content=False, decode_content=False, redirect=False, retries=False
        )
        self._response = response
        try:
            self._check(response)
            for number in self._numbers:
                self._tell((number, self._piece(response, piece_bounds(self._size, number)[1])))
        except BaseException:
            response.close()
            raise
        if response.status == 206:
            response.release_conn()
        else:
            response.close()

    def _check(self, response: BaseHTTPResponse) -> None:
        """Raise PeerError where the answer is not what was asked for; one without ranges may give all where all is wanted."""
        if response.status in (404, 410):
            raise not_found(self._sha256, self._server)
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status == 206 and match and (int(match[1]), int(match[2])) == (self._first, self._end - 1):
            return
        if response.status == 200 and (self._first, self._end) == (0, self._size):
            return
        if response.status in (200, 206):
            raise Broken(f"{self._server} does not give the range that was asked for")
        raise Broken(f"{self._server} answers with status {response.status}")

    def _piece(self, response: BaseHTTPResponse, length: int) -> bytearray:
        data, at = bytearray(length), 0
        while at < length:
            chunk = response.read(min(READ_BYTES, length - at))
            if not chunk or self._stopped.is_set():
                raise Broken(f"{self._server} ended the answer too early")
            data[at : at + len(chunk)] = chunk
            at += len(chunk)
            self._tell(len(chunk))
        return data

    def _tell(self, event: Event) -> None:
        """Hand on, and wait for whoever is to take it."""
        while not self._stopped.is_set():
            with suppress(Full):
                self.events.put(event, timeout=TICK_S)
                return
