"""Obey commands of the fleet, and answer them on `res/{op}/{id}`."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from edged.config.schema import NAME
from edged.fleet.commands import Commands
from edged.fleet.desired import moment
from edged.fleet.mailbox import Mailbox
from edged.mqtt.message import Message
from edged.mqtt.topics import DeviceTopics

_PLAIN = re.compile(NAME)


class FleetCommands:
    """Works off the commands in a mailbox; called by the fleet thread. `refused` counts by reason."""

    def __init__(
        self,
        topics: DeviceTopics,
        mailbox: Mailbox,
        now: Callable[[], int],
        publish: Callable[[Message], None],
        ops: dict[str, Callable[[], None]],
    ) -> None:
        """`now` gives effective time in nanoseconds; `ops` are what the commands do."""
        self.refused: dict[str, int] = {}
        self._topics, self._mailbox, self._now, self._publish, self._ops = topics, mailbox, now, publish, ops
        self._commands = Commands()

    def work(self) -> None:
        """Obey or refuse what came since the last time."""
        for letter in self._mailbox.take_commands():
            refusal = self._commands.refusal(letter.op, letter.id, letter.payload, moment(self._now()))
            if refusal:
                self.refused[refusal] = self.refused.get(refusal, 0) + 1
            else:
                self._ops[letter.op]()
            answer = {"v": 1, "ok": not refusal, **({"code": refusal} if refusal else {})}
            if _PLAIN.match(letter.id) and _PLAIN.match(letter.op):
                self._publish(Message(self._topics.result(letter.op, letter.id), msgspec.json.encode(answer)))
