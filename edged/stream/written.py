"""From what a language model wrote to the `output` of a result.

    extract   {"fields": {"unit": "PUMP 3", "fault": "leak"}}
    generate  {"text": "Pump 3 shakes more than it should.", "truncated": "deadline"}

`truncated` stands only where something ended the answer too early.
"""

from __future__ import annotations

import msgspec

from edged.engines.text import Written
from edged.json_schema import keeps
from edged.models.schema import Manifest
from edged.stream.postprocess import State, Verdict
from edged.stream.smooth import make_smoother

WRITING = ("extract", "generate")  # the tasks whose answers are words
EXTRACT_INVALID = "extract-invalid"  # the reason by which a text whose fields were not found is counted as dropped


class WrittenTask:
    """What one release does with what its model wrote."""

    def __init__(self, manifest: Manifest) -> None:
        self._judge = {"extract": self._fields, "generate": _text}[manifest.task]
        self._schema = manifest.output.schema

    def new_state(self) -> State:
        """Give the state for a new stream: words are neither smoothed nor judged, so it remembers only that there was one."""
        return State(make_smoother(None), None)

    def finish(self, state: State, written: Written, end_ns: int) -> Verdict | str:
        """Judge one answer; EXTRACT_INVALID where it is not the fields that were asked for, and the state is as before."""
        output = self._judge(written)
        if output is None:
            return EXTRACT_INVALID
        changed, state.told = state.told is None, (None, None)
        return Verdict(output, changed, None)

    def _fields(self, written: Written) -> dict[str, object] | None:
        try:
            fields = msgspec.json.decode(written.text)
        except (msgspec.DecodeError, RecursionError):
            return None
        # One that was cut short is not taken where it is whole by chance: a list may lack its last values.
        return {"fields": fields} if not written.truncated and keeps(fields, self._schema) else None


def _text(written: Written) -> dict[str, object] | None:
    return {"text": written.text, "truncated": written.truncated} if written.truncated else {"text": written.text}
