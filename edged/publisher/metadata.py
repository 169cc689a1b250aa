"""The present TUF metadata of a repository: read, checked in size, signed, written.

What is present is what timestamp.json leads to. A file of a higher version that nothing leads to was left by a
command that was ended; the next one writes over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Metadata, Root, Signed, Snapshot, T, Targets, Timestamp

from edged.atomic import sync_folder, write_atomic
from edged.errors import OperatorError
from edged.exchange.targets import (
    DIRECTOR,
    MAX_ROOT_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    file_name,
    metadata_name,
)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DIRECTOR)
LIMITS = {ROOT: MAX_ROOT_BYTES, TARGETS: MAX_TARGETS_BYTES, SNAPSHOT: MAX_SNAPSHOT_BYTES, TIMESTAMP: MAX_TIMESTAMP_BYTES}


@dataclass
class Stand:
    """How a repository stands: the newest root, and what timestamp.json leads to."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def signed(self, role: str) -> Signed:
        """Give what a top-level role says."""
        return cast(Signed, getattr(self, role).signed)

    @property
    def director(self) -> DelegatedRole:
        """Give who may sign desired documents."""
        delegations = self.targets.signed.delegations
        assert delegations is not None  # `read_stand` has looked
        assert delegations.roles is not None
        return delegations.roles[DIRECTOR]

    def keys_of(self, role: str) -> tuple[list[str], int]:
        """Give the identifiers of a role's keys, and how many of them have to sign."""
        found = self.director if role == DIRECTOR else self.root.signed.roles[role]
        return found.keyids, found.threshold

    def key(self, role: str, keyid: str) -> Key:
        """Give a public key of a role."""
        return (self.targets if role == DIRECTOR else self.root).signed.get_key(keyid)


def read_stand(folder: Path) -> Stand:
    """Read the metadata in `folder`. Raises OperatorError(`repository-damaged`)."""
    timestamp = read(folder, TIMESTAMP, Timestamp)
    snapshot = read(folder, f"{SNAPSHOT}/{timestamp.signed.snapshot_meta.version}", Snapshot)
    targets_meta = snapshot.signed.meta.get("targets.json")
    if targets_meta is None:
        raise _damaged(folder / file_name(TIMESTAMP), "its snapshot names no targets")
    targets = read(folder, f"{TARGETS}/{targets_meta.version}", Targets)
    stand = Stand(read(folder, f"{ROOT}/{newest_root(folder)}", Root), targets, snapshot, timestamp)
    if not (targets.signed.delegations and targets.signed.delegations.roles and DIRECTOR in targets.signed.delegations.roles):
        raise _damaged(folder / file_name(f"{TARGETS}/{targets_meta.version}"), f"it names no {DIRECTOR}")
    return stand


def newest_root(folder: Path) -> int:
    """Give the version of the newest root in an unbroken chain from 1."""
    version = 1
    while (folder / file_name(f"{ROOT}/{version + 1}")).exists():
        version += 1
    return version


def read(folder: Path, name: str, kind: type[T]) -> Metadata[T]:
    """Read one file of metadata. Raises OperatorError(`repository-damaged`)."""
    path = folder / file_name(name)
    try:
        with path.open("rb") as file:
            metadata: Metadata[T] = Metadata.from_bytes(file.read(max(LIMITS.values()) + 1))
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from None
    except Exception as error:  # DeserializationError, and what values inside it raise
        raise _damaged(path, str(error)) from None
    if not isinstance(metadata.signed, kind):
        raise _damaged(path, f"it says {metadata.signed.type}")
    return metadata


def signed_bytes(metadata: Metadata[T], signers: Iterable[Signer]) -> bytes:
    """Sign with all `signers`, which replaces older signatures; give the file. Raises OperatorError(`metadata-too-large`)."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes()
    role = metadata.signed.type
    if len(data) > LIMITS[role]:
        text = f"{role} metadata would have {len(data) >> 10} KiB; boards and brokers take {LIMITS[role] >> 10} KiB"
        raise OperatorError("metadata-too-large", text, "remove releases that no board needs: edged fleet remove DIR MODEL RELEASE")
    return data


def write(folder: Path, name: str, data: bytes) -> None:
    """Put a file of metadata in place, durably. Raises OSError."""
    write_atomic(folder / file_name(name), data)


def sweep(folder: Path, versions: Mapping[str, int]) -> None:
    """Remove files of roles whose version is lower than the one before that in `versions`. Raises OSError."""
    gone = [name for name in os.listdir(folder) if is_past(metadata_name(name) or "", versions)]
    for name in gone:
        os.unlink(folder / name)
    if gone:
        sync_folder(folder)


def is_past(name: str, versions: Mapping[str, int]) -> bool:
    """Say whether metadata called `targets/3` is older than the one before that in `versions`; roots never are."""
    role, _, version = name.partition("/")
    return role in versions and version.isdigit() and int(version) < versions[role] - 1


def _damaged(path: Path, why: str) -> OperatorError:
    return OperatorError("repository-damaged", f"{path} cannot be used: {why}", "bring the folder back from a backup")
