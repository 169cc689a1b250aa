"""Pushes to a real daemon over bad links and brokers that die: they complete, and cost little more than their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.broker import Mosquitto
from tests.daemon import Daemon
from tests.sites import DEVICE, MIB, QUICK, Site, large, until_fetched, until_update
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon, MakeNats

pytest_plugins = ["tests.fixtures"]
pytestmark = pytest.mark.alone  # bytes that come late are asked for again, and counted

SIZE = 6
_REST = 660_000  # bytes beside the noise: the net, its goldens, what says what it is
DATA = "+/+/+/+/blob/dat/+"


@pytest.fixture
def make_site(tmp_path: Path, make_daemon: MakeDaemon) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(port: int, *others: int) -> Site:
        made.append(Site(tmp_path, make_daemon, port, *others))
        return made[-1]

    yield make
    for site in made:
        site.close()


def pushed(site: Site, board: Daemon) -> float:
    """Wait until the release is committed; give the bytes received by its size."""
    until_update(board, 1, "committed")
    return float(board.status()["fleet"]["received"] / (SIZE * MIB + _REST))


@pytest.mark.parametrize("percent", [1, 5, 10, 30])
def test_a_push_completes_while_fragments_are_lost(make_site: Callable[..., Site], broker: Mosquitto, percent: int) -> None:
    site = make_site(broker.port)
    site.link.lose("/blob/dat/", percent / 100)
    site.fleet.add(large(site.folder, 1, SIZE))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    ratio = pushed(site, site.board().start())
    assert ratio <= 1.05
    assert site.link.to_client(DATA).lost > 0


def test_a_push_completes_over_a_round_trip_of_a_second(make_site: Callable[..., Site], broker: Mosquitto) -> None:
    site = make_site(broker.port)
    site.link.set(round_trip_s=1.0)
    site.fleet.add(large(site.folder, 1, SIZE))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    assert pushed(site, site.board().start()) <= 1.05


def test_a_push_completes_over_a_link_that_is_down_most_of_the_time(make_site: Callable[..., Site], broker: Mosquitto) -> None:
    """What was whole when it went down does not come again."""
    site = make_site(broker.port)
    site.link.set(rate=3 * MIB)
    site.fleet.add(large(site.folder, 1, SIZE))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    board = site.board().start()
    until_fetched(board, 1, MIB)
    site.link.alternate(up_s=2.0, down_s=4.0)
    # What is under way when the link goes down is lost: at most the window, each time.
    assert pushed(site, board) <= 2.0


def test_a_push_completes_while_a_node_of_a_nats_cluster_dies(make_site: Callable[..., Site], make_nats: MakeNats) -> None:
    cluster = make_nats().start()
    first, second, third = cluster.ports
    site = make_site(first, second, third)
    site.link.set(rate=2 * MIB)
    site.server.port = third
    site.fleet.add(large(site.folder, 1, SIZE))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    board = site.board().start()
    until_fetched(board, 1, 2 * MIB)
    cluster.nodes[0].kill()
    ratio = pushed(site, board)
    assert board.status()["brokers"]["main+fleet"]["version"] == "3.1.1"
    assert ratio <= 1.5
    until(lambda: board.status()["fleet"]["orders"][0]["state"] == "done", "the order is done")


def test_a_board_that_starts_after_a_node_died_gets_all_it_needs(make_site: Callable[..., Site], make_nats: MakeNats) -> None:
    """NATS was seen not to deliver retained messages to new subscribers then: the board asks, and the publisher answers."""
    cluster = make_nats().start()
    _, second, third = cluster.ports
    site = make_site(second, third)
    site.server.port = third
    site.fleet.add(large(site.folder, 1, 1))
    site.fleet.assign(DEVICE, {"har": 1}, **QUICK)
    site.server.start()
    cluster.nodes[0].kill()
    until_update(site.board().start(), 1, "committed")
