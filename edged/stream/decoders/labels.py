"""Labels of many messages: raw values to (name, text) pairs, remembered, one set for each message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edged.records import MALFORMED, MIXED_LABELS, WRONG_LENGTH, WRONG_TYPE
from edged.stream.decoders.sound import Bad, Labels, Refused, kind

MIXED = (MIXED_LABELS, "the readings of one message differ in their labels")
MAX_LABEL = 128  # characters; a label becomes part of a stream key and of topics

_REMEMBERED = 4096
_TEXT = frozenset((str, bytes))


class LabelSets:
    """Turns raw label values into pairs with `read`, which raises Refused; equal text is read once."""

    def __init__(self, read: Callable[[tuple[Any, ...]], Labels]) -> None:
        self._read = read
        self._known: dict[tuple[Any, ...], Labels] = {}

    def of(self, raw: tuple[Any, ...]) -> Labels:
        """Give the pairs of one reading. Raises Refused, or TypeError for values that no label can be."""
        found = self._known.get(raw)
        if found is None:
            found = self._read(raw)
            # 1, 1.0 and True are one key of a dict, but three labels
            if _TEXT.issuperset(map(type, raw)):
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[raw] = found
        return found

    def many(self, raws: Iterable[tuple[Any, ...]], message: list[int], payloads: int, bad: list[Bad]) -> list[Labels]:
        """Give one set for each payload; `message[i]` is the payload of reading i. Readings refused are added to `bad`."""
        labels: list[Labels] = [()] * payloads
        known = self._known
        seen = -1
        for row, (i, raw) in enumerate(zip(message, raws)):
            found = known.get(raw) or self._of_or_refused(raw)
            if isinstance(found, Refused):
                bad.append((row, found.reason, found.detail))
            elif i == seen and labels[i] != found:
                bad.append((row, *MIXED))
            else:
                labels[i] = found
            seen = i
        return labels

    def _of_or_refused(self, raw: tuple[Any, ...]) -> Labels | Refused:
        try:
            return self.of(raw)
        except Refused as refused:
            return refused


def label_text(name: str, value: object) -> str:
    """Write a label's value as text: numbers as Python does, `true`, `false`; at most MAX_LABEL characters. Raises Refused."""
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (int, float):
        value = _number_text(name, value)
    if type(value) is not str:
        raise Refused(WRONG_TYPE, f"label {name} is {kind(value)}")
    if len(value) > MAX_LABEL:
        raise Refused(WRONG_LENGTH, f"label {name} is longer than {MAX_LABEL} characters")
    return value


def label_bytes(name: str, value: bytes) -> str:
    """Read a label's value from UTF-8, with the same bound. Raises Refused."""
    try:
        return label_text(name, value.decode())
    except UnicodeDecodeError:
        raise Refused(MALFORMED, f"label {name} is not UTF-8") from None


def _number_text(name: str, value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python writes
        raise Refused(WRONG_LENGTH, f"label {name} is longer than {MAX_LABEL} characters") from None
