"""The one table from a decoder's options to the decoder; members are imported when chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edged.config import schema
from edged.errors import OperatorError
from edged.models.schema import Input
from edged.records import Readings

if TYPE_CHECKING:
    from edged.stream.decoders.text import TextMessages


# The decoders that are told all by their options; `bridge` goes by what its model wants.
ByOptions = schema.JsonDecoder | schema.CsvDecoder | schema.PackedDecoder | schema.CborDecoder | schema.InfluxDecoder | schema.TextDecoder


class Decoder(Protocol):
    """Turns message bytes into readings. Used by one thread."""

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Decode all payloads at once; `topics[i]` belongs to `payloads[i]`, None stands for a payload too large to take.

        A message is taken whole or is in `rejected` with its reason; no message touches
        another. Raises nothing, whatever the bytes.
        """


def decoder_for(options: schema.Decoder, given: Input, before: Decoder | TextMessages | None = None) -> Decoder | TextMessages:
    """Make the decoder that `options` ask for, of readings or of texts, for a release's input; raises as `make_decoder`.

    `before` is the one that the pipeline had for another release: what it learnt of its messages is taken over.
    """
    if isinstance(options, schema.TextDecoder):
        from edged.stream.decoders.text import TextMessages

        return TextMessages(options, given.render)
    if isinstance(options, schema.BridgeDecoder):
        from edged.stream.decoders.bridge import Bridge

        return Bridge(given, before if isinstance(before, Bridge) else None)
    return make_decoder(options, given.rate_hz)


def make_decoder(options: ByOptions, rate_hz: float = 0.0) -> Decoder:
    """Make the decoder that `options` ask for.

    `rate_hz` is the release's nominal rate: readings of one message that share one time are
    spaced by it (0: such messages are refused). Raises OperatorError for options that make no sense together, and for
    a decoder of texts, which is `decoders.text.TextMessages`.
    """
    match options:
        case schema.CborDecoder():
            from edged.stream.decoders.cbor import Cbor

            return Cbor(options, rate_hz)
        case schema.JsonDecoder():
            from edged.stream.decoders.json import Json

            return Json(options, rate_hz)
        case schema.CsvDecoder():
            from edged.stream.decoders.csv import Csv

            return Csv(options)
        case schema.PackedDecoder():
            from edged.stream.decoders.packed import Packed

            return Packed(options)
        case schema.InfluxDecoder():
            from edged.stream.decoders.influx import Influx

            return Influx(options)
        case schema.TextDecoder():
            raise OperatorError("decoder-gives-text", "a `text` decoder gives no readings", "use it with a model that takes text")
