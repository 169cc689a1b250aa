"""Tell what begins and ends: conditions of health, steps of updates and changes of variants, in the log and as events for the fleet."""

from __future__ import annotations

from collections import deque

import structlog

from edged.models.entries import Moved
from edged.service.adapting import Varied
from edged.service.events import Events
from edged.service.health import Conditions
from edged.service.snapshot import ERROR, WARNING

_log = structlog.get_logger(__name__)


class Chronicle:
    """What one daemon told already."""

    def __init__(self, conditions: Conditions, events: Events) -> None:
        self._conditions = conditions
        self._events = events
        self._told: set[tuple[str, str]] = set()

    def tell_health(self) -> None:
        """Tell of conditions that are new, and of those that are over."""
        held = {(each.code, each.subject): each for each in self._conditions.list()}
        for key, condition in held.items():
            if key not in self._told:
                say = {ERROR: _log.error, WARNING: _log.warning}.get(condition.severity, _log.info)
                say(condition.code, subject=condition.subject, text=condition.text, hint=condition.hint)
                about = {"severity": condition.severity, "text": condition.text, "hint": condition.hint}
                self._events.tell("health", {"code": condition.code, "subject": condition.subject, "over": False, **about})
        for code, subject in self._told - held.keys():
            _log.info("over", code=code, subject=subject)
            self._events.tell("health", {"code": code, "subject": subject, "over": True})
        self._told = set(held)

    def tell_updates(self, moved: deque[Moved]) -> None:
        """Tell of steps of updates, and forget them."""
        while moved:
            step = moved.popleft()
            about = {"model": step.model, "release": step.release, "state": step.state, "attempt": step.attempt}
            why = {"code": step.why.code, "text": step.why.text, "hint": step.why.hint} if step.why.code else {}
            (_log.warning if why else _log.info)("update", **about, **why)
            self._events.tell("update", {**about, **why})

    def tell_variants(self, varied: deque[Varied]) -> None:
        """Tell of pipelines that went over to another variant, or could not, and forget it."""
        while varied:
            each = varied.popleft()
            about = {"pipeline": each.pipeline, "model": each.model, "release": each.release, "from": each.before, "to": each.after}
            why = {"cause": each.cause, "text": each.text}
            failed = {"code": each.error.code, "error": each.error.text, "hint": each.error.hint} if each.error else {}
            (_log.warning if failed else _log.info)("variant", **about, **why, **failed)
            self._events.tell("variant", {**about, **why, **failed})
