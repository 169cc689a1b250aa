"""`edged fleet watch`: what runs on every device, and how updates stand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from edged.cli.fleet.options import broker_of, broker_options, echo_json
from edged.cli.settings import json_option
from edged.errors import OperatorError, PeerError

if TYPE_CHECKING:
    from edged.cli.columns import Cell
    from edged.publisher.view import Row, View
    from edged.publisher.watching import Said, Watcher

EVERY_S = 0.5
SETTLE_S = 2.0  # what the broker retained has come by then, and a board that was asked again has begun
EPILOG = """\b
Examples:
  edged fleet watch --broker mqtt://localhost --fleet plant-a
  edged fleet watch --broker mqtt://localhost --fleet plant-a --until pump-anomaly=14 --seconds 3600
  edged fleet watch --broker mqtt://localhost --fleet plant-a --json | jq -c 'select(.topic == "reported")'

On a terminal a live table; q or Ctrl-C ends it. Elsewhere a line for each change. With --json an object for each
message: device, topic, retained, payload. --until ends when every device that reports the model has come to
an end with that release: with 0 when all have committed it, with 1 when one refused it or went back, or
when --seconds are over."""

Until = tuple[str, int]


@click.command("watch", epilog=EPILOG)
@broker_options
@click.option("--fleet", metavar="NAME", required=True, help="Name of the fleet.")
@click.option("--until", "until", metavar="MODEL=RELEASE", help="End when every device has committed this release, or refused it.")
@click.option("--seconds", metavar="N", type=click.FloatRange(0.1), help="End after so long.")
@json_option
def command(
    url: str,
    username: str,
    password_file: str,
    ca_file: str,
    cert_file: str,
    key_file: str,
    fleet: str,
    until: str | None,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Show what runs on every device of a fleet, and how updates stand."""
    import random

    from edged.clock import SystemClock
    from edged.publisher.watching import Watcher

    asked = _until_of(until)
    broker, password = broker_of(url, username, password_file, ca_file, cert_file, key_file)
    watcher = Watcher(fleet, broker, password, SystemClock(), random.SystemRandom())
    try:
        watcher.start()
        _follow(watcher, asked, seconds, as_json)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.stop()


def _until_of(text: str | None) -> Until | None:
    if text is None:
        return None
    model, _, release = text.partition("=")
    if not model or not (release.isascii() and release.isdigit()):
        raise OperatorError("bad-order", f"{text!r} is no release", "write it as MODEL=RELEASE, such as pump-anomaly=14")
    return model, int(release)


def _follow(watcher: Watcher, until: Until | None, seconds: float | None, as_json: bool) -> None:
    """Show what comes until it is to end."""
    from edged.cli.terminal import alternate_screen
    from edged.publisher.view import View

    view = View()
    if as_json:
        _turns(watcher, view, until, seconds, show=_print_json, draw=lambda: False)
    elif sys.stdout.isatty():
        with alternate_screen(sys.stdout):
            _turns(watcher, view, until, seconds, show=lambda _view, _said, _changed: None, draw=lambda: _draw(watcher, view))
    else:
        _turns(watcher, view, until, seconds, show=Lines(), draw=lambda: False)
    if until:
        click.echo(f"every device has committed {until[0]} {until[1]}: {', '.join(view.verdict(*until)[0])}", err=True)


def _turns(
    watcher: Watcher,
    view: View,
    until: Until | None,
    seconds: float | None,
    show: Callable[[View, Said, bool], None],
    draw: Callable[[], bool],
) -> None:
    """Take what comes, show it; return when `draw` says so, or it is over. Raises PeerError: `not-committed`, `update-failed`."""
    import time

    from edged.cli.columns import clean

    began = time.monotonic()
    state = ""
    while True:
        watcher.link.look()
        if watcher.link.state.text != state:
            state = watcher.link.state.text
            if not sys.stdout.isatty():
                click.echo(clean(state or "connected again"), err=True)
        for said in watcher.hear(EVERY_S):
            show(view, said, view.take(said.device, said.rest, said.payload) is not None)
        sys.stdout.flush()
        passed = time.monotonic() - began
        if draw() or (until and passed >= SETTLE_S and _is_over(view, until)):
            return
        if seconds is not None and passed >= seconds:
            if until:
                raise _not_yet(view, until)
            return


