"""A board for tests of the control path: a real store and journal, pipelines and trials that do what a test says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.clock import NS, VirtualClock
from edged.errors import BoardError, Cancelled, EdgedError, PublisherError
from edged.fleet.agent import Agent
from edged.fleet.confirm import Watched
from edged.fleet.machine import EXITS
from edged.models.book import Book
from edged.models.entries import Held, Moved, Policy, Update
from edged.models.manifest import Release
from edged.models.packed import Packed
from edged.models.source import FolderSource
from edged.models.store import Store
from tests.stores import seal, tiny

GOOD_WAY = ["evaluate", "fetch", "verify", "trial", "activate", "confirm", "committed"]
BAD = Watched(windows=100, errors=100, pipelines=1)
YOUNG = Watched(windows=3, results=3, seconds=1.0, pipelines=1)
WRONG = PublisherError("golden-differs", "another result", "pack it again")
FLAKY = BoardError("trial-no-start", "no process could be started", "look at the log")
SHORT = BoardError("memory-short", "memory is short", "wait")
GOOD = Watched(windows=1000, results=1000, seconds=1000.0, pipelines=1)
Step = BaseException | Callable[[Callable[[], bool]], None] | None


class FakePorts:
    """Ports that do what `script` says: for each port a list of what its next calls raise or run, before all goes well again.

    calls    each call that works on something: (port, model, release)
    broken   what a test found wrong inside a call
    served   the release that the pipelines of a model run
    worth    the variants that are worth fetching; where there are none, all are
    looks    how often it was asked to see to what else there is
    """

    def __init__(self) -> None:
        self.builds = "tflite 1"
        self.wanted = True
        self.looks = 0
        self.worth: list[str] = []
        self.seen: dict[str, Watched] = {}
        self.served: dict[str, int | None] = {}
        self.script: dict[str, list[Step]] = {}
        self.calls: list[tuple[str, str, int | None]] = []
        self.broken: list[AssertionError] = []

    def inputs(self) -> str:
        return self.builds

    def wants(self, model: str) -> bool:
        return self.wanted

    def look(self) -> None:
        self.looks += 1

    def fitting(self, release: Release, packed: Packed) -> list[str]:
        self._play("fitting", packed.name, packed.release, lambda: False)
        return [each.name for each in release.here if not self.worth or each.name in self.worth]

    def watched(self, model: str) -> Watched:
        return self.seen.get(model, GOOD)

    def trial(self, release: Release, cancelled: Callable[[], bool]) -> dict[str, Any]:
        self._play("trial", release.manifest.name, release.manifest.release, cancelled)
        return {"variant": "fp32"}

    def shadow(self, release: Release, windows: int, progress: Callable[[int], None], cancelled: Callable[[], bool]) -> dict[str, Any]:
        self._play("shadow", release.manifest.name, release.manifest.release, cancelled)
        progress(windows)
        return {"windows": windows, "disagreed": 0}

    def serve(self, model: str, release: Release | None, cancelled: Callable[[], bool]) -> dict[str, Any]:
        number = None if release is None else release.manifest.release
        self._play("serve", model, number, cancelled)
        self.served[model] = number
        return {"gap_ms": 1}

    def rehearse(self, cancelled: Callable[[], bool]) -> None:
        self._play("rehearse", "", None, cancelled)

    def _play(self, port: str, model: str, release: int | None, cancelled: Callable[[], bool]) -> None:
        self.calls.append((port, model, release))
        steps = self.script.get(port)
        step = steps.pop(0) if steps else None
        if isinstance(step, BaseException):
            raise step
        if step is not None:
            try:
                step(cancelled)
            except AssertionError as error:  # the path takes it for a bug in a stage, and goes on
                self.broken.append(error)
                raise


def until_cancelled(before: Callable[[], object]) -> Step:
    """Do something while a port works, which then goes on until it is asked to stop."""

    def work(cancelled: Callable[[], bool]) -> None:
        assert not cancelled(), "it was asked to stop before it began"
        before()
        assert cancelled(), "nobody asked it to stop"
        raise Cancelled

    return work


def refused(do: Callable[[], object]) -> EdgedError:
    with pytest.raises(EdgedError) as caught:
        do()
    assert caught.value.text
    assert caught.value.hint
    return caught.value


class Releases:
    """Packed releases, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, number: int, name: str = "twice", comment: str = "") -> Path:
        """Give the folder of a release; `comment` makes other content under the same number."""
        folder = self._folder / f"{name}-{number}-{comment.strip('# ')}"
        if not folder.exists():
            tiny(folder, number, comment)
            if name != "twice":
                path = folder / "model.toml"
                path.write_text(path.read_text().replace('name = "twice"', f'name = "{name}"', 1))
                seal(folder)
            if number > 1:  # what no other release has
                data = folder / "twice.tflite"
                data.write_bytes(data.read_bytes() + b"%d" % number)
                seal(folder)
        return folder


