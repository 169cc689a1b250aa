"""Predict what a variant takes on a board: time of one window through the model alone, and memory.

    time     what a call costs, and for each term of the graph: how often × what one costs here
    memory   arena, and for each term: how often × what one takes; a dense net that pays in batches
             is there a second time, for a whole batch

The terms are those of `edged/models/work.py`: multiply-adds by class of operator, how well the
blocks of the kernels are filled, operators. Weights larger than the cache come from memory at each call.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.board.rates import ClassRates, Rates
from edged.models.costs import Costs
from edged.models.work import MACS, TERMS, kind_of, memory_terms, time_terms

_MIB = 1 << 20
_BATCHED = 1 / 3  # the part of a net's time in calls and dense layers from which on batches pay


@dataclass(frozen=True)
class Need:
    """Milliseconds of processor time for one window, and MiB beside the runtime itself."""

    ms: float
    mib: float


def predict(costs: Costs, rates: Rates, bandwidth_gbs: float) -> Need:
    """Predict one call with one window; preprocessing and task come on top. `bandwidth_gbs` is what one thread reads from memory."""
    call_ns, work_ns = _call_ns(costs, rates), _work_ns(costs, rates)
    if costs.weight_bytes > rates.cache_mib * _MIB:
        work_ns = max(work_ns, costs.weight_bytes / bandwidth_gbs)
    dense_ns = costs.macs.dense / _prices(costs, rates, "dense").dense
    in_batches = call_ns + dense_ns >= _BATCHED * (call_ns + work_ns)
    return Need(ms=(call_ns + work_ns) / 1e6, mib=_mib(costs, _prices(costs, rates, ""), in_batches))


def _prices(costs: Costs, rates: Rates, class_: str) -> ClassRates:
    """Give the prices of a class of operators; a type that no calibration knows counts as float32."""
    return rates.gmacs.get(kind_of(costs, class_)) or rates.gmacs["float32"]


def _call_ns(costs: Costs, rates: Rates) -> float:
    converted = costs.shapes.converted if costs.shapes else 0
    return 1000 * (rates.call_us + (rates.convert_us if converted else 0)) + converted * rates.convert_ns


def _work_ns(costs: Costs, rates: Rates) -> float:
    counts = time_terms(costs)
    return sum(counts[term] * _price(_prices(costs, rates, class_), term) for class_, terms in TERMS.items() for term in terms)


def _price(prices: ClassRates, term: str) -> float:
    return 1 / float(getattr(prices, term)) if term in MACS else prices.ns.get(term, 0.0)


def _mib(costs: Costs, prices: ClassRates, in_batches: bool) -> float:
    counts = memory_terms(costs)
    arena = costs.arena_bytes / _MIB
    mib = arena + sum(counts.get(term, 0.0) * price for term, price in prices.mib.items())
    if in_batches and prices.batch > 1 and costs.shapes and costs.shapes.batchable and not costs.stateful:
        mib += prices.batch * arena + max(0.0, prices.mib.get("weights", 1.0) - 1) * counts["weights"]
    return mib
