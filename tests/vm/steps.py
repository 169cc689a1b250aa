"""What the boot test looks at, in its order, boot by boot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.vm import service, survival


@dataclass(frozen=True)
class Step:
    """One thing to look at: `look` gives a few words to follow the name, or raises."""

    name: str
    look: Callable[[], str]


@dataclass(frozen=True)
class Boot:
    """One run of the machine: what is looked at, and how it ends. Where its first step fails, it is the last one."""

    steps: Sequence[Step]
    end: Sequence[str]


BOOTS = (
    Boot(
        (
            Step("boots to READY", service.boots_to_ready),
            Step("runs as user edged", service.runs_as_its_user),
            Step("results arrive", survival.results_arrive),
            Step("edged status answers a member of group edged, and nobody else", service.answers_its_group),
            Step("edged doctor", service.doctor_looks),
            Step("takes a release", service.takes_a_release),
            Step("is back after kill -9", survival.is_back_after_kill),
            Step("no result is lost over kill -9", survival.nothing_lost_over_kill),
            Step("is back after a hang", survival.is_back_after_hang),
            Step("no result is lost over the hang", survival.nothing_lost_over_hang),
            Step("works until the reboot", survival.works_until_reboot),
        ),
        ("systemctl", "reboot"),
    ),
    Boot(
        (
            Step("boots to READY after the reboot", service.boots_to_ready),
            Step("no result is lost over the reboot", survival.nothing_lost_over_reboot),
            Step("results arrive after the reboot", survival.results_arrive_after_reboot),
            Step("works until the power cut", survival.works_until_power_cut),
        ),
        ("sh", "-c", "echo b >/proc/sysrq-trigger"),  # at once: nothing is stopped, nothing is written to disk
    ),
    Boot(
        (
            Step("boots to READY after the power cut", service.boots_to_ready),
            Step("no result is lost over the power cut", survival.nothing_lost_over_power_cut),
            Step("results arrive after the power cut", survival.results_arrive_after_power_cut),
            Step("stops cleanly", service.stops_cleanly),
            Step("journal lines are JSON with time, level and event", service.journal_is_structured),
        ),
        ("systemctl", "poweroff"),
    ),
)
