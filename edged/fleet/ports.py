"""What the control path needs of the board and of the data path; the service gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from edged.fleet.confirm import Watched
from edged.models.manifest import Release
from edged.models.packed import Packed

Cancelled = Callable[[], bool]


class Ports(Protocol):
    """Called by the fleet thread; all may block but those of the first group."""

    def inputs(self) -> str:
        """Name what beside the release decides whether it runs here: engine builds and profile. A failure is final until this changes."""

    def wants(self, model: str) -> bool:
        """Say whether a pipeline of this board is to run the model."""

    def look(self) -> None:
        """See to what else the thread does, where a stage takes long."""

    def fitting(self, release: Release, packed: Packed) -> list[str]:
        """Name the variants of a release that are worth fetching from far away, the chosen one first; never none.

        Raises the EdgedError of a release that this board cannot run: channels, engine, memory.
        """

    def watched(self, model: str) -> Watched:
        """Sum up what the model's pipelines did since they went over to its release."""

    def trial(self, release: Release, cancelled: Cancelled) -> dict[str, Any]:
        """Run a candidate in a child process; give its report. Raises EdgedError with the code of what is wrong, and Cancelled."""

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Cancelled) -> dict[str, Any]:
        """Let a candidate see so many live windows; give what it made of them. Raises as `trial`."""

    def serve(self, model: str, release: Release | None, cancelled: Cancelled) -> dict[str, Any]:
        """Bring the model's pipelines to `release`, or to a stop where there is none; give what it took, for people.

        Raises EdgedError; what they run then is for the next call to say.
        """

    def rehearse(self, cancelled: Cancelled) -> None:
        """Start a second process as a daemon would, up to its first reading. Raises EdgedError where that fails."""