class Board:
    """A board with its control path. `restart` is a new process over the same folder, after a stop or after a kill."""

    def __init__(self, state_dir: Path, releases: Releases) -> None:
        self.state_dir = state_dir
        self.releases = releases
        self.clock = VirtualClock(1_700_000_000 * NS)
        self.ports = FakePorts()
        self.free = 1 << 40
        self.entries: list[Any] = []
        self.policy = Policy(windows=100, seconds=60)

    def open(self) -> Board:
        """Take the store, as a process does."""
        self.store = Store(self.state_dir, free=lambda _: self.free)
        self.claim = self.store.claim()
        self.book = Book(self.state_dir, self.entries.append)
        self.agent = Agent(self.store, self.book, self.ports, self.clock)
        return self

    def start(self) -> Board:
        """Begin as a daemon does."""
        self.open()
        self.agent.updates.begin()
        self.ports.served = {model: held.active for model, held in self.book.models().items()}
        return self

    def close(self) -> None:
        """End without a word, as a kill does."""
        for job in self.agent.updates.jobs():
            job.close()
        self.book.close()
        self.claim.release()

    def stop(self) -> None:
        """End cleanly."""
        self.agent.updates.interrupt()
        self.agent.step()
        self.agent.updates.end()
        self.close()

    def restart(self, clean: bool = True) -> Board:
        """Begin anew over the same folder; pipelines load what is active."""
        (self.stop if clean else self.close)()
        return self.start()

    def install(self, number: int, name: str = "twice", comment: str = "") -> Moved:
        """Hand a release over."""
        return self.agent.install(FolderSource(self.releases(number, name, comment)), self.policy)

    def settle(self, steps: int = 400) -> None:
        """Work until no update is under way, and all pipelines run what they should."""
        self.run(lambda: not self.agent.updates.jobs() and not self.agent.updates.stale, steps)

    def until(self, state: str, model: str = "twice") -> None:
        """Work until the model's update is in a state."""
        updates = self.agent.updates
        if state == "evaluate":  # no step ends in it
            updates._take_up()
        self.run(lambda: model not in updates._asked and (update := self.held(model).update) is not None and update.state == state)

    def run(self, condition: Callable[[], bool], steps: int = 400) -> None:
        """Work until a condition holds; time passes whenever nothing is to be done."""
        for _ in range(steps):
            if self.ports.broken:
                raise self.ports.broken[0]
            if condition():
                return
            self.clock.advance(int(self.agent.step() * NS))
        raise AssertionError(
            f"not at rest after {steps} steps: {[(job.model, job.moved, job.progress) for job in self.agent.updates.jobs()]}"
        )

    def work(self, steps: int = 50) -> None:
        """Work for so many steps."""
        for _ in range(steps):
            self.clock.advance(int(self.agent.step() * NS))

    def held(self, model: str = "twice") -> Held:
        return self.book.of(model)

    def update(self, model: str = "twice") -> Update:
        update = self.held(model).update
        assert update is not None
        return update

    def ended(self, model: str = "twice") -> tuple[int, str, str]:
        """Give the newest update's release, state, and the code of why."""
        update = self.update(model)
        assert update.state in EXITS, update
        return update.release, update.state, update.why.code

    def standing(self, model: str = "twice") -> tuple[int | None, int | None, int | None]:
        """Give what is active, last good, and previous; the pipelines run the first of these."""
        held = self.held(model)
        assert self.ports.served.get(model) == held.active
        return held.active, held.last_good, held.previous

    def path(self, model: str = "twice") -> list[str]:
        """Give the states that the updates of a model went through since this board was made."""
        return [entry.state for entry in self.entries if isinstance(entry, Moved) and entry.model == model]

    def commit(self, *numbers: int, name: str = "twice") -> Board:
        """Install releases one after the other, all of them good."""
        for number in numbers:
            self.install(number, name)
            self.settle()
            assert self.ended(name) == (number, "committed", "")
        return self

    def check_tidy(self) -> None:
        """Nothing is in the store that nobody needs, and what is needed is there and right."""
        check_tidy(self.state_dir, self.book.kept())


def check_tidy(state_dir: Path, kept: set[tuple[str, int]]) -> None:
    root, store = state_dir / "models", Store(state_dir)
    releases = store.releases()
    assert {(each.name, each.release) for each in releases} == kept
    assert not [each.damage for each in releases if each.damage]
    named = {seal.sha256 for each in releases for seal in store.candidate(each.name, each.release).seals.values()}
    assert set(os.listdir(root / "blobs" / "sha256")) == named
    assert os.listdir(root / "incoming") == []
    assert list(strays(root)) == []
    for name in named:
        assert hashlib.sha256((root / "blobs" / "sha256" / name).read_bytes()).hexdigest() == name


def strays(root: Path) -> Iterator[str]:
    """Name what a cut leaves behind."""
    for path in root.rglob("*"):
        if path.name.startswith(".") or path.suffix in (".part", ".gone"):
            yield str(path.relative_to(root))
