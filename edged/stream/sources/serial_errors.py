"""What a serial port says is wrong, as an error of ours: the one place where it is turned into one."""

from __future__ import annotations

from edged.errors import BoardError, EdgedError, OperatorError
from firmware_bridge.port import PortError

_OPERATORS = ("port-not-allowed", "port-busy", "port-unusable")  # rights, another program, a rate: a person has to act, the board is well


def as_edged(error: PortError) -> EdgedError:
    """Give the error of ours that says the same: OperatorError where rights or settings are wrong, else BoardError."""
    family = OperatorError if error.code in _OPERATORS else BoardError
    return family(f"serial-{error.code}", error.text, error.hint)
