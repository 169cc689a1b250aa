"""Hold what is predicted of models against what they take here, in each installed runtime; for `edged bench --predict`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from edged.board.inforce import Board
from edged.calibrate.child import Measured
from edged.calibrate.graphs import FIRST, lay_out
from edged.calibrate.runtimes import measure
from edged.engines.choose import RUNTIMES, available
from edged.errors import EdgedError, OperatorError
from edged.models.costs import costs_of_file
from edged.models.packed import seal_file
from edged.select.predict import Need, predict

_PROCESSES = 3

Show = Callable[[str], None]


class Prediction(msgspec.Struct):
    """One file in one runtime: milliseconds of one window, and MiB beside the runtime itself. An error is predicted / measured - 1."""

    file: str
    engine: str
    predicted_ms: float
    measured_ms: float
    predicted_mib: float
    measured_mib: float

    @property
    def ms_error(self) -> float:
        """Relative error of the time."""
        return self.predicted_ms / self.measured_ms - 1 if self.measured_ms else 0.0

    @property
    def mib_error(self) -> float:
        """Relative error of the memory."""
        return self.predicted_mib / self.measured_mib - 1 if self.measured_mib else 0.0


def graphs_in(places: Sequence[Path]) -> list[Path]:
    """Give the .tflite files that are named, and all that are in the folders that are; of those with the same content the first.

    What is no file, such as a pipe, is left out. Raises OperatorError(`no-models`) where nothing is left.
    """
    named = [file for place in places for file in (sorted(place.rglob("*.tflite")) if place.is_dir() else [place])]
    files = [file for file in named if file.is_file()]
    if not files:
        where = ", ".join(str(place) for place in places)
        raise OperatorError("no-models", f"there is no .tflite file in {where}", "name files, or folders that have some")
    by_content: dict[str, Path] = {}
    for file in files:
        by_content.setdefault(seal_file(file).sha256, file)
    return list(by_content.values())


def predictions(files: Sequence[Path], board: Board, seconds: float, show: Show) -> tuple[list[Prediction], dict[str, str]]:
    """Predict and measure each file, `seconds` of each in each runtime; give the results, and why a file has none, by its name."""
    found: list[Prediction] = []
    failed: dict[str, str] = {}
    needs = dict(_needs(files, board, failed))
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        first = next(net.path for net in lay_out(Path(folder)) if net.path.name == FIRST)
        for build in available():
            runtime = next(name for name, (package, _) in RUNTIMES.items() if package == build.package)
            try:
                times = measure(runtime, "time", seconds * len(needs), list(needs), show)
            except EdgedError as error:
                failed[str(build)] = error.text
                continue
            for file, need in needs.items():
                show(f"memory of {file.stem}")
                loaded = times[file] if times[file].error else _load(runtime, first, file)
                if loaded.error:
                    failed[f"{file} in {build.package}"] = loaded.error
                    continue
                ours = need[str(build)]
                found.append(Prediction(str(file), str(build), ours.ms, times[file].us / 1000, ours.mib, loaded.mib))
    return found, failed


def _needs(files: Sequence[Path], board: Board, failed: dict[str, str]) -> Iterator[tuple[Path, dict[str, Need]]]:
    """Give what is predicted of each file by engine build; what is not a sound graph goes no further."""
    for file in files:
        try:
            costs = costs_of_file(file)
        except EdgedError as error:
            failed[str(file)] = error.text
            continue
        yield file, {str(build): predict(costs, board.rates(str(build)), board.bandwidth_gbs) for build in available()}


def _load(runtime: str, first: Path, file: Path) -> Measured:
    """Measure what `file` adds to a process in which the runtime is loaded and used already: the median of some fresh ones.

    What the allocator keeps of a batch that was tried differs from one process to the next.
    """
    try:
        loaded = [measure(runtime, "added", 0, [first, file])[file] for _ in range(_PROCESSES)]
    except EdgedError as error:
        return Measured(str(file), error=error.text)
    return sorted(loaded, key=lambda each: each.mib)[_PROCESSES // 2]


def medians(found: Sequence[Prediction]) -> tuple[float, float]:
    """Give the median of the sizes of the errors, of time and of memory."""
    if not found:
        return 0.0, 0.0
    return median(abs(each.ms_error) for each in found), median(abs(each.mib_error) for each in found)
