"""Run all checks side by side; one that fails says so, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from msgspec import structs

from edged.board import commands
from edged.board.tree import Tree
from edged.clock import Clock
from edged.config.defaults import Machine, default_socket
from edged.config.load import Loaded
from edged.config.schema import Broker, SerialSource
from edged.doctor.account import account_of
from edged.doctor.broker import Asked, check_broker
from edged.doctor.certificates import check_certificates
from edged.doctor.clock import check_clock
from edged.doctor.configuration import check_configuration
from edged.doctor.daemon import check_daemon
from edged.doctor.finding import ERROR, FAILED, OK, SEVERITIES, Finding, error
from edged.doctor.limits import needs_of
from edged.doctor.memory import check_memory
from edged.doctor.python import check_python
from edged.doctor.runtimes import check_runtimes
from edged.doctor.secrets import check_secrets
from edged.doctor.serial import check_serial
from edged.doctor.storage import check_storage
from edged.doctor.texts import check_texts
from edged.doctor.thermal import check_thermal
from edged.doctor.unit import check_unit
from edged.doctor.unitfile import find_unit
from edged.errors import BugError

Work = Callable[[], Iterable[Finding]]
Check = tuple[str, Work]


@dataclass(frozen=True)
class Place:
    """What is looked at: a tree, the configuration's file (None: there is none) and what is in it (None: it has faults).

    `run` asks the system's own programs.
    """

    tree: Tree
    environ: Mapping[str, str]
    clock: Clock
    config: Path | None = None
    loaded: Loaded | None = None
    run: commands.Run = commands.run


@dataclass(frozen=True)
class Report:
    """All findings, the worst first; `silent` are the checks that have nothing to say of this machine."""

    findings: tuple[Finding, ...]
    silent: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Say whether nothing must be mended, as far as could be checked."""
        return all(finding.severity != ERROR or finding.code == FAILED for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Say whether every check could be done."""
        return all(finding.code != FAILED for finding in self.findings)


def checks_of(place: Place) -> list[Check]:
    """List what there is to check, the configuration's parts where it can be read."""
    tree, now = place.tree, place.clock.wall()
    socket = place.loaded.socket if place.loaded else default_socket(place.config or Path("edged.toml"), place.environ, Machine(tree.root))
    checks: list[Check] = [
        ("python", lambda: check_python(tree)),
        ("engine", lambda: check_runtimes(tree)),
        ("texts", lambda: check_texts(tree)),
        ("memory", lambda: check_memory(tree)),
        ("clock", lambda: check_clock(tree, place.clock)),
        ("thermal", lambda: check_thermal(tree, place.run)),
        ("service", lambda: check_unit(tree, place.run, place.config)),
        ("daemon", lambda: check_daemon(socket)),
        ("serial", lambda: check_serial(tree, account_of(find_unit(tree), tree), _serial_ports(place.loaded))),
    ]
    if place.config:
        config = place.config
        checks.append(("config", lambda: check_configuration(config)))
    if place.loaded:
        checks += _of_configuration(place, place.loaded, now)
    return checks


def examine(checks: Sequence[Check]) -> Report:
    """Do all checks, each in a thread of its own: most wait for a network or a child process."""
    answers: dict[int, list[Finding]] = {}
    # Daemon threads: Ctrl-C ends the command, whatever a check waits for.
    threads = [Thread(target=_do, args=(i, check, answers), daemon=True) for i, check in enumerate(checks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [finding for i in range(len(checks)) for finding in answers[i]]
    silent = tuple(name for i, (name, _) in enumerate(checks) if not answers[i])
    return Report(tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))), silent)


def fine(report: Report) -> list[str]:
    """Name the checks that found nothing to mend or better."""
    worse = {finding.check for finding in report.findings if finding.severity != OK}
    return list(dict.fromkeys(finding.check for finding in report.findings if finding.check not in worse))


def _do(i: int, check: Check, answers: dict[int, list[Finding]]) -> None:
    name, work = check
    found = []
    try:
        for finding in work():
            found.append(structs.replace(finding, check=name))  # noqa: PERF401 - what came before a failure is kept
    except Exception as fault:
        bug = BugError.of(FAILED, fault)
        found.append(structs.replace(error(FAILED, f"the check `{name}` failed: {bug.text}", bug.hint), check=name))
    answers[i] = found


def _of_configuration(place: Place, loaded: Loaded, now: int) -> list[Check]:
    config, tree = loaded.config, place.tree
    return [
        ("storage", lambda: check_storage(tree, loaded.state_dir, config.spool.max_mib)),
        ("secrets", lambda: check_secrets(config.mqtt, loaded.path, account_of(find_unit(tree), tree), tree)),
        ("certificates", lambda: check_certificates(config.mqtt, now)),
        *(_of_broker(loaded, name, broker, now) for name, broker in config.mqtt.items()),
    ]


def _of_broker(loaded: Loaded, name: str, broker: Broker, now: int) -> Check:
    return "broker", lambda: check_broker(Asked(name, broker, needs_of(loaded.config, name), now))


def _serial_ports(loaded: Loaded | None) -> list[str]:
    """Give the serial ports that pipelines read; results go to no others."""
    sources = [each.source for each in loaded.config.pipelines] if loaded else []
    return list(dict.fromkeys(source.port for source in sources if isinstance(source, SerialSource)))
