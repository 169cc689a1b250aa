"""Pushes to a real daemon where the printed rules are in force: by password and by certificate, MQTT 5 and 3.1.1, Mosquitto and NATS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemon import codes
from tests.fleet_sites import DEVICES, FLEET, MANAGER, USERS, Place, open_place
from tests.fleets import Fleet
from tests.rollouts import numbered
from tests.sites import QUICK, Server, fleet_section, until_update
from tests.waiting import until

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

KINDS = ["mosquitto-5-password", "mosquitto-3.1.1-password", "mosquitto-5-certificate", "mosquitto-3.1.1-certificate", "nats"]
DEVICE = DEVICES[0]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = open_place(request.param, tmp_path / "broker", lambda: request.getfixturevalue("tls"))
    yield place
    place.close()


def settings(place: Place, folder: Path, name: str) -> dict[str, str]:
    """Give who somebody is to the broker, by the keys of a configuration; a password is in a file."""
    own = {"version": place.version}
    if place.passwords:
        path = folder / f"password-{name}"
        path.write_text(USERS[name])
        own |= {"username": name, "password_file": str(path)}
    if place.tls:
        issued = place.tls.issue(name)
        own |= {"ca_file": str(place.tls.ca), "cert_file": str(issued.cert), "key_file": str(issued.key)}
    return own


def test_a_push_completes_where_the_printed_rules_are_in_force(place: Place, tmp_path: Path, make_daemon: MakeDaemon) -> None:
    scheme = "mqtts" if place.tls else "mqtt"
    fleet = Fleet(tmp_path / "repository", FLEET)
    fleet.add(numbered(tmp_path / "har1", 1))
    fleet.assign(f"dev:{DEVICE}", {"har": 1}, **QUICK)
    options = [f"--{key.replace('_', '-')}={value}" for key, value in settings(place, tmp_path, MANAGER).items() if key != "version"]
    server = Server(fleet, place.port, tmp_path / "serve.log", *options, scheme=scheme)
    readings = tmp_path / "readings.csv"
    readings.touch()
    main = "\n".join(f'{key} = "{value}"' for key, value in settings(place, tmp_path, DEVICE).items())
    board = make_daemon(
        f"""
[mqtt.main]
url = "{scheme}://127.0.0.1:{place.port}"
{main}
[[pipelines]]
name = "moves"
model = "har"
source = {{ type = "file", path = "{readings}", follow = true }}
decoder = {{ type = "csv", channels = ["x", "y", "z"] }}
"""
        + fleet_section(fleet),
        device=DEVICE,
        fleet=FLEET,
    )
    watcher = place.user(MANAGER, board.topic("reported"))
    try:
        server.start()
        board.start()
        until_update(board, 1, "committed")
        until(lambda: any(b'"verified":true' in payload for _, payload in watcher.heard), "the manager reads it", lambda: watcher.heard)
        assert not {code for code in codes(board.status()) if code.startswith(("broker", "subscription"))}
        assert board.status()["brokers"]["main+fleet"]["version"] == place.version
    finally:
        server.stop()
