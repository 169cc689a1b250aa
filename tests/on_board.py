"""`edged run` on a board that lies in a folder, with the waits of its adaptation shortened.

    EDGED_BOARD=tests/data/boards/raspberry-pi-5-8gb python -m tests.on_board run --config edged.toml

The daemon reads the board's files under that folder, and so follows whoever writes there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from edged.select import adapt
from edged.service import adapting, daemon

FOLDER = "EDGED_BOARD"


def main() -> int:
    from edged.cli.main import main as edged

    made = daemon.Daemon

    def on_board(*args: Any) -> daemon.Daemon:
        return made(*args, root=Path(os.environ[FOLDER]))

    daemon.Daemon = on_board  # type: ignore[assignment, misc]
    adapting.LOOK_S = 0  # at every step of the fleet thread
    adapt.PRESS_S = adapt.SETTLE_S = adapt.SEEK_S = adapt.DWELL_S = 0
    return edged(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
