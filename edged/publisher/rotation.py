"""New keys for a role, so that no moment leaves boards without metadata that they can verify.

Boards go from root to root, each signed by the keys of the one before and by its own. Where the keys of targets,
snapshot or timestamp change, those sign with old and new keys first; then the root follows that names the new ones.
The director's documents get a second signature first; then the targets follow that name its new key.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer

from edged.exchange.targets import DIRECTOR
from edged.publisher.keys import key_file, make_key
from edged.publisher.layout import unwritable
from edged.publisher.metadata import ROOT, TARGETS, Stand, signed_bytes, write
from edged.publisher.orders import sign_again
from edged.publisher.repository import OFFLINE, Repository


@dataclass(frozen=True)
class Rotated:
    """What became of a role's keys.

    made      files of new keys
    retired   files of old keys, as they are called now
    elsewhere names of files of old keys that are not here: to be destroyed where they are
    root      version of the newest root
    signed    audiences whose documents got the new signature
    """

    role: str
    made: list[Path]
    retired: list[Path]
    elsewhere: list[str]
    root: int
    signed: list[str]


def rotate(repository: Repository, role: str, passphrase: str = "") -> Rotated:
    """Replace all keys of a role by as many new ones; `passphrase` is for those of root and targets.

    Needs the keys of root (targets, for the director), snapshot and timestamp, and those of the role itself but for the director.
    Raises what `Repository.commit` and `Layout.locked` do, BoardError(`repository-unwritable`).
    """
    with repository.layout.locked():
        stand = repository.stand()
        old = [*stand.keys_of(role)[0]]
        needed = (
            {TARGETS, "snapshot", "timestamp"} if role == DIRECTOR else {ROOT} if role == ROOT else {ROOT, role, "snapshot", "timestamp"}
        )
        for each in sorted(needed):
            repository.signers(stand, each)  # before a key is made that would lie about
        try:
            new = [make_key(repository.layout.keys, role, passphrase if role in OFFLINE else "") for _ in old]
            signed = _direct(repository, stand, old, new) if role == DIRECTOR else _root(repository, stand, role, new)
            return _put_away(repository, role, old, new, signed)
        except OSError as error:
            raise unwritable(repository.layout.folder, error) from error


def _root(repository: Repository, stand: Stand, role: str, new: Sequence[CryptoSigner]) -> list[str]:
    root = deepcopy(stand.root)
    root.signed.version += 1
    root.signed.expires = repository.expiry(ROOT)
    for keyid in [*root.signed.roles[role].keyids]:
        root.signed.revoke_key(keyid, role)
    for signer in new:
        root.signed.add_key(signer.public_key, role)
    signers: list[Signer] = [*repository.signers(stand, ROOT)]
    data = signed_bytes(root, [*signers, *new] if role == ROOT else signers)
    if role == ROOT:
        write(repository.layout.metadata, f"{ROOT}/{root.signed.version}", data)
    else:
        repository.commit(stand, targets=role == TARGETS, root=data, also={role: new})
    return []


def _direct(repository: Repository, stand: Stand, old: Sequence[str], new: Sequence[CryptoSigner]) -> list[str]:
    targets = stand.targets.signed
    for keyid in old:
        targets.revoke_key(keyid, DIRECTOR)
    for signer in new:
        targets.add_key(signer.public_key, DIRECTOR)
    signed = sign_again(repository, old, new)
    repository.commit(stand, targets=True)
    return signed


def _put_away(repository: Repository, role: str, old: Sequence[str], new: Sequence[CryptoSigner], signed: list[str]) -> Rotated:
    retired = {keyid: repository.keyring.retire(role, keyid) for keyid in old}
    return Rotated(
        role,
        [repository.layout.keys / key_file(role, signer.public_key.keyid) for signer in new],
        [path for path in retired.values() if path],
        [key_file(role, keyid) for keyid, path in retired.items() if path is None],
        repository.stand().root.signed.version,
        signed,
    )
