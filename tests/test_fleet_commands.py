"""Commands to a board: obeyed once, in time, never when a broker retained them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from edged.clock import VirtualClock
from edged.fleet.commands import Commands
from edged.fleet.mailbox import Mailbox
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics
from edged.service.fleet_commands import FleetCommands

NOW = datetime(2026, 11, 29, 6, 0, tzinfo=timezone.utc)


def payload(minutes: float = 5) -> bytes:
    return msgspec.json.encode({"expires": NOW + timedelta(minutes=minutes)})


def test_a_command_is_obeyed_once() -> None:
    commands = Commands()
    assert commands.refusal("refresh", "a", payload(), NOW) == ""
    assert commands.refusal("refresh", "a", payload(), NOW) == "repeated-command"
    assert commands.refusal("rebirth", "b", payload(), NOW) == ""


@pytest.mark.parametrize(
    ("op", "data", "code"),
    [
        ("reboot", payload(), "unknown-command"),
        ("refresh", payload(-1), "command-expired"),
        ("refresh", b"{}", "malformed-command"),
        ("refresh", b"", "malformed-command"),
        ("refresh", b"[" * 4000, "malformed-command"),
        ("refresh", b'{"expires":"2026-11-29T06:05:00"}', "malformed-command"),  # of no time zone
    ],
)
def test_what_is_no_command_is_refused(op: str, data: bytes, code: str) -> None:
    assert Commands().refusal(op, "a", data, NOW) == code


def test_a_command_is_answered_on_its_own_topic_and_counted_where_it_is_refused() -> None:
    topics, said, done = DeviceTopics("plant-a", "press-7"), list[Message](), list[str]()
    box = Mailbox(topics, [], VirtualClock(), lambda: None)
    ops = {"refresh": lambda: done.append("refresh"), "rebirth": lambda: done.append("rebirth")}
    desk = FleetCommands(topics, box, lambda: int(NOW.timestamp()) * 10**9, said.append, ops)
    for op, id in (("refresh", "id-1"), ("refresh", "id-1"), ("selftest", "id-2"), ("refresh", "not a name")):
        box.put(f"{topics.base}/cmd/{op}/{id}".encode(), payload(), False)
    desk.work()
    assert done == ["refresh", "refresh"]
    assert [(each.topic.removeprefix(topics.base), msgspec.json.decode(each.payload)) for each in said] == [
        ("/res/refresh/id-1", {"v": 1, "ok": True}),
        ("/res/refresh/id-1", {"v": 1, "ok": False, "code": "repeated-command"}),
        ("/res/selftest/id-2", {"v": 1, "ok": False, "code": "unknown-command"}),
    ]
    assert desk.refused == {"repeated-command": 1, "unknown-command": 1}
