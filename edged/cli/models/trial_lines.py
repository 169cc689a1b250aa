"""What a trial measured, as lines for people; pure. Parts of it were said by a process that ran a stranger's model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edged.cli.columns import clean, fit, wrap_words
from edged.cli.wording import amount

_INDENT = 12
_LONGEST = 400


class _Shadow(msgspec.Struct):
    windows: int = 0
    compared: int = 0
    disagreed: int = 0
    errors: int = 0
    skipped: int = 0
    live_ms: float | None = None
    candidate_ms: float | None = None


class _Trial(msgspec.Struct):
    variant: str = ""
    engine: str = ""
    load_ms: float | None = None
    pss_mib: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    windows: int = 0
    goldens: int = 0
    deadline_ms: float | None = None
    predicted_mib: float | None = None
    predicted_ms: float | None = None
    running_p50_ms: float | None = None
    confined: list[str] = []
    not_confined: list[str] = []
    passed_over: dict[str, str] = {}
    shadow: _Shadow | None = None


def trial_lines(report: Mapping[str, Any] | None, width: int) -> list[str]:
    """Write a trial's report in lines of at most `width` columns, an empty one first; nothing where there is none."""
    if not report:
        return []
    try:
        trial = msgspec.convert(report, _Trial)
    except msgspec.ValidationError:
        return ["", "trial       its report is not one that this version understands: see --json"]
    lines = [""]
    for key, text in _facts(trial).items():
        if text:
            lines += wrap_words(fit(clean(text), _LONGEST), width, key.ljust(_INDENT), " " * _INDENT)
    return lines


def _facts(trial: _Trial) -> dict[str, str]:
    predicted = "" if trial.predicted_mib is None else f" ({amount(trial.predicted_mib)} predicted)"
    against = [
        "" if trial.predicted_ms is None else f"{amount(trial.predicted_ms)} ms predicted",
        "" if trial.deadline_ms is None else f"deadline {amount(trial.deadline_ms)} ms",
        "" if trial.running_p50_ms is None else f"the release before took {amount(trial.running_p50_ms)} ms",
    ]
    more = "".join(f"; {each}" for each in against if each)
    ran = trial.p50_ms is not None
    return {
        "trial": f"{trial.variant} on {trial.engine}, loaded in {amount(trial.load_ms)} ms" if trial.variant else "",
        "memory": "" if trial.pss_mib is None else f"{amount(trial.pss_mib)} MiB{predicted}",
        "a window": f"{amount(trial.p50_ms)} ms, 95 % within {amount(trial.p95_ms)} ms, of {trial.windows:,}{more}" if ran else "",
        "goldens": "" if not ran else f"{trial.goldens:,} computed right" if trial.goldens else "none in this release",
        "confined": ", ".join(trial.confined),
        "! not": ", ".join(trial.not_confined),
        "passed over": "; ".join(f"{name}: {why}" for name, why in trial.passed_over.items()),
        "shadow": _shadow(trial.shadow) if trial.shadow else "",
    }


def _shadow(shadow: _Shadow) -> str:
    text = f"{shadow.windows:,} live windows, {shadow.disagreed:,} of {shadow.compared:,} compared differ"
    text += f", {shadow.errors:,} errors" if shadow.errors else ""
    text += f", {shadow.skipped:,} skipped" if shadow.skipped else ""
    if shadow.live_ms is not None and shadow.candidate_ms is not None:
        text += f"; {amount(shadow.candidate_ms)} ms a window, {amount(shadow.live_ms)} ms the one that serves"
    return text
