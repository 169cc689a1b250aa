"""A microcontroller in QEMU that runs the compiled example firmware, with its line at a name that stays."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


class Emulator:
    """One mps2-an385. Its UART0 is the port `path`, a link to the pseudo-terminal that QEMU opens anew at each start."""

    def __init__(self, elf: Path, folder: Path) -> None:
        self.path = folder / "sensor"
        self._elf = elf
        self._led = folder / "led.txt"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Emulator:
        """Switch it on, and plug it in."""
        command = ["qemu-system-arm", "-M", "mps2-an385", "-display", "none", "-monitor", "none", "-kernel", str(self._elf)]
        command += ["-serial", "pty", "-serial", f"file:{self._led}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout
        said = self._process.stdout.readline()
        found = re.search(r"redirected to (/dev/pts/\d+)", said)
        assert found, said + self._process.stdout.read()
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(found[1])
        return self

    @property
    def led(self) -> list[str]:
        """Give what its LED did since it was started: lines such as `LED on: running 0.998`."""
        return self._led.read_text().splitlines() if self._led.exists() else []  # QEMU makes it after the pseudo-terminal

    def kill(self) -> None:
        """Cut its power: SIGKILL, and the pseudo-terminal is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
