"""Start `edged` in a world whose wall clock is off: `python tests/jumpy.py OFFSET_FILE run --config …`.

The file holds seconds, and is read at each look at the clock; without it the clock is right.
`time.time` and `time.time_ns` are replaced before anything of edged is imported, so that what
goes past its own clock is fooled too. Monotonic time is left alone, as a true jump leaves it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main(file: Path, args: list[str]) -> int:
    """Replace the clock, then run the command line."""
    true_ns = time.time_ns

    def offset_ns() -> int:
        try:
            return int(float(file.read_text()) * 1e9)
        except OSError:
            return 0

    time.time_ns = lambda: true_ns() + offset_ns()
    time.time = lambda: time.time_ns() / 1e9
    from edged.cli.main import main as edged

    return edged(args)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
