"""Measure models in a process of its own: `python -m edged.calibrate.child RUNTIME WHAT UNTIL LEAST`, file names on standard input.

WHAT is `time`, `added` or `forked`. Answers a line of JSON as soon as something is known. A runtime that
crashes takes this process along and no other. After UNTIL, in seconds of the monotonic clock, which is the same in
all processes, nothing new is begun, once so many files as LEAST were measured: so a slow board, and one that
is busy, takes as long as a fast one, and learns less.

    time     processor time of the thread that calls. All files are gone through again and again until UNTIL,
             and the least of a file is what it takes: other work on the board then disturbs little.
    added    memory, as proportional set size, that loading a file adds here, while those before it stay loaded
    forked   what the first file adds with the runtime, as resident size; and what each of the others adds to a fork that
             has loaded the first once more, as memory that is written and shared with none
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from edged.calibrate.forked import in_fork, resident_mib, settle, written_mib
from edged.engines.base import Engine
from edged.engines.choose import open_engine
from edged.errors import EdgedError
from edged.pss import pss_mib

_ROUND_NS = 2_000_000
_ROUNDS = 3
_MIB = 1 << 20
_LONGEST_NS = 30_000_000  # for one net in one turn: a slow board gets fewer rounds


class Measured(msgspec.Struct):
    """What one file took.

    us       microseconds of one call with one window; `bare_us` of those without the conversion of its values
    mib      MiB that loading it added
    batch    windows in a batch that pays
    error    why it did not run; the rest then says nothing
    """

    file: str
    us: float = 0.0
    bare_us: float = 0.0
    mib: float = 0.0
    batch: int = 1
    build: str = ""
    error: str = ""


def main(runtime: str, what: str, until: float, least: int) -> None:
    """Measure all files that standard input names."""
    files = sys.stdin.read().splitlines()
    answers = {
        "time": lambda: _times(files, runtime, until, least),
        "added": lambda: _added(files, runtime),
        "forked": lambda: _forked(files, runtime, until, least),
    }
    for measured in answers[what]():
        sys.stdout.buffer.write(msgspec.json.encode(measured) + b"\n")
        sys.stdout.buffer.flush()


def _times(files: list[str], runtime: str, until: float, least: int) -> Iterator[Measured]:
    engines: dict[str, Engine] = {}
    for done, file in enumerate(files):
        if done >= least and time.monotonic() >= until:
            return
        try:
            engines[file] = open_engine(Path(file), "tflite", prefer=runtime, batching=False)
            yield _time(file, engines[file])
        except EdgedError as error:
            yield Measured(file, error=error.text)
    while engines:
        for file, engine in engines.items():
            if time.monotonic() >= until:
                return
            yield _time(file, engine)


def _time(file: str, engine: Engine) -> Measured:
    inputs = np.random.default_rng(1).normal(size=(1, *engine.input.shape)).astype(np.float32)
    took = bare = least_ns(lambda: engine.infer(inputs))
    if engine.input.dtype != "float32":
        raw = inputs.astype(engine.input.dtype)
        bare = least_ns(lambda: engine.infer_raw(raw))
    return Measured(file, us=took / 1000, bare_us=bare / 1000, build=str(engine.build))


def _added(files: list[str], runtime: str) -> Iterator[Measured]:
    kept: list[Engine] = []
    for file in files:
        yield _add(file, runtime, kept, pss_mib)


def _forked(files: list[str], runtime: str, until: float, least: int) -> Iterator[Measured]:
    first, *others = files
    kept: list[Engine] = []
    yield _add(first, runtime, kept, resident_mib)
    for done, file in enumerate(others, 1):
        if done >= least and time.monotonic() >= until:
            return
        answer = in_fork(lambda file=file: msgspec.json.encode(_beside(first, file, runtime)))  # type: ignore[misc]
        yield msgspec.json.decode(answer, type=Measured) if answer else Measured(file, error="it crashed")


def _beside(first: str, file: str, runtime: str) -> Measured:
    """Load `file` after `first`, which writes to most of what a fork shares. The pages of the file itself stay clean: all count."""
    kept: list[Engine] = []
    _add(first, runtime, kept, written_mib)
    measured = _add(file, runtime, kept, written_mib)
    measured.mib += Path(file).stat().st_size / _MIB
    return measured


def _add(file: str, runtime: str, kept: list[Engine], size_mib: Callable[[], float]) -> Measured:
    """Load a file, keep it, and see how much larger this process is then."""
    settle()
    before = size_mib()
    try:
        kept.append(engine := _load(file, runtime))
    except EdgedError as error:
        return Measured(file, error=error.text)
    settle()
    return Measured(file, mib=size_mib() - before, batch=engine.batch, build=str(engine.build))


def _load(file: str, runtime: str) -> Engine:
    """Load a model as the daemon does, and use it."""
    engine = open_engine(Path(file), "tflite", prefer=runtime)
    for windows in {1, engine.batch}:
        engine.infer(np.zeros((windows, *engine.input.shape), np.float32))
    return engine


def least_ns(run: Callable[[], object], cpu_ns: Callable[[], int] = time.thread_time_ns) -> float:
    """Give processor nanoseconds of one `run`: the least mean of some rounds of some milliseconds each."""
    calls, least, spent, rounds = 1, 0.0, 0, 0
    took = 1
    while rounds < _ROUNDS and spent < _LONGEST_NS:
        start = cpu_ns()
        for _ in range(calls):
            run()
        took = max(1, cpu_ns() - start)
        spent += took
        if took >= _ROUND_NS / 2:
            least = min(least or took / calls, took / calls)
            rounds += 1
        else:
            calls = min(calls * 4, int(calls * _ROUND_NS / took) + 1)
    return least or took / calls


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
