"""`edged fleet acl`: a broker's rules that keep devices apart."""

from __future__ import annotations

import click

from edged.errors import OperatorError

EPILOG = """\b
Examples:
  edged fleet acl --broker mosquitto --fleet plant-a > /etc/mosquitto/plant-a.acl
  edged fleet acl --broker nats --fleet plant-a --device press-7 --device press-8
  edged fleet acl --broker emqx --fleet plant-a --manager ops

A device's user name is its id. It writes what is its own, and reads its own orders, commands and bytes, and
what is for all. The manager's user is the one of `edged fleet publish`, `serve` and `watch`."""


@click.command("acl", epilog=EPILOG)
@click.option("--broker", type=click.Choice(["mosquitto", "nats", "emqx"]), required=True, help="Which broker.")
@click.option("--fleet", metavar="NAME", required=True, help="Name of the fleet.")
@click.option("--device", "devices", metavar="ID", multiple=True, help="A device; NATS needs to know each. May be given again.")
@click.option("--manager", metavar="USER", default="fleet-manager", help="User name of the fleet manager. Default: fleet-manager.")
def command(broker: str, fleet: str, devices: tuple[str, ...], manager: str) -> None:
    """Print the rules for a broker that keep the devices of a fleet apart."""
    import re

    from edged.config.schema import NAME, NAME_WORDS
    from edged.publisher.acl import BROKERS

    for name in (fleet, *devices):
        if not re.match(NAME, name):
            raise OperatorError("bad-name", f"{name!r} is no name", f"write {NAME_WORDS}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", manager) or manager in devices:
        raise OperatorError("bad-name", f"{manager!r} is no name for the manager", "a user name of its own, of letters, digits and . _ @ -")
    click.echo(BROKERS[broker](fleet, devices, manager), nl=False)
