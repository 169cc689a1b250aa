"""The one table from a format's name to the format; members are imported when chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edged.config import schema
from edged.records import Result


class Format(Protocol):
    """Writes results as bytes. Used by one thread.

    `content_type` belongs to what `encode` gives. `encode_binary`, None in most formats, gives
    (payload, attributes) for MQTT 5: the attributes go into user properties, except
    `datacontenttype`, which goes into the content type property.
    """

    content_type: str

    @property
    def encode_binary(self) -> Callable[[Result], tuple[bytes, dict[str, str]]] | None:
        """Give the binary mode, if there is one."""

    def encode(self, result: Result) -> bytes:
        """Give one line without its newline. A number that is not finite becomes null or is left out."""


def make_format(name: schema.Format) -> Format:
    """Make the format of this name."""
    if name == "cloudevents":
        from edged.stream.formats.cloudevents import CloudEvents

        return CloudEvents()
    if name == "influx":
        from edged.stream.formats.influx import Influx

        return Influx()
    from edged.stream.formats.json import Json

    return Json()
