"""Run a language model in this very process, without the runner that the daemon gives it: a trial is such a process, and confined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edged.clock import SystemClock
from edged.engines.choose import llama_build
from edged.engines.llama import wire
from edged.engines.llama.breath import Breath
from edged.engines.llama.client import Answering, Client, Limits
from edged.engines.llama.engine import LlamaEngine
from edged.engines.llama.jobs import JOBS
from edged.engines.llama.library import open_library
from edged.engines.llama.model import Model
from edged.engines.text import TextUse


def opens_inside(runtime: str) -> Callable[[Path, TextUse], LlamaEngine]:
    """Load a runtime of `TEXT_RUNTIMES`, and give what opens models with it; raises as `open_library`.

    They work with one thread: several, of which each waits for the others with a processor in hand, come to nothing where a
    trial gets what the daemon leaves over.
    """
    open_library(runtime)
    build = llama_build(runtime)
    return lambda path, use: _Engine(path, use, build, threads=1)


class _Engine(LlamaEngine):
    """`LlamaEngine` without its runner."""

    def _start(self, order: wire.Load, limits: Limits | None) -> Client:
        return _Inside(order)


class _Inside(Client):
    """What answers as a runner would."""

    def __init__(self, order: wire.Load) -> None:
        breath = _Breathless()
        self._job = JOBS[order.job](Model(open_library(order.runtime), Path(order.path), breath.stops), order, breath, SystemClock())
        self.ready = self._job.ready

    def ask(self, request: Answering, progress: Callable[[], None], paused: Callable[[], None]) -> wire.Numbers | wire.Answers:
        return self._job.answer(request)

    def close(self) -> None:
        """Nothing: the process ends."""


class _Breathless(Breath):
    """Nobody listens, and nobody asks for a pause."""

    def __init__(self) -> None:
        """Need no socket."""

    def between(self) -> None:
        """Go on."""

    def stops(self) -> bool:
        """Go on."""
        return False
