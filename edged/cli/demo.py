"""`edged demo`: sensors or texts, a broker and the daemon on this machine, to see it work."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol

import click
import msgspec

from edged.cli.columns import clean, wrap_words
from edged.cli.settings import json_option
from edged.cli.terminal import alternate_screen, frame, key, size, wants_colour

if TYPE_CHECKING:
    from edged.demo.daemon import Memory
    from edged.demo.stage import Stage

EPILOG = """\b
Examples:
  edged demo
  edged demo text
  edged demo --seconds 20 --speed 4
  edged demo --seconds 20 --speed 4 --json | jq .latency_ms

`sensors` plays recordings of people who stand, walk and run. `text` streams work orders of excavators,
and asks what it is not sure of. Everything stays on 127.0.0.1. q or Ctrl-C ends it at any time, with the
summary. It keeps the configuration that it ran, and says where."""

MAX_WIDTH = 110
_START_S = 60.0  # a small board with a cold disk takes ten
_LAST_RESULTS_S = 20.0  # of a machine that is busy with other things; as soon as they are there, it ends
_FRAME_S = 0.2
_LINE_S = 5.0
_POLL_S = 0.05


class Play(Protocol):
    """What is on the stage, see `edged.demo.sensors` and `edged.demo.text_play`."""

    stage: Stage

    def start(self) -> None:
        """Let messages come."""

    def stop(self) -> None:
        """Let no more messages come; results still do."""

    @property
    def missing(self) -> int:
        """Count the results that are to come yet."""

    @property
    def over(self) -> bool:
        """Say that nothing more will happen."""


class Show(Protocol):
    """What a person sees of a play."""

    @property
    def play(self) -> Play:
        """Give what is shown."""

    def opening(self) -> list[str]:
        """Say what is about to happen, when the daemon is there."""

    def line(self, passed_s: float) -> str:
        """Say in one line how far it is."""

    def screen(self, passed_s: float, width: int, lines: int, colour: bool) -> list[str]:
        """Draw all of it for a terminal of this size."""

    def summary(self, passed_s: float, memory: Memory, width: int, colour: bool) -> list[str]:
        """Sum it up."""

    def as_dict(self, passed_s: float, memory: Memory) -> dict[str, Any]:
        """Sum it up for programs."""


@click.command("demo", epilog=EPILOG)
@click.argument("what", metavar="[sensors|text]", type=click.Choice(["sensors", "text"]), default="sensors")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1, 86_400), help="How long messages are sent.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 1000), help="How many times faster than life.")
@click.option("--sensors", type=click.IntRange(1, 200), help="How many sensors.  [default: 6]")
@json_option
def command(what: str, seconds: float, speed: float, sensors: int | None, as_json: bool) -> None:
    """Try it out: recorded sensors or texts, a broker and the daemon on this machine."""
    if what == "text" and sensors is not None:
        raise click.UsageError("--sensors is for the demo of sensors")
    import random

    from edged.clock import SystemClock

    with _interrupts() as interrupts:
        clock, rng = SystemClock(), random.SystemRandom()
        if what == "text":
            from edged.cli.demo_text import INTRODUCTION, TextShow

            say(INTRODUCTION, as_json)
            from edged.demo.text_play import TextPlan, TextPlay

            with TextPlay(TextPlan(seconds, speed), clock, rng, os.environ) as texts:
                _run(TextShow(texts), interrupts, seconds, as_json)
        else:
            from edged.cli.demo_sensors import SensorsShow, introduction

            say(introduction(sensors or 6, seconds), as_json)
            from edged.demo.sensors import Plan, SensorsPlay

            with SensorsPlay(Plan(seconds, speed, sensors or 6), clock, rng, os.environ) as play:
                _run(SensorsShow(play), interrupts, seconds, as_json)


def say(text: str, as_json: bool) -> None:
    """Say something for people, line by line: on standard error where standard output is for a program."""
    width, _ = size(sys.stderr if as_json else sys.stdout, MAX_WIDTH)
    for line in text.splitlines():
        click.echo("\n".join(wrap_words(line, width)), err=as_json)


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


def _run(show: Show, interrupts: Interrupts, seconds: float, as_json: bool) -> None:
    """Run it from the first message to the last result, and sum it up."""
    from edged.demo.daemon import DaemonFailed

    play = show.play
    try:
        _wait_until_online(play.stage, interrupts)
        start = monotonic()
        if not interrupts.asked:
            for text in show.opening():
                say(text, as_json)
            click.echo(f"Meanwhile, in another terminal:  {program()} status --socket {play.stage.socket}", err=as_json)
            play.start()
            if sys.stdout.isatty() and not as_json:
                _draw(show, interrupts, start, seconds)
            else:
                _tell(show, interrupts, start, seconds, as_json)
        passed = monotonic() - start
        play.stop()
        _wait_for_last_results(play)
    except DaemonFailed as error:
        for line in error.lines:
            click.echo(clean(line), err=True)
        raise
    _sum_up(show, passed, as_json)


def _wait_until_online(stage: Stage, interrupts: Interrupts) -> None:
    deadline = monotonic() + _START_S
    while not (stage.online or interrupts.asked):
        stage.daemon.check()
        if monotonic() > deadline:
            raise stage.daemon.failed("demo-daemon-silent", f"did not come online within {_START_S:g} s")
        sleep(_POLL_S)


def _wait_for_last_results(play: Play) -> None:
    deadline = monotonic() + _LAST_RESULTS_S
    while play.stage.connected and play.missing > 0 and monotonic() < deadline:
        play.stage.daemon.check()
        sleep(_POLL_S)


def _goes_on(play: Play, interrupts: Interrupts, start: float, seconds: float) -> bool:
    play.stage.daemon.check()
    return not (interrupts.asked or play.over) and monotonic() - start < seconds


def _draw(show: Show, interrupts: Interrupts, start: float, seconds: float) -> None:
    """Show it live on the terminal."""
    colour = wants_colour(sys.stdout, os.environ)
    with alternate_screen(sys.stdout):
        while _goes_on(show.play, interrupts, start, seconds):
            columns, lines = size(sys.stdout, MAX_WIDTH)
            sys.stdout.write(frame("\n".join(show.screen(monotonic() - start, columns, lines, colour)), lines))
            sys.stdout.flush()
            if key(_FRAME_S) in ("q", "Q"):
                return


def _tell(show: Show, interrupts: Interrupts, start: float, seconds: float, as_json: bool) -> None:
    """Say a line every few seconds."""
    due = start
    while _goes_on(show.play, interrupts, start, seconds):
        if monotonic() >= due:
            say(show.line(monotonic() - start), as_json)
            sys.stdout.flush()
            due += _LINE_S
        sleep(_POLL_S)


def _sum_up(show: Show, passed_s: float, as_json: bool) -> None:
    memory, config = show.play.stage.daemon.memory(), str(show.play.stage.config)
    if as_json:
        click.echo(msgspec.json.encode({**show.as_dict(passed_s, memory), "config": config}))
        return
    width, _ = size(sys.stdout, MAX_WIDTH)
    lines = ["", *show.summary(passed_s, memory, width, wants_colour(sys.stdout, os.environ)), "", *own_broker(config)]
    click.echo("\n".join(lines), color=True)


def own_broker(config: str) -> list[str]:
    """Say in two lines how to go on with a broker of one's own; lines are never cut or broken: they are to be copied."""
    return [
        f'Your own broker: change  url = "embedded"  to  url = "mqtt://YOUR-BROKER:1883"  in {config}',
        f"then run:        {program()} run --config {config}",
    ]


def program() -> str:
    """Give the name by which the user can call us again."""
    called, found = sys.argv[0], shutil.which("edged")
    if os.path.basename(called) != "edged" or (found and os.path.exists(called) and os.path.samefile(found, called)):
        return "edged"
    return called
