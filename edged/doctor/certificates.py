"""How long the certificates of a broker's connection still hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edged.clock import NS
from edged.config.schema import Broker
from edged.doctor.finding import Finding, error, ok, quoted, warning
from edged.doctor.validity import MOST_BYTES, Malformed, Validity, validities

WARN_DAYS, ERROR_DAYS = 30, 7


def check_certificates(brokers: Mapping[str, Broker], now: int) -> Iterator[Finding]:
    """Judge `ca_file` and `cert_file` of every broker at the time `now`, nanoseconds since 1970."""
    for name, broker in brokers.items():
        for key in ("ca_file", "cert_file"):
            if path := getattr(broker, key):
                yield from _judge_file(Path(path), key, f"mqtt.{name}.{key}", now)


def judge_validity(what: str, subject: str, validity: Validity, now: int, look: str) -> Iterator[Finding]:
    """Say how long a certificate still holds; `what` names it in a sentence, `look` is a command that shows it."""
    # Years beyond what datetime holds are no year of a certificate.
    here = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=min(max(0, now // NS), 200_000_000_000))
    left = (validity.end - here).days
    until = f"{validity.end:%Y-%m-%d}"
    if here < validity.begin:
        text = f"{what} is not valid before {validity.begin:%Y-%m-%d %H:%M}, and this board's clock says {here:%Y-%m-%d %H:%M}"
        yield error("certificate-not-yet-valid", text, "most likely the clock is wrong: set it", "timedatectl", subject)
    elif here > validity.end:
        yield error("certificate-expired", f"{what} has expired on {until}", "put a new one there", look, subject)
    elif left < WARN_DAYS:
        soon = error if left < ERROR_DAYS else warning
        days = f"{left} day{'s' * (left != 1)}"
        yield soon("certificate-expires", f"{what} expires in {days}, on {until}", "put a new one there", look, subject)
    else:
        yield ok(f"{what} holds until {until}", subject, {"days_left": left})


def _judge_file(path: Path, key: str, subject: str, now: int) -> Iterator[Finding]:
    try:
        with path.open("rb") as file:
            found = list(validities(file.read(MOST_BYTES).decode("ascii", "replace")))
    except OSError as fault:
        text = f"{path} ({subject}) cannot be read by this user: {fault.strerror}"
        yield warning("certificate-unreadable", text, "run this as the daemon's user", "sudo edged doctor", subject)
        return
    except Malformed as fault:
        found = []
        text = f"{path} ({subject}) holds what is not a certificate: {fault}"
    else:
        text = f"{path} ({subject}) holds no certificate"
    look = f"openssl x509 -in {quoted(path)} -noout -subject -dates"
    if not found:
        yield error("certificate-malformed", text, "a PEM file begins with -----BEGIN CERTIFICATE-----", look, subject)
        return
    # Of several to trust one is enough; of our own the first is ours, the others vouch for it.
    chosen = max(found, key=lambda validity: validity.end) if key == "ca_file" else found[0]
    yield from judge_validity(f"{path} ({subject})", subject, chosen, now, look)
