"""A repository goes onto a broker: roots, targets, snapshot, timestamp, then all orders; what is past is cleared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edged.publisher import letters
from edged.publisher.letters import Letter
from edged.publisher.repository import Repository
from edged.publisher.shelf import Shelf


@dataclass
class Published:
    """What was put on the broker: names of letters, how many bytes, and names of metadata that were cleared."""

    sent: list[str] = field(default_factory=list)
    size: int = 0
    cleared: list[str] = field(default_factory=list)


def publish(repository: Repository, shelf: Shelf, send: Callable[[Letter], None]) -> Published:
    """Publish all of a repository through `send`, which returns when the broker has the letter.

    Roots go first, whatever the broker has: they never change. Raises OperatorError(`copy-older`,
    `repository-damaged`) and what `send` does; then nothing that came later was sent.
    """
    published = Published()
    for letter in everything(repository, shelf):
        send(letter)
        if letter.payload:
            published.sent.append(letter.name)
            published.size += len(letter.payload)
        else:
            published.cleared.append(letter.name)
    return published


def everything(repository: Repository, shelf: Shelf) -> Iterator[Letter]:
    """Give all letters in their order; see `publish`."""
    yield from trust(repository, shelf)
    for audience in repository.layout.audiences():
        letter = letters.desired(repository, audience)
        if letter:
            yield letter


def trust(repository: Repository, shelf: Shelf) -> Iterator[Letter]:
    """Give the letters of metadata, and those that clear what is past."""
    stand = repository.stand()
    yield from letters.roots(repository, stand)
    # By now the broker has sent what it held: it answers in order.
    shelf.check_not_newer(stand)
    yield from letters.metadata(repository, stand)
    for name in shelf.past(stand):
        yield letters.clearing(repository.fleet, name)
