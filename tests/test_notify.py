"""What systemd hears of the daemon: the sd_notify protocol over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from select import select

import pytest

from edged.clock import NS, VirtualClock
from edged.service.notify import MAX_STATUS, Notify


class Listener:
    """Systemd's end."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """Give the datagrams that have come; on one machine they are there when `sendto` is back."""
        found = []
        while select([self.socket], [], [], 0)[0]:
            found.append(self.socket.recv(65536).decode())
        return found


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify") if request.param == "path" else f"@edged-test-{os.getpid()}-{tmp_path.name}")
    yield listener
    listener.socket.close()


def test_the_life_of_a_service_is_told(listener: Listener) -> None:
    notify = Notify(listener.address)
    notify.more_time(90)
    notify.ready("2 pipelines")
    notify.status("1 pipeline waits")
    notify.stopping()
    assert listener.heard() == [
        "EXTEND_TIMEOUT_USEC=90000000",
        "READY=1\nSTATUS=2 pipelines",
        "STATUS=1 pipeline waits",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_a_status_is_told_once(listener: Listener) -> None:
    notify = Notify(listener.address)
    notify.ready("well")
    listener.heard()
    notify.status("well")
    notify.status("ill")
    notify.status("ill")
    assert listener.heard() == ["STATUS=ill"]


def test_a_status_cannot_say_more_than_a_status(listener: Listener) -> None:
    notify = Notify(listener.address)
    notify.status("topic a\nSTOPPING=1\x1b[31m\x00" + "ü" * 1000)
    (said,) = listener.heard()
    assert said.startswith("STATUS=topic a STOPPING=1 [31m ü")
    assert said.isprintable()
    assert len(said) == len("STATUS=") + MAX_STATUS


def test_a_status_that_is_not_unicode_is_told_as_far_as_it_goes(listener: Listener) -> None:
    Notify(listener.address).status("file \udcff")
    assert len(listener.heard()) == 1


def test_the_watchdog_is_fed_four_times_in_its_time_however_often_it_is_asked(listener: Listener) -> None:
    clock = VirtualClock()
    notify = Notify(listener.address, watchdog_s=30.0, clock=clock)
    for _ in range(60):
        notify.alive()
        clock.advance(NS // 2)
    assert listener.heard() == ["WATCHDOG=1"] * 4


def test_no_watchdog_is_fed_where_there_is_none(listener: Listener) -> None:
    Notify(listener.address).alive()
    assert listener.heard() == []


def test_children_do_not_inherit_the_way_to_systemd(listener: Listener) -> None:
    environ = {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    notify = Notify.from_environment(environ)
    assert environ == {"PATH": "/bin"}
    assert notify.watchdog_s == 30.0
    notify.alive()
    assert listener.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("2500000", "", 2.5),
        ("2500000", "1", None),
        ("", "", None),
        ("0", "", None),
        ("-5", "", None),
        ("2e6", "", None),
        ("²", "", None),
        ("9" * 5000, "", None),
    ],
)
def test_the_watchdog_is_taken_only_where_it_is_meant_for_us(usec: str, pid: str, seconds: float | None) -> None:
    environ = {"WATCHDOG_USEC": usec} | ({"WATCHDOG_PID": pid} if pid else {})
    assert Notify.from_environment(environ).watchdog_s == seconds


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path", "/nobody/is/here", "/a\0b", "@", "/" + "x" * 200])
def test_a_daemon_without_systemd_hears_no_complaint(address: str) -> None:
    notify = Notify.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    notify.more_time(1)
    notify.ready("well")
    notify.alive()
    notify.status("ill")
    notify.stopping()


def test_systemd_that_went_away_stops_nothing(listener: Listener) -> None:
    notify = Notify(listener.address)
    notify.ready("well")
    listener.socket.close()
    notify.status("alone")
