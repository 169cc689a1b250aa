"""The control path of a daemon: its claim on the store, the agent, the thread that works, what the control socket may ask.

A daemon that cannot have the store still serves what is active there; `fault` says why it takes no updates.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO

from msgspec import Meta

from edged.board.sensors import Felt, Sensors
from edged.clock import Clock
from edged.config.load import Loaded
from edged.config.schema import NAME, NAME_WORDS
from edged.errors import BoardError, BugError, EdgedError, OperatorError, PeerError
from edged.fleet.agent import Agent
from edged.fleet.machine import CONFIRM
from edged.models.book import Book, read_ledger
from edged.models.claim import Claim
from edged.models.entries import Entry, Held, Moved, Policy
from edged.models.schema import MAX_RELEASE
from edged.models.section import regular_size
from edged.models.source import FilesSource, PackSource, Source
from edged.models.store import Store
from edged.select.adapt import LOOK_S
from edged.select.terms import Option
from edged.service.adapting import Adapting, Varied
from edged.service.parts import Parts
from edged.service.ports import DaemonPorts
from edged.service.request import Request
from edged.service.selection import Selection
from edged.service.serving import Serving
from edged.service.snapshot import UpdateStatus
from edged.service.update_status import statuses

STOP_S = 3.0
AFTER_BUG_S = 10.0

Op = Callable[[Request], Any]
Number = Annotated[int, Meta(ge=1, le=MAX_RELEASE)]


class ControlPath:
    """What a daemon has of the control path. `moved` collects transitions until somebody tells them."""

    def __init__(self, loaded: Loaded, clock: Clock, selection: Selection, sensors: Sensors) -> None:
        """Take the store, and decide on what the last run left under way; before anything is loaded."""
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

    @property
    def bad_lines(self) -> int:
        """Count the lines of the journal that could not be read."""
        return self._book.bad_lines if self._book else 0

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
        asked: dict[str, Callable[[Agent, Request], Any]] = {
            "install": _install,
            "activate": _activate,
            "rollback": _rollback,
            "cancel": _cancel,
            "remove": _remove,
            "pin": _pin,
        }
        return {name: self._op(op) for name, op in asked.items()}

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
        pause = self.agent.updates.step() if self.agent is not None else LOOK_S
        if not self._ending:
            self._adapt()
        return pause

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


def _install(agent: Agent, request: Request) -> dict[str, Any]:
    name = request.arg("source", str, "files that were handed over")[:1000]
    return _taken(agent.install(_source(request, name), _policy(request)))


def _source(request: Request, name: str) -> Source:
    names = request.arg("names", list[str], [])
    if len(request.files) != (len(names) or 1) or len(set(names)) != len(names):
        raise PeerError("malformed-request", "not a request: one open file for each name is needed, or one for a pack")
    for each in request.files:
        regular_size(each, name)  # refused while they are still the request's, which closes them
    files: list[BinaryIO] = [os.fdopen(each, "rb") for each in request.take_files()]
    return FilesSource(dict(zip(names, files, strict=True)), name) if names else PackSource(files[0], name)


def _activate(agent: Agent, request: Request) -> dict[str, Any]:
    return _taken(agent.activate(_model(request), request.arg("release", Number), _policy(request)))


def _rollback(agent: Agent, request: Request) -> dict[str, Any]:
    model = _model(request)
    return {"model": model, "release": agent.rollback(model)}


def _cancel(agent: Agent, request: Request) -> dict[str, Any]:
    model = _model(request)
    agent.cancel(model)
    return {"model": model}


def _remove(agent: Agent, request: Request) -> dict[str, Any]:
    model, release = _model(request), request.arg("release", Number)
    agent.remove(model, release)
    return {"model": model, "release": release}


def _pin(agent: Agent, request: Request) -> dict[str, Any]:
    model, release, on = _model(request), request.arg("release", Number), request.arg("on", bool, True)
    agent.pin(model, release, on)
    return {"model": model, "release": release, "on": on}


def _model(request: Request) -> str:
    name: str = request.arg("model", str)
    if not re.match(NAME, name):
        raise OperatorError("no-such-model", f"{name[:64]!r} is not the name of a model", f"a name has {NAME_WORDS}")
    return name


def _policy(request: Request) -> Policy:
    policy: Policy = request.arg("policy", Policy, Policy())
    return policy


def _taken(moved: Moved) -> dict[str, Any]:
    return {"model": moved.model, "release": moved.release, "state": moved.state}
