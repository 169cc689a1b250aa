"""After the theft of the root key: what `edged fleet rotate root --compromised` says to do is what helps."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edged.errors import Untrusted
from edged.fleet.floor import FloorFile
from edged.fleet.repositories import FolderRepository
from edged.fleet.trust import Trusted, refresh
from edged.publisher.repository import Repository
from edged.publisher.rotation import rotate
from tests.fleets import Fleet

ROLES = ("root", "targets", "snapshot", "timestamp", "director")


def believe(folder: Path, root: bytes, public: Path) -> Trusted:
    """Let a board whose memory is `folder` look at a repository."""
    folder.mkdir(exist_ok=True)
    floor = FloorFile(folder)
    trusted, lifted = refresh(folder / "metadata", root, FolderRepository(public).metadata, datetime.now(timezone.utc), floor.now)
    floor.put(lifted)
    return trusted


def test_the_newest_root_brings_a_board_back_that_followed_a_thief(tmp_path: Path) -> None:
    fleet, board = Fleet(tmp_path / "fleet"), tmp_path / "board"
    first = fleet.root_bytes()
    believe(board, first, fleet.public)
    shutil.copytree(fleet.folder, tmp_path / "thief")
    thief = Repository(tmp_path / "thief", fleet.clock)
    for role in ROLES:
        rotate(thief, role)
    believe(board, first, thief.layout.public)
    newest = [fleet.rotate(role).root for role in ROLES][-1]
    with pytest.raises(Untrusted, match="not signed"):
        believe(board, first, fleet.public)  # its first root leads to the thief's, who was there before
    root = fleet.root_bytes(newest)
    assert believe(board, root, fleet.public).versions["root"] == newest
    with pytest.raises(Untrusted):
        believe(board, root, thief.layout.public)
    with pytest.raises(Untrusted):
        believe(tmp_path / "new board", root, thief.layout.public)
