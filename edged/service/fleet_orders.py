"""Build what takes a fleet's orders on this board: trust, repositories, the transfer, the pushes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from edged.board.timesync import read_unsynced
from edged.clock import Clock
from edged.config.load import Loaded
from edged.errors import OperatorError
from edged.exchange.targets import MAX_ROOT_BYTES
from edged.fleet.agent import Agent
from edged.fleet.aside import Aside
from edged.fleet.floor import FloorFile
from edged.fleet.instructions import Instructions
from edged.fleet.ports import Ports
from edged.fleet.pushes import Pushes
from edged.fleet.repositories import MQTT, FolderRepository, HttpRepository, MqttRepository, Repository
from edged.fleet.timekeeping import Time
from edged.fleet.transfer.budget import Budget
from edged.fleet.transfer.carriers.base import Carrier
from edged.fleet.transfer.carriers.folder import FolderCarrier
from edged.fleet.transfer.carriers.http import HttpCarrier
from edged.fleet.transfer.transfer import Transfer
from edged.models.book import Book
from edged.models.store import Store
from edged.service.fleet_line import FleetLine

_MIB = 1 << 20


def pushes_of(
    loaded: Loaded,
    line: FleetLine,
    agent: Agent,
    book: Book,
    store: Store,
    ports: Ports,
    clock: Clock,
    rng: random.Random,
    ask: Callable[[], None],
) -> Pushes:
    """Build them; the store's claim is held. `ask` makes broker and publishers say again what they said.

    Raises OperatorError(`root-unreadable`), and BoardError of what is kept of the fleet: `trust-floor-damaged`, `trust-unreadable`.
    """
    options, folder = loaded.config.fleet, loaded.state_dir / "fleet"
    budget = Budget(folder / "budget.json", options.max_mib_per_day * _MIB, clock)
    transfer = Transfer([_carrier(each, line) for each in options.repositories], store.incoming, budget, clock, rng)
    instructions = Instructions(
        loaded.device_id,
        options.groups,
        _root(Path(options.root)),
        folder / "metadata",
        FloorFile(folder),
        line.mailbox,
        [_repository(each, line, clock) for each in options.repositories],
        Time(clock, read_unsynced),
        clock,
        rng,
        ask,
    )
    return Pushes(instructions, agent, book, ports.wants, ports.inputs, transfer, clock, rng)


def _root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        text = f"the fleet's root {path} cannot be read: {error.strerror or error}"
        raise OperatorError("root-unreadable", text, "put the fleet's 1.root.json there, readable for the service") from None
    if len(data) > MAX_ROOT_BYTES or not data.lstrip().startswith(b"{"):
        text = f"{path} is no root of a fleet"
        raise OperatorError("root-unreadable", text, "take `public/metadata/1.root.json` of the folder that `edged fleet init` made")
    return data


def _repository(place: str, line: FleetLine, clock: Clock) -> Repository:
    if place == MQTT:
        return MqttRepository(line.mailbox)
    return Aside(HttpRepository(place), clock, lambda: line.wake()) if "://" in place else FolderRepository(Path(place))


def _carrier(place: str, line: FleetLine) -> Carrier:
    if place == MQTT:
        return line.carrier
    return HttpCarrier(place) if "://" in place else FolderCarrier(Path(place))
