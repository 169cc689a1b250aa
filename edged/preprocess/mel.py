"""Mel spectra and cepstra of one channel: log_mel, mfcc, after three conventions.

What the conventions differ in, and where it is from:

tf      https://www.tensorflow.org/api_docs/python/tf/signal: frames of `frame` samples, padded with zeros at their end;
        mel(f) = 1127 ln(1 + f / 700); triangles are straight over mel, the bin at 0 Hz never has weight; a window of odd
        length is symmetric; cosine transform 2 with factor sqrt(2 / n_mels) for all coefficients
htk     https://librosa.org/doc: frames of `n_fft` samples with the window in their middle; mel(f) = 2595 log10(1 + f / 700);
        triangles are straight over Hz, of height 1; orthonormal cosine transform 2
slaney  as htk, but mel is linear up to 1 kHz and logarithmic above, and every triangle has the area of 1 Hz
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edged.preprocess import ops
from edged.preprocess.form import MAX_VALUES, Array, Form, Refusal, Step, samples_and_columns
from edged.preprocess.spectrum import check_rate, cosine_window, squared

Floats = NDArray[np.float64]


def log_mel(op: ops.LogMel, form: Form) -> tuple[Step, Form]:
    """Compile `log_mel`. Refuses more than one channel, a rate not known, and a window shorter than one frame."""
    mel, after = _log_mel(op, form)

    def step(windows: Array) -> Array:
        return mel(windows).astype(np.float32)

    return step, after


def mfcc(op: ops.Mfcc, form: Form) -> tuple[Step, Form]:
    """Compile `mfcc`; refuses what `log_mel` refuses."""
    mel, after = _log_mel(op, form)
    cosines = cosine_transform(op.n_mels, op.n_mfcc, orthonormal=op.convention != "tf")

    def step(windows: Array) -> Array:
        return (mel(windows) @ cosines).astype(np.float32)

    return step, Form((after.shape[0], op.n_mfcc))


def _log_mel(op: ops.LogMel, form: Form) -> tuple[Callable[[Array], Floats], Form]:
    rows, columns = samples_and_columns(form)
    n_fft = op.n_fft or (_power_of_two(op.frame) if op.convention == "tf" else op.frame)
    lead = 0 if op.convention == "tf" else (n_fft - op.frame) // 2
    span = op.frame if op.convention == "tf" else n_fft
    frames = 1 + (rows - span) // op.hop
    after = Form((max(frames, 1), op.n_mels))
    _check(op, form, span, frames * n_fft, after)
    if columns != 1:
        raise Refusal(f"takes one channel, and gets {columns}", "put `select` or `magnitude` before it", after)
    edges = mel_edges(op.convention, op.n_mels, op.f_min, op.f_max or form.rate_hz / 2)
    if not np.all(np.diff(edges) > 0.0):
        raise Refusal(f"{op.n_mels} bands between its edges are too narrow to tell apart", "widen `f_min` to `f_max`", after)
    weights = mel_weights(op.convention, edges, n_fft, form.rate_hz)
    window = _frame_window(op)
    power = op.power or (1 if op.convention == "tf" else 2)
    logarithm = _logarithm(op, power)

    def mel(windows: Array) -> Floats:
        signal = windows[:, lead:, 0].astype(np.float64, order="C")
        cut = sliding_window_view(signal, op.frame, axis=1)[:, :: op.hop][:, :frames]
        spectrum = np.fft.rfft(cut * window, n_fft)
        return logarithm((np.abs(spectrum) if power == 1 else squared(spectrum)) @ weights)

    return mel, after


def _check(op: ops.LogMel, form: Form, span: int, values: int, after: Form) -> None:
    if form.shape[0] < span:
        raise Refusal(f"a frame of {span} samples, and a window of {form.shape[0]}", "make the frame shorter or the window longer", after)
    if values > MAX_VALUES:
        raise Refusal(f"its frames are {values} values; {MAX_VALUES} are the most", "make `hop` larger or `n_fft` shorter", after)
    check_rate(form.rate_hz, op.f_max or form.rate_hz / 2, after)
    if op.f_min >= (op.f_max or form.rate_hz / 2):
        raise Refusal(f"`f_min` {op.f_min:g} Hz is not below half the rate, {form.rate_hz / 2:g} Hz", "make it smaller", after)


def _frame_window(op: ops.LogMel) -> Floats:
    """Give the periodic window; tf makes a symmetric one of odd lengths (window_ops.py: `window_length + periodic * even - 1`)."""
    is_symmetric = op.convention == "tf" and op.frame % 2 == 1
    return cosine_window(op.window, op.frame, op.frame - is_symmetric)


def _logarithm(op: ops.LogMel, power: int) -> Callable[[Floats], Floats]:
    if (op.log or ("ln" if op.convention == "tf" else "db")) == "ln":
        offset = op.offset or 1e-6
        return lambda mel: np.log(mel + offset)
    floor = op.offset or 1e-10 ** (power / 2)

    def decibels(mel: Floats) -> Floats:
        level = (20.0 / power) * np.log10(np.maximum(mel, floor))
        return np.maximum(level, level.max(axis=(1, 2), keepdims=True) - op.top_db) if op.top_db else level

    return decibels


def mel_edges(convention: str, n_mels: int, f_min: float, f_max: float) -> Floats:
    """Give the n_mels + 2 edges of a filter bank, each triangle's middle being the next one's start: in mel for tf, else in Hz."""
    to_mel, to_hz = _SCALES[convention]
    lowest, highest = to_mel(np.array([f_min, f_max]))
    edges = np.linspace(lowest, highest, n_mels + 2)
    return edges if convention == "tf" else to_hz(edges)


def mel_weights(convention: str, edges: Floats, n_fft: int, rate_hz: float) -> Floats:
    """Give the triangles of a filter bank, float64 [n_fft // 2 + 1, n_mels]."""
    if convention == "tf":
        to_mel, _ = _SCALES[convention]
        return _triangles(to_mel(np.linspace(0.0, rate_hz / 2, n_fft // 2 + 1)), edges)
    weights = _triangles(np.fft.rfftfreq(n_fft, 1.0 / rate_hz), edges)
    return weights * (2.0 / (edges[2:] - edges[:-2])) if convention == "slaney" else weights


def _triangles(points: Floats, edges: Floats) -> Floats:
    """Give [points, len(edges) - 2]: each rises from edge i to 1 at i + 1 and falls to 0 at i + 2."""
    rising = (points[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - points[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling))


def _htk_mel(hz: Floats) -> Floats:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _htk_hz(mel: Floats) -> Floats:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _slaney_mel(hz: Floats) -> Floats:
    """Malcolm Slaney, Auditory Toolbox, 1998: 200/3 Hz a mel up to 1 kHz, then 27 mel for a factor of 6.4."""
    return np.where(hz < 1000.0, hz * 3 / 200, 15.0 + 27.0 * np.log(np.maximum(hz, 1000.0) / 1000.0) / math.log(6.4))


def _slaney_hz(mel: Floats) -> Floats:
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * math.log(6.4) / 27.0))


_SCALES: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]] = {
    "tf": (_htk_mel, _htk_hz),  # 1127 ln in TensorFlow: the factor cancels, for bins and edges both have it
    "htk": (_htk_mel, _htk_hz),
    "slaney": (_slaney_mel, _slaney_hz),
}


def cosine_transform(n_in: int, n_out: int, orthonormal: bool) -> Floats:
    """Give the cosine transform 2 as a matrix [n_in, n_out], scaled by sqrt(2 / n_in); orthonormal: the first column by sqrt(1 / n_in)."""
    angles = np.pi / n_in * np.outer(np.arange(n_in) + 0.5, np.arange(n_out))
    cosines: Floats = math.sqrt(2.0 / n_in) * np.cos(angles)
    if orthonormal:
        cosines[:, 0] /= math.sqrt(2.0)
    return cosines


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()
