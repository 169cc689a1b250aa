"""What a cascade makes of a release's variants: one that is chosen brings those along that are asked before it."""

from __future__ import annotations

from collections.abc import Sequence

from edged.models.manifest import Manifest, Release, Variant, variant_files

_HOUR_S = 3600


def place_of(manifest: Manifest, variant: str) -> int | None:
    """Give the place of a variant among the stages of its release's cascade, from 1; 0 where it is none, None without a cascade."""
    if manifest.cascade is None:
        return None
    return next((i for i, stage in enumerate(manifest.cascade.stages, 1) if stage.use == variant), 0)


def asked_before(release: Release, variant: str) -> list[Variant]:
    """Give the variants of a release, of those that are here, that its cascade asks before this one, the first one first."""
    manifest = release.manifest
    place = place_of(manifest, variant)
    if manifest.cascade is None or not place:
        return []
    names = [stage.use for stage in manifest.cascade.stages[: place - 1]]
    return [each for name in names for each in manifest.variants if each.name == name and release.has(each)]


def other_models(manifest: Manifest, variant: str) -> list[str]:
    """Name the other models that are asked with a variant: those before it, and behind it up to the next variant of this release."""
    place, own = place_of(manifest, variant), {each.name for each in manifest.variants}
    if manifest.cascade is None or not place:
        return []
    names = [stage.use for stage in manifest.cascade.stages]
    behind = next((i for i in range(place, len(names)) if names[i] in own), len(names))
    return [name for name in names[:behind] if name not in own]


def brought(release: Release, wanted: Sequence[str], among: Sequence[str]) -> list[str]:
    """Name the variants `wanted`, in their order, then those of `among` that are asked before one of them, or share all their files."""
    before = [each.name for name in wanted for each in asked_before(release, name)]
    files = {file for name in (*wanted, *before) for file in variant_files(release.variant(name))}
    shared = [name for name in among if files.issuperset(variant_files(release.variant(name)))]
    return list(dict.fromkeys([*wanted, *(name for name in (*before, *shared) if name in among)]))


def part_asked(manifest: Manifest, variant: str, windows_per_s: float) -> float:
    """Give the largest part of what comes in that a stage is asked: all, but for what its budget for an hour leaves out."""
    stages = manifest.cascade.stages if manifest.cascade else []
    limit = next((stage.per_hour for stage in stages if stage.use == variant), 0)
    if not limit or stages[0].use == variant or windows_per_s <= 0:
        return 1.0
    return min(1.0, limit / _HOUR_S / windows_per_s)
