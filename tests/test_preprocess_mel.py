"""log_mel and mfcc against librosa's own numbers (data/mel/README.md) and against the published formulas in loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from edged.preprocess import ops
from edged.preprocess.chain import ChainFaults, compile_chain
from edged.preprocess.mel import cosine_transform, mel_edges, mel_weights

RATE = 16000.0
CASES: dict[str, dict[str, Any]] = {
    "a": {"frame": 400, "n_fft": 512, "hop": 160, "n_mels": 40, "f_min": 20.0, "f_max": 7600.0},
    "b": {"frame": 255, "hop": 100, "n_mels": 20, "window": "hamming"},
    "c": {"frame": 512, "hop": 160, "n_mels": 40, "power": 1, "top_db": 0.0},
}


@pytest.fixture(scope="module")
def reference(data: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(data / "mel" / "librosa.npz") as arrays:
        return dict(arrays)


def run(op: ops.Op, signal: NDArray[np.float32], rate_hz: float = RATE) -> NDArray[np.float32]:
    chain = compile_chain([op], len(signal), 1, rate_hz)
    out = chain(signal.reshape(1, -1, 1))
    assert out.dtype == np.float32
    assert out.shape == (1, *chain.output_shape)
    return out[0]


@pytest.mark.parametrize("convention", ["htk", "slaney"])
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_log_mel_is_librosas(convention: Any, case: str, reference: dict[str, NDArray[np.float32]]) -> None:
    out = run(ops.LogMel(convention=convention, **CASES[case]), reference["signal"])
    np.testing.assert_allclose(out, reference[f"{convention}_{case}_log_mel"], atol=0.005)  # dB; librosa computes in float32


@pytest.mark.parametrize("convention", ["htk", "slaney"])
@pytest.mark.parametrize("case", ["a", "b"])
def test_mfcc_is_librosas(convention: Any, case: str, reference: dict[str, NDArray[np.float32]]) -> None:
    out = run(ops.Mfcc(convention=convention, n_mfcc=13, **CASES[case]), reference["signal"])
    np.testing.assert_allclose(out, reference[f"{convention}_{case}_mfcc"], atol=0.01)


@pytest.mark.parametrize("convention", ["htk", "slaney"])
def test_filter_banks_are_librosas(convention: str, reference: dict[str, NDArray[np.float32]]) -> None:
    even = mel_weights(convention, mel_edges(convention, 40, 20.0, 7600.0), 512, RATE)
    np.testing.assert_allclose(even, reference[f"{convention}_a_weights"], atol=1e-6)
    odd = mel_weights(convention, mel_edges(convention, 20, 0.0, 8000.0), 255, RATE)
    np.testing.assert_allclose(odd, reference[f"{convention}_b_weights"], atol=1e-6)


def tf_weight(bin_: int, band: int, bins: int, n_mels: int, f_min: float, f_max: float) -> float:
    """One entry of tf.signal.linear_to_mel_weight_matrix: slopes over mel, nothing from the bin at 0 Hz."""

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1.0 + hz / 700.0)

    if bin_ == 0:
        return 0.0
    step = (mel(f_max) - mel(f_min)) / (n_mels + 1)
    lower, centre, upper = (mel(f_min) + step * (band + i) for i in range(3))
    at = mel(bin_ * (RATE / 2) / (bins - 1))
    return max(0.0, min((at - lower) / (centre - lower), (upper - at) / (upper - centre)))


def tf_log_mel(
    signal: NDArray[np.float32], frame: int, hop: int, n_fft: int, n_mels: int, f_min: float, f_max: float
) -> NDArray[np.float64]:
    """tf.signal.stft with its hann_window, tf.abs, the weight matrix, ln(x + 1e-6); sums and loops only."""
    x = signal.astype(np.float64)
    period = frame if frame % 2 == 0 else frame - 1  # window_ops.py: window_length + periodic * even - 1
    window = [0.5 - 0.5 * math.cos(2 * math.pi * t / period) for t in range(frame)]
    bins = n_fft // 2 + 1
    turn = np.exp(-2j * np.pi * np.outer(np.arange(bins), np.arange(frame)) / n_fft)
    rows = []
    for start in range(0, len(x) - frame + 1, hop):
        size = [abs(sum(turn[k] * (x[start : start + frame] * window))) for k in range(bins)]
        mels = [sum(size[k] * tf_weight(k, m, bins, n_mels, f_min, f_max) for k in range(bins)) for m in range(n_mels)]
        rows.append([math.log(value + 1e-6) for value in mels])
    return np.array(rows)


@pytest.mark.parametrize(("frame", "n_fft"), [(100, 128), (101, 128), (128, 128)])
def test_log_mel_and_mfcc_are_tensorflows_formulas(frame: int, n_fft: int, reference: dict[str, NDArray[np.float32]]) -> None:
    signal = reference["signal"][500:900]
    keys: dict[str, Any] = {"convention": "tf", "frame": frame, "hop": 80, "n_mels": 12, "f_min": 125.0, "f_max": 3800.0}
    want = tf_log_mel(signal, frame, 80, n_fft, 12, 125.0, 3800.0)
    np.testing.assert_allclose(run(ops.LogMel(**keys), signal), want, rtol=1e-5, atol=1e-5)
    coefficients = [
        [math.sqrt(2.0 / 12) * sum(row[m] * math.cos(math.pi * k * (m + 0.5) / 12) for m in range(12)) for k in range(10)] for row in want
    ]
    np.testing.assert_allclose(run(ops.Mfcc(n_mfcc=10, **keys), signal), coefficients, rtol=1e-5, atol=1e-5)


def test_keyword_spotting_features_have_their_shape() -> None:
    """1 s at 16 kHz, 30 ms frames every 20 ms: 49 x 10, as the keyword model's tensor."""
    keys: dict[str, Any] = {"convention": "tf", "frame": 480, "hop": 320, "n_mels": 40, "f_min": 20.0, "f_max": 4000.0}
    chain = compile_chain([ops.Mfcc(n_mfcc=10, **keys), ops.Reshape(shape=[49, 10, 1])], 16000, 1, RATE)
    assert chain.output_shape == (49, 10, 1)


