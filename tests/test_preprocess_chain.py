"""A whole chain: shapes and faults, the same result in any batch, fusing, and what may come in."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.errors import PublisherError
from edged.preprocess import ops
from edged.preprocess.chain import ChainFaults, compile_chain

SAMPLES, RATE, NAMES = 64, 26.0, ("x", "y", "z")
MEL: dict[str, Any] = {"frame": 16, "hop": 8, "n_mels": 6}
CHAINS: dict[str, list[ops.Op]] = {
    "scale": [ops.Scale(factor=0.00025)],
    "columns": [ops.Scale(factor=[1.0, 2.0, 3.0])],
    "offset": [ops.Offset(by=1.0)],
    "zscore": [ops.Zscore(mean=[1.0, 2.0, 3.0], std=0.3)],
    "minmax": [ops.Minmax(min=-2.0, max=[1.0, 2.0, 3.0])],
    "detrend": [ops.Detrend()],
    "diff": [ops.Diff()],
    "clip": [ops.Clip(min=-1.0, max=1.0)],
    "magnitude": [ops.Magnitude()],
    "taper": [ops.Taper()],
    "rfft": [ops.Rfft(output="db")],
    "bands": [ops.Bands(edges_hz=[0.0, 3.0, 13.0], segment=32)],
    "log_mel": [ops.Magnitude(), ops.LogMel(convention="slaney", **MEL)],
    "mfcc": [ops.Select(channels=["y"]), ops.Mfcc(convention="tf", n_mfcc=4, **MEL)],
    "stats": [ops.Stats(of=list(ops.STATISTICS))],  # type: ignore[arg-type]
    "stats by stat": [ops.Stats(of=["std", "skew"], by="stat")],
    "select": [ops.Select(channels=[2, 0])],
    "reshape": [ops.Reshape(shape=[8, 8, 3])],
    "flatten": [ops.Flatten(order="F")],
    "features": [ops.Detrend(), ops.Stats(of=["rms", "crest"]), ops.Zscore(mean=[0.1] * 6, std=[0.5] * 6), ops.Reshape(shape=[6, 1])],
    "spectrum": [ops.Taper(), ops.Rfft(), ops.Scale(factor=0.5), ops.Flatten(), ops.Clip(min=0.0, max=math.inf)],
}


def some(seed: int, n: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(1.0, 3.0, (n, SAMPLES, 3)).astype(np.float32)


@pytest.mark.parametrize("name", CHAINS)
def test_float32_of_the_promised_shape_comes_out(name: str) -> None:
    chain = compile_chain(CHAINS[name], SAMPLES, 3, RATE, NAMES)
    for n in (0, 1, 5):
        out = chain(some(1, n))
        assert out.dtype == np.float32
        assert out.shape == (n, *chain.output_shape)
        assert out.flags.c_contiguous
        assert np.isfinite(out).all()


@pytest.mark.parametrize("name", CHAINS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 32), n=st.integers(1, 9))
def test_a_batch_gives_what_its_windows_give_one_by_one(name: str, seed: int, n: int) -> None:
    """To the bit: a result must not depend on what else happened to wait."""
    chain = compile_chain(CHAINS[name], SAMPLES, 3, RATE, NAMES)
    windows = some(seed, n)
    np.testing.assert_array_equal(chain(windows), np.concatenate([chain(windows[i : i + 1]) for i in range(n)]))


@pytest.mark.parametrize("name", CHAINS)
def test_a_view_gives_what_its_copy_gives_and_is_not_written_to(name: str) -> None:
    chain = compile_chain(CHAINS[name], SAMPLES, 3, RATE, NAMES)
    readings = np.random.default_rng(2).normal(size=(200, 3)).astype(np.float32)
    readings.setflags(write=False)
    overlapping = np.lib.stride_tricks.sliding_window_view(readings, SAMPLES, axis=0)[::32].transpose(0, 2, 1)
    np.testing.assert_array_equal(chain(overlapping), chain(np.ascontiguousarray(overlapping)))


def test_an_empty_chain_gives_the_windows_back_without_a_copy() -> None:
    windows = some(3, 2)
    chain = compile_chain([], SAMPLES, 3)
    assert chain(windows) is windows
    assert chain.output_shape == (SAMPLES, 3)


@pytest.mark.parametrize("samples", [1, 2, 7, 5000])
def test_one_message_may_hold_any_number_of_samples(samples: int) -> None:
    chain = compile_chain([ops.Scale(factor=2.0), ops.Flatten()], samples, 1)
    assert chain(np.ones((1, samples, 1), np.float32)).tolist() == [[2.0] * samples]


NUMBERS = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))
FACTORS = st.sampled_from([-40.0, -1.0, 0.00025, 0.3, 1.0, 7.0, 1e3])
COLUMNS = st.one_of(NUMBERS, st.lists(NUMBERS, min_size=3, max_size=3))
STEPS = st.one_of(
    st.builds(ops.Scale, factor=st.one_of(FACTORS, st.lists(FACTORS, min_size=3, max_size=3))),
    st.builds(ops.Offset, by=COLUMNS),
    st.builds(ops.Zscore, mean=COLUMNS, std=FACTORS.map(abs)),
    st.builds(lambda low, width: ops.Minmax(min=low, max=low + width), NUMBERS, FACTORS.map(abs)),
)


def exactly(op: ops.Op, x: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(op, ops.Scale):
        return x * op.factor
    if isinstance(op, ops.Offset):
        return x + op.by
    if isinstance(op, ops.Zscore):
        return (x - op.mean) / op.std
    assert isinstance(op, ops.Minmax)
    return (x - op.min) / (np.subtract(op.max, op.min))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=5), st.integers(0, 1 << 32))
def test_fused_operations_give_what_they_give_one_after_the_other(chain: list[ops.Op], seed: int) -> None:
    """Against float64; the error allowed is float32's rounding of the largest value on the way, carried through to the end."""
    windows = some(seed, 2)
    fused = compile_chain(chain, SAMPLES, 3)
    want = reduce(lambda x, op: exactly(op, x), chain, windows.astype(np.float64))
    largest, error = np.abs(windows).max(), 0.0
    for op in chain:
        gain = float(np.abs(exactly(op, np.ones(3)) - exactly(op, np.zeros(3))).max())
        shift = float(np.abs(exactly(op, np.zeros(3))).max())
        largest = largest * gain + shift
        error = error * gain + largest * 2.0**-23
    np.testing.assert_allclose(fused(windows), want, rtol=1e-6, atol=4 * error)


