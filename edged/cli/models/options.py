"""The options that several `edged models` commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edged.models.entries import Policy

MOST_WINDOWS = 1_000_000
MOST_SECONDS = 30 * 86_400

state_option = click.option(
    "--state-dir", metavar="DIR", help="Work on this state folder, and ask no daemon. Default: the configuration's, through its daemon."
)
release_argument = click.argument("release", type=click.IntRange(min=1))


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add how an update is to be proven."""
    for option in (
        click.option("--wait", is_flag=True, help="Return when it is committed, not already when it serves."),
        click.option(
            "--seconds", metavar="S", type=click.FloatRange(0, MOST_SECONDS), help="Watch it for so long in service. Default: 60."
        ),
        click.option(
            "--windows", metavar="N", type=click.IntRange(0, MOST_WINDOWS), help="Watch so many windows in service. Default: 100."
        ),
        click.option(
            "--shadow",
            metavar="N",
            type=click.IntRange(0, MOST_WINDOWS),
            help="Before it serves, let it see N live windows beside the one that does. Default: 0.",
        ),
    ):
        command = option(command)
    return command


def policy_of(windows: int | None, seconds: float | None, shadow: int | None) -> Policy:
    """Give the policy that was asked for."""
    from edged.models.entries import Policy

    asked = {"windows": windows, "seconds": seconds, "shadow": shadow}
    return Policy(**{key: value for key, value in asked.items() if value is not None})  # type: ignore[arg-type]
