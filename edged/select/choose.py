"""Choose one variant for every pipeline, for all of them together: the best total that fits the board.

An option may be taken if nothing refuses it, it is not below the release's minimum quality, it meets the deadline, and its
pipeline, which runs on one worker, uses no more of that worker than is allowed. Of all sets of such options whose memory and
whose processor time fit together, the one that, in this order,

1. serves the most pipelines of class safety, then of normal, then of background;
2. has the highest sum of weight × relative quality (`quality.py`);
3. takes the least processor time; 4. the least memory; 5. comes first by the names of pipelines and variants.

The order of the configuration or of a release means nothing. The search is exact (`search.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from edged.select.prices import Item
from edged.select.quality import UNITS, is_below_minimum, relative
from edged.select.search import search
from edged.select.terms import Choice, Demand, Limits, Option

WEIGHTS = {"safety": 4, "normal": 2, "background": 1}
_MOST = 1e12  # workers, MiB: beyond it there is no limit, and no number that a board could have


def load(demand: Demand, option: Option) -> float:
    """Give what part of the time an option works, at the rate of its pipeline."""
    return option.ms * demand.windows_per_s / 1000


def work(demand: Demand, option: Option) -> float:
    """Give how many workers' time an option takes, all of its threads together."""
    return load(demand, option) * option.threads


def whole(workers: float, mib: float) -> tuple[int, int]:
    """Give processor time and memory in nanoseconds a second and KiB: whole numbers add up alike in any order."""
    return round(max(0.0, min(workers, _MOST)) * 1_000_000_000), round(max(0.0, min(mib, _MOST)) * 1024)


def is_sound(demand: Demand, option: Option) -> bool:
    """Say whether an option may run at all, however fast and small it is."""
    return not option.refused and not is_below_minimum(demand, option)


def may_run(demand: Demand, option: Option, limits: Limits) -> bool:
    """Say whether an option could be taken if its pipeline were alone, the memory apart."""
    is_in_time = option.worst_ms <= demand.deadline_ms and 0 <= load(demand, option) <= min(limits.share, _MOST)
    return is_sound(demand, option) and is_in_time and 0 <= option.mib <= _MOST


def choose(demands: Sequence[Demand], limits: Limits) -> Choice:
    """Choose for all pipelines together, see above; a pipeline for which there is no room gets None."""
    ordered = sorted(demands, key=lambda demand: demand.pipeline)
    candidates = [_candidates(demand, limits) for demand in ordered]
    values = _served(ordered)
    groups = [
        [Item(values[demand.class_] + WEIGHTS[demand.class_] * quality, *_needs(demand, option)) for option, quality in each]
        for demand, each in zip(ordered, candidates)
    ]
    found = search(groups, *whole(limits.share * limits.workers, limits.memory_mib))
    chosen = {
        demand.pipeline: None if number is None else each[number][0] for demand, each, number in zip(ordered, candidates, found.taken)
    }
    return Choice({demand.pipeline: chosen[demand.pipeline] for demand in demands}, found.exact)


def _candidates(demand: Demand, limits: Limits) -> list[tuple[Option, int]]:
    """Give the options that may run, with their relative quality, by name."""
    with_quality = zip(demand.options, relative(demand))
    return sorted((pair for pair in with_quality if may_run(demand, pair[0], limits)), key=lambda pair: pair[0].variant)


def _served(demands: Sequence[Demand]) -> dict[str, int]:
    """Give what it is worth to serve a pipeline of each class: more than all that pipelines of lower classes and all qualities are."""
    worth, below = {}, sum(WEIGHTS[demand.class_] * UNITS for demand in demands)
    for class_ in ("background", "normal", "safety"):
        worth[class_] = below + 1
        below += (below + 1) * sum(demand.class_ == class_ for demand in demands)
    return worth


def _needs(demand: Demand, option: Option) -> tuple[int, int]:
    return whole(work(demand, option), option.mib)
