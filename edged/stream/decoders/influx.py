r"""InfluxDB line protocol to readings; tags become labels, sorted by name.

    measurement[,tag=value…] field=value[,field=value…] timestamp

`\` before a comma, a space or (not in the measurement) `=` makes it an ordinary character; in
a quoted string it does so for `"` and `\`. `#` begins a comment line. Format:
https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/.
Each line with the wanted measurement is one reading and needs its timestamp; lines of other
measurements are not looked at further.
"""

from __future__ import annotations

import re

import numpy as np

from edged.config.schema import InfluxDecoder
from edged.records import BAD_TIME, MALFORMED, MISSING, WRONG_LENGTH, WRONG_TYPE, Readings, Rejected
from edged.stream.decoders.labels import LabelSets, label_bytes
from edged.stream.decoders.sound import Bad, Labels, Refused, nothing, sound, take_each
from edged.stream.decoders.times import Times

Line = tuple[bytes, bytes, dict[bytes, bytes], bytes]  # measurement, tags, fields, timestamp; names not yet unescaped

# Each matches one token by itself, so that nothing backtracks into a backslash's pair.
_HEAD = re.compile(rb"(?:[^\\\n ]|\\[ ,=]?)+")
_NAME = re.compile(rb"(?:[^\\\n ,=]|\\[ ,=]?)+")
_MEASUREMENT = re.compile(rb"(?:[^\\\n ,]|\\[ ,=]?)+")
_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\n ,"]+', re.DOTALL)
_SPACES = re.compile(rb"[ ]*")
_SKIP = re.compile(rb"(?:[ \r\n]+|#[^\n]*)*")
_ESCAPED = re.compile(rb"\\([ ,=])")
_INTEGER = re.compile(rb"-?[0-9]{1,30}")
_MAX_DIGITS = 30


class Influx:
    """Decodes the lines of one pipeline; used by one thread."""

    def __init__(self, options: InfluxDecoder) -> None:
        self._channels = options.channels
        self._fields = [name.encode() for name in options.channels]
        self._measurement = options.measurement.encode()
        self._times = Times(options.time_unit)
        self._label_sets = LabelSets(lambda raw: _labels(raw[0]))

    def decode(self, payloads: list[bytes | None], topics: list[bytes]) -> Readings:
        """Give the readings of `payloads`; a payload with a wrong line is in `rejected`. Raises nothing."""
        rejected: list[Rejected] = []
        taken = take_each(enumerate(payloads), self._message, rejected)
        message = [i for i, rows in taken for _ in rows]
        if not message:
            return nothing(len(self._channels), True, [()] * len(payloads), rejected)
        rows = [row for _, rows in taken for row in rows]
        times, wrong = self._times.many([stamp for _, stamp, _ in rows])
        bad: list[Bad] = [(row, BAD_TIME, "") for row in wrong]
        labels = self._label_sets.many([(tags,) for _, _, tags in rows], message, len(payloads), bad)
        values = np.array([numbers for numbers, _, _ in rows], np.float64)
        return sound(values, times, np.array(message, np.intp), labels, rejected, self._channels, bad)

    def _message(self, _: int, payload: bytes) -> list[tuple[list[float], int, bytes]]:
        lines = _escaped_lines(payload) if b"\\" in payload or b'"' in payload else _plain_lines(payload)
        if not lines and not payload.strip():
            raise Refused(WRONG_LENGTH, "no line in it")
        wanted = self._measurement
        return [(self._numbers(fields), _stamp(stamp), tags) for name, tags, fields, stamp in lines if not wanted or name == wanted]

    def _numbers(self, fields: dict[bytes, bytes]) -> list[float]:
        try:
            texts = [fields[name] for name in self._fields]
            if b"_" not in b"".join(texts):
                return list(map(float, texts))
        except (KeyError, ValueError):
            pass
        return [_number(name, fields) for name in self._fields]


def _plain_lines(payload: bytes) -> list[Line]:
    """Split lines without backslash and quote."""
    return [_plain_line(parts) for line in payload.split(b"\n") if (parts := line.split()) and not parts[0].startswith(b"#")]


def _plain_line(parts: list[bytes]) -> Line:
    if not 2 <= len(parts) <= 3:
        raise Refused(MALFORMED, "a line without fields" if len(parts) < 2 else "a line of too many parts")
    measurement, _, tags = parts[0].partition(b",")
    try:
        fields = dict([field.split(b"=") for field in parts[1].split(b",")])
    except ValueError:
        raise Refused(MALFORMED, "a field is not name=value") from None
    return measurement, tags, fields, parts[2] if len(parts) == 3 else b""


def _escaped_lines(payload: bytes) -> list[Line]:
    """Split lines that may have backslashes and quoted strings, which may hold newlines."""
    lines = []
    at = _end(_SKIP, payload, 0)
    while at < len(payload):
        end = _end(_HEAD, payload, at)
        head = payload[at:end]
        name = _end(_MEASUREMENT, head, 0)
        fields, at = _escaped_fields(payload, end)
        newline = payload.find(b"\n", at)
        end = newline if newline >= 0 else len(payload)
        stamp = payload[at:end].split()
        if len(stamp) > 1:
            raise Refused(MALFORMED, "a line of too many parts")
        lines.append((_plain(head[:name]), head[name + 1 :], fields, stamp[0] if stamp else b""))
        at = _end(_SKIP, payload, end)
    return lines


def _escaped_fields(payload: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    fields: dict[bytes, bytes] = {}
    if payload[at : at + 1] != b" ":
        raise Refused(MALFORMED, "a line without fields")
    at = _end(_SPACES, payload, at)
    while True:
        equals = _end(_NAME, payload, at)
        if payload[equals : equals + 1] != b"=":
            raise Refused(MALFORMED, "a field is not name=value")
        end = _end(_VALUE, payload, equals + 1)
        fields[_plain(payload[at:equals])] = payload[equals + 1 : end].rstrip(b"\r")
        if payload[end : end + 1] != b",":
            return fields, end
        at = end + 1


def _end(token: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = token.match(text, at)
    if match is None:
        raise Refused(MALFORMED, f"at byte {at}")
    return match.end()


def _plain(name: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", name) if b"\\" in name else name


def _stamp(text: bytes) -> int:
    if not (text.isdigit() or (text[:1] == b"-" and text[1:].isdigit())) or len(text) > _MAX_DIGITS:
        raise Refused(BAD_TIME, "not an integer" if text else "a line without a timestamp")
    return int(text)


def _number(name: bytes, fields: dict[bytes, bytes]) -> float:
    text = fields.get(name)
    if text is None:
        raise Refused(MISSING, name.decode())
    try:
        if text[-1:] in (b"i", b"u"):
            if _INTEGER.fullmatch(text, 0, len(text) - 1):
                return float(text[:-1])
        elif b"_" not in text:
            return float(text)
    except ValueError:
        pass
    raise Refused(WRONG_TYPE, f"{name.decode()} is not a number")


def _labels(tags: bytes) -> Labels:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(tags):
        equals = _end(_NAME, tags, at)
        end = _end(_NAME, tags, equals + 1)
        if tags[equals : equals + 1] != b"=" or tags[end : end + 1] not in (b",", b""):
            raise Refused(MALFORMED, "a tag is not name=value")
        name = label_bytes("name", _plain(tags[at:equals]))
        if name in pairs:
            raise Refused(MALFORMED, f"tag {name} is there twice")
        pairs[name] = label_bytes(name, _plain(tags[equals + 1 : end]))
        at = end + 1
    return tuple(sorted(pairs.items()))
