"""The disk under the state folder: room, wear, and whether what is written is there after a restart."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edged.board.tree import Tree
from edged.doctor.disks import Mount, is_card, mount_of
from edged.doctor.finding import Finding, error, hint, ok, quoted, warning

RESERVE_MIB = 64  # for the models' next release, the journal and the system's own small writes
LEAST_MIB = 16

_VOLATILE = {
    "tmpfs": "memory: models and results that wait are lost at a restart",
    "ramfs": "memory: models and results that wait are lost at a restart",
    "overlay": "a layer over the disk: it may be gone after a restart",
}


@dataclass(frozen=True)
class Room:
    """The state folder, and `present`: it, or the nearest folder above it that is there.

    `free` is in MiB, `mode` that of the folder itself (0: it is not there).
    """

    folder: Path
    present: Path
    free: int
    mode: int


def check_storage(tree: Tree, state_dir: Path, spool_mib: int) -> Iterator[Finding]:
    """Judge the disk that `state_dir` lies on; `spool_mib` is what results may take there."""
    room = read_room(state_dir)
    mount = mount_of(tree, room.present.resolve())
    faults = [*judge_room(room, spool_mib), *(judge_mount(mount, room) if mount else ()), *(judge_wear(tree, mount) if mount else ())]
    yield from faults
    if not faults:
        yield ok(f"{room.free:,} MiB free for {state_dir}", details={"free_mib": room.free})


def read_room(state_dir: Path) -> Room:
    """Look at the state folder, which may not be there yet."""
    present = next((folder for folder in (state_dir, *state_dir.parents) if _is_folder(folder)), Path("/"))
    disk = os.statvfs(present)
    mode = present.stat().st_mode if present == state_dir else 0
    return Room(state_dir, present, disk.f_bavail * disk.f_frsize >> 20, mode)


def judge_room(room: Room, spool_mib: int) -> Iterator[Finding]:
    """Say whether results and models have room, and whether others may write there."""
    show = f"sudo du -xh {quoted(room.present)} | sort -h | tail; sudo apt clean"
    if room.free < LEAST_MIB:
        yield error("disk-full", f"{room.free} MiB are free for {room.folder}", "remove what is not needed", show)
    elif room.free < spool_mib + RESERVE_MIB:
        text = f"{room.free:,} MiB are free for {room.folder}; the spool may take {spool_mib:,}, and {RESERVE_MIB} should stay"
        yield warning("disk-short", text, "remove what is not needed, or lower `max_mib` in [spool]", show)
    if room.mode & stat.S_IWOTH and not room.mode & stat.S_ISVTX:
        text = f"every user may write in {room.folder}: models there can be exchanged"
        yield error("state-open", text, fix=f"sudo chmod o-w {quoted(room.folder)}")


def judge_mount(mount: Mount, room: Room) -> Iterator[Finding]:
    """Say whether the file system keeps what is written."""
    point = quoted(mount.point)
    if "ro" in mount.options:
        text = f"{mount.point}, where {room.folder} lies, is mounted read-only"
        advice = "a kernel does this to a failing card: see what it said; mount it again only where all is well"
        yield error("disk-read-only", text, advice, f"sudo dmesg | grep -iE 'mmc|ext4|error'; sudo mount -o remount,rw {point}")
    if mount.kind in _VOLATILE:
        text = f"{room.folder} is in {_VOLATILE[mount.kind]}"
        look = f"findmnt --target {quoted(room.present)}"
        yield warning("state-not-kept", text, "name a folder on a disk: `state_dir` in [device]", look)
    if is_card(mount.device) and not mount.options & {"noatime", "relatime", "ro"}:
        yield hint("disk-atime", f"each read writes to the memory card ({mount.point})", fix=f"sudo mount -o remount,noatime {point}")


def judge_wear(tree: Tree, mount: Mount) -> Iterator[Finding]:
    """Say how worn an eMMC is; SD cards do not tell.

    `life_time` is two numbers in tenths of the expected life, 0x0b beyond it; `pre_eol_info`
    is 1 normal, 2 with 80 % of the spare blocks used, 3 urgent (JEDEC JESD84-B51).
    """
    if not is_card(mount.device):
        return
    device = f"sys/block/{mount.disk}/device"
    used = max((int(word, 16) for word in (tree.text(f"{device}/life_time") or "").split() if _is_hex(word)), default=0)
    spare = tree.number(f"{device}/pre_eol_info", 16) or 0
    copy = "save what matters, and exchange the storage"
    look = f"cat /{device}/life_time /{device}/pre_eol_info"
    if spare >= 3 or used >= 0x0B:
        what = "its spare blocks are used up" if spare >= 3 else "it is beyond its expected life"
        yield error("storage-worn-out", f"the eMMC {mount.disk} is worn out: {what}", copy, look)
    elif spare == 2 or used >= 0x09:
        what = "80 % of its spare blocks are used" if spare == 2 else f"{10 * (used - 1)} % of its expected life are used"
        yield warning("storage-worn", f"the eMMC {mount.disk} wears out: {what}", copy, look)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a folder above it that this user may not look into
        return False


def _is_hex(word: str) -> bool:
    try:
        return int(word, 16) >= 0
    except ValueError:
        return False