def test_cosine_transforms() -> None:
    x = np.random.default_rng(3).normal(size=(5, 40))
    np.testing.assert_allclose(x @ cosine_transform(40, 40, orthonormal=True), scipy.fft.dct(x, norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(x @ cosine_transform(40, 13, orthonormal=False), scipy.fft.dct(x)[:, :13] / math.sqrt(80.0), atol=1e-12)


def test_logarithms_are_a_choice_of_their_own(reference: dict[str, NDArray[np.float32]]) -> None:
    keys: dict[str, Any] = {"frame": 400, "hop": 160, "n_mels": 20, "power": 2}
    energy = np.exp(run(ops.LogMel(convention="tf", log="ln", offset=1e-20, **keys), reference["signal"]).astype(np.float64))
    decibels = run(ops.LogMel(convention="tf", log="db", top_db=0.0, **keys), reference["signal"])
    np.testing.assert_allclose(decibels, 10 * np.log10(np.maximum(energy, 1e-10)), atol=1e-3)
    capped = run(ops.LogMel(convention="tf", log="db", top_db=30.0, **keys), reference["signal"])
    np.testing.assert_allclose(capped, np.maximum(decibels, decibels.max() - 30.0), atol=1e-4)


@pytest.mark.parametrize("convention", ["tf", "htk", "slaney"])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e-30, 3e38])
def test_silence_and_huge_signals_stay_finite(convention: Any, value: float) -> None:
    signal = np.full(1000, value, np.float32)
    for op in (
        ops.LogMel(convention=convention, frame=256, hop=128, n_mels=20),
        ops.Mfcc(convention=convention, frame=256, hop=128, n_mels=20, n_mfcc=13),
    ):
        assert np.isfinite(run(op, signal)).all()


def test_the_loudest_of_each_window_sets_its_own_floor() -> None:
    loud, quiet = np.random.default_rng(4).normal(size=(2, 1000)).astype(np.float32) * np.array([[1.0], [1e-3]], np.float32)
    op = ops.LogMel(convention="slaney", frame=256, hop=128, n_mels=20, top_db=20.0)
    both = compile_chain([op], 1000, 1, RATE)(np.stack([loud, quiet])[:, :, None])
    np.testing.assert_array_equal(both[1], run(op, quiet))


@pytest.mark.parametrize(
    ("keys", "samples", "channels", "rate_hz", "says"),
    [
        ({}, 255, 1, RATE, "a window of 255"),
        ({}, 1000, 3, RATE, "takes one channel, and gets 3"),
        ({}, 1000, 1, 0.0, "rate"),
        ({"f_max": 8001.0}, 1000, 1, RATE, "above half the rate"),
        ({"f_min": 9000.0}, 1000, 1, RATE, "not below half the rate"),
        ({"f_min": 100.0, "f_max": math.nextafter(100.0, 200.0)}, 1000, 1, RATE, "too narrow"),
    ],
)
def test_what_a_mel_spectrum_cannot_be_made_of(keys: dict[str, Any], samples: int, channels: int, rate_hz: float, says: str) -> None:
    for convention in ("tf", "htk", "slaney"):
        op = ops.LogMel(convention=convention, frame=256, hop=128, n_mels=20, **keys)  # type: ignore[arg-type]
        with pytest.raises(ChainFaults, match=says) as caught:
            compile_chain([op], samples, channels, rate_hz)
        assert caught.value.faults[0].index == 0
