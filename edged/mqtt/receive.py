"""MQTT bytes in, messages out: many PUBLISH packets of a block in one pass.

A general client reads a packet in three or more calls and makes several objects of it. A
board that takes thousands of readings a second pays more for that than for its model. So
PUBLISH packets with QoS 0 and 1 are cut out of large blocks here; every other packet is
handed on, whole and unchanged, to the client library.

Format: MQTT 3.1.1 section 3.3 and MQTT 5.0 section 3.3. Bytes in, values out; no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_PUBLISH = 0x30


class Malformed(Exception):
    """The peer sent what is not MQTT; the connection must be closed."""


@dataclass(slots=True)
class Block:
    """What one block of bytes held.

    `mids[i]` is 0 for QoS 0. A payload of None was longer than the limit and was skipped.
    `again`: the broker says of one of them that it sent it before. `retained` names by index,
    rising, those with the RETAIN flag: the broker kept them, and sends them because of a
    subscription. `others` are whole packets of other kinds, as they came.
    """

    topics: list[bytes] = field(default_factory=list)
    payloads: list[bytes | None] = field(default_factory=list)
    mids: list[int] = field(default_factory=list)
    others: bytes = b""
    again: bool = False
    retained: list[int] = field(default_factory=list)


class PublishReader:
    """Cuts a stream of bytes into packets; keeps what is incomplete for the next block.

    `limit` bounds the bytes kept for one packet: a longer PUBLISH is skipped as it comes
    in, a longer packet of another kind is malformed.
    """

    def __init__(self, limit: int, version5: bool) -> None:
        self._limit = limit
        self._version5 = version5
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._skip = 0

    def feed(self, data: bytes) -> Block:
        """Take the next bytes of the connection; raise Malformed where they are not MQTT."""
        block = Block()
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return block
            data = b"".join(self._parts)
            self._parts = []
        self._cut(data, block)
        return block

    def _cut(self, data: bytes, block: Block) -> None:
        pos, end = 0, len(data)
        topics, payloads, mids = block.topics, block.payloads, block.mids
        version5, limit = self._version5, self._limit
        while pos < end:
            start = pos
            length = data[start + 1] if start + 1 < end else 0x80
            body = start + 2
            if length > 0x7F:
                body, length = _length(data, start)
                if body == 0:
                    self._keep(data[start:], 2)
                    break
            stop = body + length
            first = data[start]
            publish = first & 0xF6 in (_PUBLISH, _PUBLISH | 2)
            if length > limit:
                if not publish:
                    raise Malformed(f"a packet of {length} bytes")
                if not self._skip_publish(data, start, body, stop, block):
                    break
            elif stop > end:
                self._keep(data[start:], stop - start)
                break
            elif publish:
                at = body + 2 + (data[body] << 8 | data[body + 1]) if length >= 2 else stop + 1
                topic = data[body + 2 : at]
                if first & 0x09:  # seldom: sent before, or kept
                    _note_flags(first, block)
                if first & 0x06:
                    mid = data[at] << 8 | data[at + 1] if at + 2 <= stop else 0
                    if not mid:
                        raise Malformed("a PUBLISH without a packet identifier")
                    at += 2
                else:
                    mid = 0
                if version5:
                    properties, size = _length(data, at - 1) if at < stop else (0, 0)
                    at = properties + size if properties else stop + 1
                if at > stop:
                    raise Malformed("a PUBLISH shorter than its parts")
                topics.append(topic)
                payloads.append(data[at:stop])
                mids.append(mid)
            else:
                block.others += data[start:stop]
            pos = stop

    def _keep(self, rest: bytes, need: int) -> None:
        self._parts = [rest]
        self._have = len(rest)
        self._need = need if need > len(rest) else len(rest) + 1

    def _skip_publish(self, data: bytes, start: int, body: int, stop: int, block: Block) -> bool:
        """Note a too large PUBLISH once its topic is in; False where more bytes are needed."""
        end = len(data)
        head = body + 2
        if head <= end:
            head += data[body] << 8 | data[body + 1]
        if data[start] & 0x06:
            head += 2
        if head > stop:
            raise Malformed("a PUBLISH shorter than its parts")
        if end < head or end < body + 2:
            self._keep(data[start:], head - start)
            return False
        mid = data[head - 2] << 8 | data[head - 1] if data[start] & 0x06 else 0
        if data[start] & 0x06 and not mid:
            raise Malformed("a PUBLISH without a packet identifier")
        _note_flags(data[start], block)
        block.topics.append(data[body + 2 : head - 2] if mid else data[body + 2 : head])
        block.payloads.append(None)
        block.mids.append(mid)
        self._skip = max(0, stop - end)
        return True


def _note_flags(first: int, block: Block) -> None:
    """Note of the PUBLISH that comes next into the block that it was sent before, or kept by the broker."""
    block.again |= first & 0x0E > 0x08  # DUP says nothing at QoS 0
    if first & 0x01:
        block.retained.append(len(block.mids))


def _length(data: bytes, start: int) -> tuple[int, int]:
    """Read the variable byte integer after `start`: where the body begins, and its length; (0, 0) where bytes lack."""
    length = shift = 0
    for pos in range(start + 1, min(start + 5, len(data))):
        byte = data[pos]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return pos + 1, length
        shift += 7
    if len(data) >= start + 5:
        raise Malformed("a length of more than four bytes")
    return 0, 0
