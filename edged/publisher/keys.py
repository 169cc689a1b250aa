"""Private keys of a fleet's roles: made, found again by their identifier, retired.

A key is a file `{role}-{first 8 hex digits of its TUF identifier}.pem`: Ed25519, PKCS8, mode 0600, encrypted where a
passphrase was given. Which keys a role has stands in the metadata; where their files are is for a person to
say: those of root and targets belong on a medium that is not always plugged in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from edged.atomic import sync_folder, write_atomic
from edged.errors import OperatorError

MAX_PEM_BYTES = 16 << 10
RETIRED = ".retired"


def key_file(role: str, keyid: str) -> str:
    """Name the file of a key."""
    return f"{role}-{keyid[:8]}.pem"


def make_key(folder: Path, role: str, passphrase: str = "") -> CryptoSigner:
    """Make a key and write its file durably. Raises OSError."""
    signer = CryptoSigner.generate_ed25519()
    private = load_pem_private_key(signer.private_bytes, None)
    sealed: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed)
    write_atomic(folder / key_file(role, signer.public_key.keyid), data, 0o600)
    return signer


def no_passphrase(path: Path) -> str:
    """Where nobody can be asked: raises OperatorError(`passphrase-missing`)."""
    raise OperatorError("passphrase-missing", f"{path} is encrypted", "set EDGED_FLEET_PASSPHRASE, or run this on a terminal")


class Keyring:
    """The keys in some folders. `passphrase` is asked for each file that is encrypted."""

    def __init__(self, folders: Sequence[Path], passphrase: Callable[[Path], str] = no_passphrase) -> None:
        self._folders = [*dict.fromkeys(folders)]
        self._passphrase = passphrase
        self._loaded: dict[str, CryptoSigner] = {}

    def signers(self, role: str, keyids: Iterable[str], threshold: int) -> list[CryptoSigner]:
        """Give those keys of a role that are here.

        Raises OperatorError: `key-missing` where they are fewer than `threshold`, `key-unreadable`, `passphrase-wrong`.
        """
        wanted = [*keyids]
        found = [signer for keyid in wanted if (signer := self._load(role, keyid))]
        if len(found) < threshold:
            raise self._missing(role, [keyid for keyid in wanted if self.find(role, keyid) is None], len(found), threshold)
        return found

    def has(self, role: str, keyids: Iterable[str], threshold: int) -> bool:
        """Say whether enough keys of a role are here to sign."""
        return sum(1 for keyid in keyids if self.find(role, keyid)) >= threshold

    def find(self, role: str, keyid: str) -> Path | None:
        """Say where a key lies; None where it is not here."""
        places = (folder / key_file(role, keyid) for folder in self._folders)
        return next((path for path in places if path.is_file()), None)

    def is_protected(self, role: str, keyids: Iterable[str]) -> bool:
        """Say whether a key of a role that is here has a passphrase. Raises OperatorError(`key-unreadable`)."""
        return any(_is_encrypted(_pem(path)) for keyid in keyids if (path := self.find(role, keyid)))

    def retire(self, role: str, keyid: str) -> Path | None:
        """Rename the file of a key that no metadata names any more; give its new name, None where it is not here. Raises OSError."""
        path = self.find(role, keyid)
        if path is None:
            return None
        retired = path.with_name(path.name + RETIRED)
        os.rename(path, retired)
        sync_folder(path.parent)
        return retired

    def _load(self, role: str, keyid: str) -> CryptoSigner | None:
        if keyid not in self._loaded:
            path = self.find(role, keyid)
            if path is None:
                return None
            signer = self._read(path)
            if signer.public_key.keyid != keyid:
                text = f"{path} holds another key than the repository names for {role}"
                raise OperatorError("key-unreadable", text, "bring the file that was made with this repository")
            self._loaded[keyid] = signer
        return self._loaded[keyid]

    def _read(self, path: Path) -> CryptoSigner:
        data = _pem(path)
        encrypted = _is_encrypted(data)
        passphrase = self._passphrase(path).encode() if encrypted else None
        try:
            private = load_pem_private_key(data, passphrase)
        except Exception as error:  # ValueError, TypeError and UnsupportedAlgorithm, by what is wrong with it
            if encrypted:
                raise OperatorError("passphrase-wrong", f"this is not the passphrase of {path}", "try again with the right one") from None
            raise OperatorError("key-unreadable", f"{path} is no private key: {error}", "bring its backup") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise OperatorError("key-unreadable", f"{path} is no Ed25519 key", "bring the file that was made with this repository")
        return CryptoSigner(private)

    def _missing(self, role: str, keyids: Sequence[str], here: int, threshold: int) -> OperatorError:
        files = ", ".join(key_file(role, keyid) for keyid in keyids)
        places = " or ".join(str(folder) for folder in self._folders)
        need = f"{threshold} keys of {role} have to sign, {here} are here" if threshold > 1 else f"the key of {role} is not here"
        hint = "plug in the medium that has it, and add `--keys FOLDER`"
        return OperatorError("key-missing", f"{need}: there is no {files} in {places}", hint)


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PEM_BYTES)
    except OSError as error:
        raise OperatorError("key-unreadable", f"{path} cannot be read: {error.strerror}", "check its owner and mode") from None


def _is_encrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem[:200]
