"""Pieces over HTTP or HTTPS: ranges of `blobs/sha256/{hex}` below a URL, from any web server over a copy of the repository."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from queue import Empty
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edged.fleet.transfer.carriers.base import TICK_S, Broken, Errand, Piece
from edged.fleet.transfer.carriers.ranges import Range

if TYPE_CHECKING:
    from urllib3 import PoolManager

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 15.0
MOST_PIECES = 64  # of one request: a better carrier waits for no more


class HttpCarrier:
    """A web server, its certificate checked by those of the system. Redirects are not followed."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self.name = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"  # without a password that may stand there
        self._base = base_url.rstrip("/")
        self._left: Range | None = None  # the last request; one that was given up may still hang at its server

    def connected(self) -> bool:
        """Say yes: whether it is so is seen by asking."""
        return True

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        """See `Carrier`."""
        url = f"{self._base}/blobs/sha256/{errand.sha256}"
        following = errand.next_piece()
        while following is not None:
            numbers, following = _consecutive(errand, following)
            yield from self._bring(errand, Range(self._pool, url, errand.sha256, errand.size, numbers, self.name), len(numbers))
            if following is None:
                following = errand.next_piece()  # one that was bad is wanted again

    def _bring(self, errand: Errand, asked: Range, left: int) -> Generator[Piece | None, None, None]:
        if self._left is not None:
            self._left.join(TICK_S)
            if self._left.is_alive():  # a thread and a connection for each that hangs would be too many in the end
                raise Broken(f"{self.name} does not come to an end with an earlier answer")
        self._left = asked
        asked.start()
        try:
            while left:
                try:
                    event = asked.events.get(timeout=TICK_S)
                except Empty:
                    yield None
                    continue
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, int):
                    errand.came(event, event)
                    yield None
                else:
                    left -= 1
                    yield event
        finally:
            asked.stop()

    @cached_property
    def _pool(self) -> PoolManager:
        from urllib3 import PoolManager, Timeout

        return PoolManager(num_pools=1, maxsize=1, timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S))


def _consecutive(errand: Errand, first: int) -> tuple[list[int], int | None]:
    """Give the pieces that follow `first` without a gap, and the next one that is wanted after a gap, or is too many."""
    numbers = [first]
    while (number := errand.next_piece()) == numbers[-1] + 1 and len(numbers) < MOST_PIECES:
        numbers.append(number)
    return numbers, number
