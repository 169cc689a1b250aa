"""Updates of models in words; pure. Cleaned: a release's version, and errors about it, come from outside."""

from __future__ import annotations

from edged.cli.columns import clean, fit, painted, wrap_words
from edged.cli.wording import duration
from edged.service.snapshot import UpdateStatus

ENDS = frozenset({"committed", "rejected", "rolled_back", "superseded"})
REFUSED = frozenset({"rejected", "rolled_back"})
IN_SERVICE = frozenset({"activate", "confirm", "committed"})
_COMMITTED_S = 3600.0  # how long an end is news
_REFUSED_S = 86_400.0
_LONGEST_TEXT = 1000
_MOST_SHORT = 3


def subject(update: UpdateStatus) -> str:
    """Name the release, such as `har 15`."""
    return f"{clean(update.model)} {update.release}"


def how_far(update: UpdateStatus) -> str:
    """Say how far an update that is under way is, such as `fetch 12 of 40 MiB, 3 s left (attempt 1 of 3)`."""
    if update.state == "confirm":
        return _watched(update)
    if update.blocked_by:
        again = "" if update.retry_in_s is None else f"; again in {duration(update.retry_in_s, 1)}"
        text = f"waits: {update.blocked_by}{again}"
    else:
        text = update.stage or update.state
        text += "" if update.left_s is None else f", {duration(update.left_s, 1)} left"
    tries = f" (attempt {update.attempt} of {update.attempts})" if update.attempt and update.attempts else ""
    return fit(clean(text), _LONGEST_TEXT) + tries


def _watched(update: UpdateStatus) -> str:
    parts = []
    if update.windows_done < update.windows_needed:
        parts.append(f"{update.windows_done:,} of {update.windows_needed:,} windows")
    if update.seconds_left:
        parts.append(f"{duration(update.seconds_left, 1)} left")
    if update.waits_for and (not parts or not update.waits_for[0].isdigit()):
        parts = [update.waits_for]
    return clean(f"serves, watched: {', '.join(parts)}" if parts else "serves, watched")


def short(updates: list[UpdateStatus]) -> str:
    """Name the updates that are under way or ended a while ago, such as `har 15 trial`."""
    shown = [f"{subject(each)} {clean(each.state).replace('_', ' ')}" for each in updates if _is_news(each)]
    return ", ".join([*shown[:_MOST_SHORT], *(["…"] if len(shown) > _MOST_SHORT else [])])


def update_lines(update: UpdateStatus, width: int, colour: bool) -> list[str]:
    """Write a line for an update under way, and what is wrong with one that was refused; nothing for others."""
    if not _is_news(update) or update.state in ENDS - REFUSED:
        return []
    if update.state not in ENDS:
        lines = wrap_words(f"{subject(update)}: {how_far(update)}", width, "↻ ")
        return [painted(line, "cyan", colour) for line in lines]
    by_hand = update.family == "operator"
    age = "" if update.since_s is None else f", {duration(update.since_s)}"
    why = update.text.removeprefix(f"{subject(update)}: ")
    text = f"{subject(update)} was {update.state.replace('_', ' ')}: {fit(clean(why), _LONGEST_TEXT)}"
    lines = wrap_words(f"{text} [{clean(update.code)}{age}]", width, "· " if by_hand else "! ")
    if update.hint:
        lines += wrap_words(fit(clean(update.hint), _LONGEST_TEXT), width, "  → ", "    ")
    return [painted(line, "" if by_hand else "yellow", colour) for line in lines]


def _is_news(update: UpdateStatus) -> bool:
    """Say whether it is under way or ended a short while ago; it needs a state."""
    limit = _REFUSED_S if update.state in REFUSED else _COMMITTED_S
    return bool(update.state) and (update.state not in ENDS or (update.since_s or 0.0) < limit)
