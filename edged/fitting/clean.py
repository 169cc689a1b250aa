"""Scores of clean data, made by the real data path: what a pipeline on this release would publish.

A file is told by how it begins: an .npz with `windows` [n, samples, channels], which are taken as one stream in their
order; a recording of `edged record`, decoded as its pipeline says; anything else is CSV, a reading a line. Each file is a
stream of its own, so that no window reaches from one into the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.clock import VirtualClock
from edged.config import schema
from edged.errors import OperatorError, PublisherError
from edged.fitting.running import Say
from edged.hold import Hold
from edged.models.manifest import Release, Variant
from edged.npz import read_arrays
from edged.records import Batch, Outgoing
from edged.stream.build import Around, build_pipeline
from edged.stream.loaded import LoadedModel
from edged.stream.loading import OpenEngine, load_variant
from edged.stream.pipeline import Pipeline, Sink
from edged.stream.recording import batches, read_header
from edged.stream.sources.lines import GROUP_LINES, LineSplitter

_RECORDING = b'{"edged-recording"'
_BLOCK = 1 << 16
_START_NS = 1_000_000_000_000_000_000  # of a clock that stands: lines of a file have no arrival


@dataclass(frozen=True)
class Clean:
    """Scores float64 [n] in the order of the files, and what gave none: readings and windows, counted by reason."""

    scores: NDArray[np.float64]
    left_out: dict[str, int]


def clean_scores(
    release: Release, variant: Variant, paths: Iterable[Path], options: Iterable[schema.Pipeline], opener: OpenEngine, say: Say
) -> Clean:
    """Run files through a variant. `options` are the pipelines whose part of a recording is taken, the first also decodes CSV.

    `say` counts bytes. Raises OperatorError `data-unreadable`, `data-malformed`, those of recordings and channels, and what
    loading and running a variant raises.
    """
    collected, options = _Scores(), list(options)
    for path in paths:
        begin, size = _begin(path), path.stat().st_size
        say(variant.name, 0, size)
        if begin.startswith(b"PK"):
            _run_windows(release, load_variant(release, variant, opener), path, collected)
        elif begin.startswith(_RECORDING):
            _run_messages(release, variant, options, opener, _recorded(path), collected)
        else:
            _run_messages(release, variant, options[:1], opener, _lines(path, options[0].name), collected)
        say(variant.name, size, size)
    return Clean(np.array(collected.scores, np.float64), dict(collected.left_out))


def is_recording(path: Path) -> bool:
    """Say whether `edged record` made a file; OperatorError(`data-unreadable`)."""
    return _begin(path).startswith(_RECORDING)


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_RECORDING))
    except OSError as error:
        raise OperatorError("data-unreadable", f"{path} cannot be read: {error.strerror}", "check its name and mode") from None


class _Scores:
    """An output that keeps scores."""

    finished = False
    failing: str | None = None

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.scores: list[float] = []
        self.left_out: Counter[str] = Counter()

    def deliver(self, outgoing: list[Outgoing], hold: Hold | None = None) -> None:
        self.scores += [each.result.output["score"] for each in outgoing]

    def close(self) -> None:
        """Nothing is held."""


def _run_windows(release: Release, model: LoadedModel, path: Path, collected: _Scores) -> None:
    given = release.manifest.input
    try:
        windows = _windows(path, (given.samples, len(given.channels)))
        state, slots = model.new_state(), np.zeros(1, np.intp)
        for i in range(len(windows)):
            with np.errstate(all="ignore"):
                verdict = model.verdict(state, model.scores(windows[i : i + 1], slots)[0], 0)
            if isinstance(verdict, str):
                collected.left_out[f"windows: {verdict}"] += 1
            else:
                collected.scores.append(verdict.output["score"])
    finally:
        model.close()


def _windows(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        windows = read_arrays(path, ("windows",))["windows"]
    except PublisherError as error:
        raise OperatorError("data-malformed", error.text, "write it with numpy.savez(windows=…)") from None
    if windows.shape[1:] != shape or not np.isfinite(windows).all():
        text = f"{path}: `windows` are {list(windows.shape)}, or not all of them are numbers"
        raise OperatorError("data-malformed", text, f"windows [n, {shape[0]}, {shape[1]}] are wanted")
    return windows.astype(np.float32)


def _run_messages(
    release: Release,
    variant: Variant,
    options: list[schema.Pipeline],
    opener: OpenEngine,
    messages: Iterator[tuple[str, Batch]],
    collected: _Scores,
) -> None:
    """Run each pipeline's messages through a pipeline that is built for them, on a clock of its own."""
    clock = VirtualClock(_START_NS)
    around = Around("fit", "", "fit", clock, opener, lambda *_: None)
    pipelines: dict[str, Pipeline] = {}
    for each in options:
        model = load_variant(release, variant, opener)
        pipelines[each.name] = build_pipeline(each, model, [Sink(collected, "always")], lambda: None, around)
    try:
        for name, batch in messages:
            if name not in pipelines:
                collected.left_out["messages of other pipelines"] += len(batch.payloads)
                continue
            clock.set_wall(batch.arrival)
            batch.arrival_mono = clock.mono()
            with np.errstate(all="ignore"):
                pipelines[name].process(batch)
            if (error := pipelines[name].last_error) is not None:
                raise error
    finally:
        for pipeline in pipelines.values():
            pipeline.close()
            collected.left_out.update({f"messages: {reason}": count for reason, count in pipeline.counters.rejected.items()})
            collected.left_out.update({f"windows: {reason}": count for reason, count in pipeline.counters.dropped.items()})


def _recorded(path: Path) -> Iterator[tuple[str, Batch]]:
    with path.open("rb") as file:
        yield from batches(file, read_header(file, path), path)


def _lines(path: Path, name: str) -> Iterator[tuple[str, Batch]]:
    """Give the lines of a file as batches of messages on its own topic."""
    topic, splitter = path.name.encode("utf-8", "replace"), LineSplitter()
    with path.open("rb") as file:
        ended = False
        while not ended:
            data = file.read(_BLOCK)
            ended = not data
            lines = splitter.rest() if ended else splitter.feed(data)
            for start in range(0, len(lines), GROUP_LINES):
                part = lines[start : start + GROUP_LINES]
                yield name, Batch([topic] * len(part), part, _START_NS, 0)
