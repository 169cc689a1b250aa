"""How many bytes a board may receive in a day, counted so that a restart or a clock that is set back gives none for free."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.atomic import write_atomic
from edged.clock import NS, Clock
from edged.errors import BoardError
from edged.fleet.transfer.disk import writing

DAY_NS = 24 * 3600 * NS
SAVE_BYTES = 4 << 20
OVERRUN_BYTES = 4 << 20  # so that a piece that is on its way is not thrown away
_MOST_BYTES = 256  # of the file
_LAST_DAY = 2_932_896  # the last one of the year 9999


class _Spent(msgspec.Struct, frozen=True):
    """Days since 1970 in UTC, and the bytes of that day."""

    day: Annotated[int, Meta(ge=0, le=_LAST_DAY)]
    bytes: Annotated[int, Meta(ge=0, le=1 << 60)]


class Budget:
    """Bytes received per day, in a file that is written at most every SAVE_BYTES, and by `save`.

    A day is one of UTC, by the latest time seen; or 24 hours of running, so that a clock that was once far ahead
    does not end all days. A kill forgets SAVE_BYTES at most.
    """

    def __init__(self, path: Path, max_bytes_per_day: int, clock: Clock) -> None:
        """With 0 there is no limit; it is counted all the same. A file that cannot be read counts as none."""
        self._path, self._most, self._clock = path, max_bytes_per_day, clock
        self._day, self._spent = _load(path)
        self._since = clock.mono()
        self._unsaved = 0

    @property
    def spent(self) -> int:
        """Give the bytes of the present day."""
        self._turn()
        return self._spent

    def check(self) -> None:
        """Raise BoardError(`budget-spent`) where no byte is left today."""
        self._check(0)

    def _check(self, overrun: int) -> None:
        if self._most and self.spent >= self._most + overrun:
            text = f"{self._spent:,} bytes of models were received today, and {self._most:,} are allowed"
            hint = f"it goes on at {self._next()}; or raise the limit, or bring the release on a stick: `edged models install`"
            raise BoardError("budget-spent", text, hint)

    def spend(self, size: int) -> None:
        """Count bytes that came. Raises as `check` when the limit is overrun by OVERRUN_BYTES, and what `save` raises."""
        self._turn()
        self._spent += size
        self._unsaved += size
        if self._unsaved >= SAVE_BYTES:
            self.save()
        self._check(OVERRUN_BYTES)

    def save(self) -> None:
        """Bring the count to the disk. Raises BoardError(`no-space`, `store-unwritable`)."""
        if self._unsaved:
            with writing(self._path):
                write_atomic(self._path, msgspec.json.encode(_Spent(self._day, self._spent)))
            self._unsaved = 0

    def _turn(self) -> None:
        """Begin a new day when it is time."""
        today = min(_LAST_DAY, max(0, self._clock.wall() // DAY_NS))
        now = self._clock.mono()
        if today > self._day or now - self._since >= DAY_NS:
            self._day, self._spent, self._since = max(today, self._day), 0, now

    def _next(self) -> str:
        midnight = (self._day + 1) * DAY_NS
        by_running = self._clock.wall() + self._since + DAY_NS - self._clock.mono()
        return datetime.fromtimestamp(min(midnight, by_running) // NS, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _load(path: Path) -> tuple[int, int]:
    try:
        with path.open("rb") as file:
            spent = msgspec.json.decode(file.read(_MOST_BYTES), type=_Spent)
    except (OSError, ValueError):
        return 0, 0
    return spent.day, spent.bytes
