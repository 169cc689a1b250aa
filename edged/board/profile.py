"""Device profiles: what a kind of board has, one TOML file each.

They ship with the package, as `edged/device_profiles/`, and lie beside it in a checkout.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edged.config.check import Document
from edged.errors import BugError, OperatorError

if TYPE_CHECKING:
    from importlib.abc import Traversable  # importlib.resources.abc comes with Python 3.11

AUTO = "auto"
Positive = Annotated[float, Meta(gt=0)]


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables share."""


class Match(_Base, frozen=True):
    """How a board of this kind is known: `edged/board/detect.py` has the rules.

    compatible  words of a device tree's `compatible`, one of which fits, with * ? [ ] as in file names
    ram_mib     what MemTotal may be, least and most, both included
    arch        for a generic profile, instead of the others: the processor's architecture, as `uname -m` says it
    """

    compatible: str = ""
    ram_mib: Annotated[list[int], Meta(max_length=2)] = []
    arch: str = ""

    @property
    def generic(self) -> bool:
        """Say whether it stands for all boards of an architecture that no other profile fits."""
        return bool(self.arch)


class Bandwidth(_Base, frozen=True):
    """Memory bandwidth, GB/s: of the bus, and what CPU and GPU reach. The memory of a Jetson's GPU is the CPU's own."""

    theoretical: Positive
    cpu: Positive
    gpu: Positive | None = None


class Memory(_Base, frozen=True):
    """Memory, MiB; `reserve_mib` stays free for everything else."""

    ram_mib: Annotated[int, Meta(ge=1)]
    reserve_mib: Annotated[int, Meta(ge=0)]
    bandwidth_gbs: Bandwidth


class Compute(_Base, frozen=True):
    """CPUs, those granted to models, instruction sets, and billions of multiply-adds a second by type.

    `gmacs` is of one thread in a layer that suits it; `overhead_us` is what one call of a runtime from Python costs beside the arithmetic.
    """

    cores: Annotated[int, Meta(ge=1)]
    workers: Annotated[int, Meta(ge=1)]
    isa: list[str]
    gmacs: dict[str, Positive]
    overhead_us: Positive


class Storage(_Base, frozen=True):
    """Small writes a second that the card takes."""

    write_iops: Annotated[int, Meta(ge=1)]


class NetworkLink(_Base, frozen=True):
    """Network speed, Mbit/s."""

    mbps: Positive


class Thermal(_Base, frozen=True):
    """Where it slows down, and where it stops, degrees Celsius."""

    throttle_c: Positive
    limit_c: Positive


class Profile(_Base, frozen=True):
    """A kind of board. `sources` says where each number is from."""

    name: str
    description: str
    match: Match
    memory: Memory
    compute: Compute
    storage: Storage
    link: NetworkLink
    thermal: Thermal
    sources: dict[str, str]


def names() -> list[str]:
    """List the profiles that there are."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """Read a profile; OperatorError(`unknown-profile`) lists those there are."""
    if name not in names():
        hint = f"leave it out for this board's own, or name one of: {', '.join(names())}"
        raise OperatorError("unknown-profile", f"there is no device profile `{name}`", hint)
    document = Document(f"{name}.toml", (_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    profile = document.check(Profile)
    if profile is None or document.faults:
        raise BugError("bad-profile", "; ".join(map(str, document.faults)))
    return profile


def _folder() -> Traversable:
    """Give the folder of profiles: in the installed package, else that of the checkout."""
    installed = resources.files("edged") / "device_profiles"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "device_profiles"
