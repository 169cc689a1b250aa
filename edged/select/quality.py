"""How good the options of one pipeline are beside each other, whatever their metric counts."""

from __future__ import annotations

from edged.select.terms import Demand, Option

UNITS = 1_000_000  # of the best of a release; qualities that are nearer than one of them count as equal
_MOST = 1e100  # beyond it a release says nothing that arithmetic could use; nor does NaN


def known(option: Option) -> float | None:
    """Give the quality as the release says it, None where it says none that can be compared."""
    return option.quality if option.quality is not None and abs(option.quality) <= _MOST else None


def is_below_minimum(demand: Demand, option: Option) -> bool:
    """Say whether the release forbids an option; one whose quality is not known may run."""
    own = known(option)
    if own is None or demand.minimum is None:
        return False
    return own < demand.minimum if demand.higher_is_better else own > demand.minimum


def relative(demand: Demand) -> list[int]:
    """Give the quality of each option in millionths of the best that the release has; the lowest is 1.

    Own by best, for errors best by own. Where one is zero or negative a ratio says nothing: then the best counts 1, the worst
    a half, the others between them by their difference. An unknown quality is half the lowest known one; all unknown: 1 each.
    Of a cascade's stages the last counts 1, and each before it less: what a stage knows alone says nothing of it there.
    """
    if (stages := max((option.stage or 0 for option in demand.options), default=0)) > 0:
        return [max(1, UNITS * (option.stage or 0) // stages) for option in demand.options]
    qualities = [known(option) for option in demand.options]
    there = [quality for quality in qualities if quality is not None]
    if not there:
        return [UNITS] * len(qualities)
    low, high = min(there), max(there)
    best = high if demand.higher_is_better else low

    def share(own: float) -> int:
        if low > 0:
            ratio = own / best if demand.higher_is_better else best / own
        else:
            ratio = 1.0 if low == high else 1.0 - abs(best - own) / (high - low) / 2
        return max(2, round(UNITS * ratio))

    unknown = share(low if demand.higher_is_better else high) // 2
    return [unknown if quality is None else share(quality) for quality in qualities]
