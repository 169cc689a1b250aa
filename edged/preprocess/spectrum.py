"""Spectra of a window: taper, rfft, bands.

Transforms run in float64 under every numpy (numpy 2 would keep float32): float32 rounds relative
to the strongest bin. Measured: no matter for noise, or for noise of 1e-3 on a mean of 1 (0.04 dB);
bins 1e-6 below a strong tone are off by 1 to 8 dB, and those 1e-6 below a mean by up to 57 dB
where the length is no power of two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edged.preprocess import ops
from edged.preprocess.form import Array, Form, Refusal, Step, samples_and_columns

_DB_FLOOR = 1e-10


def cosine_window(shape: str, length: int, period: int) -> NDArray[np.float64]:
    """Give a `hann` or `hamming` window of `length` samples, one turn of the cosine in `period`."""
    mean = {"hann": 0.5, "hamming": 0.54}[shape]
    return mean - (1.0 - mean) * np.cos(2 * np.pi * np.arange(length) / period)


def squared(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Give the power of a complex spectrum."""
    return spectrum.real**2 + spectrum.imag**2


def taper(op: ops.Taper, form: Form) -> tuple[Step, Form]:
    """Compile `taper`: times scipy.signal.get_window(type, samples), the periodic form."""
    rows, columns = samples_and_columns(form)
    column = cosine_window(op.type, rows, rows)[:, None]
    weights = np.ascontiguousarray(np.broadcast_to(column, (rows, columns)), dtype=np.float32)

    def step(windows: Array) -> Array:
        return windows * weights

    return step, form


def rfft(op: ops.Rfft, form: Form) -> tuple[Step, Form]:
    """Compile `rfft`: numpy.fft.rfft over the samples, then magnitude, power or decibels."""
    rows, columns = samples_and_columns(form)
    n = op.n or rows
    after = replace(form, shape=(n // 2 + 1, columns), is_time=False)
    if n < rows:
        raise Refusal(f"`n` {n} would drop samples of a window of {rows}", f"leave it out, or write at least {rows}", after)
    take = _OUTPUTS[op.output]

    def step(windows: Array) -> Array:
        values = take(np.fft.rfft(windows.astype(np.float64, order="C"), n, axis=1))
        return values.astype(np.float32, order="C")

    return step, after


def _decibels(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    return 10.0 * np.log10(np.maximum(squared(spectrum), _DB_FLOOR))


_OUTPUTS: dict[str, Callable[[NDArray[np.complex128]], NDArray[np.float64]]] = {"magnitude": np.abs, "power": squared, "db": _decibels}


def bands(op: ops.Bands, form: Form) -> tuple[Step, Form]:
    """Compile `bands`: scipy.signal.welch(nperseg=segment, scaling="density"), summed over each band's bins times their width."""
    rows, columns = samples_and_columns(form)
    segment = op.segment or min(256, rows)
    after = Form((len(op.edges_hz) - 1, columns), form.names)
    if not 2 <= segment <= rows:
        raise Refusal(f"a segment of {segment} samples in a window of {rows}", f"`segment` is 2 to {rows}, or the window longer", after)
    check_rate(form.rate_hz, op.edges_hz[-1], after)
    counts = _band_counts(op.edges_hz, form.rate_hz, segment)
    _refuse_empty(counts, op.edges_hz, form.rate_hz / segment, after)
    window = cosine_window("hann", segment, segment)
    share = counts / (segment * (window @ window))
    hop = segment - segment // 2

    def step(windows: Array) -> Array:
        series = windows.transpose(0, 2, 1).astype(np.float64, order="C")
        segments = sliding_window_view(series, segment, axis=2)[:, :, ::hop]
        tapered = (segments - segments.mean(axis=3, keepdims=True)) * window
        power = squared(np.fft.rfft(tapered)).mean(axis=2)
        return (power @ share).transpose(0, 2, 1).astype(np.float32, order="C")

    return step, after


def _refuse_empty(counts: NDArray[np.float64], edges_hz: list[float], spacing_hz: float, after: Form) -> None:
    empty = [f"{low:g} to {high:g} Hz" for low, high, filled in zip(edges_hz, edges_hz[1:], counts.any(axis=0)) if not filled]
    if empty:
        text = f"no bin lies in {', '.join(empty[:3])}{', …' * (len(empty) > 3)}; bins are {spacing_hz:g} Hz apart"
        raise Refusal(text, "widen the band, or make `segment` longer", after)


def check_rate(rate_hz: float, highest_hz: float, after: Form) -> None:
    """Refuse a frequency above half the rate, or any where the rate is not known."""
    if rate_hz <= 0:
        raise Refusal("needs to know the rate of the readings", "write `rate_hz` in `[input]`", after)
    if highest_hz > rate_hz / 2:
        raise Refusal(f"{highest_hz:g} Hz is above half the rate, {rate_hz / 2:g} Hz", f"write at most {rate_hz / 2:g}", after)


def _band_counts(edges_hz: list[float], rate_hz: float, segment: int) -> NDArray[np.float64]:
    """Give [bins, bands]: 0, or how often a bin of the one-sided spectrum counts (2 where its mirror image is not shown)."""
    bins = np.arange(segment // 2 + 1)
    frequencies = (bins * rate_hz / segment)[:, None]
    low, high = np.array(edges_hz[:-1]), np.array(edges_hz[1:])
    inside = (frequencies >= low) & (frequencies < high)
    inside[:, -1] |= frequencies[:, 0] == high[-1]
    mirrored = (bins > 0) & (2 * bins < segment)
    return inside * np.where(mirrored, 2.0, 1.0)[:, None]
