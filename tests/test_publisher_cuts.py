"""A fleet manager's command that is killed, or a power cut, at each durable operation: boards see the old state or the new one."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.clock import VirtualClock
from edged.models.source import source_of
from edged.publisher.intake import add
from edged.publisher.metadata import ROLES
from edged.publisher.orders import assign
from edged.publisher.removal import remove
from edged.publisher.renewal import Renewal, renew
from edged.publisher.repository import Repository, create
from edged.publisher.rotation import rotate
from tests.fleets import Fleet, days
from tests.shim import Cut, copy, cuts_of, die_at
from tests.stores import tiny
from tests.test_publisher_repository import see, verifies

NOW = time.time_ns()  # the client of the TUF project takes the system's clock
Do = Callable[[Repository], object]
COMMANDS = ["add", "remove", "assign", "renew", *(f"rotate-{role}" for role in ROLES)]


def do(name: str, release: Path) -> Do:
    """Give what one command does."""
    if name == "add":
        return lambda repository: add(repository, [source_of(release)], lambda _a, _b: None, lambda: False)
    if name == "remove":
        return lambda repository: remove(repository, "twice", 1)
    if name == "assign":
        return lambda repository: assign(repository, "dev:a", {"twice": 1})
    if name == "renew":
        return lambda repository: renew(repository, 1.0)
    return lambda repository: rotate(repository, name.removeprefix("rotate-"))


def opened(folder: Path) -> Repository:
    return Repository(folder, VirtualClock(NOW + days(1)))


def check(folder: Path, root: bytes, cache: Path, old_targets: set[str], new_targets: set[str]) -> None:
    """A board that comes for the first time sees one state or the other, whole; so does one that was there before."""
    fleet = Fleet.__new__(Fleet)
    fleet.folder, fleet.repository = folder, opened(folder)
    fleet.layout = fleet.repository.layout
    see(folder / "public", root, cache / "fresh")
    see(folder / "public", root, cache / "known")
    seen = set(fleet.repository.stand().targets.signed.targets)
    assert seen in (old_targets, new_targets)
    blobs = {path.name: path for path in (folder / "public" / "blobs" / "sha256").iterdir()}
    for name, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    for target in fleet.repository.stand().targets.signed.targets.values():
        assert target.hashes["sha256"] in blobs
    verifies(fleet, "dev:a")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_leaves_the_old_state_or_the_new_one_and_the_same_command_again_ends_it(name: str, tmp_path: Path) -> None:
    template = Fleet(tmp_path / "template", clock=VirtualClock(NOW))
    template.add(tiny(tmp_path / "r1"))
    template.assign("dev:a", {"twice": 1})
    root, before = template.root_bytes(), set(template.repository.stand().targets.signed.targets)
    see(template.public, root, tmp_path / "known")
    act = do(name, tiny(tmp_path / "r2", 2))
    work = copy(template.folder, tmp_path / "work")
    cuts = cuts_of(lambda: act(opened(work)))
    after = set(opened(work).stand().targets.signed.targets)
    assert len(cuts) > 3
    for cut in cuts:
        for each in (cut, Cut(cut.number, cut.operation, cut.half, lost=True)):
            work = copy(template.folder, tmp_path / "work")
            die_at(each, lambda work=work: act(opened(work)))
            cache = copy(tmp_path / "known", tmp_path / "cache" / "known").parent
            check(work, root, cache, before, after)
            _again(act, work, name)
            check(work, root, cache, after, after)
            shutil.rmtree(tmp_path / "cache")


def _again(act: Do, work: Path, name: str) -> None:
    """Give the command once more; a removal may have been done already."""
    if name == "remove" and not opened(work).stand().targets.signed.targets:
        return
    outcome = act(opened(work))
    assert outcome is not Renewal.NO_KEYS


def test_a_killed_init_is_done_again_in_the_same_folder(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    cuts = cuts_of(lambda: create(tmp_path / "whole", "plant-a", clock))
    for cut in cuts:
        folder = tmp_path / f"cut-{cut.number}-{cut.half}"
        die_at(cut, lambda folder=folder: create(folder, "plant-a", clock))
        if not (folder / "public" / "metadata" / "timestamp.json").exists():
            create(folder, "plant-a", clock)
        root = (folder / "public" / "metadata" / "1.root.json").read_bytes()
        assert see(folder / "public", root, folder / "cache") is None
