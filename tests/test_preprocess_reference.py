"""Each operation but the mel ones against an independent reference: numpy in float64, scipy, or the formula in a loop."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.fft
import scipy.signal
import scipy.stats
from numpy.typing import NDArray

import edged
from edged.preprocess import ops
from edged.preprocess.chain import compile_chain

RATE = 26.0


def run(chain: list[ops.Op], windows: NDArray[np.float32], rate_hz: float = RATE, names: tuple[str, ...] = ()) -> NDArray[np.float32]:
    compiled = compile_chain(chain, windows.shape[1], windows.shape[2], rate_hz, names)
    out = compiled(windows)
    assert out.dtype == np.float32
    assert out.shape == (len(windows), *compiled.output_shape)
    return out


@pytest.fixture
def windows() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    trend = np.linspace(-1, 2, 260)[:, None] * [1.0, -3.0, 0.5]
    return (rng.normal(0.2, 1.0, (4, 260, 3)) + trend + [0.0, 1000.0, -5.0]).astype(np.float32)


@pytest.fixture
def exact(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    return windows.astype(np.float64)


def test_scale(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(run([ops.Scale(factor=0.00025)], windows), exact * 0.00025, rtol=2e-7)
    np.testing.assert_allclose(run([ops.Scale(factor=[1.0, -2.0, 0.1])], windows), exact * [1.0, -2.0, 0.1], rtol=2e-7)


def test_offset(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(run([ops.Offset(by=1.5)], windows), exact + 1.5, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        run([ops.Offset(by=[0.0, -1000.0, 5.0])], windows), exact + np.array([0.0, -1000.0, 5.0]), rtol=1e-6, atol=1e-6
    )


def test_zscore(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    mean, std = [0.2, 1000.0, -5.0], [1.1, 1.4, 1.0]
    np.testing.assert_allclose(run([ops.Zscore(mean=mean, std=std)], windows), (exact - mean) / std, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(run([ops.Zscore(mean=3.0, std=std)], windows), (exact - 3.0) / std, rtol=1e-6, atol=1e-6)


def test_zscore_keeps_its_digits_under_a_large_mean() -> None:
    """Air pressure in Pa: integers that float32 holds exactly, a mean far above the spread."""
    readings = np.arange(101_317, 101_333, dtype=np.float32).reshape(1, 16, 1)
    out = run([ops.Zscore(mean=101_325.0, std=0.01)], readings)
    np.testing.assert_allclose(out.ravel(), np.arange(-8, 8) / 0.01, rtol=1e-6)


def test_minmax(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    low, high = [-4.0, 990.0, -9.0], 1010.0
    want = (exact - low) / (high - np.array(low))
    np.testing.assert_allclose(run([ops.Minmax(min=low, max=high)], windows), want, rtol=1e-6, atol=1e-7)
    assert run([ops.Minmax(min=-1.0, max=3.0)], np.array([[[-1.0], [3.0], [5.0]]], np.float32)).ravel().tolist() == [0.0, 1.0, 1.5]


def test_clip(windows: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(run([ops.Clip(min=-0.5, max=0.25)], windows), np.clip(windows, -0.5, 0.25))
    np.testing.assert_array_equal(run([ops.Clip(min=-math.inf, max=0.25)], windows), np.minimum(windows, np.float32(0.25)))


def test_detrend(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(run([ops.Detrend()], windows), scipy.signal.detrend(exact, axis=1), rtol=1e-6, atol=1e-9)


def test_diff(windows: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(run([ops.Diff()], windows), np.diff(windows, axis=1))


def test_magnitude(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(run([ops.Magnitude()], windows), np.linalg.norm(exact, axis=2, keepdims=True), rtol=1e-7)


@pytest.mark.parametrize("kind", ["hann", "hamming"])
def test_taper(kind: str, windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    want = exact * scipy.signal.get_window(kind, 260)[:, None]
    np.testing.assert_allclose(run([ops.Taper(type=kind)], windows), want, rtol=1e-6, atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 260, 261, 512])
def test_rfft(n: int, windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    spectrum = np.fft.rfft(exact, n or 260, axis=1)
    np.testing.assert_allclose(run([ops.Rfft(n=n)], windows), np.abs(spectrum), rtol=1e-6)
    np.testing.assert_allclose(run([ops.Rfft(n=n, output="power")], windows), np.abs(spectrum) ** 2, rtol=1e-6)
    np.testing.assert_allclose(run([ops.Rfft(n=n, output="db")], windows), 20 * np.log10(np.abs(spectrum)), rtol=1e-6, atol=1e-5)


def test_rfft_is_the_sum_that_defines_it() -> None:
    x = np.array([1.0, -2.0, 0.5, 4.0, 3.0])
    want = [abs(sum(x[t] * np.exp(-2j * math.pi * k * t / 5) for t in range(5))) for k in range(3)]
    np.testing.assert_allclose(run([ops.Rfft()], x.astype(np.float32).reshape(1, 5, 1)).ravel(), want, rtol=1e-6)


def test_a_weak_tone_stands_beside_a_large_mean() -> None:
    """At a length that is no power of two, a transform in float32 loses it in its own rounding, as the first assert shows."""
    ticks = np.arange(1000)
    signal = (1000.0 + 0.001 * np.sin(2 * np.pi * 32 * ticks / 1000)).astype(np.float32)
    want = decibels(np.fft.rfft(signal.astype(np.float64)))
    assert np.abs(decibels(scipy.fft.rfft(signal)) - want)[1:].max() > 10.0
    out = run([ops.Rfft(output="db")], signal.reshape(1, 1000, 1)).ravel()
    np.testing.assert_allclose(out, want, atol=1e-3)


def decibels(spectrum: NDArray[Any]) -> NDArray[np.float64]:
    return 10.0 * np.log10(np.maximum(np.abs(spectrum.astype(np.complex128)) ** 2, 1e-10))


@pytest.mark.parametrize("segment", [0, 64, 65, 256])
@pytest.mark.parametrize("samples", [256, 260, 700])
def test_bands(segment: int, samples: int) -> None:
    windows = np.random.default_rng(2).normal(5.0, 2.0, (2, samples, 3)).astype(np.float32)
    edges = [0.0, 1.0, 3.0, 8.0, 13.0]
    frequencies, density = scipy.signal.welch(windows.astype(np.float64), RATE, nperseg=segment or 256, axis=1)
    want = np.zeros((2, 4, 3))
    for band in range(4):
        for i, f in enumerate(frequencies):
            if edges[band] <= f < edges[band + 1] or (band == 3 and f == edges[-1]):
                want[:, band] += density[:, i] * frequencies[1]
    np.testing.assert_allclose(run([ops.Bands(edges_hz=edges, segment=segment)], windows), want, rtol=1e-5)


def test_bands_of_a_tone_hold_its_mean_square_where_it_is() -> None:
    ticks = np.arange(1024)
    tone = (3.0 * np.sin(2 * np.pi * 100.0 * ticks / 1024)).astype(np.float32).reshape(1, -1, 1)
    out = run([ops.Bands(edges_hz=[10.0, 80.0, 120.0, 512.0])], tone, rate_hz=1024.0).ravel()
    np.testing.assert_allclose(out, [0.0, 4.5, 0.0], atol=1e-3)


def loops(x: list[float]) -> dict[str, float]:
    """Every statistic by its definition, one value after the other."""
    n = len(x)
    mean = math.fsum(x) / n
    m2, m3, m4 = (math.fsum((each - mean) ** k for each in x) / n for k in (2, 3, 4))
    rms = math.sqrt(math.fsum(each**2 for each in x) / n)
    return {
        "mean": mean,
        "std": math.sqrt(math.fsum((each - mean) ** 2 for each in x) / (n - 1)),
        "rms": rms,
        "min": min(x),
        "max": max(x),
        "peak_to_peak": max(x) - min(x),
        "abs_sum": math.fsum(map(abs, x)),
        "abs_mean": math.fsum(map(abs, x)) / n,
        "skew": math.sqrt(n * (n - 1)) / (n - 2) * m3 / m2**1.5,
        "kurtosis": (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m4 / m2**2 - 3) + 6),
        "crest": max(map(abs, x)) / rms,
        "zero_crossings": float(sum((a < 0) != (b < 0) for a, b in pairwise(x))),
    }


@pytest.mark.parametrize("name", ops.STATISTICS)
def test_stats_by_their_definitions(name: str, windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    out = run([ops.Stats(of=[name])], windows)  # type: ignore[list-item]
    want = [[loops(exact[i, :, c].tolist())[name] for c in range(3)] for i in range(4)]
    np.testing.assert_allclose(out, want, rtol=2e-6, atol=1e-7)


def test_std_skew_and_kurtosis_as_scipy_has_them(windows: NDArray[np.float32], exact: NDArray[np.float64]) -> None:
    out = run([ops.Stats(of=["std", "skew", "kurtosis"], by="stat")], windows).reshape(4, 3, 3)
    np.testing.assert_allclose(out[:, 0], exact.std(axis=1, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(out[:, 1], scipy.stats.skew(exact, axis=1, bias=False), rtol=1e-6)
    np.testing.assert_allclose(out[:, 2], scipy.stats.kurtosis(exact, axis=1, bias=False), rtol=1e-6)


def test_stats_are_grouped_by_channel_or_by_statistic() -> None:
    windows = np.array([[[1.0, 10.0], [3.0, 30.0]]], np.float32)
    assert run([ops.Stats(of=["min", "max"], by="channel")], windows).tolist() == [[1.0, 3.0, 10.0, 30.0]]
    assert run([ops.Stats(of=["min", "max"], by="stat")], windows).tolist() == [[1.0, 10.0, 3.0, 30.0]]


def test_zero_counts_as_above_zero() -> None:
    windows = np.array([0.0, -0.0, 1.0, -1.0, 0.0, -1.0, -2.0], np.float32).reshape(1, 7, 1)
    assert run([ops.Stats(of=["zero_crossings"])], windows).tolist() == [[3.0]]


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 101_325.3, 3e30, 1e-42])
def test_stats_of_a_window_that_stands_still(value: float) -> None:
    windows = np.full((1, 1001, 1), value, np.float32)
    named = dict(zip(ops.STATISTICS, run([ops.Stats(of=list(ops.STATISTICS))], windows)[0].tolist()))  # type: ignore[arg-type]
    exactly = float(np.float32(value))
    assert named["mean"] == named["min"] == named["max"] == exactly
    assert [named[name] for name in ("std", "peak_to_peak", "skew", "kurtosis", "zero_crossings")] == [0.0] * 5
    assert named["crest"] == (1.0 if value else 0.0)
    assert named["rms"] == named["abs_mean"] == abs(exactly)
    np.testing.assert_allclose(named["abs_sum"], 1001 * abs(exactly), rtol=1e-6)


def test_select() -> None:
    windows = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    np.testing.assert_array_equal(run([ops.Select(channels=[2, 0])], windows), windows[:, :, [2, 0]])
    np.testing.assert_array_equal(run([ops.Select(channels=["y"])], windows, names=("x", "y", "z")), windows[:, :, 1:2])
    np.testing.assert_array_equal(
        run([ops.Select(channels=["z", "x"]), ops.Select(channels=["x"])], windows, names=("x", "y", "z")), windows[:, :, :1]
    )


def test_reshape_and_flatten() -> None:
    windows = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    np.testing.assert_array_equal(run([ops.Reshape(shape=[2, 6, 1])], windows), windows.reshape(1, 2, 6, 1))
    np.testing.assert_array_equal(run([ops.Flatten()], windows)[0], windows[0].ravel("C"))
    np.testing.assert_array_equal(run([ops.Flatten(order="F")], windows)[0], windows[0].ravel("F"))
    cube: list[ops.Op] = [ops.Reshape(shape=[2, 2, 3]), ops.Flatten(order="F")]
    np.testing.assert_array_equal(run(cube, windows)[0], windows.reshape(2, 2, 3).ravel("F"))


def test_readings_in_mg_become_what_the_activity_model_was_trained_on() -> None:
    folder = Path(edged.__file__).parent / "demo" / "har"
    release = msgspec.toml.decode((folder / "model.toml").read_bytes())["input"]
    chain = compile_chain(
        msgspec.convert(release["preprocess"], list[ops.Op]), release["samples"], 3, release["rate_hz"], release["channels"]
    )
    with np.load(folder / "golden-fp32.npz") as golden:
        inputs = golden["inputs"]
    np.testing.assert_allclose(chain(np.round(inputs * np.float32(4000.0))), inputs, rtol=2e-7)


def test_recorded_windows_become_what_the_activity_model_was_trained_on(assets: Path) -> None:
    with np.load(assets / "models" / "har" / "har_golden.npz") as golden:
        cut = list(zip(golden["inputs"], golden["files"], golden["start"]))
    for want, name, start in cut[::15]:
        path = assets / "data" / "har" / str(name).split("_")[0] / str(name)
        readings = np.loadtxt(path, delimiter=",", dtype=np.float32)[None, start : start + 260]
        np.testing.assert_allclose(run([ops.Scale(factor=0.00025)], readings)[0], want, rtol=2e-7)
