"""What a variant takes is predicted from its costs and the board's rates: counted by hand here."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from edged.board.profile import load_profile, names
from edged.board.rates import ClassRates, Rates, rates_of
from edged.models.costs import Costs, Macs, costs_of_file
from edged.models.shapes import Shapes
from edged.select.predict import predict

DATA = Path(__file__).parent / "data"
MIB = 1 << 20
FLOAT = ClassRates(
    dense=10.0, conv=50.0, depthwise=5.0, other=2.0, batch=32,
    ns={"conv_operators": 500.0, "places": 3.0, "elements": 0.5}, mib={"model": 0.25, "weights": 2.0, "operators": 0.01},
)  # fmt: skip
INT8 = msgspec.structs.replace(FLOAT, conv=100.0, batch=1)
RATES = Rates(gmacs={"float32": FLOAT, "int8": INT8}, call_us=2.0, convert_us=5.0, convert_ns=1.0, base_mib=10.0, cache_mib=4.0)


def costs(**given: object) -> Costs:
    fields = {
        "file_bytes": MIB, "weight_bytes": MIB, "arena_bytes": 2 * MIB, "macs_total": 0, "macs": Macs(conv=1_000_000), "elementwise": 1000,
        "compute": "float32", "stateful": False, "operators": {"CONV_2D": 2}, "shapes": Shapes(places=100),
    }  # fmt: skip
    return Costs(**{**fields, **given})  # type: ignore[arg-type]


def test_time_is_the_call_and_each_term_at_its_price() -> None:
    # 2 µs, 1e6 MACs at 50 a ns, two operators of 500 ns, 100 places of 3 ns, 1000 elements of 0.5 ns
    assert predict(costs(), RATES, 10.0).ms == pytest.approx((2000 + 20_000 + 1000 + 300 + 500) / 1e6)


def test_memory_is_arena_and_each_term_at_its_price() -> None:
    assert predict(costs(), RATES, 10.0).mib == pytest.approx(2 + 0.25 + 2 * 1 + 2 * 0.01)


def test_a_quantized_input_costs_its_conversion() -> None:
    more = predict(costs(shapes=Shapes(places=100, converted=640)), RATES, 10.0).ms - predict(costs(), RATES, 10.0).ms
    assert more == pytest.approx((5000 + 640) / 1e6)


def test_weights_beyond_the_cache_are_read_from_memory() -> None:
    small, large = (predict(costs(weight_bytes=size * MIB), RATES, 10.0).ms for size in (4, 8))
    assert small == predict(costs(), RATES, 10.0).ms
    assert large == pytest.approx((2000 + 8 * MIB / 10) / 1e6)


def test_a_dense_net_that_pays_in_batches_is_in_memory_twice() -> None:
    dense = {"macs": Macs(dense=1_000_000), "operators": {}, "elementwise": 0}
    single, batched = (predict(costs(**dense, shapes=Shapes(batchable=able)), RATES, 10.0).mib for able in (False, True))
    assert batched == pytest.approx(single + 32 * 2 + 1)
    stateful = predict(costs(**dense, shapes=Shapes(batchable=True), stateful=True), RATES, 10.0).mib
    assert stateful == single


def test_each_class_has_the_prices_of_its_own_type() -> None:
    mixed = costs(compute="float32", shapes=Shapes(places=100, kinds={"conv": "int8"}))
    assert predict(costs(), RATES, 10.0).ms - predict(mixed, RATES, 10.0).ms == pytest.approx(10_000 / 1e6)


def test_a_type_that_no_calibration_knows_counts_as_float32() -> None:
    assert predict(costs(compute="int16"), RATES, 10.0).ms == predict(costs(), RATES, 10.0).ms


def test_what_an_older_edged_packed_is_read_predicted_and_written_as_it_was() -> None:
    old = b'{"arena_bytes":100,"compute":"int8","elementwise":3,"file_bytes":10,"macs":{"conv":0,"dense":9,"depthwise":0,"other":0},'
    old += b'"macs_total":9,"operators":{"FULLY_CONNECTED":1},"stateful":false,"weight_bytes":8}'
    read = msgspec.json.decode(old, type=Costs)
    assert read.shapes is None
    assert predict(read, RATES, 10.0).ms > 0
    assert msgspec.json.encode(read, order="sorted") == old


@pytest.mark.parametrize("name", names())
def test_every_profile_predicts_every_model_before_the_first_calibration(name: str) -> None:
    profile = load_profile(name)
    rates = rates_of(profile)
    for path in DATA.rglob("*.tflite"):
        need = predict(costs_of_file(path), rates, profile.memory.bandwidth_gbs.cpu)
        assert 0 < need.ms < 1000
        assert 0 < need.mib < 50
        assert math.isfinite(need.ms)
