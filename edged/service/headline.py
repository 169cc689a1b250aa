"""Who a board is and how it does, in the few words that `edged status` and systemd begin with."""

from __future__ import annotations

from edged.service.snapshot import ERROR, Snapshot


def who(s: Snapshot) -> list[str]:
    """Name the device and its fleet."""
    return [part for part in (s.device or "this board", s.fleet.name and f"fleet {s.fleet.name}") if part]


def machine(s: Snapshot) -> list[str]:
    """Name the board, its temperature and memory."""
    memory = s.memory
    parts = [
        s.board.name or s.board.profile,
        "" if s.board.temperature_c is None else f"{s.board.temperature_c:.0f} °C",
        "" if memory.pss_mib is None else f"memory {memory.pss_mib:,.0f}{f' of {memory.budget_mib:,.0f}' if memory.budget_mib else ''} MiB",
    ]
    return [part for part in parts if part]


def headline(s: Snapshot) -> str:
    """Put it in one line, with the worst that is wrong."""
    worst = [condition.text for condition in s.health if condition.severity == ERROR][:1]
    return " · ".join([*who(s), s.state, *machine(s), *worst])
