"""What a board does with one runtime: what each term of a model's cost costs here, in time and in memory.

The terms are those of `edged/models/work.py`. A calibration measures them; before the first one
they are derived from the two numbers of a profile.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edged.board.profile import Profile

# Hostile files are bounded here; what a board can really do is checked against its ceilings when it is measured.
Rate = Annotated[float, Meta(gt=0, le=1e6)]
Cost = Annotated[float, Meta(ge=0, le=1e9)]

# What a model takes of memory before anything was measured; the names are those of `memory_terms`.
START_MIB = {"model": 0.3, "weights": 2.0, "tables": 1.0, "operators": 0.01}


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables share."""


class ClassRates(_Base, frozen=True, kw_only=True):
    """What one compute type does: billions of multiply-adds a second by class of operator, and the price of every other term.

    ns      nanoseconds for one of each term of `time_terms`
    mib     MiB for one of each term of `memory_terms`
    batch   windows in one call that pay for a dense net, 1: none; such a net is in memory twice
    """

    dense: Rate
    conv: Rate
    depthwise: Rate
    other: Rate
    ns: dict[str, Cost]
    mib: dict[str, Cost]
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1


class Rates(_Base, frozen=True, kw_only=True):
    """What one runtime does on one board with so many threads.

    gmacs        by compute type: float32, int8, hybrid
    call_us      what each call costs: Python and the copies of its tensors
    convert_us   what a quantized model's input and output cost on top, and `convert_ns` each value of them
    base_mib     what the runtime takes itself, once in a process
    cache_mib    weights up to this size are read from a cache, larger ones from memory at each call
    """

    gmacs: dict[str, ClassRates]
    call_us: Cost
    convert_us: Cost
    convert_ns: Cost
    base_mib: Cost
    cache_mib: Cost = 1.0
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1


def rates_of(profile: Profile) -> Rates:
    """Give what serves before the first calibration.

    The ratios between classes are those of LiteRT 2.3 on an x86 server of 2022: of the rate of a
    convolution that suits the kernels, a dense layer has half for a single window, a depthwise one a third.
    """
    int8, float32 = (profile.compute.gmacs.get(kind, 1.0) for kind in ("int8", "float32"))
    overhead = profile.compute.overhead_us
    kinds = {"int8": int8, "float32": float32, "hybrid": (int8 + float32) / 2}
    return Rates(
        gmacs={kind: _classes(rate, overhead) for kind, rate in kinds.items()},
        call_us=overhead / 2,
        convert_us=overhead / 2,
        convert_ns=overhead / 2,
        base_mib=12.0,
    )


def _classes(rate: float, overhead_us: float) -> ClassRates:
    operator_ns = overhead_us * 20  # a call costs as much as fifty operators
    operators = dict.fromkeys(("dense_operators", "conv_operators", "depthwise_operators", "plain_operators"), operator_ns)
    ns = {**operators, "by_input": 3 / rate, "places": 60 / rate, "points": 60 / rate, "elements": 5 / rate}
    return ClassRates(
        dense=rate / 2,
        conv=rate,
        depthwise=rate / 3,
        other=rate / 4,
        ns=ns,
        mib=START_MIB,
    )
