"""`edged` on a board that never has the memory for a second model: `python -m tests.narrow run --config edged.toml`."""

from __future__ import annotations

import sys

from edged.errors import BoardError
from edged.service import serving


def main() -> int:
    from edged.cli.main import main as edged

    def short(what: str, *_: object) -> None:
        raise BoardError("memory-short", f"{what} needs more than there is")

    serving.check_available = short  # type: ignore[assignment]
    return edged(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
