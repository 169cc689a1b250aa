"""Take stock of a board's models: which release of each serves, and of every other one why it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edged.clock import NS, Clock, iso
from edged.errors import EdgedError
from edged.models.entries import Failure, Held
from edged.models.manifest import ABSENT, Manifest
from edged.models.store import Store, Stored
from edged.service.inventory import Inventory, ModelEntry, ReleaseEntry, Running, VariantEntry
from edged.service.snapshot import PipelineStatus, UpdateStatus

_EXITS = frozenset({"committed", "rejected", "rolled_back", "superseded"})
_SERVES = frozenset({"activate", "confirm"})


def take_stock(
    store: Store, held: Mapping[str, Held], updates: Iterable[UpdateStatus], pipelines: Sequence[PipelineStatus] | None, clock: Clock
) -> Inventory:
    """Say what there is; `pipelines` is None where no daemon runs. Raises BoardError(`store-unreadable`)."""
    stored: dict[str, list[Stored]] = {}
    for each in store.releases():
        stored.setdefault(each.name, []).append(each)
    newest = {update.model: update for update in updates}
    models = []
    for name in sorted({*stored, *held, *newest}):
        entry = _model(name, held.get(name, Held()), newest.get(name), pipelines or (), clock)
        entry.releases = _releases(store, stored.get(name, []), held.get(name, Held()), entry)
        if entry.releases or entry.active is not None or (entry.update and entry.update.state not in _EXITS):
            models.append(entry)
    return Inventory(pipelines is not None, models)


def _model(name: str, held: Held, update: UpdateStatus | None, pipelines: Sequence[PipelineStatus], clock: Clock) -> ModelEntry:
    active = held.active is not None
    return ModelEntry(
        name=name,
        active=held.active,
        since=iso(held.since) if active else "",
        since_s=max(0.0, (clock.wall() - held.since) / NS) if active else None,
        last_good=held.last_good,
        previous=held.previous,
        unproven=held.unproven,
        running=[
            Running(each.name, each.release, each.variant, each.engine)
            for each in pipelines
            if each.model == name and not each.in_place and each.variant
        ],
        update=update,
    )


def _releases(store: Store, stored: list[Stored], held: Held, model: ModelEntry) -> list[ReleaseEntry]:
    failures = _failures(held)
    entries = [_release(store, each, held, model, failures.get(each.release)) for each in stored]
    known = {each.release for each in stored}
    for number, failure in failures.items():
        if number not in known:
            entries.append(ReleaseEntry(number, stored=False, why_not=_failed(model.name, failure), report=held.reports.get(number)))
    return sorted(entries, key=lambda entry: -entry.release)


def _failures(held: Held) -> dict[int, Failure]:
    """Give the newest failure of each release."""
    return {failure.release: failure for failure in sorted(held.failures.values(), key=lambda failure: failure.at)}


def _release(store: Store, stored: Stored, held: Held, model: ModelEntry, failure: Failure | None) -> ReleaseEntry:
    number = stored.release
    entry = ReleaseEntry(
        release=number,
        version=stored.version,
        task=stored.task,
        size=stored.size,
        active=number == held.active,
        last_good=number == held.last_good,
        previous=number == held.previous,
        pinned=number in held.pinned,
        report=held.reports.get(number),
    )
    entry.why_not = _why_not(stored, held, model.update, failure)
    if not stored.damage:
        taken = {each.variant for each in model.running if each.release == number}
        if not taken and entry.report and isinstance(entry.report.get("variant"), str):
            taken = {entry.report["variant"]}
        entry.variants = _variants(store, stored, taken, entry.report or {})
    return entry


def _why_not(stored: Stored, held: Held, update: UpdateStatus | None, failure: Failure | None) -> str:
    """Say in words why a release does not serve."""
    number = stored.release
    if stored.damage:
        return f"damaged: {stored.damage}"
    if number == held.active:
        return ""
    if update is not None and update.release == number:
        if update.state not in _EXITS | _SERVES:
            return f"staged: {update.stage or update.state}"
        if update.code and failure is None:
            return f"{update.state.replace('_', ' ')}: {update.code}: {update.text}"
    if failure is not None:
        return _failed(stored.name, failure)
    if held.active is None:
        return "never activated"
    if number < held.active:
        return "older"
    return "served before" if number == held.previous else "not activated"


def _failed(model: str, failure: Failure) -> str:
    return f"{failure.state.replace('_', ' ')}: {failure.why.code}: {failure.why.text.removeprefix(f'{model} {failure.release}: ')}"


def _variants(store: Store, stored: Stored, taken: set[str], report: Mapping[str, Any]) -> list[VariantEntry]:
    try:
        release = store.load(stored.name, stored.release)
    except EdgedError:  # it went while we looked
        return []
    manifest = release.manifest
    passed = report.get("passed_over")
    passed_over = passed if isinstance(passed, dict) else {}
    return [
        VariantEntry(
            each.name,
            each.engine,
            stored.variants.get(each.name, 0),
            each.quality,
            _not_taken(each.name, manifest, taken, passed_over) if release.has(each) else ABSENT,
            release.has(each),
        )
        for each in manifest.variants
    ]


def _not_taken(name: str, manifest: Manifest, taken: set[str], passed_over: Mapping[Any, Any]) -> str:
    """Say in words why a variant is not the one that runs; nothing where it does, or where none is known to."""
    if name in taken:
        return ""
    if name in passed_over:
        return f"does not load: {passed_over[name]}"
    qualities = {each.name: each.quality for each in manifest.variants}
    rule, own = manifest.quality, qualities[name]
    sign = -1 if rule is not None and not rule.higher_is_better else 1
    if rule is not None and rule.minimum is not None and own is not None and sign * own < sign * rule.minimum:
        return f"quality {own:g} does not reach the minimum {rule.minimum:g}"
    if not taken:
        return ""
    other = qualities.get(min(taken))
    if own is None and other is not None:
        return "its quality is not known"
    if own is None or other is None or own == other:
        return f"not better than {min(taken)}"
    return f"quality {own:g}, that of {min(taken)} is {other:g}"
