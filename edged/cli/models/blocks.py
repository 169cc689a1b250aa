"""The models of a board as lines for people, a block each; pure. What comes from publishers is cleaned before it is shown."""

from __future__ import annotations

from edged.cli.columns import clean, fit, painted, wrap_words
from edged.cli.updates import ENDS, IN_SERVICE, how_far
from edged.cli.wording import amount, count, duration
from edged.service.inventory import Inventory, ModelEntry, ReleaseEntry, VariantEntry
from edged.service.snapshot import UpdateStatus

_LONGEST = 1000
_BELOW = " " * 6


def inventory_lines(inventory: Inventory, width: int, colour: bool) -> list[str]:
    """Write all models in lines of at most `width` columns (20 at least)."""
    width = max(width, 20)
    lines = [] if inventory.daemon else [*wrap_words("no daemon was asked; this is what its next start would serve", width), ""]
    if not inventory.models:
        return [*lines, *wrap_words("no models; put one here with `edged models install DIR`", width)]
    for model in inventory.models:
        lines += [*_model(model, inventory.daemon, width, colour), ""]
    return lines[:-1]


def _model(model: ModelEntry, daemon: bool, width: int, colour: bool) -> list[str]:
    name = fit(clean(model.name), width - 1)
    lines = wrap_words(f": {_state(model, daemon)}", width, name)
    lines[0] = painted(name, "bold", colour) + lines[0][len(name) :]
    update = model.update
    if update is not None and update.state and update.state not in ENDS:
        told = wrap_words(f"{update.release}: {_on_its_way(update, daemon)}", width, "  ↻ ", "    ")
        lines += [painted(line, "cyan", colour) for line in told]
    for release in model.releases:
        lines += _release(release, model, width, colour)
    return lines


def _state(model: ModelEntry, daemon: bool) -> str:
    if model.active is None:
        return "nothing serves"
    parts = [f"{model.active} {'serves' if daemon else 'would serve'}"]
    if model.since_s is not None:
        parts[0] += f" for {duration(model.since_s)}" if daemon else f", active for {duration(model.since_s)}"
    if daemon and not model.running:
        parts[0] = f"{model.active} is active, and no pipeline runs it"
    if model.unproven:
        parts.append("it has still to prove itself")
    if model.last_good is not None and model.last_good != model.active:
        parts.append(f"last good {model.last_good}")
    if model.previous is not None:
        parts.append(f"the good one before is {model.previous}")
    return "; ".join(parts)


def _on_its_way(update: UpdateStatus, daemon: bool) -> str:
    if daemon:
        return how_far(update)
    if update.state in IN_SERVICE:
        return "the daemon watches it from its next start on, then commits it or goes back"
    return f"was at {clean(update.state)} when the process that worked on it ended; the daemon's next start decides"


def _release(release: ReleaseEntry, model: ModelEntry, width: int, colour: bool) -> list[str]:
    mark = "▸" if release.active else " "
    facts = [str(release.release), clean(release.version)[:40], clean(release.task), f"{_size(release.size)}" if release.size else ""]
    facts += [
        word for word, holds in (("last good", release.last_good), ("previous", release.previous), ("pinned", release.pinned)) if holds
    ]
    facts += [] if release.stored else ["no longer here"]
    facts += [fit(clean(release.why_not), _LONGEST)] if release.why_not else []
    lines = wrap_words(" · ".join(fact for fact in facts if fact), width, f"  {mark} ", _BELOW)
    lines = [painted(line, "green" if release.active else "", colour) for line in lines]
    for each in model.running:
        if each.release == release.release:
            running = f"runs in {clean(each.pipeline)}: {clean(each.variant)} on {clean(each.engine)}"
            lines += wrap_words(running, width, _BELOW, _BELOW + "  ")
    for variant in release.variants:
        lines += wrap_words(_variant(variant, release, model), width, _BELOW, _BELOW + "  ")
    return lines


def _variant(variant: VariantEntry, release: ReleaseEntry, model: ModelEntry) -> str:
    quality = "" if variant.quality is None else f", quality {variant.quality:g}"
    text = f"variant {clean(variant.name)}: {_size(variant.size)}{quality}"
    if variant.why_not:
        return f"{text}; not chosen: {fit(clean(variant.why_not), _LONGEST)}"
    chosen = any(each.release == release.release and each.variant == variant.name for each in model.running)
    return f"{text}; runs" if chosen else text


def _size(size: int) -> str:
    if size < 1 << 20:
        return f"{amount(size / 1024)} KiB" if size >= 1024 else f"{count(size)} bytes"
    return f"{amount(size / (1 << 20))} MiB"
