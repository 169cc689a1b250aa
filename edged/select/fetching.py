"""Which variants of a release are worth fetching from far away, of those that fit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SMALL = 4  # a way down takes at most this part of the bytes: a quarter


def worth_fetching(fitting: Sequence[str], sizes: Mapping[str, int]) -> list[str]:
    """Name the variants to fetch, the chosen one first.

    `fitting` are those that may run here, the chosen one first; `sizes` the bytes of each one's file. The chosen one is
    fetched, and as a way down, for heat and short memory, the smallest other one, where its file has a quarter of the
    chosen one's bytes at most. So a small board never fetches the large file, and a large board can still step down.
    """
    chosen, *others = fitting
    small = [each for each in others if SMALL * sizes[each] <= sizes[chosen]]
    return [chosen, *sorted(small, key=lambda each: (sizes[each], fitting.index(each)))[:1]]
