"""From when until when a certificate holds: the one fact that is read out of its DER bytes.

The bytes come from a file or from a broker that nobody has vouched for yet: every length is
checked, and what is not a certificate is Malformed. ssl gives these dates only of certificates
that it has verified.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

MOST_BYTES = 1 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime and GeneralizedTime, as RFC 5280 has them


class Malformed(ValueError):
    """Not a certificate."""


class Validity(NamedTuple):
    """Both in UTC."""

    begin: datetime
    end: datetime


def validities(pem: str) -> Iterator[Validity]:
    """Read all certificates of a PEM text, in their order; Malformed at one that is none."""
    for part in pem[:MOST_BYTES].split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        if not end:
            raise Malformed("a certificate without its end")
        try:
            der = ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}{_END}\n")
        except ValueError as error:  # binascii.Error is one
            raise Malformed(f"not Base64: {error}") from None
        yield validity_of(der)


def validity_of(der: bytes) -> Validity:
    """Read one certificate: `Certificate ::= SEQUENCE { TBSCertificate, … }` (RFC 5280, section 4.1)."""
    certificate, _ = _take(der, _SEQUENCE)
    rest, _ = _take(certificate, _SEQUENCE)
    if rest[:1] == bytes([_VERSION]):
        _, rest = _take(rest, _VERSION)
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serial number, signature algorithm, issuer
        _, rest = _take(rest, tag)
    dates, _ = _take(rest, _SEQUENCE)
    begin, dates = _time(dates)
    end, _ = _time(dates)
    return Validity(begin, end)


def _time(data: bytes) -> tuple[datetime, bytes]:
    tag = data[0] if data else 0
    if tag not in _FORMATS:
        raise Malformed("a date of an unknown kind")
    value, rest = _take(data, tag)
    try:
        # %y takes 69 to 99 for the last century, X.509 takes 50 to 99: no certificate in use is that old.
        return datetime.strptime(value.decode("ascii"), _FORMATS[tag]).replace(tzinfo=timezone.utc), rest
    except ValueError:  # UnicodeDecodeError is one
        raise Malformed("a date that is none") from None


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Take one value of the kind `tag`: its bytes, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise Malformed("a part is missing, or of another kind")
    length, at = data[1], 2
    if length > 0x80:
        at += length - 0x80
        if length > 0x84 or at > len(data):
            raise Malformed("a length of more than four bytes, or cut")
        length = int.from_bytes(data[2:at], "big")
    elif length == 0x80:
        raise Malformed("a length that is not given")
    if at + length > len(data):
        raise Malformed("cut short")
    return data[at : at + length], data[at + length :]
