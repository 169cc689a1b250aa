"""Which runtime runs TFLite models here, tried in child processes: one for another processor crashes there."""

from __future__ import annotations

import importlib.metadata
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edged.board.tree import Tree
from edged.doctor.finding import ERROR, HINT, WARNING, Finding, error, hint, ok, quoted
from edged.doctor.python import PythonFacts, litert_has_wheels, read_python
from edged.engines.choose import RUNTIMES, available

TRIAL_S = 60.0  # an emulated or very slow board takes seconds to import


@dataclass(frozen=True)
class Trial:
    """How one installed runtime ran the demo's model.

    `crash` says how its process died, `error` why it did not load, and `fix` what mends that where it knows, `wrong` how its
    results differ from the model's goldens; all empty: it runs, in `ms` for one window.
    """

    runtime: str
    build: str
    crash: str = ""
    error: str = ""
    wrong: str = ""
    ms: float = 0.0
    fix: str = ""

    @property
    def works(self) -> bool:
        """Say whether it loads, lives and is right."""
        return not (self.crash or self.error or self.wrong)


def check_runtimes(tree: Tree) -> Iterator[Finding]:
    """Try every runtime that is installed."""
    by_package = {package: name for name, (package, _) in RUNTIMES.items()}
    builds = {by_package[build.package]: str(build) for build in available()}
    with ThreadPoolExecutor(max(1, len(builds))) as pool:
        trials = list(pool.map(lambda item: try_runtime(*item), builds.items()))
    return judge_runtimes(trials, read_python(tree), _numpy(), sys.executable)


def try_runtime(name: str, build: str, timeout_s: float = TRIAL_S, program: str = "edged.doctor.trial") -> Trial:
    """Run the model with the runtime `name` of `RUNTIMES` in a child process, which is ended after `timeout_s` seconds.

    Another `program` tries something else, and says as much.
    """
    command = [sys.executable, "-m", program, name]
    try:
        # `-m` looks for modules in the present folder first: not where the user happens to be.
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Trial(name, build, crash=f"hangs for {timeout_s:g} s")
    return judge_end(name, build, done.returncode, done.stdout, done.stderr)


def judge_end(name: str, build: str, code: int, out: bytes, err: bytes) -> Trial:
    """Read how a child process ended and what it wrote."""
    if code < 0:
        return Trial(name, build, crash=f"crashes with {_signal(-code)}")
    try:
        said = json.loads(out)
        told = {key: str(said.get(key, "")) for key in ("error", "wrong", "fix")}
        return Trial(name, build, ms=said.get("ms", 0.0), **told)
    except (ValueError, AttributeError):
        last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        return Trial(name, build, error=f"ends with exit code {code}: {''.join(last)[:200]}")


def judge_runtimes(trials: Sequence[Trial], python: PythonFacts, numpy: int, executable: str) -> Iterator[Finding]:
    """Say what the trials, the preferred runtime first, mean; `numpy` is its major version."""
    pip = f"{quoted(executable)} -m pip install"
    if not trials:
        yield error("engine-missing", "no runtime for TFLite models is installed", fix=f"{pip} ai-edge-litert")
        return
    working = next((trial for trial in trials if trial.works), None)
    for i, trial in enumerate(trials):
        if trial.works:
            continue
        severity = ERROR if working is None else WARNING if i < trials.index(working) else HINT
        yield _fault(trial, severity, working, numpy, quoted(executable))
    if working is None:
        return
    if working.runtime == "tflite-runtime" and all(trial.runtime != "litert" for trial in trials) and litert_has_wheels(python):
        text = "only tflite-runtime is installed; ai-edge-litert is 2 to 12 times faster on int8 models"
        yield hint("engine-slower", text, fix=f"{pip} 'ai-edge-litert>=2.0,<3'")
    yield ok(f"{working.build} runs models, the demo's in {working.ms:.2g} ms", details={"build": working.build, "ms": working.ms})


def _fault(trial: Trial, severity: str, working: Trial | None, numpy: int, python: str) -> Finding:
    pip = f"{python} -m pip install"
    instead = f"; {working.build} is used instead" if working else ""
    package = RUNTIMES[trial.runtime][0]
    if trial.crash:
        text = f"{trial.build} {trial.crash} over the demo's model: it is not made for this processor{instead}"
        other = next(other for name, (other, _) in RUNTIMES.items() if name != trial.runtime)
        fix = f"{python} -m pip uninstall {package}" if working else f"{pip} {other}"
        return Finding("engine-crashes", severity, text, fix=fix)
    if trial.wrong:
        text = f"{trial.build} computes the demo's model wrongly: it {trial.wrong}{instead}"
        return Finding("engine-wrong", severity, text, "take another version of it", f"{pip} --upgrade --force-reinstall {package}")
    if trial.runtime == "tflite-runtime" and numpy >= 2:
        text = f"{trial.build} does not load: it needs numpy below 2, and {numpy} is installed{instead}"
        return Finding("numpy-too-new", severity, text, fix=f"{pip} 'numpy<2'")
    text = f"{trial.build} does not run: {trial.error}{instead}"
    return Finding("engine-not-loading", severity, text, fix=f"{pip} --force-reinstall {package}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _numpy() -> int:
    try:
        return int(importlib.metadata.version("numpy").split(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return 0
