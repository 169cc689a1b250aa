"""Keys and passwords of the configuration: closed to other users, open to the daemon."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.board.tree import Tree
from edged.config.schema import Broker
from edged.doctor.account import READ, Account, group_name
from edged.doctor.finding import Finding, error, ok, quoted, warning


@dataclass(frozen=True)
class Secret:
    """A file that only the daemon should read: its key in the configuration, and whether its folders let others through."""

    key: str
    path: Path
    status: os.stat_result
    reachable: bool


def check_secrets(brokers: Mapping[str, Broker], config: Path, account: Account, tree: Tree) -> Iterator[Finding]:
    """Judge the modes of password and key files, and of the configuration itself."""
    secrets = list(_secrets(brokers))
    faults = [fault for secret in secrets for fault in judge_secret(secret, account, group_name(secret.status.st_gid, tree))]
    faults += judge_config(config, config.stat())
    yield from faults
    if secrets and not faults:
        yield ok(f"{len(secrets)} key or password file{'s are' if len(secrets) > 1 else ' is'} closed to other users")


def judge_secret(secret: Secret, account: Account, group: str) -> Iterator[Finding]:
    """Say who may read a secret and should not, and whether the daemon may."""
    mode, path = secret.status.st_mode, secret.path
    daemons = account.name if account.service and account.name != "root" else ""
    # A group of the daemon's own, the owner's own, or root's: as private as the user.
    private = secret.status.st_gid in (0, secret.status.st_uid) or group == daemons
    if mode & (stat.S_IROTH | stat.S_IWOTH) and secret.reachable:
        what = "change" if mode & stat.S_IWOTH else "read"
        text = f"every user of this board may {what} {path} ({secret.key})"
        yield error("secret-open", text, fix=_close(path, daemons), subject=secret.key)
    elif mode & (stat.S_IRGRP | stat.S_IWGRP) and not private:
        text = f"all of group {group} may read {path} ({secret.key})"
        yield warning("secret-open-to-group", text, fix=_close(path, daemons), subject=secret.key)
    if account.service and not account.may(secret.status, READ):
        text = f"{account.words} may not read {path} ({secret.key})"
        yield error("secret-closed-to-service", text, "give it to the service's group alone", _close(path, daemons), secret.key)


def judge_config(config: Path, status: os.stat_result) -> Iterator[Finding]:
    """Say whether others may change the configuration; it holds no secret, so all may read it."""
    if status.st_mode & stat.S_IWOTH:
        yield error("config-open", f"every user of this board may change {config}", fix=f"sudo chmod o-w {quoted(config)}")


def _close(path: Path, group: str) -> str:
    """Give the command that leaves a file to its owner, and to the daemon's group where it has one."""
    if not group:
        return f"sudo chmod 600 {quoted(path)}"
    return f"sudo chown root:{quoted(group)} {quoted(path)} && sudo chmod 640 {quoted(path)}"


def _secrets(brokers: Mapping[str, Broker]) -> Iterator[Secret]:
    for name, broker in brokers.items():
        for key in ("password_file", "key_file"):
            path = Path(getattr(broker, key))
            try:
                status = path.stat() if getattr(broker, key) else None
            except OSError:  # missing is `edged check`'s to say; what this user may not see is closed enough
                continue
            if status is not None:
                yield Secret(f"mqtt.{name}.{key}", path, status, _reachable(path))


def _reachable(path: Path) -> bool:
    """Say whether users without a group in common get through all folders above `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
