"""`edged serial`: serial lines on the bench. A sub-command is the file of its name in this folder, which exports `command`."""

from __future__ import annotations

import click

from edged.cli.late import LateGroup

COMMANDS = {
    "monitor": "Show what arrives on a serial port, and what is wrong with it.",
}

EPILOG = """\b
Examples:
  edged serial monitor
  edged serial monitor /dev/ttyACM0
  edged serial monitor /dev/ttyUSB0 --baud 9600"""


@click.group("serial", cls=LateGroup, package="edged.cli.serial", summaries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Look at microcontrollers on serial lines."""