def test_neighbours_become_one_multiply_add() -> None:
    several: list[ops.Op] = [
        ops.Scale(factor=2.0),
        ops.Offset(by=[1.0, 2.0, 3.0]),
        ops.Zscore(mean=1.0, std=2.0),
        ops.Minmax(min=0.0, max=4.0),
    ]
    assert len(compile_chain(several, SAMPLES, 3)._steps) == 1
    assert len(compile_chain([several[0], ops.Clip(min=0.0, max=1.0), *several[1:]], SAMPLES, 3)._steps) == 3


def test_what_float32_could_not_hold_fused_is_not_fused() -> None:
    """Each factor is sound; their product is not."""
    chain = compile_chain([ops.Scale(factor=1e-25), ops.Scale(factor=1e-25), ops.Scale(factor=1e25), ops.Scale(factor=1e25)], 1, 1)
    assert len(chain._steps) > 1
    assert chain(np.zeros((1, 1, 1), np.float32)).tolist() == [[[0.0]]]
    grown = compile_chain([ops.Scale(factor=1e25), ops.Scale(factor=1e25)], 1, 1)
    assert grown(np.zeros((1, 1, 1), np.float32)).tolist() == [[[0.0]]]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("value", [0.0, 1.0, -1e15, 1e15])
def test_a_constant_window_stays_finite(name: str, value: float) -> None:
    chain = compile_chain(CHAINS[name], SAMPLES, 3, RATE, NAMES)
    assert np.isfinite(chain(np.full((1, SAMPLES, 3), value, np.float32))).all()


@pytest.mark.parametrize("name", CHAINS)
def test_huge_readings_stay_finite(name: str) -> None:
    chain = compile_chain(CHAINS[name], SAMPLES, 3, RATE, NAMES)
    assert np.isfinite(chain(some(4, 2) * np.float32(1e15))).all()


def test_what_leaves_float32_becomes_inf() -> None:
    windows = np.full((1, 2, 1), 3e38, np.float32)
    with np.errstate(over="ignore"):
        assert compile_chain([ops.Scale(factor=10.0)], 2, 1)(windows).ravel().tolist() == [math.inf] * 2
        assert compile_chain([ops.Stats(of=["abs_sum"])], 2, 1)(windows).ravel().tolist() == [math.inf]


@pytest.mark.parametrize("of", ["mean", "std", "rms", "skew", "kurtosis", "crest", "peak_to_peak"])
def test_moments_of_the_largest_readings_do_not_overflow(of: Any) -> None:
    windows = np.array([1.5e38, -1.5e38, 1e38, 0.0, 1.0], np.float32).reshape(1, 5, 1)
    assert np.isfinite(compile_chain([ops.Stats(of=[of])], 5, 1)(windows)).all()


