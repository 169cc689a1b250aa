"""What the two processes of a trial say to each other, as lines of JSON, and what is said of it afterwards.

The child is not trusted once it has opened the model: what it says is bounded and checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

MOST_TEXT = 4096  # characters

Text = Annotated[str, Meta(max_length=MOST_TEXT)]
Code = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}\Z")]
Number = Annotated[float, Meta(ge=0)]


class Measured(Struct, frozen=True):
    """How long one window or text takes the release that serves now, in milliseconds, over so many windows."""

    p50_ms: float
    p95_ms: float
    windows: int


class Limits(Struct, frozen=True):
    """What a trial may take: memory beyond that of Python and the runtime, processor time and wall time of the child."""

    memory_mib: int
    cpu_s: int = 100
    wall_s: float = 120.0


class Predicted(Struct, frozen=True):
    """What a variant was expected to take: milliseconds for a window or text, MiB."""

    ms: float
    mib: float


class TrialRequest(Struct, frozen=True, kw_only=True):
    """What is to be tried.

    `manifest` is the path of model.toml, `files` says where each file that it names lies.
    `variants` are tried in this order. `deadline_ms` is that of the pipeline, `predicted`
    is by variant. `runtimes` as in `engines.choose.RUNTIMES`, for a release for texts (`text`) in `TEXT_RUNTIMES`; empty: those
    installed here. `speedups` says by variant how many times as fast it will serve, with more threads than the one of a trial.
    """

    name: str
    release: int
    manifest: str
    files: dict[str, str]
    variants: Sequence[str]
    deadline_ms: float | None = None
    predicted: dict[str, Predicted] = {}
    running: Measured | None = None
    runtimes: Sequence[str] = ()
    text: bool = False
    speedups: dict[str, float] = {}


class Order(Struct, frozen=True):
    """What the child gets on its standard input; `parent` is the process without which it ends."""

    request: TrialRequest
    limits: Limits
    parent: int


class Confined(Struct, frozen=True, tag=True):
    """The child gave up its rights; `anon_kib` is its own memory before the model."""

    confined: list[Text]
    not_confined: list[Text]
    anon_kib: int


class At(Struct, frozen=True, tag=True):
    """What the child does next, in words that follow `while`; `portable` where another runtime may do better."""

    stage: Text
    runtime: Text = ""
    portable: bool = False


class PassedOver(Struct, frozen=True, tag=True):
    """A variant that does not load here."""

    variant: Text
    code: Code
    text: Text


class Failed(Struct, frozen=True, tag=True):
    """The error that ends the trial."""

    family: Text
    code: Code
    text: Text
    hint: Text = ""


class Done(Struct, frozen=True, tag=True):
    """What was measured of the first variant that loads; see `TrialReport`."""

    variant: Text
    engine: Text
    load_ms: Number
    pss_mib: float
    p50_ms: Number
    p95_ms: Number
    windows: int
    goldens: int


Word = Confined | At | PassedOver | Failed | Done


class TrialReport(Struct, frozen=True, kw_only=True):
    """A release that may serve here.

    Times are of one window or text through preprocessing, model and task, on processors that nobody
    else uses. `pss_mib` is what loading and running added to the process; `pss_ratio` compares it
    with the prediction, `predicted_ratio` the time; `p50_ratio` the time with that of the running release (0.5: twice as fast).
    `passed_over` says of variants and runtimes why not they: `code: text`.
    """

    variant: str
    engine: str
    load_ms: float
    pss_mib: float
    p50_ms: float
    p95_ms: float
    windows: int
    goldens: int
    deadline_ms: float | None
    predicted_mib: float | None
    pss_ratio: float | None
    predicted_ms: float | None
    predicted_ratio: float | None
    running_p50_ms: float | None
    p50_ratio: float | None
    confined: list[str]
    not_confined: list[str]
    passed_over: dict[str, str]
