"""How a configuration would do on a board: the variants it would run there, and what becomes of the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from edged.board.inforce import Board
from edged.errors import EdgedError
from edged.select.arrivals import Arrival
from edged.select.choose import choose
from edged.select.demand import Wanted, demands, limits_of
from edged.select.measured import Lookup
from edged.select.simulate import Ran, Work, simulate
from edged.select.terms import Demand, Option
from edged.select.why import refusals

# What the daemon's own Python takes, in calls into a runtime, which a profile knows: measured on one x86 server.
BATCH_CALLS = 1.8  # to take a batch of messages, however small
MESSAGE_CALLS = 0.2  # to decode a message and put its reading into a window
RESULT_CALLS = 2.0  # to make, write and hand over one result
SEED = 1


@dataclass(frozen=True, kw_only=True)
class Expected:
    """One pipeline and what will come in: messages of its own, or the results of the pipeline `after`. `full` as in `Work`."""

    wanted: Wanted
    queue: int
    full: str
    arrivals: Sequence[Arrival] = ()
    after: str = ""


class PipelineForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline. `variant` is empty, and `refused` says why, where the board has none for it; `ran` is then None.

    `ms` and `mib` are of one window and of the model, `measured` says whether `ms` was measured here.
    """

    pipeline: str
    model: str
    release: int
    deadline_ms: float
    windows_per_s: float
    variant: str = ""
    engine: str = ""
    quality: float | None = None
    ms: float | None = None
    mib: float | None = None
    measured: bool = False
    refused: str = ""
    ran: Ran | None = None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """The whole. `busy` is the part of the time that each worker works; memory in MiB is that of models, and what they may take."""

    v: int = 1
    board: str
    seconds: float
    seed: int
    busy: list[float]
    memory_mib: float
    budget_mib: float
    pipelines: list[PipelineForecast]


def forecast(lanes: Sequence[Expected], board: Board, budget_mib: int, seconds: float, measured: Lookup | None = None) -> Forecast:
    """Choose the variants of all pipelines on `board`, and let `seconds` pass; `budget_mib` is the configuration's, 0: the board's."""
    wanted = demands([lane.wanted for lane in lanes], board, measured)
    limits = limits_of(board, budget_mib)
    choice = choose(wanted, limits)
    call_ms = board.rates(None).call_us / 1000
    served = [(lane, demand, option) for lane, demand in zip(lanes, wanted) if (option := choice.chosen[demand.pipeline])]
    works = [_work(lane, demand, option, call_ms) for lane, demand, option in served]
    results, busy = simulate(works, board.workers, seconds, Random(SEED))
    ran = {each.pipeline: each for each in results}
    refused = refusals(wanted, limits, choice)
    return Forecast(
        board=board.profile.name,
        seconds=seconds,
        seed=SEED,
        busy=busy,
        memory_mib=sum(option.mib for _, _, option in served),
        budget_mib=limits.memory_mib,
        pipelines=[_told(each, choice.chosen[each.pipeline], ran.get(each.pipeline), refused.get(each.pipeline)) for each in wanted],
    )


def _work(lane: Expected, demand: Demand, option: Option, call_ms: float) -> Work:
    given = lane.wanted.release.manifest.input
    return Work(
        pipeline=demand.pipeline,
        class_=demand.class_,
        deadline_ms=demand.deadline_ms,
        window_ms=option.ms,
        worst_ms=option.worst_ms,
        batch_ms=BATCH_CALLS * call_ms,
        message_ms=MESSAGE_CALLS * call_ms,
        result_ms=RESULT_CALLS * call_ms,
        queue=lane.queue,
        full=lane.full,
        arrivals=lane.arrivals,
        after=lane.after,
        samples=given.samples,
        hop=given.hop,
    )


def _told(demand: Demand, option: Option | None, ran: Ran | None, refused: EdgedError | None) -> PipelineForecast:
    common = {
        "pipeline": demand.pipeline,
        "model": demand.model,
        "release": demand.release,
        "deadline_ms": demand.deadline_ms,
        "windows_per_s": demand.windows_per_s,
    }
    if option is None:
        return PipelineForecast(**common, refused=refused.text if refused else "")  # type: ignore[arg-type]
    return PipelineForecast(
        **common,  # type: ignore[arg-type]
        variant=option.variant,
        engine=option.engine,
        quality=option.quality,
        ms=option.ms,
        mib=option.mib,
        measured=option.measured,
        ran=ran,
    )
