"""The words of the choice: what each pipeline could run, what the board has, what was chosen. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SHARE = 0.7  # of the granted workers' time; the rest is for receiving, for peaks, and for everything else


@dataclass(frozen=True, kw_only=True)
class Option:
    """One variant that one pipeline could run.

    quality     as the release says; None: not known
    ms          time of one window where nothing disturbs it, in milliseconds: preprocessing, model and task
    worst_ms    what is held against the deadline: the 95th percentile where enough was measured for one, else `ms`
    mib         memory that it takes beside the others; for a stateful graph that of all streams
    predicted_ms, predicted_mib   what was predicted, also where `ms` and `mib` were measured
    measured    whether `ms` was measured on this board with this engine build; `measured_mib` the same of `mib`
    threads     that work on one window together, each for `ms`
    speedup     how many times as fast that makes it as one thread would be
    stage       its place in the release's cascade, from 1: with the stages before it, it is better than these alone; None: there is none
    refused     why it cannot run here whatever the others do, such as `engine: llama is not part of …`; empty: it can
    """

    variant: str
    engine: str
    quality: float | None
    ms: float
    worst_ms: float
    mib: float
    predicted_ms: float
    predicted_mib: float
    measured: bool = False
    measured_mib: bool = False
    threads: int = 1
    speedup: float = 1.0
    stage: int | None = None
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One pipeline: the release of its model, how often a window comes, and how long its result may take.

    `class_` is safety, normal or background. `windows_per_s` is measured where the pipeline runs, else from the release's
    rate for one stream. `higher_is_better` and `minimum` are the release's quality rule.
    """

    pipeline: str
    model: str
    release: int
    class_: str
    deadline_ms: float
    windows_per_s: float
    options: tuple[Option, ...]
    higher_is_better: bool = True
    minimum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What all pipelines together may take: MiB for models, and the time of so many workers, of which `share` is used."""

    memory_mib: float
    workers: float
    share: float = SHARE


@dataclass(frozen=True)
class Choice:
    """The chosen option by pipeline, None where none may run. `exact`: no other choice is better."""

    chosen: Mapping[str, Option | None]
    exact: bool = True
