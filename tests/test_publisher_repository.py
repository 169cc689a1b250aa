"""The repository that a fleet manager signs: made, filled, ordered from, rotated; as a TUF client sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from edged.clock import VirtualClock
from edged.errors import OperatorError, PublisherError
from edged.exchange.desired import parse_desired
from edged.exchange.pieces import PIECE, index_of
from edged.exchange.targets import DIRECTOR, parse_custom
from edged.publisher.metadata import LIMITS, ROLES
from edged.publisher.repository import Repository, create
from edged.publisher.rotation import rotate
from tests.fleets import Fleet, days
from tests.stores import large, refused, renumber, tiny

NOW = int(datetime(2026, 11, 29, tzinfo=timezone.utc).timestamp()) * 10**9


class FolderFetcher(FetcherInterface):
    """Gives metadata from a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.rpartition("/")[2]
        if not path.exists():
            raise DownloadHTTPError("not there", 404)
        yield path.read_bytes()


def see(public: Path, root: bytes, cache: Path, target: str = "twice/1") -> TargetFile | None:
    """Refresh as a board does, and give a target."""
    cache.mkdir(exist_ok=True)
    updater = Updater(str(cache), "http://x/", fetcher=FolderFetcher(public / "metadata"), bootstrap=root, config=UpdaterConfig())
    updater.refresh()
    return updater.get_targetinfo(target)


def verifies(fleet: Fleet, audience: str) -> None:
    """Hold a document against the director's keys in the present targets."""
    stand = fleet.repository.stand()
    keyids, threshold = stand.keys_of(DIRECTOR)
    Envelope.from_dict(json.loads(fleet.desired(audience))).verify([stand.key(DIRECTOR, keyid) for keyid in keyids], threshold)


