"""Make rates of what the nets of a calibration took in one runtime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low

import msgspec

from edged.board.rates import START_MIB, ClassRates, Rates
from edged.calibrate.child import Measured
from edged.calibrate.fit import Row, fit
from edged.calibrate.graphs import FIRST, Net
from edged.models.work import MACS, MEMORY, TERMS, memory_terms, time_terms

_MIB = 1 << 20
_LITTLE_MIB = 0.1  # differences below it are pages that were touched or not
_CONVERSION = ("call", "values")

Results = Mapping[str, Measured]  # by the file's name


def rates_from(nets: Sequence[Net], timed: Results, loaded: Results, macs_per_ns: Mapping[str, float], cache_mib: float) -> Rates | None:
    """Give the rates of a runtime that ran `nets`; None where too few of them ran.

    `macs_per_ns` is what no board of this kind can exceed, by compute type: no price is below it.
    """
    if FIRST not in timed or FIRST not in loaded:
        return None
    ran = [net for net in nets if net.path.name in timed]
    gmacs = {}
    for kind in ("float32", "int8", "hybrid"):
        of_kind = [net for net in ran if net.kind == kind]
        if {"dense", "conv", "depthwise"} - {net.what for net in of_kind}:
            continue
        gmacs[kind] = _class_rates(of_kind, timed, loaded, macs_per_ns[kind], cache_mib)
    if "float32" not in gmacs:  # the one that stands in for all others
        return None
    if "hybrid" in gmacs:  # its other operators are those of float32
        plain = {term: gmacs["float32"].ns[term] for term in TERMS["elements"] if term in gmacs["float32"].ns}
        gmacs["hybrid"] = msgspec.structs.replace(gmacs["hybrid"], ns=gmacs["hybrid"].ns | plain)
    convert = fit(list(_conversions(ran, timed)), _CONVERSION, beside=timed[FIRST].us)
    return Rates(
        gmacs=gmacs,
        call_us=timed[FIRST].us - gmacs["float32"].ns["dense_operators"] / 1000,
        convert_us=convert["call"],
        convert_ns=convert["values"] * 1000,
        base_mib=loaded[FIRST].mib,
        cache_mib=cache_mib,
    )


def _class_rates(nets: Sequence[Net], timed: Results, loaded: Results, macs_per_ns: float, cache_mib: float) -> ClassRates:
    smallest = min(nets, key=lambda net: timed[net.path.name].bare_us)  # one dense operator, little more than a call
    call_ns = timed[smallest.path.name].bare_us * 1000
    cached = [net for net in nets if net.costs.weight_bytes <= cache_mib * _MIB]  # others are as fast as the memory
    prices: dict[str, float] = {}
    for what, names in TERMS.items():
        rows = [(time_terms(net.costs), timed[net.path.name].bare_us * 1000 - call_ns) for net in cached if net.what == what]
        if what == "dense":
            rows = [(_minus(terms, time_terms(smallest.costs)), ns) for terms, ns in rows]
        prices |= fit(rows, names, call_ns, dict.fromkeys(MACS, 1 / macs_per_ns)) if rows else {}
        if what == "dense":
            call_ns -= prices["dense_operators"]
    known = [
        net
        for net in nets
        if net.path.name in loaded and net.path.name != FIRST and (net.what == "dense" or loaded[net.path.name].batch == 1)
    ]
    sizes = [_memory_row(net, loaded) for net in known]
    return ClassRates(
        dense=1 / prices["dense"],
        conv=1 / prices["conv"],
        depthwise=1 / prices["depthwise"],
        other=1 / prices["dense"],  # a recurrent layer is a dense one for each step
        ns={name: price for name, price in prices.items() if name not in MACS},
        mib=fit(sizes, MEMORY, _LITTLE_MIB, {"weights": 1.0}) if len(sizes) > len(MEMORY) else START_MIB,
        batch=median_low([loaded[net.path.name].batch for net in known if net.what == "dense"] or [1]),
    )


def _minus(terms: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {name: count - others[name] for name, count in terms.items()}


def _memory_row(net: Net, loaded: Results) -> Row:
    """Give the terms of a net and the MiB it took beside its arena; one that runs in batches is there twice, see `select/predict.py`."""
    terms, measured, arena = memory_terms(net.costs), loaded[net.path.name], net.costs.arena_bytes / _MIB
    if measured.batch == 1:
        return terms, measured.mib - arena
    again = {**terms, "weights": 2 * terms["weights"]}
    return again, measured.mib - (1 + measured.batch) * arena + terms["weights"]


def _conversions(nets: Sequence[Net], timed: Results) -> Iterator[Row]:
    """Give what conversion took: what a call with it takes more than a bare one, and that more than one of float32."""
    quantized = [net for net in nets if net.costs.shapes and net.costs.shapes.converted]
    bare_us = min((timed[net.path.name].bare_us for net in quantized), default=0.0)
    for net in quantized:
        measured = timed[net.path.name]
        took = measured.us - measured.bare_us + bare_us - timed[FIRST].us
        yield {"call": 1.0, "values": float(net.costs.shapes.converted if net.costs.shapes else 0)}, took
