"""`edged record`: keep what comes in, for a replay."""

from __future__ import annotations

import click

from edged.cli.settings import config_option, json_option

EPILOG = """\b
Examples:
  edged record --out morning.rec
  edged record --config pump.toml --out pump.rec --seconds 60

Records what the sources of the configuration deliver, without running any model.
Ctrl-C ends it. See `edged replay`."""


@click.command("record", epilog=EPILOG)
@config_option
@click.option("--out", metavar="FILE", required=True, help="The recording to write; never an existing file.")
@click.option("--seconds", type=click.FloatRange(min=0), default=0.0, help="Stop after so many seconds; 0: at Ctrl-C.")
@json_option
def command(config: str | None, out: str, seconds: float, as_json: bool) -> None:
    """Record the input of all pipelines."""
    import random
    import signal
    import threading
    from pathlib import Path

    import msgspec

    from edged.cli.progress import Progress
    from edged.cli.settings import load
    from edged.clock import SystemClock
    from edged.service.record import record

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    progress = Progress(f"recording to {out}: ")
    messages = record(load(config), Path(out), SystemClock(), random.SystemRandom(), seconds, stop, progress.show)
    progress.end()
    size = Path(out).stat().st_size
    if as_json:
        click.echo(msgspec.json.encode({"recording": out, "messages": messages, "bytes": size}))
    else:
        click.echo(f"{messages:,} messages, {size / 1e6:.2f} MB in {out}", err=True)
