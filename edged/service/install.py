"""Put the service in place for this Python environment, and take it away again.

Everything goes below /etc, where an administrator's own files belong. With a `root` other than
the running system, such as an image that is being built, only files below it are touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.atomic import write_atomic
from edged.config.defaults import SYSTEM_CONFIG
from edged.errors import BoardError, OperatorError
from edged.service.unit import UNIT, Environment, example_for, inside, shipped, unit_for

UNIT_FILE = f"etc/systemd/system/{UNIT}"
WANTS = f"etc/systemd/system/multi-user.target.wants/{UNIT}"
DROP_INS = f"etc/systemd/system/{UNIT}.d"
# Where systemd looks for an administrator's files, and ours by their names in the package.
SHIPPED = {
    "etc/sysusers.d/edged.conf": "edged.sysusers.conf",
    "etc/tmpfiles.d/edged.conf": "edged.tmpfiles.conf",
    "etc/udev/rules.d/99-edged.rules": "99-edged.rules",
}
COMMAND = "usr/local/bin/edged"  # so that whoever is at the board can type `edged status`
KEPT = ("etc/edged", "var/lib/edged", DROP_INS)

Run = Callable[[Sequence[str]], None]


@dataclass
class Installer:
    """One installation or its end, on the system below `root`; each thing done is said in one line.

    `live`: it is the running system, so systemd is told. `dry`: nothing is done, all is said.
    """

    root: Path
    live: bool
    dry: bool
    say: Callable[[str], None]
    run: Run

    def install(self, environment: Environment, *, enable: bool, now: bool) -> None:
        """Put everything in place; what is already as it should be stays untouched.

        Raises OperatorError where `environment` cannot be run by a service, BoardError(`command-failed`,
        `cannot-write`).
        """
        environment.check(self.root)
        if not environment.command.is_relative_to(self.root):
            self.say(f"note     the service will run {environment.command}: have it there, in {self.root}")
        self._write(UNIT_FILE, unit_for(environment, self.root))
        for place, name in SHIPPED.items():
            self._write(place, shipped(name))
        self._make_user()
        if os.path.lexists(self._at(SYSTEM_CONFIG)):
            self.say(f"kept     {self._at(SYSTEM_CONFIG)}")
        else:
            # Elsewhere its group is not known yet; the folder is closed to others at boot, and the example holds no secret.
            self._write(SYSTEM_CONFIG, example_for(environment, self.root), 0o640 if self.live else 0o644)
        self._link(COMMAND, str(inside(environment.command, self.root)), "so that `edged` can be typed")
        self._tell_systemd()
        if self.live and (enable or now):
            self._command("systemctl", "enable", *(["--now"] if now else []), UNIT)
        elif enable:
            self._link(WANTS, f"/{UNIT_FILE}", "it starts at boot")  # as `systemctl enable`, which an image may not have

    def uninstall(self) -> None:
        """Take away what `install` put in place; configuration, state and user stay. Raises BoardError as `install`."""
        ours = (COMMAND,) if self._is_our_command() else ()
        places = [place for place in (*ours, WANTS, UNIT_FILE, *SHIPPED) if os.path.lexists(self._at(place))]
        if not places:
            self.say("nothing  of the service is installed here")
        if self.live and UNIT_FILE in places:
            self._command("systemctl", "disable", "--now", UNIT)
        for place in places:
            self._remove(place)
        if places:
            self._tell_systemd()
        for place in KEPT:
            if self._at(place).is_dir():
                self.say(f"kept     {self._at(place)}")
        if self._has_user():
            self.say("kept     user and group edged: they own what is kept")

    def _at(self, place: str) -> Path:
        return self.root / place

    def _write(self, place: str, text: str, mode: int = 0o644) -> None:
        path, data = self._at(place), text.encode()
        try:
            if path.is_file() and path.read_bytes() == data:
                self.say(f"has      {path}")
                return
            self._done("wrote", str(path))
            if not self.dry:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data, mode)
        except OSError as error:
            raise _cannot_write(path, error) from None

    def _remove(self, place: str) -> None:
        path = self._at(place)
        if not os.path.lexists(path):
            return  # systemctl disable took the link away
        self._done("removed", str(path))
        try:
            if not self.dry:
                path.unlink()
        except OSError as error:
            raise _cannot_write(path, error) from None

    def _link(self, place: str, target: str, why: str) -> None:
        path = self._at(place)
        if os.path.lexists(path):
            self.say(f"{'has' if path.is_symlink() and os.readlink(path) == target else 'kept':<8} {path}")
            return
        self._done("linked", f"{path}: {why}")
        try:
            if not self.dry:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(target)
        except OSError as error:
            raise _cannot_write(path, error) from None

    def _is_our_command(self) -> bool:
        """Say whether the command is a link to what the installed unit runs."""
        try:
            return f"ExecStart={os.readlink(self._at(COMMAND))} " in self._at(UNIT_FILE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False

    def _make_user(self) -> None:
        """Make user, group and folders. Elsewhere the folders are made at boot, and the user too where it cannot be now."""
        if self.live:
            self._command("systemd-sysusers", "edged.conf")
            self._command("systemd-tmpfiles", "--create", "edged.conf")
        elif shutil.which("systemd-sysusers"):
            self._command("systemd-sysusers", f"--root={self.root}", "edged.conf")
        else:
            self.say("left     the user edged to the first boot: systemd-sysusers")

    def _has_user(self) -> bool:
        try:
            return "\nedged:" in "\n" + self._at("etc/passwd").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False

    def _tell_systemd(self) -> None:
        if self.live:
            self._command("systemctl", "daemon-reload")
            if self._at("run/udev/control").exists():  # a container has none
                self._command("udevadm", "control", "--reload")

    def _command(self, *words: str) -> None:
        self._done("ran", " ".join(words))
        if not self.dry:
            self.run(words)

    def _done(self, verb: str, what: str) -> None:
        self.say(f"would    {_PRESENT[verb]} {what}" if self.dry else f"{verb:<8} {what}")


_PRESENT = {"wrote": "write", "removed": "remove", "linked": "link", "ran": "run"}


def run_command(words: Sequence[str]) -> None:
    """Run one command of systemd. Raises BoardError(`command-failed`) with what it said."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise BoardError("command-failed", f"cannot run {words[0]}: {error.strerror}", "is this a system with systemd?") from None
    if done.returncode:
        said = " ".join(done.stderr.split())[-400:] or f"exit code {done.returncode}"
        raise BoardError("command-failed", f"`{' '.join(words)}` failed: {said}", f"see `journalctl -u {UNIT} -n 50`")


def require_systemd(root: Path = Path("/")) -> None:
    """Raise BoardError(`no-systemd`) where systemd is not what runs this system."""
    if not (root / "run/systemd/system").is_dir():
        hint = "run `edged run` from what starts services here; for an image, add --root DIR"
        raise BoardError("no-systemd", "this system was not started by systemd", hint)


def require_root(command: str) -> None:
    """Raise OperatorError(`not-root`) where this user may not write below /etc; `command` is what to type instead."""
    if os.geteuid() != 0:
        raise OperatorError("not-root", "only root may change the services of this system", command)


def _cannot_write(path: Path, error: OSError) -> BoardError:
    return BoardError("cannot-write", f"cannot write {path}: {error.strerror or error}", "is the file system writable?")
