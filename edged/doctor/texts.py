"""Whether language models run here: each runtime for them is loaded in a child process, for one made for another processor crashes."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence

from edged.board.processor import read_processor
from edged.board.tree import Tree
from edged.doctor.finding import HINT, WARNING, Finding, hint, ok, quoted
from edged.doctor.runtimes import Trial, try_runtime
from edged.engines.choose import TEXT_RUNTIMES, text_builds
from edged.engines.wheels import is_for_any

_PROGRAM = "edged.doctor.text_trial"
_DOT_PRODUCTS = frozenset({"asimddp", "i8mm"})  # what builds for any 64-bit ARM do without


def check_texts(tree: Tree) -> Iterator[Finding]:
    """Try every runtime for language models that is installed; nothing to say where none is: not every board wants one."""
    names = {package: name for name, (package, _) in TEXT_RUNTIMES.items()}
    builds = [build for build in text_builds() if build.engine == "llama"]
    trials = [try_runtime(names[build.package], str(build), program=_PROGRAM) for build in builds]
    packages = [build.package for build in builds]
    generic = {package for package in packages if is_for_any(package)}
    return judge_texts(trials, packages, read_processor(tree).isa, generic, sys.executable)


def judge_texts(
    trials: Sequence[Trial], packages: Sequence[str], isa: Sequence[str], generic: Collection[str], executable: str
) -> Iterator[Finding]:
    """Say what the trials of these `packages` mean, the preferred one first; `generic` are those built for any processor."""
    pip = f"{quoted(executable)} -m pip"
    working = next((i for i, trial in enumerate(trials) if trial.works), None)
    for i, trial in enumerate(trials):
        if not trial.works:
            yield _fault(trial, packages[i], WARNING if working is None or i < working else HINT, pip)
    if working is None:
        return
    package, build = packages[working], trials[working].build
    if package in generic and not _DOT_PRODUCTS.isdisjoint(isa):
        text = f"{build} is built for any 64-bit ARM; this processor could read a prompt in about half the time"
        advice = "build it on this board, which takes cmake, a C++ compiler and up to an hour"
        version = build.removeprefix(package).split()[0]
        yield hint("engine-generic", text, advice, f"{pip} install --force-reinstall --no-deps --no-binary {package} {package}=={version}")
    yield ok(f"{build} is ready for language models", details={"build": build, "ms": trials[working].ms})


def _fault(trial: Trial, package: str, severity: str, pip: str) -> Finding:
    if trial.crash:
        text = f"{trial.build} {trial.crash} when it is loaded: it is not made for this processor"
        advice = "take models of engine linear here, or build the runtime on this board"
        return Finding("engine-crashes", severity, text, advice, f"{pip} uninstall {package}")
    fix = trial.fix.replace("apt-get", "sudo apt-get")
    return Finding("engine-not-loading", severity, f"{trial.build} does not run: {trial.error}", fix=fix)
