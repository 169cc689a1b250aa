"""`edged demo`: sensors, a broker and the daemon on this machine, to see it work."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

import click
import msgspec

from edged.cli.columns import clean, wrap_words
from edged.cli.demo_screen import MAX_WIDTH, Ending, as_dict, cut, first_line, own_broker, sensors_table, summary
from edged.cli.settings import json_option
from edged.cli.terminal import alternate_screen, frame, key, size, wants_colour
from edged.cli.wording import duration

if TYPE_CHECKING:
    from edged.demo.stage import Stage

EPILOG = """\b
Examples:
  edged demo
  edged demo --seconds 20 --speed 4
  edged demo --seconds 20 --speed 4 --json | jq .latency_ms

Everything stays on 127.0.0.1. q or Ctrl-C ends it at any time, with the summary. It keeps one
file, the configuration that it ran, and says where."""

_START_S = 60.0  # a small board with a cold disk takes ten
_LAST_RESULTS_S = 5.0
_FRAME_S = 0.2
_LINE_S = 5.0
_POLL_S = 0.05


@click.command("demo", epilog=EPILOG)
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1, 86_400), help="How long the sensors send.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 1000), help="How many times faster than life.")
@click.option("--sensors", default=6, show_default=True, type=click.IntRange(1, 200), help="How many sensors.")
@json_option
def command(seconds: float, speed: float, sensors: int, as_json: bool) -> None:
    """Try it out: recorded sensors, a broker and the daemon on this machine."""
    say(f"edged demo: {sensors} sensors → MQTT → edged → MQTT → here, all on this machine, for {seconds:g} s; Ctrl-C ends it.", as_json)
    say("The sensors play recordings of people who stand, walk and run; a model tells which.", as_json)
    import random

    from edged.clock import SystemClock
    from edged.demo.stage import Plan, Stage

    with _interrupts() as interrupts:
        with Stage(Plan(seconds, speed, sensors), SystemClock(), random.SystemRandom(), os.environ) as stage:
            ending = _play(stage, interrupts, as_json)
        _sum_up(stage, ending, as_json)


def say(text: str, as_json: bool) -> None:
    """Say something for people: on standard error where standard output is for a program."""
    width, _ = size(sys.stderr if as_json else sys.stdout, MAX_WIDTH)
    click.echo("\n".join(wrap_words(text, width)), err=as_json)


class Interrupts:
    """Whether Ctrl-C, SIGTERM or a lost terminal has asked us to end; a second time forces it."""

    def __init__(self) -> None:
        self.asked = False

    def on_signal(self, *_: object) -> None:
        """Note a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def _interrupts() -> Iterator[Interrupts]:
    interrupts = Interrupts()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupts.on_signal) for number in numbers]
    try:
        yield interrupts
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _play(stage: Stage, interrupts: Interrupts, as_json: bool) -> Ending:
    """Run it from the first reading to the last result; give how it went."""
    from edged.demo.daemon import DaemonFailed

    try:
        _wait_until_online(stage, interrupts)
        start = monotonic()
        if not interrupts.asked:
            pace = stage.pace
            say(f"It takes {pace.samples} readings at a time: the first results come after {duration(pace.first_s, 1)}.", as_json)
            click.echo(f"Meanwhile, in another terminal:  {program()} status --socket {stage.socket}", err=as_json)
            stage.start_sensors()
            if sys.stdout.isatty() and not as_json:
                _draw(stage, interrupts, start)
            else:
                _tell(stage, interrupts, start, as_json)
        passed = monotonic() - start
        stage.stop_sensors()
        _wait_for_last_results(stage)
    except DaemonFailed as error:
        for line in error.lines:
            click.echo(clean(line), err=True)
        raise
    return _ending(stage, passed)


def _wait_until_online(stage: Stage, interrupts: Interrupts) -> None:
    deadline = monotonic() + _START_S
    while not (stage.online or interrupts.asked):
        stage.daemon.check()
        if monotonic() > deadline:
            raise stage.daemon.failed("demo-daemon-silent", f"did not come online within {_START_S:g} s")
        sleep(_POLL_S)


def _wait_for_last_results(stage: Stage) -> None:
    deadline = monotonic() + _LAST_RESULTS_S
    while stage.connected and stage.board.total().windows < stage.expected and monotonic() < deadline:
        stage.daemon.check()
        sleep(_POLL_S)


def _goes_on(stage: Stage, interrupts: Interrupts, start: float) -> bool:
    stage.daemon.check()
    return not interrupts.asked and monotonic() - start < stage.plan.seconds


def _draw(stage: Stage, interrupts: Interrupts, start: float) -> None:
    """Show it live on the terminal."""
    with alternate_screen(sys.stdout):
        while _goes_on(stage, interrupts, start):
            columns, lines = size(sys.stdout, MAX_WIDTH)
            sys.stdout.write(frame("\n".join(_screen(stage, monotonic() - start, columns)), lines))
            sys.stdout.flush()
            if key(_FRAME_S) in ("q", "Q"):
                return


def _screen(stage: Stage, passed: float, width: int) -> list[str]:
    line = first_line(passed, stage.plan.seconds, stage.board.total(), stage.pace)
    return [
        *cut([line, "✓ right, ✗ wrong, · the activity changed within the window; q ends it"], width),
        "",
        *sensors_table(stage.board.tallies, stage.pace, width, wants_colour(sys.stdout, os.environ), live=True),
    ]


def _tell(stage: Stage, interrupts: Interrupts, start: float, as_json: bool) -> None:
    """Say a line every few seconds."""
    due = start
    while _goes_on(stage, interrupts, start):
        if monotonic() >= due:
            say(first_line(monotonic() - start, stage.plan.seconds, stage.board.total(), stage.pace), as_json)
            sys.stdout.flush()
            due += _LINE_S
        sleep(_POLL_S)


def _ending(stage: Stage, passed: float) -> Ending:
    status = stage.status()
    return Ending(passed, stage.expected, status.memory.pss_mib if status else None)


def _sum_up(stage: Stage, ending: Ending, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(as_dict(stage.board.tallies, stage.board.total(), ending, str(stage.config))))
        return
    width, _ = size(sys.stdout, MAX_WIDTH)
    colour = wants_colour(sys.stdout, os.environ)
    lines = ["", *sensors_table(stage.board.tallies, stage.pace, width, colour, live=False), ""]
    lines += [*summary(stage.board.total(), ending, width), "", *own_broker(str(stage.config), program())]
    click.echo("\n".join(lines), color=True)


def program() -> str:
    """Give the name by which the user can call us again."""
    called, found = sys.argv[0], shutil.which("edged")
    if os.path.basename(called) != "edged" or (found and os.path.exists(called) and os.path.samefile(found, called)):
        return "edged"
    return called
