"""`edged fleet publish`: metadata and orders go onto a broker, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import broker_of, broker_options, dir_argument, echo_json, keys_option, open_repository
from edged.cli.settings import json_option

if TYPE_CHECKING:
    from edged.publisher.once import Outcome

EPILOG = """\b
Examples:
  edged fleet publish fleet --broker mqtt://localhost
  edged fleet publish fleet --broker mqtts://broker.plant:8883 --username fleet --password-file ~/.fleet-password

The broker keeps it: boards that come later get it too. Bytes of models it does not keep: `edged fleet serve`
sends those, or a web server that has DIR/public. Snapshot and timestamp are renewed when less
than half of their life is left. Exit codes: 0 done, 1 refused, 3 to be mended here, 4 no broker."""


@click.command("publish", epilog=EPILOG)
@dir_argument
@broker_options
@keys_option
@json_option
def command(
    folder: str,
    url: str,
    username: str,
    password_file: str,
    ca_file: str,
    cert_file: str,
    key_file: str,
    keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Put metadata and orders of the repository in DIR on a broker."""
    import random

    from edged.clock import SystemClock

    broker, password = broker_of(url, username, password_file, ca_file, cert_file, key_file)
    repository = open_repository(folder, keys)
    from edged.publisher.once import publish_once

    outcome = publish_once(repository, broker, password, SystemClock(), random.SystemRandom())
    if as_json:
        echo_json({**outcome.as_dict(), "broker": url})
        return
    click.echo("\n".join(_lines(outcome, folder, url)))


def _lines(outcome: Outcome, folder: str, url: str) -> list[str]:
    published = outcome.published
    orders = [name for name in published.sent if name.startswith("orders to ")]
    others = [name for name in published.sent if not name.startswith("orders to ")]
    lines = [f"on {url} over MQTT {outcome.version}: {', '.join(others)}"]
    lines += [f"orders: {', '.join(name.removeprefix('orders to ') for name in orders)}" if orders else "no orders yet"]
    lines += [f"cleared: {', '.join(name.removeprefix('old ') for name in published.cleared)}"] if published.cleared else []
    lines += ["snapshot and timestamp were signed anew"] if outcome.renewed else []
    lines += [f"! {warning}" for warning in outcome.warnings]
    return [*lines, f"{published.size:,} bytes; boards get the bytes of models from: edged fleet serve {folder} --broker {url}"]
