"""Follow an update until it serves, is committed, or came to nothing."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

import click

from edged.cli.columns import clean
from edged.cli.models.board import Asked, Board
from edged.cli.models.telling import Telling
from edged.cli.updates import ENDS, IN_SERVICE, REFUSED, subject
from edged.errors import EXIT_FAILED, DaemonUnreachable, EdgedError, OperatorError, PeerError, error_of
from edged.service.snapshot import UpdateStatus

POLL_S = 0.2
AWAY_S = 60.0  # a daemon that restarts is waited for, and so is an update that another one must end for
_BY_HAND = frozenset({"cancelled", "rolled-back-by-operator"})


def bring_into_service(board: Board, asked: Asked, wait: bool) -> UpdateStatus:
    """Follow until it serves, with `wait` until it is committed; Ctrl-C cancels it as long as it does not serve.

    Raises the error that rejected it or rolled it back, OperatorError(`superseded`), PeerError(`update-not-seen`).
    """
    telling = Telling()
    until = {"committed"} if wait and board.has_daemon else IN_SERVICE - {"activate"}
    try:
        update = follow(board, asked, until, telling)
    except KeyboardInterrupt:
        telling.end()
        _interrupted(board, asked, telling)
        raise
    finally:
        telling.end()
    if update.state not in until:
        raise failure_of(update)
    return update


def follow(board: Board, asked: Asked, until: Collection[str], telling: Telling) -> UpdateStatus:
    """Poll until the update has a state of `until`, or ended."""
    seen, away, last = False, False, time.monotonic()
    while True:
        now = time.monotonic()
        try:
            update = board.update(asked.model)
        except DaemonUnreachable as error:
            if now - last > AWAY_S:
                raise
            if not away:
                telling.say(clean(f"{error.text}; waiting for it"))
            away = True
            time.sleep(POLL_S)
            continue
        away = False
        if update is not None and asked.is_it(update):
            seen, last = True, now
            if update.state in until or update.state in ENDS:
                return update
            telling.show(update)
        elif seen:
            text = f"another update of {asked.model} took the place of {asked.release}"
            raise OperatorError("superseded", text, "`edged models list` shows what there is")
        elif now - last > AWAY_S:
            text = f"{asked.model} {asked.release} was taken, and is not among the updates"
            raise PeerError("update-not-seen", text, "see `journalctl -u edged -n 50`")
        time.sleep(POLL_S)


def follow_rollback(board: Board, asked: Asked) -> None:
    """Poll until the release that was asked for serves again.

    Raises the error where it could not be brought back, PeerError(`update-not-seen`).
    """
    telling = Telling()
    while time.monotonic() - asked.at < AWAY_S:
        update = board.update(asked.model)
        if update is not None and (update.since_s or 0.0) <= time.monotonic() - asked.at:
            own = update.release == asked.release
            if own and update.state in REFUSED:
                raise failure_of(update)
            if ((own and update.state == "committed") or update.state == "rolled_back") and board.serving(asked.model) <= {asked.release}:
                return
            telling.show(update)
        time.sleep(POLL_S)
    text = f"{asked.model} {asked.release} was to serve again, and does not yet"
    raise PeerError("update-not-seen", text, "`edged status` says what is wrong")


def failure_of(update: UpdateStatus) -> EdgedError:
    """Make the error of an update that came to nothing."""
    if update.state not in REFUSED:
        text = f"another update took the place of {subject(update)}"
        return OperatorError("superseded", text, "`edged models list` shows what there is")
    why = update.text.removeprefix(f"{subject(update)}: ")
    text = f"{subject(update)} was {update.state.replace('_', ' ')}: {why}"
    error = error_of(update.family, update.code or update.state, text, update.hint)
    if update.code in _BY_HAND:
        error.exit_code = EXIT_FAILED
    return error


def in_service_words(board: Board, update: UpdateStatus) -> str:
    """Say what a person is to know of an update that serves."""
    name = subject(update)
    if update.state == "committed":
        return f"{name} is committed"
    if not board.has_daemon:
        return f"{name} is active: the daemon serves it from its next start on, watches it, and then commits it or goes back"
    if not board.serving(update.model):
        return f"{name} is active, but no pipeline runs {clean(update.model)}: it is committed when one has"
    left = "" if update.seconds_left is None else f" and {update.seconds_left:.0f} s"
    return f"{name} serves, and is being watched for {update.windows_needed:,} windows{left}: `edged status` shows it"


def _interrupted(board: Board, asked: Asked, telling: Telling) -> None:
    """Cancel the update, unless it serves; say what became of it."""
    update = board.update(asked.model)
    if update is not None and asked.is_it(update) and update.state in IN_SERVICE:
        click.echo(f"no longer watching: {subject(update)} serves, `edged status` shows how it does", err=True)
        return
    with suppress(OperatorError):  # it may have come to its end meanwhile
        board.cancel(asked.model)
    try:
        ended = follow(board, asked, ENDS, telling)
    finally:
        telling.end()
    click.echo(f"{subject(ended)}: {clean(ended.text) or ended.state}", err=True)
