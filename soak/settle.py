"""Wait until everything that will come has come, also where some of it never will."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edged.errors import EdgedError
from soak.lacks import last_came
from soak.ledger import Ledger
from soak.publisher import Publisher
from tests.daemon import Daemon, Status, is_connected
from tests.waiting import until

LOOK_S = 0.1  # between two looks: an answer costs the daemon some of what it is to do
CALM_S = 0.3  # so long nothing moves once everything that was waited for has come
QUIET_S = 4.0  # so long nothing moves, in a daemon that is connected and has nothing to do, where something is lost


class Stillness:
    """Says for how long something has not changed."""

    def __init__(self) -> None:
        self._last: Any = None
        self._since = time.monotonic()

    def seconds(self, now: Any) -> float:
        """Look at what may change; give for how long it was as it is now."""
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return time.monotonic() - self._since


def settle(daemon: Daemon, ledger: Ledger, publisher: Publisher) -> Status:
    """Stop the publisher, and wait for the last window of each stream; or until the daemon is still without it. Give the last status."""
    publisher.pause()
    still = Stillness()

    def over() -> Status | None:
        status = status_of(daemon)
        if status is None:
            return None
        seconds = still.seconds((moved(status), ledger.results))
        enough = CALM_S if all(last_came(track, publisher) for track in ledger.tracks.values()) else QUIET_S
        return status if seconds > enough and is_idle(status) and is_connected(status) else None

    return until(over, "everything is worked off", daemon.tail)


def until_still(daemon: Daemon, enough: Callable[[Status], Any], what: str) -> Status:
    """Wait until the status fulfils `enough`, or nothing in the daemon moves any more; give that status."""
    still = Stillness()

    def over() -> Status | None:
        status = status_of(daemon)
        if status is None:
            return None
        return status if enough(status) or still.seconds(moved(status)) > QUIET_S else None

    return until(over, what, daemon.tail)


def status_of(daemon: Daemon) -> Status | None:
    """Ask, a moment later; None while nobody answers. A daemon that has ended by itself is a failure."""
    time.sleep(LOOK_S)
    assert daemon.process is not None
    assert daemon.process.poll() is None, f"the daemon ended with {daemon.process.returncode}\n{daemon.tail()}"
    try:
        return daemon.status()
    except EdgedError:
        return None


def is_idle(status: Status) -> bool:
    """Say whether no message waits for a pipeline, and no result for a broker."""
    return status["state"] == "running" and not status["spool"]["results"] and not any(each["queue"] for each in status["pipelines"])


def moved(status: Status) -> tuple[Any, ...]:
    """Give what changes while anything moves in a daemon."""
    pipelines = tuple((each["messages"], each["results"], each["queue"]) for each in status["pipelines"])
    return status["pid"], pipelines, status["spool"]["results"]