FAULTS: list[tuple[list[ops.Op], list[int], str]] = [
    ([ops.Scale(factor=[1.0, 2.0])], [0], "`factor` has 2 numbers, and 3 columns come in"),
    ([ops.Flatten(), ops.Zscore(mean=0.0, std=[1.0, 2.0, 3.0])], [1], "`std` has 3 numbers, and 192 columns"),
    ([ops.Minmax(min=-3.3e38, max=3.3e38)], [0], "leaves the range of float32"),
    ([ops.Flatten(), ops.Detrend()], [1], r"needs \[samples, channels\], and gets \[192\]"),
    ([ops.Rfft(), ops.Rfft()], [1], "gets a spectrum or features"),
    ([ops.Stats(of=["mean"]), ops.Magnitude()], [1], r"gets \[3\]"),
    ([ops.Rfft(n=32)], [0], "would drop samples of a window of 64"),
    ([ops.Bands(edges_hz=[0.0, 14.0])], [0], "14 Hz is above half the rate, 13 Hz"),
    ([ops.Bands(edges_hz=[0.0, 0.1, 0.2, 5.0])], [0], "no bin lies in 0.1 to 0.2 Hz; bins are 0.40625 Hz apart"),
    ([ops.Bands(edges_hz=[0.0, 5.0], segment=65)], [0], "a segment of 65 samples in a window of 64"),
    ([ops.Select(channels=["w"])], [0], "`w` is not a channel here"),
    ([ops.Select(channels=[3])], [0], "has no column 3"),
    ([ops.Magnitude(), ops.Select(channels=["x"])], [1], "`x` is not a channel here"),
    ([ops.Flatten(), ops.Select(channels=["x"])], [1], "is a name"),
    ([ops.Reshape(shape=[8, 8])], [0], r"\[8, 8\] holds 64 values, and \[64, 3\] come in, 192"),
]


@pytest.mark.parametrize(("chain", "indexes", "says"), FAULTS)
def test_what_does_not_fit_is_named_by_its_index(chain: list[ops.Op], indexes: list[int], says: str) -> None:
    with pytest.raises(ChainFaults, match=says) as caught:
        compile_chain(chain, SAMPLES, 3, RATE, NAMES)
    assert [fault.index for fault in caught.value.faults] == indexes
    assert isinstance(caught.value, PublisherError)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("op", "samples"),
    [(ops.Diff(), 1), (ops.Detrend(), 1), (ops.Stats(of=["std"]), 1), (ops.Stats(of=["skew"]), 2), (ops.Stats(of=["mean", "kurtosis"]), 3)],
)
def test_too_few_samples_are_refused(op: ops.Op, samples: int) -> None:
    with pytest.raises(ChainFaults, match=f"gets {samples}"):
        compile_chain([op], samples, 3)
    compile_chain([op], samples + 1, 3)


def test_all_faults_that_can_be_told_are_told() -> None:
    chain: list[ops.Op] = [
        ops.Scale(factor=[1.0]),
        ops.Rfft(n=2),
        ops.Offset(by=[1.0, 2.0]),
        ops.Reshape(shape=[5]),
        ops.Zscore(mean=[0.0], std=1.0),
    ]
    with pytest.raises(ChainFaults) as caught:
        compile_chain(chain, SAMPLES, 3, RATE)
    assert [fault.index for fault in caught.value.faults] == [0, 1, 2, 3, 4]
    assert caught.value.text.endswith("(and 4 more)")


def test_operations_on_both_sides_of_a_refused_one_do_not_fuse() -> None:
    chain: list[ops.Op] = [ops.Scale(factor=-40.0), ops.Stats(of=["mean", "std", "rms"]), ops.Scale(factor=[-40.0, -40.0, -40.0])]
    with pytest.raises(ChainFaults) as caught:
        compile_chain(chain, 1, 1)
    assert [fault.index for fault in caught.value.faults] == [1]


def test_nothing_is_guessed_after_an_operation_whose_result_is_not_clear() -> None:
    with pytest.raises(ChainFaults) as caught:
        compile_chain([ops.Select(channels=["w"]), ops.Scale(factor=[1.0, 2.0])], SAMPLES, 3, RATE, NAMES)
    assert [fault.index for fault in caught.value.faults] == [0]


def test_names_are_not_guessed_where_their_number_is_wrong() -> None:
    with pytest.raises(ChainFaults, match="is a name"):
        compile_chain([ops.Select(channels=["x"])], SAMPLES, 3, RATE, ["x", "y"])


SOUND = st.one_of(
    STEPS,
    st.sampled_from([op for chain in CHAINS.values() for op in chain]),
    st.builds(ops.Rfft, output=st.sampled_from(["magnitude", "power", "db"]), n=st.sampled_from([0, 64, 100])),
    st.builds(ops.Bands, edges_hz=st.just([0.0, 2.0, 9.0]), segment=st.integers(0, 70)),
    st.builds(
        ops.LogMel,
        convention=st.sampled_from(["tf", "htk", "slaney"]),
        frame=st.integers(2, 40),
        hop=st.integers(1, 90),
        n_mels=st.integers(1, 9),
    ),
    st.builds(
        ops.Stats,
        of=st.lists(st.sampled_from(ops.STATISTICS), min_size=1, max_size=4, unique=True),
        by=st.sampled_from(["channel", "stat"]),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(SOUND, max_size=5), st.integers(1, 80), st.integers(1, 4), st.integers(0, 1 << 32))
def test_whatever_compiles_runs_and_gives_the_shape_it_said(chain: list[ops.Op], samples: int, channels: int, seed: int) -> None:
    try:
        compiled = compile_chain(chain, samples, channels, RATE, ("x", "y", "z", "w")[:channels])
    except ChainFaults:
        return
    windows = np.random.default_rng(seed).normal(size=(2, samples, channels)).astype(np.float32)
    out = compiled(windows)
    assert out.shape == (2, *compiled.output_shape)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
