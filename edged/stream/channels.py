"""Which of a decoder's channels a model takes.

As many as the decoder gives: by order. Fewer: by name, where a name is the decoder's own or the
last part of its dotted path. So the next release may do without a sensor, and the configuration stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.config import schema
from edged.errors import OperatorError
from edged.models.manifest import Manifest


def check_channels(options: schema.Pipeline, manifest: Manifest) -> NDArray[np.intp] | None:
    """Hold the decoder's channels against the model's; give the columns to take, None where it is all of them in order, or texts.

    Raises OperatorError (`channels-do-not-match`, `decoder-does-not-fit`) naming both sides, and OperatorError(`nothing-to-escalate`)
    where questions are wanted and the model has no cascade that could be unsure.
    """
    if options.escalate is not None and manifest.cascade is None:
        text = f"pipeline {options.name}: `escalate` asks what a cascade is not sure of, and {manifest.name} has none"
        raise OperatorError("nothing-to-escalate", text, "remove `escalate`, or add a cascade to the release: `edged fit cascade`")
    given, wanted = channels_of(options, manifest), manifest.input.channels
    if len(given) == len(wanted):
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
    return [] if isinstance(options.decoder, schema.TextDecoder) else options.decoder.channels


def _column(given: list[str], name: str) -> int | None:
    """Find the one channel that `name` means; None where there is none, or more than one."""
    found = [i for i, each in enumerate(given) if each == name] or [i for i, each in enumerate(given) if each.rpartition(".")[2] == name]
    return found[0] if len(found) == 1 else None
