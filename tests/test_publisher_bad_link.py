"""A server whose line to the broker is slow, late, or cut again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.clock import SystemClock
from edged.config.schema import Broker
from edged.exchange.blobs import FRAGMENT
from edged.publisher.serving import Server
from tests.bad_link import BadLink
from tests.broker import Mosquitto
from tests.fleets import Fleet
from tests.stores import tiny
from tests.test_publisher_serving import Board, at, filled
from tests.waiting import until

pytest_plugins = ["tests.fixtures"]


@pytest.fixture
def line(broker: Mosquitto) -> Iterator[BadLink]:
    with BadLink(broker.port) as link:
        yield link


@pytest.fixture
def boards(broker: Mosquitto) -> Iterator[list[Board]]:
    made: list[Board] = []
    yield made
    for each in made:
        each.link.stop(0.0)


def serving(fleet: Fleet, line: BadLink) -> Server:
    server = Server(fleet.repository, Broker(url=f"mqtt://127.0.0.1:{line.port}"), "", SystemClock(), random.Random())
    server.start()
    return server


def model_of(fleet: Fleet) -> tuple[str, int]:
    """Give the hash and size of the release's large file."""
    ((sha256, _),) = fleet.repository.stand().targets.signed.targets["twice/1"].custom["edged"]["pieces"].items()
    return sha256, len(fleet.blob(sha256))


def test_orders_come_through_a_slow_line_that_is_full_of_bytes(
    line: BadLink, broker: Mosquitto, boards: list[Board], tmp_path: Path
) -> None:
    fleet = filled(tmp_path, "slow-line")
    sha256, size = model_of(fleet)
    line.set(round_trip_s=0.1, rate=1_000_000)
    server = serving(fleet, line)
    try:
        boards += [Board(at(broker), fleet.name, device) for device in ("press-7", "other", "third")]
        for board in boards:
            board.until_has(fleet)
            for off in range(0, size, 16 * FRAGMENT):
                board.ask(sha256, off, min(16 * FRAGMENT, size - off), server.blobs.number)
        until(lambda: all(board.fragments for board in boards), "bytes flow to each")
        fleet.assign("dev:press-7", {"twice": 1})
        until(lambda: boards[0].held.get(boards[0].topics.desired) == fleet.desired("dev:press-7"), "the orders come")
        for board in boards:
            until(lambda board=board: sum(len(each.data) for each in board.fragments) == size, "all bytes come, each once")
    finally:
        server.stop()


def test_a_server_whose_line_is_cut_again_and_again_comes_back_with_everything(
    line: BadLink, broker: Mosquitto, boards: list[Board], tmp_path: Path
) -> None:
    fleet = filled(tmp_path, "cut-line")
    sha256, size = model_of(fleet)
    server = serving(fleet, line)
    try:
        boards.append(Board(at(broker), fleet.name, "press-7"))
        for number in range(2, 5):
            fleet.add(tiny(tmp_path / f"r{number}", number))
            fleet.assign("dev:press-7", {"twice": number})
            line.cut()
            boards[0].until_has(fleet)
        until(lambda: boards[0].held.get(boards[0].topics.desired) == fleet.desired("dev:press-7"), "the orders come")
        until(lambda: server.trouble is None, "nothing is wrong any more", lambda: server.trouble)
        assert boards[0].fetch(sha256, size) == fleet.blob(sha256)
        line.down()
        until(lambda: server.link.state.state != "connected", "the line is down")
        rev = fleet.assign("dev:press-7", {"twice": 1}).rev
        line.up()
        until(lambda: boards[0].held.get(boards[0].topics.desired) == fleet.desired("dev:press-7"), f"rev {rev} comes")
    finally:
        server.stop()
        assert server.fault is None
