"""The desired document: what shall run on one device, or on the devices of a group.

It travels in a DSSE envelope (https://github.com/secure-systems-lab/dsse) of PAYLOAD_TYPE, signed by the
director; its payload is JSON:

    {"v":1,"audience":"dev:press-7","rev":41,"issued":"2026-11-29T06:00:00Z","expires":"2027-02-27T06:00:00Z",
     "models":{"har":{"release":3,"sha256":HEX,"asked":41,"policy":{"windows":100,"seconds":60,"shadow":0}}}}

`sha256` is that of the release's release.json, `asked` the `rev` in which this order was given last: a release that
failed is tried again when it is asked for again, not when another model is. `rev` only rises for an audience.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.config.schema import NAME, Name
from edged.models.entries import Policy
from edged.models.packed import Sha256
from edged.models.schema import MAX_RELEASE

PAYLOAD_TYPE = "application/vnd.edged.desired+json"
MAX_DESIRED_BYTES = 64 << 10  # of an envelope; 300 models take half of it
MOST_MODELS = 256
_NAME = NAME[1:-2]
AUDIENCE = rf"^(dev|group):{_NAME}\Z"


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model: which release of it, by number and by the SHA-256 of its release.json; since which `rev`; how it is to be proven."""

    release: Annotated[int, Meta(ge=1, le=MAX_RELEASE)]
    sha256: Sha256
    asked: Annotated[int, Meta(ge=1, le=MAX_RELEASE)]
    policy: Policy = Policy()


class Desired(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload. A model that is not named is not spoken of: it stays as it is."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    audience: Annotated[str, Meta(pattern=AUDIENCE)]
    rev: Annotated[int, Meta(ge=1, le=MAX_RELEASE)]
    issued: Annotated[datetime, Meta(tz=True)]
    expires: Annotated[datetime, Meta(tz=True)]
    models: Annotated[dict[Name, Order], Meta(max_length=MOST_MODELS)]

    def encode(self) -> bytes:
        """Give the payload to be signed."""
        return msgspec.json.encode(self, order="sorted")


def parse_desired(payload: bytes) -> Desired:
    """Read a payload whose signature was verified; ValueError for anything else."""
    try:
        return msgspec.json.decode(payload, type=Desired)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def device_audience(device: str) -> str:
    """Name the audience of one device."""
    return f"dev:{device}"


def group_audience(group: str) -> str:
    """Name the audience of a group."""
    return f"group:{group}"
