"""A virtual machine: an ext4 image of a root file system, and QEMU that runs it by emulation, with no need of KVM."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vm.process import kill, run

_DISK = "3G"  # a sparse file
_MEMORY = "768M"
_PROCESSOR = "Nehalem"  # the oldest that today's wheels run on; what newer ones can do costs time to emulate


@dataclass(frozen=True)
class Machine:
    """The files that one machine is made of."""

    kernel: Path
    initrd: Path
    disk: Path
    console: Path


def make(folder: Path, root: Path) -> Machine:
    """Make a machine in `folder` of a root file system with a kernel."""
    machine = Machine(folder / "vmlinuz", folder / "initrd", folder / "disk", folder / "console")
    (kernel,), (initrd,) = root.glob("boot/vmlinuz-*"), root.glob("boot/initrd.img-*")
    shutil.copy(kernel, machine.kernel)
    shutil.copy(initrd, machine.initrd)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "root", str(machine.disk), _DISK, timeout_s=300)
    return machine


def boot(machine: Machine, timeout_s: float) -> Iterator[str]:
    """Run it until it powers off or restarts, for `timeout_s` seconds at most; give the lines of its second serial port as they come.

    A restart ends it, too: what QEMU keeps of one boot makes the next one twice as slow.
    """
    process = subprocess.Popen(_command(machine), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        os.set_blocking(process.stdout.fileno(), False)
        yield from _lines(process.stdout.fileno(), time.monotonic() + timeout_s)
    finally:
        kill(process)
        process.stdout.close()


def _command(machine: Machine) -> list[str]:
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", _PROCESSOR, "-smp", "2", "-m", _MEMORY),
        *("-kernel", str(machine.kernel), "-initrd", str(machine.initrd)),
        *("-append", "root=LABEL=root rw console=ttyS0 quiet mitigations=off panic=-1"),
        *("-drive", f"file={machine.disk},if=virtio,format=raw", "-nic", "none"),
        *("-no-reboot", "-display", "none", "-monitor", "none", "-serial", f"file:{machine.console}", "-serial", "stdio"),
    ]


def _lines(pipe: int, deadline: float) -> Iterator[str]:
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            if not (data := os.read(pipe, 1 << 16)):
                return
            *lines, waiting = (waiting + data).split(b"\n")
            yield from (line.decode(errors="replace").strip() for line in lines)
