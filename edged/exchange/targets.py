"""How releases stand in the repository's TUF metadata (https://theupdateframework.io).

A release is one target: its path is `{model}/{release}`, its bytes are the release.json, which seals every file by
size and SHA-256. Its `custom` field names the piece index of each file that has more than one piece, see `pieces.py`:

    {"edged":{"pieces":{SHA256_OF_FILE:SHA256_OF_INDEX}}}

Who may sign desired documents stands there as the delegated role DIRECTOR, with its keys and its threshold;
it is responsible for no target.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.config.schema import NAME
from edged.models.packed import Sha256
from edged.models.schema import MAX_RELEASE

DIRECTOR = "director"
DIRECTOR_PATHS = ["_desired/*"]  # a delegation needs some; no target has such a path

# A message of MQTT carries each; brokers take 1 MiB at least.
MAX_ROOT_BYTES = 64 << 10
MAX_TIMESTAMP_BYTES = 16 << 10
MAX_SNAPSHOT_BYTES = 64 << 10
MAX_TARGETS_BYTES = 512 << 10  # some 1,500 releases
MAX_ROOT_ROTATIONS = 256

METADATA = re.compile(r"timestamp|(?:root|snapshot|targets)/[1-9][0-9]{0,9}")
"""Names of metadata below `_repo/`; in a folder and over HTTP `root/3` is `3.root.json`, `timestamp` is `timestamp.json`."""

_PATH = re.compile(rf"({NAME[1:-2]})/([1-9][0-9]{{0,15}})")


class _Edged(msgspec.Struct, frozen=True):
    pieces: Annotated[dict[Sha256, Sha256], Meta(max_length=130)] = {}


class Custom(msgspec.Struct, frozen=True):
    """What edged keeps beside a target."""

    edged: _Edged = _Edged()

    @classmethod
    def of(cls, pieces: dict[str, str]) -> Custom:
        """Make it of the SHA-256 of files and those of their indexes."""
        return cls(_Edged(pieces))


def target_path(model: str, release: int) -> str:
    """Name a release's target."""
    return f"{model}/{release}"


def parse_target_path(path: str) -> tuple[str, int] | None:
    """Give model and release of a target; None for the path of anything else."""
    match = _PATH.fullmatch(path)
    return (match[1], int(match[2])) if match and int(match[2]) <= MAX_RELEASE else None


def parse_custom(custom: object) -> dict[str, str]:
    """Give the SHA-256 of the index of each file that has one; ValueError for what is no such field."""
    return msgspec.convert(custom or {}, Custom).edged.pieces


def file_name(metadata: str) -> str:
    """Give the name that metadata called `root/3` or `timestamp` has as a file."""
    role, _, version = metadata.partition("/")
    return f"{version}.{role}.json" if version else f"{role}.json"


def metadata_name(file: str) -> str | None:
    """Give the name below `_repo/` of a file called `3.root.json`; None for one that is no metadata."""
    version, _, role = file.removesuffix(".json").rpartition(".")
    name = f"{role}/{version}" if version else role
    return name if file.endswith(".json") and METADATA.fullmatch(name) else None
