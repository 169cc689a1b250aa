"""How long the preprocessing of one window takes: the chain is run here, on random windows, once for each."""

from __future__ import annotations

import time
from functools import lru_cache

import msgspec

from edged.errors import EdgedError
from edged.models.schema import Input
from edged.preprocess.ops import Op

_RUNS, _MOST_NS = 7, 50_000_000


def preparing_ms(given: Input) -> float:
    """Give the processor time of the chain for one window on the machine that this runs on; 0 without a chain."""
    if not given.preprocess:
        return 0.0
    return _measured(msgspec.json.encode(given.preprocess), given.samples, tuple(given.channels), given.rate_hz)


@lru_cache(maxsize=256)
def _measured(chain: bytes, samples: int, channels: tuple[str, ...], rate_hz: float) -> float:
    """Take the least of some runs, so that other programs disturb little; what does not fit together takes no time."""
    import numpy as np

    from edged.preprocess.chain import compile_chain

    try:
        run = compile_chain(msgspec.json.decode(chain, type=list[Op]), samples, len(channels), rate_hz, channels)
    except EdgedError:  # it is refused where the release is loaded, with all that is wrong
        return 0.0
    window = np.random.default_rng(1).normal(size=(1, samples, len(channels))).astype(np.float32)
    least, begun = float("inf"), time.thread_time_ns()
    with np.errstate(all="ignore"):
        run(window)
        for _ in range(_RUNS):
            before = time.thread_time_ns()
            run(window)
            after = time.thread_time_ns()
            least = min(least, after - before)
            if after - begun > _MOST_NS:
                break
    return least / 1e6
