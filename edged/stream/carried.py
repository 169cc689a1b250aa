"""What a pipeline keeps of its streams from one run to the next, and what that belongs to.

A stream is carried as the readings that its next window needs, its last event time, and the
memory of smoothing and alarm. It goes on in a pipeline of the same Identity only; where that
changed, the unfinished windows are let go, and their readings counted by one of the reasons
below. So that results are those of one run without a stop, nothing is rounded or summed up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from edged.config import schema
from edged.models.schema import Manifest
from edged.stream.postprocess import Memory
from edged.stream.streams import Labels, Name
from edged.stream.timeline import Mark
from edged.stream.windows import Tail

# Why readings of unfinished windows were let go at a start. Stable: shown in status and metrics.
RELEASE_CHANGED = "release-changed"  # another model or release, or the same with another input or output
PIPELINE_CHANGED = "pipeline-changed"  # another source or decoder
GRAPH_STATE = "graph-state"  # what a graph with state remembers within a window ends with its engine
CARRY_TOO_LARGE = "carry-too-large"
CARRY_DAMAGED = "carry-damaged"

_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Identity(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What streams belong to.

    behaviour   digest of what the release says of its task, input and output
    origin      digest of the pipeline's source and decoder
    scores      numbers in one row of scores

    Not the variant: all variants of a release answer in the same labels and are judged by the
    same threshold, so smoothing and alarm go on where a board comes to choose another.
    """

    model: str
    release: int
    behaviour: bytes
    origin: bytes
    scores: Annotated[int, Meta(ge=1)]

    def differs(self, other: Identity) -> str:
        """Give the reason why streams of `other` cannot go on here; empty where they can."""
        if self.origin != other.origin:
            return PIPELINE_CHANGED
        return "" if self == other else RELEASE_CHANGED


class CarriedStream(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One stream; `turn` says when it was used last, compared to the others."""

    topic: bytes
    labels: Labels | None
    turn: _Count
    results: _Count
    tail: Tail
    mark: Mark
    memory: Memory

    @property
    def name(self) -> Name:
        """Give the name by which the table of streams knows it."""
        return self.topic if self.labels is None else (self.topic, self.labels)


class Carried(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The streams of one pipeline, in the order of their slots; `readings` counts those that were in no window yet."""

    identity: Identity
    readings: _Count
    streams: list[CarriedStream]

    def emptied(self) -> Carried:
        """Give what is left where there is no room for the streams: how many readings are lost."""
        return msgspec.structs.replace(self, streams=[])


@dataclass
class Restored:
    """How many readings of unfinished windows were taken over, and how many let go, by reason."""

    readings: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def identity_of(options: schema.Pipeline, manifest: Manifest, values: int) -> Identity:
    """Give the identity of a pipeline whose model gives `values` numbers for one window."""
    scores = {"classify": len(manifest.output.labels), "anomaly": 1}.get(manifest.task, values)
    behaviour = _digest([manifest.task, manifest.input, manifest.output])
    return Identity(manifest.name, manifest.release, behaviour, _digest([options.source, options.decoder]), scores)


def _digest(tables: list[object]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(tables, order="sorted"), digest_size=16).digest()
