"""What a carrier is: it brings the pieces of one blob that it is asked for, and promises nothing of their content."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from edged.clock import Clock
from edged.errors import PeerError

TICK_S = 0.25  # a carrier gives None at least so often, so that its caller can look at the clock and at who wants to stop

NOT_FOUND = "blob-not-found"

Piece = tuple[int, bytearray]
"""Number and bytes of a piece, as they came: nobody has checked them yet."""


@dataclass(frozen=True)
class Errand:
    """What a carrier is to bring.

    next_piece   gives the number of another piece that is wanted, None where there is none at present
    came         is told of each arrival: its bytes, and how many of them are of use; (0, 0): an answer without bytes
    was_bad      says whether the piece that was given last had bytes that are not the blob's
    """

    sha256: str
    size: int
    clock: Clock
    next_piece: Callable[[], int | None]
    came: Callable[[int, int], None]
    was_bad: Callable[[], bool]


class Carrier(Protocol):
    """One way to the bytes. `name` is for people."""

    name: str

    def connected(self) -> bool:
        """Say whether it is worth asking now; called often."""

    def bring(self, errand: Errand) -> Generator[Piece | None, None, None]:
        """Give the pieces that are wanted, in any order, and None whenever TICK_S pass without one.

        It ends when no piece is wanted any more; one whose bytes were bad is wanted again. It holds
        a few pieces in memory, no more. To close it is to cancel it. Raises PeerError:
        `blob-not-found`, `no-server`; Broken.
        """


class Broken(PeerError):
    """A carrier that fails in the middle, and may soon work again."""

    def __init__(self, text: str) -> None:
        super().__init__("no-server", text, "look whether the server runs and can be reached; it is tried again by itself")


def not_found(sha256: str, where: str) -> PeerError:
    """Say that somebody who should have a blob does not."""
    text = f"{where} has no blob {sha256[:16]}…"
    return PeerError(NOT_FOUND, text, "publish the release again, and serve its repository with `edged fleet serve`")
