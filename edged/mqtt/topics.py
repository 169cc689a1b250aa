"""Every topic that edged speaks on, in one place; and what a topic template means.

    edged/1/{fleet}/{device}/status     retained, and the Will
    edged/1/{fleet}/{device}/birth      retained
    edged/1/{fleet}/{device}/out/{pipeline}
    edged/1/{fleet}/{device}/evt/{kind}
    edged/1/{fleet}/{device}/reported   retained
    edged/1/{fleet}/{device}/desired    retained, to the device
    edged/1/{fleet}/{device}/cmd/{op}/{id}, res/{op}/{id}
    edged/1/{fleet}/{device}/blob/req, blob/dat/{sid}
    edged/1/{fleet}/_repo/{name}            retained, to all
    edged/1/{fleet}/_grp/{group}/desired    retained, to all

No device is called `_repo` or `_grp`: names begin with a letter or digit.

A source's topic is a template: `{line}` stands for one level, which becomes the label
`line`; `+` stands for one level without a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROOT = "edged/1"
_NAMED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class DeviceTopics:
    """The topics of one device."""

    fleet: str
    device: str

    @property
    def base(self) -> str:
        """Give what all topics of this device begin with."""
        return f"{_ROOT}/{self.fleet}/{self.device}"

    @property
    def status(self) -> str:
        """Retained; also the Will."""
        return f"{self.base}/status"

    @property
    def birth(self) -> str:
        """Retained: versions, engines, board."""
        return f"{self.base}/birth"

    def event(self, kind: str) -> str:
        """Give the topic of one kind of event, such as `rejected`."""
        return f"{self.base}/evt/{kind}"

    @property
    def reported(self) -> str:
        """Retained: what runs, how updates stand."""
        return f"{self.base}/reported"

    @property
    def desired(self) -> str:
        """Retained, to the device: what shall run."""
        return f"{self.base}/desired"

    @property
    def commands(self) -> str:
        """Give the filter of all commands, `cmd/{op}/{id}`."""
        return f"{self.base}/cmd/+/+"

    def result(self, op: str, id: str) -> str:
        """Give the topic of the answer to a command."""
        return f"{self.base}/res/{op}/{id}"

    @property
    def blob_request(self) -> str:
        """Ask for bytes of a model."""
        return f"{self.base}/blob/req"

    def blob_data(self, sid: int | str) -> str:
        """Give where the answers to requests of a session go; `+` for those of all."""
        return f"{self.base}/blob/dat/{sid}"


@dataclass(frozen=True)
class FleetTopics:
    """The topics of a fleet that belong to no device."""

    fleet: str

    @property
    def base(self) -> str:
        """Give what all topics of this fleet begin with."""
        return f"{_ROOT}/{self.fleet}"

    def repo(self, name: str) -> str:
        """Give where metadata lies, such as `timestamp` or `root/3`; `#` for all of it."""
        return f"{self.base}/_repo/{name}"

    def group_desired(self, group: str) -> str:
        """Retained: what shall run on the devices of a group; `+` for all groups."""
        return f"{self.base}/_grp/{group}/desired"

    def of_devices(self, rest: str) -> str:
        """Give the filter of one topic of all devices, such as `birth` or `evt/+`."""
        return f"{self.base}/+/{rest}"

    def split(self, topic: str) -> tuple[str, str] | None:
        """Give the device, or `_repo` and `_grp`, and the rest of a topic of this fleet; None for one of others."""
        if not topic.startswith(f"{self.base}/"):
            return None
        device, _, rest = topic[len(self.base) + 1 :].partition("/")
        return (device, rest) if device and rest else None


class Template:
    """A source topic with named levels.

    `filter` is what to subscribe to, `names` the labels in order of levels.
    """

    def __init__(self, template: str) -> None:
        levels = template.split("/")
        named = [_NAMED.fullmatch(level) for level in levels]
        self.names = tuple(match[1] for match in named if match)
        self._named = [i for i, match in enumerate(named) if match]
        self._fixed = [(i, level) for i, (level, match) in enumerate(zip(levels, named)) if not match and level != "+"]
        self._depth = len(levels)
        self.filter = "/".join("+" if match else level for level, match in zip(levels, named))

    def match(self, topic: str) -> tuple[tuple[str, str], ...] | None:
        """Give the labels of a topic as (name, level) pairs, or None where it does not fit."""
        levels = topic.split("/")
        if len(levels) != self._depth or any(levels[i] != level for i, level in self._fixed):
            return None
        return tuple(zip(self.names, (levels[i] for i in self._named)))

    def labels_of(self, topic: bytes) -> tuple[tuple[str, str], ...] | None:
        """Match a topic as it came; one that is not UTF-8 does not fit."""
        try:
            return self.match(topic.decode())
        except UnicodeDecodeError:
            return None


def fill(template: str, values: dict[str, str]) -> str:
    """Put values into an output topic; characters that mean something in a filter become `_`.

    A name without a value stands as `_`: a topic level is never empty by accident.
    """
    return _NAMED.sub(lambda match: _SPECIAL.sub("_", values.get(match[1], "")) or "_", template)


_SPECIAL = re.compile(r"[/+#\x00]")
