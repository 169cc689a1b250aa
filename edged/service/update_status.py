"""How the updates of a board stand, for the snapshot: what the ledger says, and how far the one is that is worked on."""

from __future__ import annotations

from collections.abc import Mapping

from edged.clock import NS, Clock
from edged.fleet.job import Job
from edged.fleet.machine import CONFIRM, MAX_ATTEMPTS
from edged.models.entries import Held, Moved, Update
from edged.service.snapshot import UpdateStatus

_MIB = 1 << 20


def statuses(models: Mapping[str, Held], jobs: list[Job], clock: Clock) -> list[UpdateStatus]:
    """Give the newest update of each model, by name; `jobs` are those under way."""
    under_way = {job.model: job for job in jobs}
    found = (update_status(model, models.get(model) or Held(), under_way.get(model), clock) for model in sorted(models.keys() | under_way))
    return [status for status in found if status is not None]


def update_status(model: str, held: Held, job: Job | None, clock: Clock) -> UpdateStatus | None:
    """Give the newest update of one model; `job` is the one under way. None where there never was one."""
    last = held.update if job is None else job.moved
    if last is None:
        return None
    status = _of(model, last, clock)
    status.report = held.reports.get(status.release)
    status.stage = status.state.replace("_", " ") if job is None else _progress(status, job, clock)
    return status


def _of(model: str, last: Moved | Update, clock: Clock) -> UpdateStatus:
    at = last.at if isinstance(last, Moved) else last.since
    return UpdateStatus(
        model=model,
        release=last.release,
        version=last.version,
        state=last.state,
        kind=last.kind,
        family=last.why.family,
        code=last.why.code,
        text=last.why.text,
        hint=last.why.hint,
        since_s=max(0.0, (clock.wall() - at) / NS),
        attempt=last.attempt,
        attempts=MAX_ATTEMPTS,
    )


def _progress(status: UpdateStatus, job: Job, clock: Clock) -> str:
    """Add how far an update is; give it in words."""
    progress, now = job.progress, clock.mono()
    status.blocked_by, status.waits_for = progress.blocked_by, progress.waits_for
    status.left_s = progress.left_s(now)
    if progress.retry_at > now:
        status.retry_in_s = (progress.retry_at - now) / NS
    if status.state == CONFIRM:
        policy = job.moved.policy
        status.windows_done, status.windows_needed = progress.windows, policy.windows
        status.seconds_left = max(0.0, policy.seconds - progress.seconds)
        return f"confirm, {progress.waits_for}" if progress.waits_for else "confirm"
    if progress.shadow:
        status.windows_done, status.windows_needed = progress.done, progress.total
        return f"shadow, {progress.done} of {progress.total} windows"
    status.bytes_done, status.bytes_total = progress.done, progress.total
    if progress.total:
        unit, name = (_MIB, "MiB") if progress.total >= _MIB else (1024, "KiB")
        return f"{status.state} {progress.done / unit:.1f} of {progress.total / unit:.1f} {name}"
    return status.state