def _is_over(view: View, until: Until) -> bool:
    done, failed, open_ = view.verdict(*until)
    if open_:
        return False
    if failed:
        text = f"{until[0]} {until[1]} failed on {', '.join(failed)}"
        why = [row.error for name in failed for row in _rows(view, name) if row.model == until[0] and row.error]
        raise PeerError("update-failed", f"{text}: {why[0]}" if why else text, "`edged why` and `edged models list` on the board say more")
    return bool(done)


def _not_yet(view: View, until: Until) -> PeerError:
    _, _, open_ = view.verdict(*until)
    who = f"not yet: {', '.join(open_)}" if open_ else f"no device reports {until[0]}"
    return PeerError(
        "not-committed", f"{until[0]} {until[1]} is not committed everywhere; {who}", "watch it for longer, or look at those boards"
    )


def _rows(view: View, name: str) -> list[Row]:
    from edged.publisher.view import rows_of

    return rows_of(view.devices[name])


def _print_json(_view: View, said: Said, _changed: bool) -> None:
    from edged.publisher.reports import as_json

    echo_json({"device": said.device, "topic": said.rest, "retained": said.retained, "payload": as_json(said.payload)})


class Lines:
    """Prints the rows of a device that are not as they were."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str], str] = {}

    def __call__(self, view: View, said: Said, changed: bool) -> None:
        """Take a message that the view has taken."""
        if not changed or said.device not in view.devices:
            return
        for row in _rows(view, said.device):
            text = plain(row)
            if self._shown.get((row.device, row.model)) != text:
                self._shown[row.device, row.model] = text
                click.echo(text)


def plain(row: Row) -> str:
    """Say a row in one line."""
    from edged.cli.columns import clean, fit

    parts = [
        row.state or "never seen",
        f"runs {row.running}" if row.running else "runs none" if row.model else "",
        f"wants {row.wanted}" if row.wanted else "",
        row.stage.replace("_", " "),
        row.progress,
        fit(clean(row.error), 300),
    ]
    return clean(f"{row.device} {row.model}".strip() + ": " + ", ".join(filter(None, parts)))


def _draw(watcher: Watcher, view: View) -> bool:
    """Draw the table; say whether a person wants to end."""
    import os

    from edged.cli.terminal import frame, key, size, wants_colour

    columns, lines = size(sys.stdout, 160)
    text = "\n".join(screen(view, watcher.link.state.text, columns, wants_colour(sys.stdout, os.environ)))
    sys.stdout.write(frame(text, lines))
    sys.stdout.flush()
    return key(0.0) in ("q", "Q")


_COLUMNS = ("DEVICE", 8), ("STATE", 0), ("BOARD", 6), ("MODEL", 8), ("RUNS", 6), ("WANTS", 0), ("STAGE", 8), ("PROGRESS", 6)
_STATE_COLOURS = {"online": "green", "offline": "", "lost": "red"}


def screen(view: View, trouble: str, width: int, colour: bool) -> list[str]:
    """Give the lines of the live screen: a table, then what went wrong; `trouble` is what is wrong with the link."""
    from edged.cli.columns import Column, clean, painted, table, wrap_words

    rows = [*view.rows()]
    head = wrap_words(f"{len(view.devices)} device{'s' * (len(view.devices) != 1)}{_ignored(view)}", width)
    head += wrap_words(clean(trouble), width, "! ") if trouble else []
    if not rows:
        return [*head, "", *wrap_words("no device was heard of yet", width)]
    columns = [Column(title, least=least) for title, least in _COLUMNS]
    lines = table(columns, [_cells(row) for row in rows], width, colour)
    wrong = [
        painted(line, "red", colour)
        for row in rows
        if row.error
        for line in wrap_words(clean(f"{row.device} {row.model}".strip() + f": {row.error}"), width, "✗ ")
    ]
    return [*head, "", *lines, *([""] if wrong else []), *wrong]


def _ignored(view: View) -> str:
    return f", {view.ignored:,} messages ignored" if view.ignored else ""


def _cells(row: Row) -> list[Cell]:
    from edged.cli.columns import Cell, clean

    stage = row.stage.replace("_", " ")
    texts = (row.device, row.state or "never seen", row.board, row.model, row.running, row.wanted, stage, row.progress)
    cells = [Cell(clean(text) or "–") for text in texts]
    cells[1] = Cell(cells[1].text, _STATE_COLOURS.get(row.state, "yellow"))
    return cells
