"""Fixtures with real brokers and daemons; a test module takes them with `pytest_plugins = ["tests.fixtures"]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto, Tls
from tests.daemon import Daemon
from tests.nats import NatsCluster

MakeBroker = Callable[..., Mosquitto]
MakeDaemon = Callable[..., Daemon]
MakeNats = Callable[..., NatsCluster]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Give one open broker for all tests that use topics of their own."""
    mosquitto = Mosquitto(tmp_path_factory.mktemp("broker")).start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Give a function that makes a broker of the test's own, with the options of `Mosquitto`; it is not started yet."""
    made: list[Mosquitto] = []

    def make(**options: object) -> Mosquitto:
        made.append(Mosquitto(tmp_path / f"broker{len(made)}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for mosquitto in made:
        mosquitto.kill()


@pytest.fixture
def make_nats(tmp_path: Path) -> Iterator[MakeNats]:
    """Give a function that makes a NATS cluster of the test's own, with the options of `NatsCluster`; it is not started yet."""
    made: list[NatsCluster] = []

    def make(**options: object) -> NatsCluster:
        made.append(NatsCluster(tmp_path / f"nats{len(made)}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Make a certificate authority of our own and a certificate for 127.0.0.1; skip without the openssl command."""
    return Tls.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[MakeDaemon]:
    """Give a function that makes a daemon of the test's own, see `Daemon`; it is not started yet. None is left running."""
    made: list[Daemon] = []

    def make(config: str, port: int = 0, **options: str) -> Daemon:
        made.append(Daemon(tmp_path / f"d{len(made)}", config, port, **options))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()
