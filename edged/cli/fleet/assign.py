"""`edged fleet assign`: which releases run on a device, or on the devices of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import dir_argument, echo_json, keys_option, open_repository
from edged.cli.models.options import MOST_SECONDS, MOST_WINDOWS, policy_of
from edged.cli.settings import json_option
from edged.errors import OperatorError

if TYPE_CHECKING:
    from edged.exchange.desired import Desired

EPILOG = """\b
Examples:
  edged fleet assign fleet --device press-7 pump-anomaly=14
  edged fleet assign fleet --group line-3 pump-anomaly=14 --windows 500 --seconds 3600
  edged fleet assign fleet --group line-3 --drop pump-anomaly
  edged fleet assign fleet --group line-3

Other orders of that device or group stay. With no MODEL=RELEASE they are signed anew, for --days from now. An order that a
board could not follow is tried again when it is given again. What is dropped is no longer spoken of:
it stays on the board as it is. Orders to a device go before those to its groups. Needs the key of director."""


@click.command("assign", epilog=EPILOG)
@dir_argument
@click.argument("orders", metavar="[MODEL=RELEASE]...", nargs=-1)
@click.option("--device", metavar="ID", help="For one device.")
@click.option("--group", metavar="NAME", help="For the devices that have this group in their configuration.")
@click.option("--drop", metavar="MODEL", multiple=True, help="Take the order for a model out; may be given again.")
@click.option("--windows", metavar="N", type=click.IntRange(0, MOST_WINDOWS), help="Watch so many windows in service. Default: 100.")
@click.option("--seconds", metavar="S", type=click.FloatRange(0, MOST_SECONDS), help="Watch it for so long in service. Default: 60.")
@click.option(
    "--shadow",
    metavar="N",
    type=click.IntRange(0, MOST_WINDOWS),
    help="First let it see N live windows beside the one that serves. Default: 0.",
)
@click.option(
    "--days", metavar="N", type=click.IntRange(1, 3650), default=None, help="How long the orders hold. Default: as fleet.toml says, 90."
)
@keys_option
@json_option
def command(
    folder: str,
    orders: tuple[str, ...],
    device: str | None,
    group: str | None,
    drop: tuple[str, ...],
    windows: int | None,
    seconds: float | None,
    shadow: int | None,
    days: int | None,
    keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Order which releases run on a device, or on the devices of a group."""
    from edged.exchange.desired import device_audience, group_audience

    if (device is None) == (group is None):
        raise click.UsageError("name one of --device ID and --group NAME")
    audience = device_audience(device) if device is not None else group_audience(group or "")
    releases = _releases(orders)
    policy = policy_of(windows, seconds, shadow)
    repository = open_repository(folder, keys)
    from edged.publisher.orders import assign

    desired = assign(repository, audience, releases, policy=policy, drop=drop, days=days or 0)
    if as_json:
        echo_json(desired)
        return
    click.echo("\n".join([*_lines(desired), f"publish it: edged fleet publish {folder} --broker URL"]))


def _releases(orders: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for order in orders:
        model, _, release = order.partition("=")
        if not model or not (release.isascii() and release.isdigit()):
            raise OperatorError("bad-order", f"{order!r} is no order", "write it as MODEL=RELEASE, such as pump-anomaly=14")
        if model in found:
            raise OperatorError("bad-order", f"there are two orders for {model}", "a device runs one release of a model")
        found[model] = int(release)
    return found


def _lines(desired: Desired) -> list[str]:
    lines = [f"{desired.audience}: rev {desired.rev}, until {desired.expires:%Y-%m-%d}"]
    for model, order in sorted(desired.models.items()):
        fresh = "" if order.asked == desired.rev else f", ordered in rev {order.asked}"
        lines.append(f"  {model} {order.release}{fresh}")
    return lines
