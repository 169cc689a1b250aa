"""The board that a command is about: this one, with the configuration's profile and the calibration in its state folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edged.errors import OperatorError

if TYPE_CHECKING:
    from edged.board.inforce import Board


def board_and_state(config: str | None) -> tuple[Board, Path]:
    """Give this board and the state folder; without a configuration what `edged run` would take by default.

    Raises OperatorError for a configuration that was asked for by name and cannot be read, and for a profile that is not there.
    """
    from edged.board.inforce import board_here
    from edged.board.profile import AUTO
    from edged.cli.settings import load
    from edged.config.defaults import Machine, default_state_dir

    wanted = AUTO
    try:
        loaded = load(config)
        wanted, state_dir = loaded.config.device.profile, loaded.state_dir
    except OperatorError:
        if config or os.environ.get("EDGED_CONFIG"):
            raise
        state_dir = default_state_dir(Path("edged.toml"), os.environ, Machine())
    return board_here(Path("/"), wanted, state_dir), state_dir
