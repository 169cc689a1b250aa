"""Which serial ports there are, and what is behind them, by what the kernel says in /dev and /sys."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PATTERNS = ("ttyACM*", "ttyUSB*", "ttyAMA*", "ttyTHS*")
# The link that says most comes first: serial0 is the Raspberry Pi's name for the port on its pins.
_LINKS = ("edged/*", "serial/by-id/*", "serial0")
_MOST_UP = 4  # folders between a port and its USB device, and one more
_MOST_WORDS = 100


@dataclass(frozen=True, slots=True)
class FoundPort:
    """A port.

    path         that of its device, which may be another one after the next plugging
    stable       a link that stays its own: /dev/edged/…, /dev/serial/by-id/… or /dev/serial0; "" without one
    description  what is behind it, by what its USB device says of itself; "" when nothing does
    """

    path: str
    stable: str
    description: str


def present(root: Path = Path("/")) -> list[FoundPort]:
    """Give the ports below `root`, which stands for `/`, by name. What cannot be read is as if it were not there."""
    dev = root / "dev"
    links: dict[str, str] = {}
    for pattern in _LINKS:
        for link in sorted(dev.glob(pattern)):
            links.setdefault(os.path.realpath(link), f"/{link.relative_to(root)}")
    nodes = {path for pattern in _PATTERNS for path in dev.glob(pattern)}
    pins = dev / "serial0"
    if pins.exists():
        nodes.add(dev / os.path.basename(os.path.realpath(pins)))
    return [
        FoundPort(f"/{node.relative_to(root)}", links.get(os.path.realpath(node), ""), _describe(root, node.name))
        for node in sorted(nodes, key=_by_number)
    ]


def _by_number(node: Path) -> tuple[str, int]:
    kind = node.name.rstrip("0123456789")
    return kind, int(node.name[len(kind) :] or 0)


def _describe(root: Path, name: str) -> str:
    """Give maker and product of the USB device behind a port."""
    folder = Path(os.path.realpath(root / "sys" / "class" / "tty" / name / "device"))
    for _ in range(_MOST_UP):
        product = _words(folder / "product")
        if product:
            maker = _words(folder / "manufacturer")
            return product if product.startswith(maker) else f"{maker} {product}"
        folder = folder.parent
    return ""


def _words(path: Path) -> str:
    """Give what a device says of itself; it may say anything."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:_MOST_WORDS]).strip()