def test_a_tuf_client_takes_a_release_that_was_added(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    added = fleet.add(tiny(tmp_path / "r"))
    target = see(fleet.public, fleet.root_bytes(), tmp_path / "cache")
    assert target is not None
    assert added.new
    assert target.hashes == {"sha256": added.digest}
    assert hashlib.sha256(fleet.blob(added.digest)).hexdigest() == added.digest
    assert see(fleet.public, fleet.root_bytes(), tmp_path / "cache", "other/1") is None


def test_every_file_of_a_release_lies_under_its_hash_with_its_piece_index(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    folder = large(tmp_path / "r", 3 * PIECE + 5)
    fleet.add(folder)
    target = fleet.repository.stand().targets.signed.targets["twice/1"]
    ((file, index),) = parse_custom(target.custom).items()
    assert fleet.blob(file) == (folder / "twice.tflite").read_bytes()
    with (folder / "twice.tflite").open("rb") as data:
        assert fleet.blob(index) == index_of(data)
    for path in (fleet.public / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert len(list((fleet.public / "blobs" / "sha256").iterdir())) == 4  # release.json, model.toml, the model, its index


def test_private_keys_are_for_their_owner_only_and_never_public(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", root_keys=2)
    keys = sorted((fleet.folder / "keys").iterdir())
    assert [path.name.split("-")[0] for path in keys] == ["director", "root", "root", "snapshot", "targets", "timestamp"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    assert (fleet.folder / "keys").stat().st_mode & 0o077 == 0
    assert not any(b"PRIVATE" in path.read_bytes() for path in fleet.public.rglob("*") if path.is_file())


def test_the_same_release_again_is_fine_and_another_under_its_number_is_not(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    folder = tiny(tmp_path / "r")
    fleet.add(folder)
    before = fleet.metadata("timestamp")
    assert not fleet.add(folder).new
    assert fleet.metadata("timestamp") == before
    refused("release-exists", lambda: fleet.add(renumber(folder, 1, "# changed")))
    assert fleet.metadata("timestamp") == before


def test_a_file_that_was_changed_after_it_was_packed_does_not_come_in(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    folder = tiny(tmp_path / "r")
    data = bytearray((folder / "twice.tflite").read_bytes())
    data[-1] ^= 1
    (folder / "twice.tflite").write_bytes(data)
    refused("file-changed", lambda: fleet.add(folder))
    assert not fleet.repository.stand().targets.signed.targets
    assert not list((fleet.folder / "incoming").iterdir())


def test_orders_are_merged_and_the_revision_rises(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", clock=VirtualClock(NOW))
    fleet.add(tiny(tmp_path / "r1"))
    fleet.add(tiny(tmp_path / "r2", 2))
    first = fleet.assign("dev:press-7", {"twice": 1}, windows=7)
    assert (first.rev, first.models["twice"].asked, first.models["twice"].policy.windows) == (1, 1, 7)
    second = fleet.assign("dev:press-7", {})
    assert (second.rev, second.models) == (2, first.models)
    third = fleet.assign("dev:press-7", {"twice": 2})
    assert (third.rev, third.models["twice"].release, third.models["twice"].asked) == (3, 2, 3)
    assert (third.expires - third.issued).days == 90
    verifies(fleet, "dev:press-7")
    payload = Envelope.from_dict(json.loads(fleet.desired("dev:press-7"))).payload
    assert parse_desired(payload) == third


def test_orders_for_releases_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    fleet.add(tiny(tmp_path / "r"))
    error = refused("release-unknown", lambda: fleet.assign("group:line-3", {"twice": 9}), OperatorError)
    assert "releases of twice: 1" in error.hint
    error = refused("release-unknown", lambda: fleet.assign("group:line-3", {"other": 1}), OperatorError)
    assert "models: twice" in error.hint
    refused("bad-audience", lambda: fleet.assign("dev:../../x", {"twice": 1}), OperatorError)
    assert not fleet.layout.audiences()


@pytest.mark.parametrize("role", ROLES)
def test_boards_follow_when_the_keys_of_a_role_are_replaced(role: str, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    fleet.add(tiny(tmp_path / "r"))
    fleet.assign("dev:a", {"twice": 1})
    root, old = fleet.root_bytes(), fleet.repository.stand().keys_of(role)[0]
    see(fleet.public, root, tmp_path / "cache")
    rotated = fleet.rotate(role)
    assert fleet.repository.stand().keys_of(role)[0] != old
    assert [path.suffix for path in rotated.retired] == [".retired"]
    assert see(fleet.public, root, tmp_path / "cache")
    assert see(fleet.public, root, tmp_path / "fresh")
    fleet.add(tiny(tmp_path / "r2", 2))  # the new key signs alone
    assert see(fleet.public, root, tmp_path / "cache", "twice/2")
    verifies(fleet, "dev:a")


def test_a_root_of_several_keys_is_replaced_with_enough_of_them(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", root_keys=3, root_threshold=2)
    root = fleet.root_bytes()
    away = sorted((fleet.folder / "keys").glob("root-*"))
    (tmp_path / "stick").mkdir()
    for path in away:
        path.rename(tmp_path / "stick" / path.name)
    refused("key-missing", lambda: fleet.rotate("root"), OperatorError)
    (tmp_path / "stick" / away[0].name).rename(tmp_path / away[0].name)
    repository = Repository(fleet.folder, fleet.clock, [tmp_path / "stick"])
    rotated = rotate(repository, "root")
    assert rotated.root == 2
    assert rotated.elsewhere == [away[0].name]
    assert len(rotated.made) == 3
    assert see(fleet.public, root, tmp_path / "cache") is None


def test_a_missing_key_is_named_with_what_to_do_and_nothing_is_written(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    key = next((fleet.folder / "keys").glob("targets-*"))
    (tmp_path / "stick").mkdir()
    key.rename(tmp_path / "stick" / key.name)
    before = fleet.keep()
    fleet.repository = Repository(fleet.folder, fleet.clock)
    error = refused("key-missing", lambda: fleet.add(tiny(tmp_path / "r")), OperatorError)
    assert key.name in error.text
    assert "--keys" in error.hint
    assert fleet.keep() == before
    fleet.repository = Repository(fleet.folder, fleet.clock, [tmp_path / "stick"])
    assert fleet.add(tiny(tmp_path / "again")).new


def test_a_passphrase_keeps_root_and_targets_and_is_asked_for(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", passphrase="open sesame")
    for path in (fleet.folder / "keys").iterdir():
        assert (b"ENCRYPTED" in path.read_bytes()) == path.name.startswith(("root", "targets"))
    refused("passphrase-missing", lambda: rotate(Repository(fleet.folder, fleet.clock), "targets"), OperatorError)
    wrong = Repository(fleet.folder, fleet.clock, passphrase=lambda _: "wrong")
    refused("passphrase-wrong", lambda: rotate(wrong, "targets"), OperatorError)
    right = Repository(fleet.folder, fleet.clock, passphrase=lambda _: "open sesame")
    assert rotate(right, "targets", "another").root == 2


def test_a_folder_that_is_a_repository_is_not_made_one_again(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    before = fleet.keep()
    refused("repository-exists", lambda: create(fleet.folder, "other", fleet.clock), OperatorError)
    refused("bad-threshold", lambda: create(tmp_path / "x", "other", fleet.clock, root_threshold=2), OperatorError)
    refused("not-a-repository", lambda: Repository(tmp_path, fleet.clock), OperatorError)
    assert fleet.keep() == before


def test_metadata_that_no_message_takes_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(tmp_path / "fleet")
    before = fleet.keep()
    monkeypatch.setitem(LIMITS, "targets", len(fleet.metadata("targets/1")) + 10)
    error = refused("metadata-too-large", lambda: fleet.add(tiny(tmp_path / "r")), OperatorError)
    assert "edged fleet remove" in error.hint
    assert fleet.keep() == before


def test_damaged_metadata_is_named(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    for data in (b"", b"{}", b"[" * 10_000, fleet.root_bytes()):
        fleet.layout.timestamp.write_bytes(data)
        refused("repository-damaged", fleet.repository.stand, OperatorError)


def test_the_lies_of_a_test_fleet_are_what_they_say(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    fleet = Fleet(tmp_path / "fleet", clock=clock)
    fleet.add(tiny(tmp_path / "r"))
    kept = fleet.keep()
    fleet.resign("targets", lambda targets: targets.targets.clear())
    stand = fleet.repository.stand()
    assert not stand.targets.signed.targets
    assert stand.snapshot.signed.meta["targets.json"].version == stand.targets.signed.version == 3
    fleet.put_back(kept)
    assert fleet.repository.stand().targets.signed.version == 2
    fleet.resign("timestamp", lambda timestamp: setattr(timestamp, "version", 1), bump=False)
    assert fleet.repository.stand().timestamp.signed.version == 1
    fleet.expire("timestamp")
    assert fleet.repository.stand().timestamp.signed.is_expired(fleet.repository.now())
    clock.advance(days(1))
    assert fleet.repository.expiry("timestamp").day == 30
    desired = fleet.make_desired("dev:a", {"twice": 1, "none": 3}, rev=9)
    assert desired.models["none"].sha256 == "0" * 64
    assert json.loads(fleet.sign_desired(desired, "timestamp"))["signatures"][0]["keyid"] == stand.keys_of("timestamp")[0][0]


def test_a_number_given_twice_in_one_command_is_refused(tmp_path: Path) -> None:
    from edged.models.source import source_of
    from edged.publisher.intake import add

    fleet = Fleet(tmp_path / "fleet")
    sources = [source_of(tiny(tmp_path / "a")), source_of(tiny(tmp_path / "b", 1, "# other"))]
    with pytest.raises(PublisherError) as caught:
        add(fleet.repository, sources, lambda _a, _b: None, lambda: False)
    assert caught.value.code == "release-exists"
    assert not fleet.repository.stand().targets.signed.targets
