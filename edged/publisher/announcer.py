"""Keeps a broker up to date with a repository: on each connection, after each change of the folder, and when a board comes.

The thread that calls `run` sends one letter at a time. Boards ask by their `birth`: a broker may have lost what it
retained, or keep it for some boards only.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edged.backoff import Backoff
from edged.clock import NS, Clock
from edged.errors import EdgedError, OperatorError
from edged.exchange.desired import device_audience
from edged.publisher import letters
from edged.publisher.births import Births
from edged.publisher.letters import Letter
from edged.publisher.post import Post
from edged.publisher.publishing import trust
from edged.publisher.renewal import Renewal, renew, warnings_of
from edged.publisher.repository import Repository
from edged.publisher.shelf import Shelf

AGAIN_NS = 5 * NS  # boards that come within it of the last letters wait for it, together
RENEW_SHARE = 1 / 3
RENEW_EVERY_NS = 60 * NS
LOOK_S = 0.5
ANSWER_S = 60.0  # on a slow line the bytes of models are before it

Seen = tuple[tuple[str, int, int, int], ...]


@dataclass
class Told:
    """What the announcer did: letters and bytes sent, births answered, and what is wrong now."""

    letters: int = 0
    size: int = 0
    births: int = 0
    renewed: int = 0
    trouble: EdgedError | None = None
    warnings: list[str] = field(default_factory=list)


class Announcer:
    """Publishes for `serve`. `connected`, `born` come from the link's thread, `run` has its own."""

    def __init__(
        self,
        repository: Repository,
        shelf: Shelf,
        post: Post,
        clock: Clock,
        rng: random.Random,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is told when the folder is another than it was."""
        self.told = Told()
        self._repository = repository
        self._shelf = shelf
        self._post = post
        self._on_change = on_change
        self._clock = clock
        self._backoff = Backoff(1.0, 30.0, rng)
        self._retry_at = 0
        self._wake = threading.Event()
        self._connected = threading.Event()
        self._births = Births(clock)
        self._sent: dict[str, bytes] = {}  # by topic: what the broker was given on this connection
        self._seen: Seen = ()
        self._renew_at = 0
        self._trust_at = -AGAIN_NS

    # -- from the link's thread -------------------------------------------------------------

    def connected(self) -> None:
        """Note that a connection stands: the broker may be another, or have forgotten everything."""
        self._connected.set()
        self._wake.set()

    def born(self, device: str) -> None:
        """Note that a device said who it is."""
        self._births.take(device)
        self._wake.set()

    # -- the announcer's thread -------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Go on until `stop`."""
        while not stop.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()
            if not stop.is_set():
                self.step()

    def step(self) -> None:
        """Do what is due. What fails is tried again, ever more seldom."""
        now = self._clock.mono()
        if self._connected.is_set():
            self._connected.clear()
            self._sent.clear()
            self._seen = ()
            self._backoff.reset()
            self._retry_at = 0
        if now < self._retry_at:
            return
        try:
            self._renew(now)
            if self._post.ready:
                self._tell_changes()
                self._answer_births()
        except EdgedError as error:
            self.told.trouble = error
            self._seen = ()
            self._retry_at = now + int(self._backoff.next() * NS)
        else:
            self.told.trouble = None
            self._backoff.reset()

    def _renew(self, now: int) -> None:
        if now < self._renew_at:
            return
        self._renew_at = now + RENEW_EVERY_NS
        outcome = renew(self._repository, RENEW_SHARE)
        self.told.renewed += outcome is Renewal.DONE
        self.told.warnings = warnings_of(self._repository, outcome)

    def _tell_changes(self) -> None:
        """Send what is not on the broker as it is in the folder."""
        seen = look(self._repository)
        if seen == self._seen:
            return
        self._on_change()
        self._tell(trust(self._repository, self._shelf), changed_only=True)
        for audience in self._repository.layout.audiences():
            self._tell_orders(audience, changed_only=True)
        self._seen = seen

    def _answer_births(self) -> None:
        """Send what boards that came need: metadata, the orders of groups, and those to each of them."""
        if self._clock.mono() - self._trust_at < AGAIN_NS or not self._births.due:
            return
        before = self.told.size
        self._tell(trust(self._repository, self._shelf))
        for audience in self._repository.layout.audiences():
            if audience.startswith("group:"):
                self._tell_orders(audience)
        born = {device_audience(each) for each in self._births.answered(self.told.size - before, AGAIN_NS)}
        for audience in self._repository.layout.audiences():
            if audience in born:
                self._tell_orders(audience)
        self.told.births += len(born)

    def _tell_orders(self, audience: str, changed_only: bool = False) -> None:
        letter = letters.desired(self._repository, audience)
        if letter:
            self._tell(iter([letter]), changed_only)

    def _tell(self, those: Iterator[Letter], changed_only: bool = False) -> None:
        """Send letters; those that the broker was given on this connection not again where `changed_only`."""
        for letter in those:
            if changed_only and self._sent.get(letter.topic) == letter.payload:
                continue
            self._post.send(letter, ANSWER_S)
            self._sent[letter.topic] = letter.payload
            self.told.letters += 1
            self.told.size += len(letter.payload)
            if letter.name == "timestamp":
                self._trust_at = self._clock.mono()


def look(repository: Repository) -> Seen:
    """Say how the files look whose change is to be published. Raises OperatorError(`repository-damaged`)."""
    layout = repository.layout
    newest = repository.layout.metadata
    paths = [layout.timestamp, newest, *(layout.desired(audience) for audience in layout.audiences())]
    found = []
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            text = f"{path} cannot be read: {error.strerror}"
            raise OperatorError("repository-damaged", text, "check its owner and mode") from None
        found.append((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)
