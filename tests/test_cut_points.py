"""A kill at every durable operation of an update: the old release or the new one serves, and the board goes on."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edged.errors import BoardError
from edged.models import journal
from edged.models.book import read_ledger
from edged.models.journal import read
from edged.models.store import Store
from tests.boards import Board, Releases, check_tidy
from tests.conftest import REPO
from tests.shim import PLAIN, Cut, copy, cuts_of, die_at, in_words

pytest_plugins = ["tests.quick"]

Act = Callable[[Board], object]
Active = Collection[int | None]
Report = Callable[[str, object], None]


class Sweep:
    """One act, cut at each of its durable operations over a fresh copy of a state folder, and what comes after.

    before   what was done, and stopped cleanly, before the act
    act      what is cut; it takes the store itself
    may_be   what may be active after a cut
    comes_to what may be active when all has come to rest at the next start
    again    the release that somebody who sees that it does not serve installs once more
    """

    def __init__(self, quick: Path, before: Act, act: Act, may_be: Active, comes_to: Active = frozenset(), again: int = 0) -> None:
        self.quick, self.act, self.may_be, self.comes_to, self.again = quick, act, may_be, comes_to or may_be, again
        self.goes_on = False
        self.releases = Releases(quick / "releases")
        self.template, self.state = quick / "template", quick / "state"
        for number in range(1, 5):
            self.releases(number)
        board = Board(self.template, self.releases).start()
        before(board)
        board.stop()

    def fresh(self) -> Board:
        return Board(copy(self.template, self.state), self.releases)

    def cuts(self) -> list[Cut]:
        board = self.fresh()
        return cuts_of(lambda: self.act(board))

    def cut(self, cut: Cut) -> None:
        board = self.fresh()
        die_at(cut, lambda: self.act(board))
        self.check_cut()

    def check_cut(self) -> None:
        """What a kill left can be read, and what is to serve can be loaded."""
        if not (self.state / "models").exists():
            return
        assert read(self.state / "models" / "journal").bad == 0
        active = read_ledger(self.state).of("twice").active
        assert active in self.may_be
        if active is not None:
            Store(self.state).load("twice", active)

    def check_rest(self, board: Board) -> None:
        """After the next start all comes to rest, nothing is left over, and in sweeps of installs others can follow."""
        board.settle()
        check_tidy(self.state, board.book.kept())
        assert board.standing()[0] in self.comes_to
        assert not board.held().unproven
        if self.again and board.standing()[0] != self.again:
            board.commit(self.again)
        if self.goes_on:
            board.commit(4)
            board.check_tidy()
        board.stop()

    def all(self, report: Report, name: str, *, lost: bool = False) -> list[Cut]:
        cuts = [replace(cut, lost=lost) for cut in self.cuts() if not (lost and cut.half)]
        for cut in cuts:
            with after(cut):
                self.cut(cut)
                self.check_rest(Board(self.state, self.releases).start())
        report(name, in_words(cuts))
        print(f"\n{name}: {in_words(cuts)}")
        return cuts


@contextmanager
def after(*cuts: Cut) -> Iterator[None]:
    """Let a failure say where the process was ended."""
    try:
        yield
    except BaseException as error:
        raise AssertionError(f"after {' and then '.join(map(str, cuts))}") from error


def first(board: Board) -> None:
    board.commit(1)


def two(board: Board) -> None:
    board.commit(1, 2)


def install(number: int) -> Act:
    def act(board: Board) -> None:
        board.start().commit(number)
        board.stop()

    return act


def installed_alone(board: Board) -> None:
    """What the command does where no daemon runs."""
    board.open()
    board.agent.updates.stand_in()
    board.install(2)
    board.until("confirm")
    board.close()


def rejected(board: Board) -> None:
    board.start()
    board.ports.script["trial"] = [BoardError("engine-missing", "nothing runs it")]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rejected", "engine-missing")
    board.stop()


def rolled_back(board: Board) -> None:
    board.start()
    board.ports.script["rehearse"] = [BoardError("no-start", "it does not start")]
    board.install(2)
    board.settle()
    assert board.ended() == (2, "rolled_back", "no-start")
    board.stop()


def superseded(board: Board) -> None:
    board.start()
    board.ports.script["trial"] = [None, BoardError("engine-missing", "nothing runs it")]
    board.install(2)
    board.until("confirm")
    board.install(3)
    board.settle()
    assert board.standing()[0] == 1
    board.stop()


def back(board: Board) -> None:
    board.start().agent.rollback("twice")
    board.settle()
    assert board.standing() == (1, 1, 2)
    board.stop()


def remove(board: Board) -> None:
    board.start().agent.remove("twice", 1)
    board.stop()


def pin(board: Board) -> None:
    board.start().agent.pin("twice", 1, True)
    board.commit(3)
    board.agent.pin("twice", 1, False)
    board.agent.updates._collect()
    board.stop()


SWEEPS: dict[str, tuple[Any, ...]] = {
    "first install": (lambda board: None, install(1), {None, 1}, {None, 1}, 1),
    "install": (first, install(2), {1, 2}, {1, 2}, 2),
    "install without a daemon": (first, installed_alone, {1, 2}, {1, 2}, 2),
    "rejected": (first, rejected, {1}, {1, 2}),
    "rolled back": (first, rolled_back, {1, 2}),
    "superseded and rejected": (first, superseded, {1, 2}, {1, 2, 3}),
    "rollback": (two, back, {1, 2}),
    "remove": (two, remove, {2}),
    "pin and collect": (two, pin, {2, 3}),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_kill_at_any_durable_operation_leaves_old_or_new_and_a_board_that_goes_on(name: str, quick: Path, record_property: Report):
    sweep = Sweep(quick, *SWEEPS[name])
    sweep.goes_on = name.endswith("install")
    sweep.all(record_property, name)


@pytest.mark.parametrize("name", ["first install", "install", "rollback", "remove"])
def test_a_power_cut_that_loses_all_that_was_not_synced_leaves_old_or_new(name: str, quick: Path, record_property: Report):
    Sweep(quick, *SWEEPS[name]).all(record_property, f"{name}, power cut", lost=True)


def test_an_empty_state_folder_cut_at_each_step_of_its_making(quick: Path, record_property: Report):
    sweep = Sweep(quick, *SWEEPS["first install"])
    shutil.rmtree(sweep.template)
    sweep.template.mkdir()
    sweep.all(record_property, "on an empty folder")


def test_a_kill_while_the_journal_is_written_anew(quick: Path, record_property: Report, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journal, "MAX_BYTES", 300)  # after each second entry or so
    cuts = Sweep(quick, *SWEEPS["install"]).all(record_property, "install, the journal always too long")
    assert sum(cut.operation == "replace" for cut in cuts) >= 8


def test_a_kill_while_a_damaged_journal_is_mended(quick: Path, record_property: Report):
    sweep = Sweep(quick, first, lambda board: board.start().stop(), {1})
    path = sweep.template / "models" / "journal"
    path.write_bytes(b"nonsense\n" + path.read_bytes())
    whole = sweep.check_cut

    def check_cut() -> None:
        if read(sweep.state / "models" / "journal").bad == 0:
            whole()

    sweep.check_cut = check_cut  # type: ignore[method-assign]
    sweep.all(record_property, "a damaged journal")


def test_a_kill_in_the_recovery_from_a_kill(quick: Path, record_property: Report):
    sweep = Sweep(quick, *SWEEPS["install"])
    recover: Act = lambda board: (board.start(), board.settle(), board.stop())  # noqa: E731
    sweep.again = 0  # two ends while it is new are held against it
    places = sweep.cuts()[2::8]
    count = 0
    for place in places:
        sweep.cut(place)
        wreck = copy(sweep.state, quick / "wreck")
        cuts = cuts_of(lambda: recover(Board(sweep.state, sweep.releases)))
        for cut in cuts:
            board = Board(copy(wreck, sweep.state), sweep.releases)
            with after(place, cut):
                die_at(cut, lambda board=board: recover(board))
                sweep.check_cut()
                sweep.check_rest(Board(sweep.state, sweep.releases).start())
        count += len(cuts)
    record_property("double faults", count)
    print(f"\ndouble faults: {count} kills in the recovery of {len(places)} kills")


# -- nothing goes past the shim -------------------------------------------------------------------

METHODS = {"unlink", "rename", "rmdir", "mkdir", "write_bytes", "write_text", "touch", "symlink_to", "hardlink_to", "rmtree"}
OF_OS = {
    *("remove", "removedirs", "makedirs", "renames", "truncate", "link", "symlink", "pwrite", "writev", "pwritev", "sendfile", "fdatasync"),
    *("copy_file_range", "chmod", "fchmod", "chown", "fchown", "utime", "setxattr", "mkfifo", "mknod", "splice"),
}
OF_SHUTIL = {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move", "rmtree"}
ALLOWED = {
    ("models/blobs.py", "os.fchmod"): "that a blob is read-only keeps slips away; it need not last",
    ("models/claim.py", "os.pwrite"): "the number of the process that holds the lock, for people; it need not last",
}


def _bypasses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Give line and name of each call that may change a disk behind the shim's back."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil", "tempfile"):
            yield node.lineno, f"from {node.module} import"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, method = name.rpartition(".")
        changes = (
            owner == "os" and method in OF_OS,
            owner != "os" and method in METHODS,
            owner == "shutil" and method in OF_SHUTIL,
            owner == "tempfile",
            owner != "os" and method == "replace" and len(node.args) == 1 and not node.keywords,  # a path's, not a text's
            owner != "os" and method == "open" and any(set("wax+") & set(mode) for mode in _modes(node, bool(owner))),
        )
        if any(changes):
            yield node.lineno, name


def _modes(call: ast.Call, is_method: bool) -> list[str]:
    given = [*call.args[0 if is_method else 1 :][:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return [str(each.value) for each in given if isinstance(each, ast.Constant)]


def test_all_that_changes_the_store_goes_through_the_functions_that_are_cut():
    assert set(PLAIN) & OF_OS == set()
    found = {}
    for package in ("models", "fleet"):
        for path in sorted((REPO / "edged" / package).rglob("*.py")):
            module = str(path.relative_to(REPO / "edged"))
            found |= {(module, name): line for line, name in _bypasses(ast.parse(path.read_bytes()))}
    assert {key: line for key, line in found.items() if key not in ALLOWED} == {}
    assert not ALLOWED.keys() - found.keys(), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    "code",
    [
        "path.unlink()",
        "a.b.rename(c)",
        "path.replace(other)",
        "path.write_bytes(b'')",
        "path.open('wb')",
        "open(path, 'w')",
        "open(path, mode='r+b')",
        "shutil.rmtree(x)",
        "os.remove(x)",
        "from os import unlink",
        "os.makedirs(x)",
        "tempfile.mkstemp()",
    ],
)
def test_a_bypass_is_found(code: str):
    assert list(_bypasses(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["text.replace('a', 'b')", "structs.replace(entry, at=1)", "path.open('rb')", "open(path)", "os.unlink(x)"]
)
def test_what_only_looks_like_one_is_not(code: str):
    assert not list(_bypasses(ast.parse(code)))
