"""`edged service`: run edged at every boot, under systemd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edged.service.install import Installer
    from edged.service.restarts import Restarts

EPILOG = """\b
Examples:
  sudo .venv/bin/edged service install --now
  edged service install --dry-run
  edged service install --root /mnt/image --enable
  sudo .venv/bin/edged service uninstall

Then: systemctl status edged, journalctl -u edged, and `edged status` for the members of the group edged."""

_NEXT = """
Next: put your readings and models into {config}, then
  sudo {edged} check --config {config}
  sudo systemctl {start}
  {edged} status      for root and the group edged: sudo usermod -aG edged $USER"""

root_option = click.option("--root", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Another system's root folder.")
dry_option = click.option("--dry-run", "dry", is_flag=True, help="Say what would be done, and do nothing.")


@click.group("service", epilog=EPILOG)
def command() -> None:
    """Install or remove the service that runs edged at every boot."""


@command.command(
    "install",
    epilog="""\b
Examples:
  sudo .venv/bin/edged service install --now
  edged service install --root /mnt/image --enable

Puts the unit, its user, its folders and the udev rule in place, for the Python environment that
this command runs in. /etc/edged/edged.toml is written where there is none. May be run again at any time.""",
)
@click.option("--enable", is_flag=True, help="Start it at every boot.")
@click.option("--now", is_flag=True, help="Start it now and at every boot.")
@root_option
@dry_option
def install(enable: bool, now: bool, root: str | None, dry: bool) -> None:
    """Put the service in place."""
    from pathlib import Path

    from edged.config.defaults import SYSTEM_CONFIG
    from edged.service.unit import Environment, inside

    if root and now:
        raise click.UsageError("--now starts the service of the running system; with --root use --enable")
    environment = Environment.running()
    installer = _installer(f"sudo {environment.command} service install{' --now' if now else ''}", root, dry)
    installer.install(environment, enable=enable, now=now)
    if not dry:
        start = "restart edged" if now else "enable --now edged"
        click.echo(_NEXT.format(config=Path("/") / SYSTEM_CONFIG, edged=inside(environment.command, installer.root), start=start))


@command.command("uninstall", epilog="\b\nExample:\n  sudo .venv/bin/edged service uninstall")
@root_option
@dry_option
def uninstall(root: str | None, dry: bool) -> None:
    """Stop the service and take it away; configuration, state and user stay."""
    from edged.service.unit import Environment

    _installer(f"sudo {Environment.running().command} service uninstall", root, dry).uninstall()


def _installer(as_root: str, root: str | None, dry: bool) -> Installer:
    from pathlib import Path

    from edged.service.install import Installer, require_root, require_systemd, run_command

    if not root and not dry:
        require_root(as_root)
        require_systemd()
    return Installer(Path(root or "/").absolute(), live=not root, dry=dry, say=click.echo, run=run_command)


@command.command("before-start", hidden=True)
def before_start() -> None:
    """Wait, where failures came in a row; else calibrate, where it is needed. The unit runs this before each start."""
    from time import sleep

    restarts = _restarts()
    if not restarts.failures:  # after one the next start is to be quick
        _calibrate()
    if pause_s := restarts.pause_s:
        _log("warning", "start-delayed", failures=restarts.failures, pause_s=pause_s)
        sleep(pause_s)


def _calibrate() -> None:
    """Calibrate where it is needed, and say so as the daemon would; a board that cannot be measured starts all the same."""
    from pathlib import Path

    from edged.cli.board.calibrate import calibrate_if_needed
    from edged.config.defaults import SYSTEM_CONFIG
    from edged.errors import EdgedError

    try:
        found = calibrate_if_needed(str(Path("/") / SYSTEM_CONFIG), lambda _: None)
    except EdgedError as error:
        _log("warning", "not-calibrated", code=error.code, text=error.text, hint=error.hint)
        return
    if found is not None:
        _log("info", "calibrated", runtimes=list(found.calibration.rates), failed=found.failed, disturbed=found.calibration.disturbed)


def _log(level: str, event: str, **about: object) -> None:
    """Write a line as the daemon's own log has them."""
    import msgspec

    from edged.clock import SystemClock, iso

    click.echo(msgspec.json.encode({"time": iso(SystemClock.wall()), "level": level, "event": event, **about}), err=True)


@command.command("after-end", hidden=True)
def after_end() -> None:
    """Note how the daemon ended: the unit runs this after each end."""
    import os

    from edged.errors import BoardError

    try:
        _restarts().ended(os.environ.get("SERVICE_RESULT", ""))
    except OSError as error:
        raise BoardError("cannot-write", f"cannot count this failure: {error}", "is there room in /run?") from None


def _restarts() -> Restarts:
    import os
    from pathlib import Path

    from edged.clock import SystemClock
    from edged.errors import OperatorError
    from edged.service.restarts import Restarts

    if not (folder := os.environ.get("RUNTIME_DIRECTORY")):
        raise OperatorError("not-under-systemd", "this is for the unit file, where systemd gives RUNTIME_DIRECTORY")
    return Restarts(Path(folder), SystemClock())
