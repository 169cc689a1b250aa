"""The files of systemd for one Python environment: which command they run, and what of it the unit's sandbox must show.

The unit hides home folders (ProtectHome=). An environment in one of them is shown again,
read-only; one in /tmp cannot be, and would be gone after a boot. The environment is not the
service's user's own, so it must be open to others.
"""

from __future__ import annotations

import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import edged
from edged.errors import OperatorError

if TYPE_CHECKING:
    from importlib.abc import Traversable  # importlib.resources.abc comes with Python 3.11

UNIT = "edged.service"
EXAMPLE = "edged.toml"
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))
LOST = (Path("/tmp"), Path("/var/tmp"))

# What has no meaning of its own in a unit file: no spaces, quotes, backslashes, %, $, : or ;.
_PLAIN = re.compile(r"/[\w./+@,=~-]*", re.ASCII)
_ELSEWHERE = "make one elsewhere: python3 -m venv /opt/edged && /opt/edged/bin/pip install …"


@dataclass(frozen=True)
class Environment:
    """The `edged` to run, the interpreter behind it, the folder that holds the package, and where environments begin."""

    command: Path
    interpreter: Path
    package: Path
    prefixes: tuple[Path, ...]
    of_one_user: bool = False

    @classmethod
    def running(cls) -> Environment:
        """Give the one that this process runs in."""
        package = Path(edged.__file__).parent
        return cls(
            command=Path(sysconfig.get_path("scripts")) / "edged",
            interpreter=Path(sys.executable).resolve(),
            package=package,
            prefixes=(Path(sys.prefix), Path(sys.base_prefix)),
            of_one_user=package.is_relative_to(site.getusersitepackages()),
        )

    def folders(self) -> list[Path]:
        """List the folders that running the command reads, the outermost only."""
        found = {*self.prefixes, self.interpreter.parents[1], self.package.parent}
        return sorted(folder for folder in found if not any(folder.is_relative_to(other) for other in found - {folder}))

    def to_show(self, root: Path) -> list[Path]:
        """List those of `folders` that the sandbox would hide, as paths of the system at `root`."""
        return [folder for each in self.folders() if _is_in(folder := inside(each, root), HIDDEN)]

    def check(self, root: Path) -> None:
        """Raise OperatorError(`environment-…`) where a service on the system at `root` could not run this."""
        if self.of_one_user:
            raise OperatorError("environment-of-one-user", f"edged is installed for one user only, in {self.package.parent}", _ELSEWHERE)
        if not self.command.is_file():
            raise OperatorError("environment-without-command", f"there is no {self.command}", "install edged with pip, which makes it")
        for path in (self.command, *self.folders()):
            if not _PLAIN.fullmatch(str(path)):
                raise OperatorError("environment-path", f"{str(path)!r} has characters that a unit file cannot hold", _ELSEWHERE)
            if _is_in(inside(path, root), LOST):
                raise OperatorError("environment-in-tmp", f"{path} is a temporary folder, gone at the next boot", _ELSEWHERE)
        if closed := next(self._closed(root), None):
            ours = any(closed.is_relative_to(folder) for folder in self.folders())
            hint = f"chmod -R o+rX {closed}" if ours else f"chmod o+x {closed}"
            raise OperatorError("environment-closed", f"{closed} is closed to other users, so to the service's", hint)

    def _closed(self, root: Path) -> Iterator[Path]:
        """Give what the service's user may not read. Folders around a shown one are systemd's own there, and open."""
        shown = [folder for folder in self.folders() if _is_in(inside(folder, root), HIDDEN)]
        for path in (*self.folders(), self.interpreter, self.package, self.package / "__init__.py", self.command):
            around = [each for each in path.parents if each != root and each.is_relative_to(root)]
            visible = [each for each in around if not any(folder != each and folder.is_relative_to(each) for folder in shown)]
            yield from (each for each in reversed(visible) if not each.stat().st_mode & 0o001)
            if not path.stat().st_mode & 0o004:
                yield path


def unit_for(environment: Environment, root: Path = Path("/")) -> str:
    """Write the unit for an environment that `Environment.check` let pass, as paths of the system at `root`."""
    text = re.sub(r"(?m)^(Exec\w+=-?)edged ", rf"\g<1>{inside(environment.command, root)} ", shipped(UNIT))
    if folders := environment.to_show(root):
        text = text.replace("ProtectHome=yes\n", f"ProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(map(str, folders))}\n")
    return text


def example_for(environment: Environment, root: Path = Path("/")) -> str:
    """Write the example of a configuration, with the demo's model where it lies in this environment."""
    return shipped(EXAMPLE).replace('"edged/demo/har"', f'"{inside(environment.package, root)}/demo/har"')


def shipped(name: str) -> str:
    """Read a file of the installed package's `systemd/`, else of the checkout's."""
    installed: Traversable = resources.files("edged") / "systemd"
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "systemd"
    return (folder / name).read_text(encoding="utf-8")


def inside(path: Path, root: Path) -> Path:
    """Give a path as the system at `root` will see it; one that is not in it is taken to be the same there."""
    return Path("/") / path.relative_to(root) if path.is_relative_to(root) else path


def _is_in(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
