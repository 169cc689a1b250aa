"""Which of a decoder's channels a model takes, and which of a firmware's.

As many as the decoder gives: by order. Fewer: by name, where a name is the decoder's own or the
last part of its dotted path. So the next release may do without a sensor, and the configuration stays.
A firmware says its channels' names itself, in an order of its own: there names go first, where it has all of the model's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.config import schema
from edged.config.words import plain
from edged.errors import OperatorError
from edged.models.manifest import Input, Manifest
from firmware_bridge.messages import Hello

RATE_OFF = 0.1  # of the model's rate: crystals and sensors are off by less, another setting by more


def check_channels(options: schema.Pipeline, manifest: Manifest) -> NDArray[np.intp] | None:
    """Hold the decoder's channels against the model's; give the columns to take, None where it is all of them in order, or texts.

    Raises OperatorError (`channels-do-not-match`, `decoder-does-not-fit`) naming both sides, and OperatorError(`nothing-to-escalate`)
    where questions are wanted and the model has no cascade that could be unsure.
    """
    if options.escalate is not None and manifest.cascade is None:
        text = f"pipeline {options.name}: `escalate` asks what a cascade is not sure of, and {manifest.name} has none"
        raise OperatorError("nothing-to-escalate", text, "remove `escalate`, or add a cascade to the release: `edged fit cascade`")
    given, wanted = channels_of(options, manifest), manifest.input.channels
    if isinstance(options.decoder, schema.BridgeDecoder) or len(given) == len(wanted):
        return None
    columns = [_column(given, name) for name in wanted]
    if len(given) < len(wanted) or None in columns or len(set(columns)) < len(columns):
        ours, theirs = (f"{len(names)} channels ({', '.join(names)})" for names in (given, wanted))
        text = f"pipeline {options.name}: the decoder gives {ours}, {manifest.name} wants {theirs}"
        hint = "name the channels in the decoder in the model's order; of more than it wants, the model takes those with its own names"
        raise OperatorError("channels-do-not-match", text, hint)
    return np.array(columns, np.intp)


def channels_of(options: schema.Pipeline, manifest: Manifest) -> list[str]:
    """Give the decoder's channels, none of texts; OperatorError(`decoder-does-not-fit`) where one side has texts and the other has not."""
    gives_texts, takes_texts = isinstance(options.decoder, schema.TextDecoder), manifest.input.kind == "text"
    if gives_texts != takes_texts:
        ours, theirs = ("texts" if texts else "readings" for texts in (gives_texts, takes_texts))
        text = f"pipeline {options.name}: the decoder {options.decoder.__struct_config__.tag} gives {ours}, {manifest.name} takes {theirs}"
        hint = 'write `decoder = { type = "text" }`' if takes_texts else "choose a decoder of readings, or a model that takes texts"
        raise OperatorError("decoder-does-not-fit", text, hint)
    if isinstance(options.decoder, schema.BridgeDecoder):
        return manifest.input.channels  # it finds them in what comes
    return [] if isinstance(options.decoder, schema.TextDecoder) else options.decoder.channels


def match_hello(pipeline: str, hello: Hello, manifest: Manifest) -> None:
    """Hold a firmware's channels and rate against the model of a pipeline.

    Raises OperatorError (`channels-do-not-match`, `rate-does-not-match`) naming both sides.
    """
    given, wanted = [channel.name for channel in hello.channels], manifest.input.channels
    sender = plain(f"the firmware {hello.firmware} {hello.version}".rstrip())
    if firmware_columns(given, wanted) is None:
        ours, theirs = (plain(f"{len(names)} channels ({', '.join(names)})") for names in (given, wanted))
        text = f"pipeline {pipeline}: {sender} sends {ours}, {manifest.name} wants {theirs}"
        raise OperatorError("channels-do-not-match", text, "use a firmware that sends all of these, or a model that takes what it sends")
    if not rate_fits(hello, manifest.input):
        text = f"pipeline {pipeline}: {sender} sends {hello.rate_hz:g} readings a second, {manifest.name} wants {manifest.input.rate_hz:g}"
        raise OperatorError("rate-does-not-match", text, "set the rate in the firmware, or use a model that was made for it")


def firmware_columns(given: list[str], wanted: list[str]) -> NDArray[np.intp] | None:
    """Give which of the channels that a firmware or a sketch names a model takes, None where they do not match.

    Names go first. Where none is the model's, and there are as many, it is all of them in their order; where some are, one is missing.
    """
    columns = [_column(given, name) for name in wanted]
    if None not in columns and len(set(columns)) == len(columns):
        return np.array(columns, np.intp)
    return np.arange(len(wanted)) if len(given) == len(wanted) and not any(names_one(given, name) for name in wanted) else None


def names_one(given: list[str], name: str) -> bool:
    """Say whether one of the channels has a name, or ends in it."""
    return any(name in (each, each.rpartition(".")[2]) for each in given)


def rate_fits(hello: Hello, given: Input) -> bool:
    """Say whether a firmware's nominal rate is a model's; a model that names none takes any."""
    return not given.rate_hz or abs(hello.rate_hz / given.rate_hz - 1) <= RATE_OFF


def _column(given: list[str], name: str) -> int | None:
    """Find the one channel that `name` means; None where there is none, or more than one."""
    found = [i for i, each in enumerate(given) if each == name] or [i for i, each in enumerate(given) if each.rpartition(".")[2] == name]
    return found[0] if len(found) == 1 else None
