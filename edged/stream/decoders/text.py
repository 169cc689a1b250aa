"""Text messages, for models that take text: the message itself, or a text made of its JSON fields."""

from __future__ import annotations

from typing import Any

import msgspec

from edged.config.schema import TextDecoder
from edged.models.template import Path, parse_render
from edged.records import EMPTY_TEXT, MALFORMED, MISSING_FIELD, TOO_LARGE, WRONG_TYPE, Rejected, Texts
from edged.stream.decoders.sound import Refused, kind, take_each

# Characters of one rendered text. A release may name the same field over and over, and the field may be as long as a message.
MAX_RENDERED = 1 << 20


class TextMessages:
    """Decodes with the options of one pipeline and the `render` of one release; used by one thread."""

    def __init__(self, options: TextDecoder, render: str = "") -> None:
        """Raises ValueError where `render` is none, which the rules of a release see to."""
        self._said = options.encoding
        self._encoding = "utf-8-sig" if options.encoding == "utf-8" else options.encoding  # a leading BOM is no text
        self._parts = parse_render(render)

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Texts:
        """Give a text for each payload; one that gives none, or nothing but space, is in `rejected`. Raises nothing."""
        texts: list[str | None] = [None] * len(payloads)
        rejected: list[Rejected] = []
        for i, text in take_each(enumerate(payloads), self._text, rejected):
            texts[i] = text
        return Texts(texts, rejected)

    def _text(self, _: int, payload: bytes) -> str:
        try:
            text = payload.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise Refused(MALFORMED, f"not {self._said} at byte {error.start}") from None
        if self._parts:
            text = self._rendered(text)
        if not text or text.isspace():
            raise Refused(EMPTY_TEXT)
        return text

    def _rendered(self, message: str) -> str:
        try:
            fields = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused(MALFORMED, str(error)) from None
        if type(fields) is not dict:
            raise Refused(WRONG_TYPE, f"the message is {kind(fields)}")
        pieces: list[str] = []
        length = 0
        for part in self._parts:
            pieces.append(part if isinstance(part, str) else _words(_follow(fields, part)))
            length += len(pieces[-1])
            if length > MAX_RENDERED:
                raise Refused(TOO_LARGE, f"its text is longer than {MAX_RENDERED} characters")
        return "".join(pieces)


def _follow(fields: Any, path: Path) -> Any:
    for key in path:
        if type(fields) is not dict or key not in fields:
            raise Refused(MISSING_FIELD, ".".join(path))
        fields = fields[key]
    return fields


def _words(value: Any) -> str:
    """Write a field's value: a text as it is, anything else as JSON has it."""
    return value if type(value) is str else msgspec.json.encode(value).decode()
