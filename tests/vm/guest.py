"""The boot test inside of the machine: takes the steps of this boot, tells each on the second serial line, ends the boot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from tests.vm.steps import BOOTS, Step
from tests.vm.unit import EDGED, command

CHANNEL = Path("/dev/ttyS1")
COUNT = Path("/var/lib/vm-test/boots")


def main() -> None:
    number = int(COUNT.read_text()) if COUNT.exists() else 0
    COUNT.write_text(str(number + 1))
    command("sync", str(COUNT))  # now: later it would help the daemon over a power cut
    boot = BOOTS[number]
    with CHANNEL.open("w") as channel:
        first, *others = boot.steps
        if _take(first, channel):
            for step in others:
                _take(step, channel)
    command(*boot.end)


def _take(step: Step, channel: TextIO) -> bool:
    """Take a step, tell how it went, and give whether it holds."""
    try:
        said, ok = step.look(), True
    except Exception as error:  # whatever it is, the other steps are taken
        said, ok = f"\n{type(error).__name__}: {error}\nThe journal's last lines:\n{EDGED.recent()}", False
    print(json.dumps({"step": step.name, "ok": ok, "said": said}), file=channel, flush=True)
    return ok


if __name__ == "__main__":
    main()
