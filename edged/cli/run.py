"""`edged run`: the daemon."""

from __future__ import annotations

import click

from edged.cli.settings import config_option

EPILOG = """\b
Examples:
  edged run
  edged run --config pump.toml
  cat readings.csv | edged run --config stdin.toml
  EDGED__LOG__LEVEL=debug edged run

Runs until Ctrl-C or SIGTERM, or until all sources came to an end (files, stdin)."""


@click.command("run", epilog=EPILOG)
@config_option
def command(config: str | None) -> None:
    """Run the pipelines of a configuration."""
    import random
    import signal
    import sys

    from edged.cli.settings import load
    from edged.clock import SystemClock
    from edged.service.daemon import Daemon
    from edged.service.log import configure

    loaded = load(config)
    configure(loaded.config.log.level, loaded.config.log.format)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # while models load; `Daemon.run` has its own way to end
    daemon = Daemon(loaded, SystemClock(), random.SystemRandom())
    daemon.run()
    if daemon.failed:
        raise SystemExit(1)
