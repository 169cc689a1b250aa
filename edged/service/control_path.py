"""The control path of a daemon: its claim on the store, the agent, the thread that works, what the control socket may ask.

A daemon that cannot have the store still serves what is active there; `fault` says why it takes no updates.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from edged.board.sensors import Felt, Sensors
from edged.clock import Clock
from edged.config.load import Loaded
from edged.errors import BoardError, BugError, EdgedError
from edged.fleet.agent import Agent
from edged.fleet.machine import CONFIRM
from edged.fleet.pushes import Pushes
from edged.models.book import Book, read_ledger
from edged.models.claim import Claim
from edged.models.entries import Entry, Held, Moved, Refusal
from edged.models.store import Store
from edged.select.adapt import LOOK_S
from edged.select.terms import Option
from edged.service.adapting import Adapting, Varied
from edged.service.fleet_commands import FleetCommands
from edged.service.fleet_line import FleetLine
from edged.service.fleet_orders import pushes_of
from edged.service.parts import Parts
from edged.service.ports import DaemonPorts
from edged.service.request import Request
from edged.service.selection import Selection
from edged.service.serving import Serving
from edged.service.snapshot import UpdateStatus
from edged.service.update_ops import OPS
from edged.service.update_status import statuses
from edged.service.voice import Voice

STOP_S = 3.0
AFTER_BUG_S = 10.0

Op = Callable[[Request], Any]


class ControlPath:
    """What a daemon has of the control path. `moved` collects transitions until somebody tells them.

    `pushes` are there where the configuration names a fleet's root; `pushes_fault` says why they are not all the same.
    """

    def __init__(
        self, loaded: Loaded, clock: Clock, rng: random.Random, selection: Selection, sensors: Sensors, line: FleetLine, voice: Voice
    ) -> None:
        """Take the store, and decide on what the last run left under way; before anything is loaded."""
        self.pushes: Pushes | None = None
        self.pushes_fault: EdgedError | None = None
        self.commands: FleetCommands | None = None
        self._line, self._voice, self._rng = line, voice, rng
        self.fault: EdgedError | None = None
        self.agent: Agent | None = None
        self.bug: EdgedError | None = None  # that the last step of its thread ended with
        self._adapting_bug: EdgedError | None = None  # that the last look at the board ended with
        self.moved: deque[Moved] = deque(maxlen=1000)
        self._clock = clock
        self._loaded = loaded
        self._store = Store(loaded.state_dir)
        self._selection = selection
        self._sensors = sensors
        self._ports = DaemonPorts(self._store, clock, selection, loaded)
        self._wake = threading.Event()  # where there is no agent to be woken by
        self.adapting: Adapting | None = None
        self._claim: Claim | None = None
        self._book: Book | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        try:
            self._open()
        except EdgedError as error:
            self.fault = error
            self.close()

    def _open(self) -> None:
        self._claim = self._store.claim()
        self._book = Book(self._loaded.state_dir, self._tell)
        agent = Agent(self._store, self._book, self._ports, self._clock)
        agent.updates.begin()
        self.agent = agent
        if self._loaded.config.fleet.root:
            self._take_orders(agent, self._book)
        else:
            _end_pushes(agent)

    def _take_orders(self, agent: Agent, book: Book) -> None:
        """Listen to the fleet; where that cannot be, the rest goes on."""
        try:
            pushes = pushes_of(self._loaded, self._line, agent, book, self._store, self._ports, self._clock, self._rng, self._ask)
        except EdgedError as error:
            self.pushes_fault = error
            return
        self.pushes = pushes
        self._line.wake = agent.updates.changed.set
        agent.updates.glance = self._glance
        ops = {"refresh": pushes.instructions.refresh_now, "rebirth": self._voice.rebirth}
        self.commands = FleetCommands(self._voice.topics, self._line.mailbox, pushes.instructions.now, self._voice.publish, ops)

    def _glance(self) -> None:
        """Look at what came from the fleet while a stage is worked on, which may take days."""
        if self.pushes is not None and self.commands is not None:
            self.commands.work()
            self.pushes.glance()

    def _ask(self) -> None:
        """Have the broker and publishers say again what they said: publishers answer a birth."""
        if self._line.ask_again():
            self._voice.rebirth()

    @property
    def bad_lines(self) -> int:
        """Count the lines of the journal that could not be read."""
        return self._book.bad_lines if self._book else 0

    @property
    def fleet_dropped(self) -> dict[str, int]:
        """Count by reason the fleet's messages that nothing came of."""
        refused = self.commands.refused if self.commands is not None else {}
        return {**self._line.dropped, **refused}

    @property
    def varied(self) -> deque[Varied]:
        """Give the changes of variants that nobody has told of yet."""
        return self.adapting.varied if self.adapting is not None else deque()

    @property
    def felt(self) -> Felt | None:
        """Give the last look at the board's sensors."""
        return self.adapting.felt if self.adapting is not None else None

    @property
    def costs(self) -> dict[str, Option]:
        """Give what is known of the variants that run, by pipeline."""
        return self.adapting.costs if self.adapting is not None else {}

    @property
    def stuck(self) -> str:
        """Say which pressure on the board no smaller variant relieves; empty: none."""
        return self.adapting.stuck if self.adapting is not None else ""

    @property
    def stale(self) -> dict[str, str]:
        """Name the models whose pipelines could not go back to the active release yet, with what went wrong."""
        return dict(self.agent.updates.stale) if self.agent else {}

    @property
    def alive(self) -> bool:
        """Say whether its thread runs, where it should."""
        return self._ending or self._thread.is_alive()

    def start(self, parts: Parts) -> None:
        """Begin to work, with these pipelines."""
        serving = Serving(parts, self._loaded.config.device.memory_budget_mib)
        self._ports.bind(serving, self._adapt)
        self.adapting = Adapting(parts, serving, self._selection, self._sensors)
        self._thread.start()

    def stop(self) -> None:
        """Come to rest, within STOP_S seconds; what was under way goes on at the next start."""
        self._ending = True
        self._wake.set()
        if self.agent is not None:
            self.agent.updates.interrupt()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        if self.adapting is not None and not self._thread.is_alive():
            self.adapting.keep()

    def end(self, clean: bool) -> None:
        """Let the store go; `clean` says that the daemon ends as it should, also where its thread is still held up."""
        if clean and self.agent is not None:
            try:
                self.agent.updates.end(working=self._thread.is_alive())
            except EdgedError as error:
                self.fault = error
        self.close()

    def close(self) -> None:
        """Let the store go."""
        if self._book is not None:
            self._book.close()
        if self._claim is not None:
            self._claim.release()

    def held(self) -> dict[str, Held]:
        """Say what is held of each model."""
        if self._book is not None:
            return self._book.models()
        try:
            return read_ledger(self._loaded.state_dir).models
        except EdgedError:  # `fault` says what is wrong with the store
            return {}

    def statuses(self) -> list[UpdateStatus]:
        """Say how the newest update of each model is."""
        return statuses(self.held(), self.agent.updates.jobs() if self.agent else [], self._clock)

    def ops(self) -> dict[str, Op]:
        """Give what the control socket may ask."""
        return {name: self._op(op) for name, op in OPS.items()}

    def _op(self, op: Callable[[Agent, Request], Any]) -> Op:
        def answer(request: Request) -> Any:
            if self.agent is None:
                raise self.fault or BoardError("no-updates", "this daemon takes no updates")
            return op(self.agent, request)

        return answer

    def _tell(self, entry: Entry) -> None:
        if isinstance(entry, Moved):
            self.moved.append(entry)

    def _run(self) -> None:
        changed = self.agent.updates.changed if self.agent is not None else self._wake
        while not self._ending:
            try:
                pause = self._step()
            except Exception as error:  # the pipelines serve on, and the next step may go well
                self.bug, pause = BugError.of("updates-bug", error), AFTER_BUG_S
            else:
                self.bug = self._adapting_bug
            if pause:
                changed.wait(pause)

    def _step(self) -> float:
        """Do the next thing of updates, then look at the board; give the seconds until there may be more to do."""
        pauses = [self.agent.updates.step() if self.agent is not None else LOOK_S]
        if self.pushes is not None and self.commands is not None and not self._ending:
            self.commands.work()
            pauses.append(self.pushes.step())
        if not self._ending:
            self._adapt()
        return min(pauses)

    def _adapt(self) -> None:
        """Look at the board, where it is time to. A release that is watched is left alone: another variant would begin its watch anew."""
        assert self.adapting is not None
        watched = {job.model for job in self.agent.updates.jobs() if job.state == CONFIRM} if self.agent is not None else set()
        try:
            looked = self.adapting.step(watched, lambda: self._ending)
        except Exception as error:  # updates go on
            self._adapting_bug = BugError.of("adapting-bug", error)
        else:
            self._adapting_bug = None if looked else self._adapting_bug


def _end_pushes(agent: Agent) -> None:
    """End what a fleet had ordered to which this board does not belong any more: it would wait for its order for ever."""
    why = Refusal(family="operator", code="cancelled", text="this board has no fleet any more", hint="nothing is to be done")
    for job in agent.updates.jobs():
        if job.candidate is None:
            agent.updates.stop_update(job.model, why)
