"""The `--config`, `--socket` and `--json` of all commands, and what they lead to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edged.errors import DaemonUnreachable, OperatorError

if TYPE_CHECKING:
    from edged.config.load import Loaded

ANSWER_S = 3.0

config_option = click.option(
    "--config",
    metavar="FILE",
    help="Configuration file. Default: EDGED_CONFIG, ./edged.toml, ~/.config/edged/edged.toml, /etc/edged/edged.toml.",
)
socket_option = click.option("--socket", metavar="PATH", help="Control socket of the daemon. Default: the configuration's.")
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")


def load(config: str | None) -> Loaded:
    """Read and check the configuration that a command is to use; errors as of `edged.config.load`."""
    from edged.config.load import find_config, load_config

    return load_config(find_config(config, os.environ, Path.cwd()), os.environ)


@dataclass(frozen=True)
class DaemonAt:
    """Where the daemon that is meant may listen, and `source`: what said so, for people."""

    paths: Sequence[Path]
    source: str = ""

    def ask(self, op: str, args: dict[str, Any] | None = None, files: Sequence[int] = ()) -> dict[str, Any]:
        """Ask it; raises what `edged.service.ask.ask` raises, with what led there."""
        try:
            return ask_first(op, self.paths, args, files)
        except DaemonUnreachable as error:
            if not self.source:
                raise
            raise type(error)(error.code, f"{error.text} ({self.source})", error.hint) from None


def daemon_at(config: str | None, socket: str | None) -> DaemonAt:
    """Find the daemon that is meant: at `socket`, else at the configuration's, else at one of the default places.

    Raises OperatorError where a file asked for by name cannot be read.
    """
    if socket:
        return DaemonAt([Path(socket)])
    from edged.config.load import find_config, socket_of

    try:
        found = find_config(config, os.environ, Path.cwd())
        return DaemonAt([socket_of(found, os.environ)], f"configuration {found}")
    except OperatorError:
        if config or os.environ.get("EDGED_CONFIG"):
            raise
        return DaemonAt(default_sockets(), "no configuration that can be read")


def ask_daemon(op: str, config: str | None, socket: str | None) -> dict[str, Any]:
    """Ask the daemon that is meant, see `daemon_at`."""
    return daemon_at(config, socket).ask(op)


def ask_first(op: str, paths: Sequence[Path], args: dict[str, Any] | None = None, files: Sequence[int] = ()) -> dict[str, Any]:
    """Give the first answer; where nobody listens at all, the likeliest place says why."""
    from edged.service.ask import ask

    try:
        return ask(paths[0], op, ANSWER_S, args, files)
    except DaemonUnreachable as error:
        if len(paths) == 1 or error.code != "daemon-not-reachable":
            raise
        likeliest = error
    try:
        return ask_first(op, paths[1:], args, files)
    except DaemonUnreachable:
        raise likeliest from None


def default_sockets() -> list[Path]:
    """Give the system daemon's socket and this user's; often one and the same."""
    from edged.config.defaults import SYSTEM_CONFIG, Machine, default_socket

    machine = Machine()
    configs = (machine.root / SYSTEM_CONFIG, Path("edged.toml"))
    return list(dict.fromkeys(default_socket(config, os.environ, machine) for config in configs))
