"""A signing publisher for tests: a real repository in a folder, and every lie that its keys can sign."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile

from edged.clock import NS, Clock, SystemClock
from edged.exchange.desired import Desired, Order
from edged.exchange.targets import DIRECTOR, file_name, target_path
from edged.models.entries import Policy
from edged.models.source import source_of
from edged.publisher.intake import Added, add
from edged.publisher.metadata import SNAPSHOT, TARGETS, TIMESTAMP
from edged.publisher.orders import assign, read_desired, read_envelope, sign
from edged.publisher.repository import create
from edged.publisher.rotation import Rotated, rotate

_FOLLOWERS = {"root": (), TARGETS: (SNAPSHOT, TIMESTAMP), SNAPSHOT: (TIMESTAMP,), TIMESTAMP: ()}


class Fleet:
    """A fleet's repository below `folder`, made by the real publisher. `clock` says from when on what it signs expires."""

    def __init__(self, folder: Path, name: str = "plant-a", clock: Clock | None = None, **options: Any) -> None:
        """`options` are those of `create`: `root_keys`, `root_threshold`, `passphrase`."""
        self.folder = folder
        self.name = name
        self.clock = clock or SystemClock()
        self.repository = create(folder, name, self.clock, **options)
        self.layout = self.repository.layout

    @property
    def public(self) -> Path:
        """The folder that a web server or a stick may carry."""
        return self.layout.public

    def add(self, release: Path) -> Added:
        """Take a packed release folder, or a file `.edgedpack`, in."""
        source = source_of(release)
        try:
            return add(self.repository, [source], lambda _done, _of: None, lambda: False)[0]
        finally:
            source.close()

    def assign(self, audience: str, releases: Mapping[str, int], days: int = 0, **policy: Any) -> Desired:
        """Order releases for `dev:{id}` or `group:{group}`; `policy` is `windows`, `seconds`, `shadow`."""
        return assign(self.repository, audience, releases, policy=Policy(**policy), days=days)

    def drop(self, audience: str, *models: str) -> Desired:
        """Take orders back."""
        return assign(self.repository, audience, {}, drop=models)

    def rotate(self, role: str) -> Rotated:
        """Replace the keys of a role."""
        return rotate(self.repository, role)

    # -- what boards are given --------------------------------------------------------------

    def root_bytes(self, version: int = 1) -> bytes:
        """Give a root, by default the first: what boards are installed with."""
        return self.metadata(f"root/{version}")

    def metadata(self, name: str) -> bytes:
        """Give metadata by its name below `_repo/`, such as `timestamp` or `root/2`."""
        return (self.layout.metadata / file_name(name)).read_bytes()

    def all_metadata(self) -> dict[str, bytes]:
        """Give what `publish` puts on a broker, by name, in its order: all roots, then what timestamp leads to."""
        stand = self.repository.stand()
        names = [f"root/{version}" for version in range(1, stand.root.signed.version + 1)]
        names += [f"targets/{stand.targets.signed.version}", f"snapshot/{stand.snapshot.signed.version}", TIMESTAMP]
        return {name: self.metadata(name) for name in names}

    def blob(self, sha256: str) -> bytes:
        """Give the bytes under a hash."""
        return (self.layout.blobs.folder / sha256).read_bytes()

    def digest(self, model: str, release: int) -> str:
        """Give the SHA-256 of a release's release.json."""
        return str(self.repository.stand().targets.signed.targets[target_path(model, release)].hashes["sha256"])

    def desired(self, audience: str) -> bytes:
        """Give the signed document of an audience, as it is published."""
        data = read_envelope(self.layout.desired(audience))
        assert data is not None, f"{audience} has no orders"
        return data

    def desired_payload(self, audience: str) -> Desired:
        """Give what the document of an audience says."""
        desired = read_desired(self.layout.desired(audience))
        assert desired is not None, f"{audience} has no orders"
        return desired

    # -- lies that are signed with real keys --------------------------------------------------

    def make_desired(self, audience: str, releases: Mapping[str, int], rev: int, days: float = 90, **policy: Any) -> Desired:
        """Make a document to be signed, with any `rev`, and of releases that need not be there (their hash is then zeros)."""
        targets = self.repository.stand().targets.signed.targets
        orders = {}
        for model, release in releases.items():
            target = targets.get(target_path(model, release))
            sha256 = target.hashes["sha256"] if target else "0" * 64
            orders[model] = Order(release=release, sha256=sha256, asked=rev, policy=Policy(**policy))
        now = self.repository.now()
        return Desired(audience=audience, rev=rev, issued=now, expires=now + timedelta(days=days), models=orders)

    def sign_desired(self, payload: bytes | Desired, role: str = DIRECTOR) -> bytes:
        """Sign a document with the keys of any role; nothing is written."""
        data = payload.encode() if isinstance(payload, Desired) else payload
        return sign(data, self.repository.signers(self.repository.stand(), role))

    def put_desired(self, audience: str, envelope: bytes) -> None:
        """Put any bytes where the document of an audience lies."""
        self.layout.desired(audience).write_bytes(envelope)

    def resign(self, role: str, mutate: Callable[[Any], None] = lambda _: None, bump: bool = True, follow: bool = True) -> bytes:
        """Change what a role says, sign it with its real keys and put it in place, whatever it says; give it.

        `mutate` gets the tuf object (`Root`, `Targets`, `Snapshot`, `Timestamp`). With `bump` its version rises before
        that. With `follow` snapshot and timestamp name the new version, as an honest publisher's would; without, the
        file is there and nothing leads to it. `root` is written as the version that it says.
        """
        stand = self.repository.stand()
        data = self._sign_one(stand, role, mutate, bump)
        last = role
        for follower in _FOLLOWERS[role] if follow else ():
            meta = MetaFile.from_data(stand.signed(last).version, self._latest, ["sha256"])

            def name_it(signed: Any, of: str = follower, meta: MetaFile = meta) -> None:
                if of == SNAPSHOT:
                    signed.meta = {**signed.meta, "targets.json": meta}
                else:
                    signed.snapshot_meta = meta

            self._sign_one(stand, follower, name_it, True)
            last = follower
        return data

    def _sign_one(self, stand: Any, role: str, mutate: Callable[[Any], None], bump: bool) -> bytes:
        metadata: Metadata[Any] = getattr(stand, role)
        signers = self.repository.signers(stand, role)
        if bump:
            metadata.signed.version += 1
        mutate(metadata.signed)
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        name = role if role == TIMESTAMP else f"{role}/{metadata.signed.version}"
        self._latest = metadata.to_bytes()
        (self.layout.metadata / file_name(name)).write_bytes(self._latest)
        return self._latest

    def expire(self, role: str, seconds: float = 1.0) -> bytes:
        """Let what a role says have ended `seconds` before now."""
        end = self.repository.now() - timedelta(seconds=seconds)
        return self.resign(role, lambda signed: setattr(signed, "expires", end))

    def keep(self) -> dict[str, bytes]:
        """Remember all metadata, for `put_back`: the repository of an attacker who has an old copy."""
        return {path.name: path.read_bytes() for path in self.layout.metadata.iterdir() if path.is_file()}

    def put_back(self, kept: Mapping[str, bytes]) -> None:
        """Have exactly the metadata again that `keep` gave."""
        for name in os.listdir(self.layout.metadata):
            (self.layout.metadata / name).unlink()
        for name, data in kept.items():
            (self.layout.metadata / name).write_bytes(data)


def days(count: float) -> int:
    """Give days in nanoseconds, for a `VirtualClock`."""
    return int(count * 86_400 * NS)
