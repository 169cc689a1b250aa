"""Unfinished windows over the end of a run: handed over at a clean stop, counted after a crash."""

from __future__ import annotations

from edged.errors import EdgedError
from edged.service.blackbox import BlackBox
from edged.service.parts import Lane, Parts
from edged.stream import carry

FILE = "unfinished"  # in the state folder
BLACK_BOX = "unfinished"  # the same ending, beside the control socket
CRASH = "crash"  # why readings were lost


class Unfinished:
    """The unfinished windows of all pipelines of a daemon."""

    def __init__(self, parts: Parts, starts: int) -> None:
        """`starts`: the number of this start of the daemon."""
        self.fault = ""  # why windows could not be handed over, in words
        self.crashed = False  # the last run did not stop cleanly
        self._parts = parts
        self._starts = starts
        self._path = parts.loaded.state_dir / FILE
        names = carry.lasting([lane.options for lane in parts.lanes])
        self._lanes = list(parts.lanes)  # also those without a pipeline: they may get one while the daemon runs
        self._lasting = [lane for lane in self._lanes if lane.options.name in names]
        socket = parts.loaded.socket
        self._box = BlackBox(socket.with_name(f"{socket.name}.{BLACK_BOX}"), [lane.options.name for lane in self._lanes])

    def take_up(self) -> None:
        """Go on with the windows of a run that stopped cleanly; count those of one that did not. Before anything runs."""
        taken = carry.take(self._path)
        self.fault = taken.fault
        self.crashed = not taken.found and self._starts > 1
        for lane in self._lasting:
            if lane.pipeline and lane.options.name in taken.parts:
                lane.pipeline.go_on(taken.parts[lane.options.name])
        if self.crashed:
            for lane in [lane for lane in self._lanes if lane.pipeline]:
                assert lane.pipeline
                lane.pipeline.counters.drop(CRASH, self._box.before.get(lane.options.name, 0))

    def note(self) -> None:
        """Keep count, for the case of a crash; called with each tick."""
        self._box.note([_readings(lane) for lane in self._lanes])

    def hand_over(self, worked_off: bool) -> str:
        """Keep the windows for the next start; say what went wrong. Not where a worker is still at it: its windows may change."""
        if not worked_off:
            return "a pipeline is still at work"
        try:
            carry.save(self._path, {lane.options.name: lane.pipeline.carry() for lane in self._lasting if lane.pipeline})
        except EdgedError as error:
            return error.text
        self._box.close()
        return ""


def _readings(lane: Lane) -> int:
    return lane.pipeline.assembly.windows.all_unfinished() if lane.pipeline else 0
