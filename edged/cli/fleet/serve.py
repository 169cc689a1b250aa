"""`edged fleet serve`: a broker is kept up to date, and boards get the bytes they ask for."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

import click

from edged.cli.fleet.options import broker_of, broker_options, dir_argument, keys_option, open_repository

if TYPE_CHECKING:
    from edged.publisher.serving import Server

LOOK_S = 0.2
SAY_S = 10.0
RATE_S = 2.0
EPILOG = """\b
Examples:
  edged fleet serve fleet --broker mqtt://localhost
  edged fleet serve fleet --broker mqtts://broker.plant:8883 --username fleet --password-file ~/.fleet-password

Publishes DIR on each connection, and what changes in it within two seconds; sends boards the bytes of models; renews
snapshot and timestamp when a third of their life is left. Ctrl-C ends it; boards go on when it is back. Several may
serve copies of one DIR; give the keys of snapshot and timestamp to one of them only. An older copy does
not overwrite what a newer one published: it says so, and serves bytes."""


@click.command("serve", epilog=EPILOG)
@dir_argument
@broker_options
@keys_option
def command(
    folder: str,
    url: str,
    username: str,
    password_file: str,
    ca_file: str,
    cert_file: str,
    key_file: str,
    keys: tuple[str, ...],
) -> None:
    """Keep a broker up to date with the repository in DIR, and send boards the bytes they ask for."""
    import random
    import signal

    from edged.clock import SystemClock

    broker, password = broker_of(url, username, password_file, ca_file, cert_file, key_file)
    repository = open_repository(folder, keys)
    from edged.publisher.serving import Server

    stop = threading.Event()
    server = Server(repository, broker, password, SystemClock(), random.SystemRandom())
    repository.stand()  # a damaged one ends it here
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    click.echo(f"serving fleet {repository.fleet} from {folder} on {url}; Ctrl-C ends it", err=True)
    server.start()
    try:
        _watch(server, stop)
    finally:
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    if server.fault:
        raise server.fault
    click.echo(f"served {server.blobs.sent:,} bytes, published {server.announcer.told.letters:,} messages", err=True)


class Now(NamedTuple):
    """What is shown of a server: `at` in seconds."""

    at: float
    link: str
    devices: int
    sent: int
    letters: int
    births: int
    lost: str
    troubles: tuple[str, ...]


def _watch(server: Server, stop: threading.Event) -> None:
    """Show what the server does until it is to end: a live line on a terminal, else a line now and then when something happened."""
    from edged.cli.columns import clean, fit
    from edged.cli.terminal import size

    live = sys.stderr.isatty()
    shown = look(server)
    recent = [shown]  # of the last two seconds, for the rate
    said: tuple[str, ...] = ()
    while not stop.wait(LOOK_S) and server.fault is None:
        server.link.look()
        now = look(server)
        if (troubles := (now.link, *now.troubles)) != said:
            said = troubles
            _end_line(live)
            click.echo(clean("; ".join(filter(None, troubles))), err=True)
        recent.append(now)
        if live:
            sys.stderr.write(f"\r{fit(line(recent[0], now), size(sys.stderr, 100)[0] - 1)}\x1b[K")
            sys.stderr.flush()
        elif now.at - shown.at >= SAY_S:
            if (now.sent, now.letters, now.lost) != (shown.sent, shown.letters, shown.lost):
                click.echo(line(shown, now), err=True)
            shown = now
        while now.at - recent[0].at > RATE_S:
            recent.pop(0)
    _end_line(live)


def look(server: Server) -> Now:
    """Look at a server."""
    import time

    told, blobs, state = server.announcer.told, server.blobs, server.link.state
    link = f"connected over MQTT {state.version}" if state.state == "connected" else f"not connected: {state.text or state.state}"
    trouble = server.trouble
    troubles = [*told.warnings, *([f"{trouble.text} [{trouble.code}] → {trouble.hint}"] if trouble else [])]
    lost = ", ".join(f"{count:,} {reason}" for reason, count in sorted({**blobs.refused, **blobs.dropped}.items()))
    return Now(time.monotonic(), link, blobs.devices, blobs.sent, told.letters, told.births, lost, tuple(troubles))


def line(before: Now, now: Now) -> str:
    """Say in one line what a server does."""
    from edged.cli.wording import amount, count

    rate = (now.sent - before.sent) / max(1e-3, now.at - before.at) / 1e6
    parts = [
        f"{count(now.devices)} boards ask for bytes",
        f"{amount(rate)} MB/s",
        f"{amount(now.sent / 1e6)} MB sent",
        f"{count(now.letters)} messages published",
        f"{count(now.births)} boards came" if now.births else "",
        f"refused or dropped: {now.lost}" if now.lost else "",
    ]
    return " · ".join(filter(None, parts))


def _end_line(live: bool) -> None:
    if live:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
