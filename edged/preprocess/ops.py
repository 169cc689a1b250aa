"""The preprocess operations of a release as frozen structs: names, units, defaults, bounds.

Each stands for one entry of `[input] preprocess`, such as `{ op = "scale", factor = 0.00025 }`.
They are applied in the order written to a window, float32 [samples, channels]. The docstring
of an operation says what comes out. "One per column" is a list as long as the last axis of
what the operation before it gives.

The bounds keep a release from asking for constants or buffers that no board has.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

FLOAT32_MAX = 3.4e38

Number = Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
Positive = Annotated[float, Meta(ge=1e-30, le=1e30)]
Numbers = Number | Annotated[list[Number], Meta(min_length=1)]
Positives = Positive | Annotated[list[Positive], Meta(min_length=1)]

Statistic = Literal[
    "mean", "std", "rms", "min", "max", "peak_to_peak", "abs_sum", "abs_mean", "skew", "kurtosis", "crest", "zero_crossings"
]
STATISTICS: tuple[str, ...] = get_args(Statistic)


def _about(text: str, ge: float | None = None, le: float | None = None) -> Meta:
    return Meta(description=text, ge=ge, le=le)


class _Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all operations share."""


class Scale(_Op, frozen=True, tag_field="op", tag="scale"):
    """Multiply. Same shape."""

    factor: Annotated[Numbers, _about("the factor; one, or one per column")]

    def __post_init__(self) -> None:
        """Refuse a factor that wipes out what it is applied to."""
        if any(abs(each) < 1e-30 for each in _listed(self.factor)):
            raise ValueError("a factor of 0 leaves nothing of the readings; drop the channel with `select` instead")


class Offset(_Op, frozen=True, tag_field="op", tag="offset"):
    """Add. Same shape."""

    by: Annotated[Numbers, _about("what is added; one, or one per column")]


class Zscore(_Op, frozen=True, tag_field="op", tag="zscore"):
    """Subtract `mean`, divide by `std`: the statistics of the training data. Same shape."""

    mean: Annotated[Numbers, _about("mean; one, or one per column")]
    std: Annotated[Positives, _about("standard deviation; one, or one per column")]


class Minmax(_Op, frozen=True, tag_field="op", tag="minmax"):
    """Map `min` to 0 and `max` to 1, without clipping what lies outside. Same shape."""

    min: Annotated[Numbers, _about("becomes 0; one, or one per column")]
    max: Annotated[Numbers, _about("becomes 1; one, or one per column")]

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        lows, highs = _listed(self.min), _listed(self.max)
        if len(lows) != len(highs) and 1 not in (len(lows), len(highs)):
            raise ValueError("`min` and `max` differ in length; give one number each, or one per column")
        width = max(len(lows), len(highs))
        pairs = zip(_stretched(lows, width), _stretched(highs, width))
        if any(high - low < 1e-30 for low, high in pairs):
            raise ValueError("`max` is not above `min`; swap them")


class Detrend(_Op, frozen=True, tag_field="op", tag="detrend"):
    """Subtract from each channel its least-squares line over the window. Same shape."""


class Diff(_Op, frozen=True, tag_field="op", tag="diff"):
    """Each sample minus the one before it. One sample fewer."""


class Clip(_Op, frozen=True, tag_field="op", tag="clip"):
    """Hold values within `min` and `max`; `-inf` and `inf` leave a side open. Same shape."""

    min: Annotated[float, _about("least value")]
    max: Annotated[float, _about("greatest value")]

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if not self.min < self.max:  # so that `nan`, which TOML can write, is refused too
            raise ValueError("`max` is not above `min`; swap them")
        if self.min > FLOAT32_MAX or self.max < -FLOAT32_MAX:
            raise ValueError("no float32 lies between `min` and `max`; write numbers that readings can have")


class Magnitude(_Op, frozen=True, tag_field="op", tag="magnitude"):
    """Euclidean norm over the channels: [samples, 1]."""


class Taper(_Op, frozen=True, tag_field="op", tag="taper"):
    """Multiply by a window over the samples, in its periodic form, as for a spectrum. Same shape."""

    type: Annotated[Literal["hann", "hamming"], _about("shape of the window")] = "hann"


class Rfft(_Op, frozen=True, tag_field="op", tag="rfft"):
    """One-sided spectrum of each channel, not scaled: [n // 2 + 1, channels].

    `db` is 10 log10 of the power, not below -100.
    """

    output: Annotated[Literal["magnitude", "power", "db"], _about("what is taken of the complex spectrum")] = "magnitude"
    n: Annotated[
        int, _about("samples of the transform, the window is padded with zeros up to it; 0: the window's own", ge=0, le=1 << 20)
    ] = 0


class Bands(_Op, frozen=True, tag_field="op", tag="bands"):
    """Mean square of each channel within each band, in the reading's unit squared, by Welch's method: [bands, channels].

    Hann segments that overlap by half, each without its mean. A band holds `low <= f < high`, the last one its upper edge too.
    """

    edges_hz: Annotated[
        list[Annotated[float, Meta(ge=0.0, le=1e9)]],
        Meta(description="edges, rising; n + 1 edges make n bands", min_length=2, max_length=257),
    ]
    segment: Annotated[int, _about("samples of a segment; 0: 256, or the window where it is shorter", ge=0, le=1 << 14)] = 0

    def __post_init__(self) -> None:
        """Refuse edges that do not rise."""
        if any(high <= low for low, high in zip(self.edges_hz, self.edges_hz[1:])):
            raise ValueError("`edges_hz` do not rise; write them from low to high")


