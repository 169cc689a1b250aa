"""What is in force: the profile, corrected by what this board shows of itself and by its calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edged.board.calibration import Calibration, Circumstances, load, outdated
from edged.board.detect import Detected, detect
from edged.board.profile import AUTO, Profile, Thermal, load_profile
from edged.board.rates import Rates, rates_of

_LONGEST = 200  # characters of what is stored with a calibration


@dataclass(frozen=True)
class Board:
    """A board to choose variants for: this one, where `detected` is there, else one of the kind that `profile` describes.

    `calibration` is what was measured here and still holds; `stale` says in words why a stored one does not.
    """

    profile: Profile
    detected: Detected | None = None
    calibration: Calibration | None = None
    stale: tuple[str, ...] = ()

    @property
    def ram_mib(self) -> int:
        """Memory: what this board says, or what a container leaves of it; else the profile's."""
        here = self.detected
        return (here and (here.limit_mib or here.ram_mib)) or self.profile.memory.ram_mib

    @property
    def reserve_mib(self) -> int:
        """Memory that stays free for everything else; never more than half of a smaller board than the profile's."""
        return min(self.profile.memory.reserve_mib, self.ram_mib // 2)

    @property
    def cores(self) -> int:
        """CPUs that are there, or what a container leaves of them."""
        here = self.detected
        return (here and (here.limit_cores or here.cores)) or self.profile.compute.cores

    @property
    def workers(self) -> int:
        """CPUs granted to models; one at least is for everything else, where there are two."""
        rest = max(1, self.cores - 1)
        return rest if self.profile.match.generic else min(rest, self.profile.compute.workers)

    @property
    def isa(self) -> tuple[str, ...]:
        """Instruction sets that all cores have."""
        return (self.detected and self.detected.isa) or tuple(self.profile.compute.isa)

    @property
    def arch(self) -> str:
        """Architecture, as `uname -m` says it. A profile that is not generic is of an ARM board."""
        return (self.detected and self.detected.arch) or self.profile.match.arch or "aarch64"

    @property
    def bandwidth_gbs(self) -> float:
        """What one thread reads from memory, GB/s: measured, else the profile's."""
        return self.calibration.bandwidth if self.calibration else self.profile.memory.bandwidth_gbs.cpu

    @property
    def thermal(self) -> Thermal:
        """Where it slows down, and where it stops: as its kernel says, else the profile."""
        here, profile = self.detected, self.profile.thermal
        limit_c = (here and here.limit_c) or profile.limit_c
        return Thermal(throttle_c=min((here and here.throttle_c) or profile.throttle_c, limit_c), limit_c=limit_c)

    def rates(self, build: str | None) -> Rates:
        """Give what a runtime does here: as measured with that engine build, else derived from the profile."""
        measured = self.calibration.rates.get(build) if self.calibration and build else None
        return measured or rates_of(self.profile)

    @property
    def key(self) -> str:
        """Name what measurements belong to: the profile, and where that is generic the cores and the processor too."""
        if self.detected is None or not self.profile.match.generic:
            return self.profile.name
        return f"{self.profile.name}, {self.cores} cores, {self.detected.cpu or 'unknown processor'}"


def board_here(root: Path = Path("/"), wanted: str = AUTO, state_dir: Path | None = None) -> Board:
    """Look at this board; `wanted` is a profile or `auto`. Raises OperatorError(`unknown-profile`).

    Without `state_dir` no calibration is looked for.
    """
    detected = detect(root)
    profile = load_profile(detected.profile if wanted == AUTO else wanted)
    stored = load(state_dir) if state_dir else None
    changed = tuple(outdated(stored, circumstances(detected))) if stored else ()
    return Board(profile, detected, None if changed else stored, changed)


def board_of(profile_name: str) -> Board:
    """Give a board of a kind, as its profile has it; OperatorError(`unknown-profile`) lists the kinds."""
    return Board(load_profile(profile_name))


def circumstances(detected: Detected, temperature_c: float | None = None) -> Circumstances:
    """Give what a calibration is valid under. A power mode limits the clock rate as a governor does."""
    return Circumstances(
        board=", ".join(filter(None, (detected.name, detected.cpu)))[:_LONGEST],
        kernel=detected.kernel,
        firmware=detected.firmware,
        governor=", ".join(filter(None, (detected.governor, detected.power_mode)))[:_LONGEST],
        cpus=max(1, detected.cores),
        temperature_c=temperature_c,
    )
