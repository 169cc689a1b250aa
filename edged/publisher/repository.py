"""A fleet's repository in a folder: made, opened, and changed so that a kill leaves the old state or the new one.

Every change ends with timestamp.json: what was written before is not seen until then. A new root is seen as soon as
it is there; so where it changes the keys of other roles, these sign with old and new keys before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edged.clock import NS, Clock
from edged.errors import OperatorError
from edged.exchange.targets import DIRECTOR, DIRECTOR_PATHS
from edged.publisher.keys import Keyring, make_key, no_passphrase
from edged.publisher.layout import Layout, unwritable
from edged.publisher.metadata import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Stand, read_stand, signed_bytes, sweep, write
from edged.publisher.terms import Terms, read_terms, write_terms

OFFLINE = (ROOT, TARGETS)  # whose keys are to be taken away, and have the passphrase


class Repository:
    """A repository that was made by `create`.

    `key_folders` are where keys may be beside `DIR/keys`; `passphrase` is asked for a key file that is encrypted.
    """

    def __init__(
        self, folder: Path, clock: Clock, key_folders: Sequence[Path] = (), passphrase: Callable[[Path], str] = no_passphrase
    ) -> None:
        """Open it. Raises OperatorError: `not-a-repository`, `fleet-toml`."""
        self.layout = Layout(folder)
        self.terms = read_terms(self.layout.terms)
        self.keyring = Keyring([self.layout.keys, *key_folders], passphrase)
        self._clock = clock

    @property
    def fleet(self) -> str:
        """Give the fleet's name."""
        return self.terms.fleet

    def stand(self) -> Stand:
        """Read how it stands. Raises OperatorError(`repository-damaged`)."""
        return read_stand(self.layout.metadata)

    def now(self) -> datetime:
        """Give the time, in whole seconds."""
        return now_of(self._clock)

    def expiry(self, role: str, days: int = 0) -> datetime:
        """Say until when what a role signs now holds; `days` where fleet.toml is not to say it."""
        return self.now() + timedelta(days=days or getattr(self.terms.days, role))

    def signers(self, stand: Stand, role: str) -> list[CryptoSigner]:
        """Give the keys of a role; raises what `Keyring.signers` does."""
        return self.keyring.signers(role, *stand.keys_of(role))

    def can_sign(self, stand: Stand, role: str) -> bool:
        """Say whether enough keys of a role are here."""
        return self.keyring.has(role, *stand.keys_of(role))

    def commit(
        self,
        stand: Stand,
        *,
        targets: bool = False,
        root: bytes = b"",
        also: Mapping[str, Sequence[Signer]] | None = None,
    ) -> None:
        """Sign and write a changed `stand`, with the lock held: targets where they changed, snapshot, timestamp, then `root` as signed.

        `also` are keys that sign for a role beside its present ones. Keys are looked for before anything is written.
        Raises what `signers` does, and OperatorError(`metadata-too-large`), BoardError(`repository-unwritable`).
        """
        roles = [TARGETS, SNAPSHOT, TIMESTAMP] if targets else [SNAPSHOT, TIMESTAMP]
        signers = {role: [*self.signers(stand, role), *(also or {}).get(role, ())] for role in roles}
        files = self._sign(stand, signers)
        try:
            for name, data in files.items():
                write(self.layout.metadata, name, data)
            if root:
                write(self.layout.metadata, f"{ROOT}/{stand.root.signed.version + 1}", root)
            sweep(self.layout.metadata, {TARGETS: stand.targets.signed.version, SNAPSHOT: stand.snapshot.signed.version})
        except OSError as error:
            raise unwritable(self.layout.folder, error) from error

    def _sign(self, stand: Stand, signers: Mapping[str, Sequence[Signer]]) -> dict[str, bytes]:
        """Give the files, in the order in which they are to be written."""
        files: dict[str, bytes] = {}
        for role in signers:
            signed = stand.signed(role)
            signed.version += 1
            signed.expires = self.expiry(role)
        if TARGETS in signers:
            targets = stand.targets
            data = files[f"{TARGETS}/{targets.signed.version}"] = signed_bytes(targets, signers[TARGETS])
            stand.snapshot.signed.meta = {"targets.json": MetaFile.from_data(targets.signed.version, data, ["sha256"])}
        snapshot = stand.snapshot
        data = files[f"{SNAPSHOT}/{snapshot.signed.version}"] = signed_bytes(snapshot, signers[SNAPSHOT])
        stand.timestamp.signed.snapshot_meta = MetaFile.from_data(snapshot.signed.version, data, ["sha256"])
        files[TIMESTAMP] = signed_bytes(stand.timestamp, signers[TIMESTAMP])
        return files


def create(folder: Path, fleet: str, clock: Clock, *, root_keys: int = 1, root_threshold: int = 1, passphrase: str = "") -> Repository:
    """Make keys and an empty repository in `folder`; `passphrase` is for the keys of root and targets.

    Raises OperatorError(`repository-exists`, `bad-threshold`), BoardError(`repository-unwritable`).
    """
    layout = Layout(folder)
    if layout.timestamp.exists():
        raise OperatorError("repository-exists", f"{folder} is the repository of a fleet already", "name another folder")
    if not 1 <= root_threshold <= root_keys:
        text = f"{root_threshold} of {root_keys} root keys cannot be asked to sign"
        raise OperatorError("bad-threshold", text, "--root-threshold is from 1 to --root-keys")
    try:
        layout.make()
        with layout.locked():
            write_terms(layout.terms, Terms(fleet=fleet))
            repository = Repository(folder, clock, passphrase=lambda _: passphrase)
            keys = {
                role: [make_key(layout.keys, role, passphrase if role in OFFLINE else "") for _ in range(root_keys if role == ROOT else 1)]
                for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP, DIRECTOR)
            }
            stand = _first(repository, keys)
            stand.root.signed.roles[ROOT].threshold = root_threshold
            write(layout.metadata, f"{ROOT}/1", signed_bytes(stand.root, keys[ROOT]))
            repository.commit(stand, targets=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return repository


def _first(repository: Repository, keys: Mapping[str, Sequence[CryptoSigner]]) -> Stand:
    """Give what stands in a new repository; versions are one less where `commit` counts on."""
    root = Root(expires=repository.expiry(ROOT))
    for role in (ROOT, TARGETS, SNAPSHOT, TIMESTAMP):
        for signer in keys[role]:
            root.add_key(signer.public_key, role)
    director = keys[DIRECTOR][0].public_key
    delegated = DelegatedRole(DIRECTOR, [director.keyid], 1, terminating=False, paths=[*DIRECTOR_PATHS])
    targets = Targets(delegations=Delegations({director.keyid: director}, {DIRECTOR: delegated}))
    stand = Stand(Metadata(root), Metadata(targets), Metadata(Snapshot()), Metadata(Timestamp()))
    for signed in (targets, stand.snapshot.signed, stand.timestamp.signed):
        signed.version = 0
    return stand


def now_of(clock: Clock) -> datetime:
    """Give the time of a clock in whole seconds, as TUF writes it."""
    return datetime.fromtimestamp(clock.wall() // NS, timezone.utc)
