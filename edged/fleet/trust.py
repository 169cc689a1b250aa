"""Which releases there are, and who may order them: the repository's TUF metadata, fetched and verified.

The rules are those of python-tuf's client (https://theupdateframework.github.io/specification/latest/#detailed-client-workflow);
this adapter gives it bytes and a time, holds what it found against the board's floor, and ends its exceptions. tuf is
imported late: it costs a tenth of a second and few boards have a fleet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edged.errors import EdgedError, OperatorError, PeerError, Untrusted
from edged.exchange import targets as limits
from edged.exchange.targets import DIRECTOR, metadata_name, parse_custom, target_path
from edged.fleet.floor import Floor, Version, unwritable
from edged.models.disk import make_folder

if TYPE_CHECKING:
    from securesystemslib.signer import Key
    from tuf.api.metadata import Targets
    from tuf.ngclient import UpdaterConfig

Fetch = Callable[[str], bytes | None]
"""Gives metadata by its name, such as `root/3`; None where there is none. Raises PeerError where nobody knows."""

_ROLES = ("root", "timestamp", "snapshot", "targets")
_REPAIR = "the fleet manager must look: `edged fleet list DIR`, then `edged fleet publish DIR`"


@dataclass(frozen=True)
class Director:
    """Who signs desired documents: keys, how many of them must, and their fingerprint."""

    keys: tuple[Key, ...]
    threshold: int
    fingerprint: str


@dataclass(frozen=True)
class Listed:
    """A release of the repository: SHA-256 and bytes of its release.json; by SHA-256 of a file, that of its piece index."""

    sha256: str
    size: int
    pieces: dict[str, str]


@dataclass(frozen=True)
class Trusted:
    """What verified metadata says. `expires` is when the first of it does."""

    versions: dict[str, int]
    expires: datetime
    director: Director | None
    _targets: Targets

    def find(self, model: str, release: int) -> Listed | None:
        """Give a release; None where the repository has none of this number. Raises Untrusted(`metadata-malformed`)."""
        target = self._targets.targets.get(target_path(model, release))
        if target is None:
            return None
        try:
            return Listed(target.hashes["sha256"], target.length, parse_custom(target.custom))
        except (KeyError, ValueError) as error:
            text = f"the repository's entry of {model} {release} is none of edged's: {str(error)[:200]}"
            raise Untrusted("metadata-malformed", text, _REPAIR) from None


def refresh(folder: Path, root: bytes, fetch: Fetch, now: datetime, floor: Floor) -> tuple[Trusted, Floor]:
    """Fetch and verify what there is now; give it, and the floor that it lifts.

    `folder` caches metadata, `root` is the trust anchor. Raises Untrusted: `metadata-expired`, `metadata-rollback`,
    `metadata-unsigned`, `metadata-mismatch`, `metadata-too-large`, `metadata-malformed`; PeerError(`metadata-missing`) and what
    `fetch` raises; OperatorError(`root-unreadable`), BoardError(`trust-unwritable`). The floor is not touched then.
    """
    from tuf.api import exceptions
    from tuf.ngclient import Updater

    fetcher = _fetcher(fetch)
    try:
        make_folder(folder)
        try:
            updater = Updater(str(folder), "repo:", fetcher=fetcher, config=_config(), bootstrap=root)
        except (exceptions.RepositoryError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OperatorError("root-unreadable", f"the fleet's root on this board is none: {str(error)[:200]}", _ROOT) from None
        # tuf has no public way to say what time it is, and boards often do not know it: see `timekeeping.py`.
        updater._trusted_set.reference_time = now
        updater.refresh()
        trusted = _read(folder)
    except exceptions.DownloadLengthMismatchError as error:
        raise Untrusted("metadata-too-large", f"metadata is longer than it may be: {error}", _REPAIR) from None
    except exceptions.DownloadError as error:
        text = f"the fleet's metadata is not whole: {error}"
        raise fetcher.failed or PeerError("metadata-missing", text, "it is asked for again") from None
    except exceptions.RepositoryError as error:
        raise _untrusted(error) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # of bytes that tuf did not expect
        raise Untrusted("metadata-malformed", f"metadata cannot be read: {str(error)[:200]}", _REPAIR) from None
    return trusted, _lift(floor, trusted, folder, root)


def _config() -> UpdaterConfig:
    from tuf.ngclient import UpdaterConfig

    return UpdaterConfig(
        max_root_rotations=limits.MAX_ROOT_ROTATIONS,
        max_delegations=1,
        root_max_length=limits.MAX_ROOT_BYTES,
        timestamp_max_length=limits.MAX_TIMESTAMP_BYTES,
        snapshot_max_length=limits.MAX_SNAPSHOT_BYTES,
        targets_max_length=limits.MAX_TARGETS_BYTES,
    )


def _fetcher(fetch: Fetch) -> Any:
    """Give tuf a fetcher over `fetch`; `failed` is the error that ended it."""
    from tuf.api.exceptions import DownloadError, DownloadHTTPError
    from tuf.ngclient import FetcherInterface

    class Fetcher(FetcherInterface):
        failed: EdgedError | None = None

        def _fetch(self, url: str) -> Iterator[bytes]:
            name = metadata_name(url.rpartition("/")[2])
            try:
                data = fetch(name) if name else None
            except EdgedError as error:
                self.failed = error
                raise DownloadError(error.text) from error
            if data is None and (name or "").startswith("root/"):
                raise DownloadHTTPError(f"there is no {name}", 404)  # the chain of roots ends here
            if data is None:
                raise DownloadError(f"there is no {name}")
            return iter((data,))

    return Fetcher()


def _untrusted(error: Exception) -> Untrusted:
    """Say what tuf found, in our words. Order matters: some of its exceptions are kinds of others."""
    from tuf.api import exceptions

    kinds = (
        (exceptions.ExpiredMetadataError, "metadata-expired", "metadata has expired, so nothing new is installed"),
        (exceptions.BadVersionNumberError, "metadata-rollback", "metadata is older than what this board has seen"),
        (exceptions.UnsignedMetadataError, "metadata-unsigned", "metadata is not signed by the keys that may"),
        (exceptions.LengthOrHashMismatchError, "metadata-mismatch", "metadata is not the one that its signed list names"),
    )
    for kind, code, words in kinds:
        if isinstance(error, kind):
            return Untrusted(code, f"the fleet's {words}: {str(error)[:200]}", _HINTS.get(code, _REPAIR))
    return Untrusted("metadata-malformed", f"the fleet's metadata is none: {str(error)[:200]}", _REPAIR)


_ROOT = "put `public/metadata/1.root.json` of the fleet's folder where `root` in `[fleet]` says, and restart edged"
_HINTS = {
    "metadata-unsigned": f"{_REPAIR}; if the fleet was founded anew: {_ROOT}",
    "metadata-expired": "is this board's clock right? if it is, the fleet manager must run `edged fleet publish DIR`",
    "metadata-rollback": "a broker that holds old messages is put right by `edged fleet publish DIR`; otherwise somebody plays them",
}


def _read(folder: Path) -> Trusted:
    """Read what tuf verified and kept."""
    from tuf.api.metadata import Metadata

    signed = {role: Metadata[Any].from_file(str(folder / f"{role}.json")).signed for role in _ROLES}
    targets = signed["targets"]
    return Trusted(
        versions={role: each.version for role, each in signed.items()},
        expires=min(each.expires for each in signed.values()),
        director=_director(targets),
        _targets=targets,
    )


def _director(targets: Targets) -> Director | None:
    delegations = targets.delegations
    role = (delegations.roles or {}).get(DIRECTOR) if delegations else None
    if role is None or delegations is None:
        return None
    keys = tuple(delegations.keys[keyid] for keyid in role.keyids if keyid in delegations.keys)
    return Director(keys, role.threshold, _fingerprint(role.keyids))


def _fingerprint(keyids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(keyids)).encode()).hexdigest()[:16]


def _lift(floor: Floor, trusted: Trusted, folder: Path, anchor: bytes) -> Floor:
    """Hold versions against the floor; give the floor that they lift. Raises Untrusted(`metadata-rollback`).

    The chain of roots is counted from the anchor: where the operator puts another one there, such as that of a fleet which
    was founded anew, its versions begin anew.
    """
    from tuf.api.metadata import Metadata, Root

    roles = Metadata[Root].from_file(str(folder / "root.json")).signed.roles
    online = _fingerprint([*roles["timestamp"].keyids, *roles["snapshot"].keyids])  # one is rotated: both begin anew
    keys = {
        "root": hashlib.sha256(anchor).hexdigest()[:16],
        "timestamp": online,
        "snapshot": online,
        "targets": _fingerprint(roles["targets"].keyids),
    }
    lifted = dict(floor.roles)
    for role, version in trusted.versions.items():
        seen = floor.roles.get(role, Version())
        if seen.keys == keys[role] and version < seen.version:
            text = f"the fleet's {role} metadata is version {version}, and this board has seen {seen.version}"
            raise Untrusted("metadata-rollback", text, _HINTS["metadata-rollback"])
        lifted[role] = Version(version, keys[role])
    return msgspec.structs.replace(floor, roles=lifted)