class LogMel(_Op, frozen=True, tag_field="op", tag="log_mel"):
    """Logarithm of mel band energies of one channel: [frames, n_mels].

    `convention` says which library's numbers come out; take the one that the model was trained with:

    tf      tf.signal.stft, linear_to_mel_weight_matrix, ln(x + offset)
    htk     librosa with htk=True, norm=None, power_to_db
    slaney  librosa's defaults, power_to_db

    Frames are not padded (librosa: center=False), and come first: for librosa's [n_mels, frames]
    add `flatten` with order "F", then `reshape`.
    """

    convention: Annotated[Literal["tf", "htk", "slaney"], _about("whose formulas")]
    frame: Annotated[int, _about("samples of a frame (tf: frame_length, librosa: win_length)", ge=2, le=1 << 14)]
    hop: Annotated[int, _about("samples from one frame to the next", ge=1, le=1 << 20)]
    n_mels: Annotated[int, _about("mel bands", ge=1, le=256)]
    n_fft: Annotated[int, _about("samples of the transform; 0: `frame`, for tf the next power of two", ge=0, le=1 << 14)] = 0
    f_min: Annotated[float, _about("lower edge of the first band, Hz", ge=0.0, le=1e9)] = 0.0
    f_max: Annotated[float, _about("upper edge of the last band, Hz; 0: half the rate", ge=0.0, le=1e9)] = 0.0
    window: Annotated[Literal["hann", "hamming"], _about("shape of the window over a frame")] = "hann"
    power: Annotated[Literal[1, 2] | None, _about("1: mel of the magnitude, 2: of the power; default: tf 1, htk and slaney 2")] = None
    log: Annotated[
        Literal["ln", "db"] | None, _about("`ln`: ln(x + offset), `db`: decibels of max(x, offset); default: tf ln, htk and slaney db")
    ] = None
    offset: Annotated[Positive | None, _about("keeps the logarithm finite; default: ln 1e-6, db 1e-10 of the power")] = None
    top_db: Annotated[
        float, _about("with `db`: nothing lies further below the loudest of the window; 0: no such floor", ge=0.0, le=1e4)
    ] = 80.0

    def __post_init__(self) -> None:
        """Refuse a transform shorter than its frame."""
        if self.n_fft and self.n_fft < self.frame:
            raise ValueError(f"`n_fft` {self.n_fft} is shorter than `frame` {self.frame}; make it at least as long")
        if self.f_max and self.f_max <= self.f_min:
            raise ValueError("`f_max` is not above `f_min`; swap them")


class Mfcc(LogMel, frozen=True, kw_only=True, tag_field="op", tag="mfcc"):
    """The first `n_mfcc` cosine coefficients of `log_mel`, with its keys: [frames, n_mfcc].

    tf: as mfccs_from_log_mel_spectrograms; htk and slaney: orthonormal, as librosa.feature.mfcc.
    """

    n_mfcc: Annotated[int, _about("coefficients, the first is number 0", ge=1, le=256)]

    def __post_init__(self) -> None:
        """Refuse more coefficients than bands."""
        super().__post_init__()
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"`n_mfcc` {self.n_mfcc} is more than `n_mels` {self.n_mels}; make it smaller")


class Stats(_Op, frozen=True, tag_field="op", tag="stats"):
    """Statistics of each column over the window, as one flat vector: [columns * len(of)]."""

    of: Annotated[list[Statistic], Meta(description="which, in this order", min_length=1, max_length=len(STATISTICS))]
    by: Annotated[
        Literal["channel", "stat"],
        _about("`channel`: all statistics of the first channel, then of the next; `stat`: the first statistic of all channels, …"),
    ] = "channel"

    def __post_init__(self) -> None:
        """Refuse a statistic named twice."""
        if len(set(self.of)) < len(self.of):
            raise ValueError("`of` names a statistic twice; name each once")


class Select(_Op, frozen=True, tag_field="op", tag="select"):
    """Keep some columns of the last axis, in the order given."""

    channels: Annotated[list[Annotated[int, Meta(ge=0)] | str], Meta(description="names of channels, or indexes from 0", min_length=1)]


class Reshape(_Op, frozen=True, tag_field="op", tag="reshape"):
    """The same values in row-major order under another shape."""

    shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(description="the shape without the batch", min_length=1, max_length=8)]


class Flatten(_Op, frozen=True, tag_field="op", tag="flatten"):
    """All values as one vector."""

    order: Annotated[Literal["C", "F"], _about("`C`: sample by sample, `F`: channel by channel")] = "C"


Op = (
    Scale
    | Offset
    | Zscore
    | Minmax
    | Detrend
    | Diff
    | Clip
    | Magnitude
    | Taper
    | Rfft
    | Bands
    | LogMel
    | Mfcc
    | Stats
    | Select
    | Reshape
    | Flatten
)


def _listed(value: object) -> list[float]:
    return value if isinstance(value, list) else [value]  # type: ignore[list-item]


def _stretched(values: list[float], width: int) -> list[float]:
    return values * width if len(values) == 1 else values
