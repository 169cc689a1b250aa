"""`edged serial monitor`: what arrives on a serial port, and what is wrong with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import click

from edged.cli.settings import json_option
from edged.errors import EXIT_UNHEALTHY

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from edged.cli.serial.watched import Came, View, WatchedPort

EPILOG = """\b
Examples:
  edged serial monitor
  edged serial monitor /dev/ttyACM0
  edged serial monitor /dev/ttyUSB0 --baud 9600 --framing lines
  edged serial monitor /dev/ttyACM0 --seconds 10 --json | jq -c .channels

Without PORT it lists the ports that are here. On a terminal it draws four times a second, q or Ctrl-C ends
it; elsewhere it prints a line a second and one for all that happens. With --json an object a line: `kind`
is seen (once a second), hello, text, print, event, lost or opened. A port that is unplugged is waited for.

\b
Nothing is sent to a sketch that prints lines; a firmware that sends frames is asked for its HELLO and its time.
Opening the port resets many boards, such as an Arduino Uno.
A port that edged itself reads is busy: `edged status` shows what comes there.

\b
Exit code: 0 fine, 5 something was wrong when --seconds were over, and as for all commands."""

_WAIT_S = 0.1  # q and Ctrl-C are heard within this


class Shower(Protocol):
    """How it is shown: on a terminal, in lines, as JSON."""

    every_s: float

    def came(self, came: Came, view: View) -> None:
        """Take what came."""

    def look(self, view: View) -> None:
        """Show how it is; every `every_s`."""


@click.command("monitor", epilog=EPILOG)
@click.argument("port", metavar="[PORT]", required=False)
@click.option(
    "--baud",
    metavar="N",
    type=click.IntRange(50, 4_000_000),
    default=115_200,
    show_default=True,
    help="Bits a second; of no meaning on USB itself.",
)
@click.option(
    "--framing",
    type=click.Choice(["auto", "framed", "lines"]),
    default="auto",
    show_default=True,
    help="What comes: frames of the bridge, or lines of text; auto: by what comes.",
)
@click.option("--seconds", metavar="N", type=click.FloatRange(0.1), help="End after so long.")
@json_option
def command(port: str | None, baud: int, framing: str, seconds: float | None, as_json: bool) -> None:
    """Show what arrives on a serial port: who speaks, how much, the last values, and what is wrong."""
    from edged.cli.serial.ports import show, stable_name
    from firmware_bridge.port import PortError, present

    ports = present()
    if port is None:
        show(ports, as_json)
        return
    stop = _stopped_by_signals()
    from edged.cli.serial.watched import WatchedPort
    from edged.clock import SystemClock
    from edged.stream.sources.serial_errors import as_edged

    try:
        watched = WatchedPort(port, baud, framing, SystemClock.mono)
    except PortError as error:
        if error.code == "port-busy":
            error.hint += "; if edged holds it, `edged status` shows what comes there"
        raise as_edged(error) from None
    try:
        well = _show(watched, stable_name(port, ports), seconds, as_json, stop)
    finally:
        watched.close()
    if not well:
        raise SystemExit(EXIT_UNHEALTHY)


def _stopped_by_signals() -> threading.Event:
    import signal
    import threading

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _show(watched: WatchedPort, stable: str, seconds: float | None, as_json: bool, stop: threading.Event) -> bool:
    """Show until it is over; give whether all was well when `seconds` were over."""
    from edged.cli.serial.printing import AsJson, Printed
    from edged.cli.serial.screen import Screen
    from edged.cli.serial.suggestion import suggestion
    from edged.cli.terminal import alternate_screen, key

    if as_json:
        return _turns(watched, AsJson(stable), seconds, stop.is_set)
    if not sys.stdout.isatty():
        return _turns(watched, Printed(stable), seconds, stop.is_set)
    with alternate_screen(sys.stdout):
        well = _turns(watched, Screen(stable), seconds, lambda: stop.is_set() or key(0.0) in ("q", "Q"))
    view = watched.view()
    click.echo(suggestion(view.seen, stable, view.baud), nl=False)  # what one looked for stays on the terminal
    return well


def _turns(watched: WatchedPort, shower: Shower, seconds: float | None, over: Callable[[], bool]) -> bool:
    from edged.cli.serial.troubles import troubles

    due_s = shower.every_s
    while not over():
        came = watched.turn(_WAIT_S)
        passed_s = watched.passed_s
        last = seconds is not None and passed_s >= seconds
        if not (came or last or passed_s >= due_s):
            continue
        view = watched.view()
        for each in came:
            shower.came(each, view)
        if last or passed_s >= due_s:
            due_s = max(due_s + shower.every_s, passed_s)
            shower.look(view)
        if last:
            return view.error is None and bool(view.seen.frames or view.seen.lines) and not troubles(view.seen, view.baud)
    return True
