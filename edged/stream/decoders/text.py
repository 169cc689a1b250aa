"""Text messages, for models that take text."""

from __future__ import annotations

from edged.config.schema import TextDecoder
from edged.records import MALFORMED, TOO_LARGE, Rejected, Texts


def decode_text(payloads: list[bytes | None], options: TextDecoder) -> Texts:
    """Read each payload as text; one that is not in the encoding is rejected. A leading BOM is dropped. Raises nothing."""
    encoding = "utf-8-sig" if options.encoding == "utf-8" else options.encoding
    texts: list[str | None] = []
    rejected = []
    for i, payload in enumerate(payloads):
        text = None
        if payload is None:
            rejected.append(Rejected(i, TOO_LARGE))
        else:
            try:
                text = payload.decode(encoding)
            except UnicodeDecodeError as error:
                rejected.append(Rejected(i, MALFORMED, f"not {options.encoding} at byte {error.start}"))
        texts.append(text)
    return Texts(texts, rejected)
