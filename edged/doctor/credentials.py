"""What a broker's configuration names to prove who we are: password and TLS files, read as the daemon reads them."""

from __future__ import annotations

import ssl
from pathlib import Path

from edged.config.schema import Broker
from edged.doctor.finding import Trouble, error, quoted, warning

_AS_DAEMON = "run this as the daemon's user, or with sudo"


class _Locked(Exception):
    """A key is encrypted."""


def tls_context(broker: Broker) -> ssl.SSLContext:
    """Make the TLS settings; Trouble(`key-locked`, `tls-files`) where the files cannot be used."""
    try:
        # As paho makes it: ssl.create_default_context refuses certificates from Python 3.13 on that the daemon takes.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if broker.ca_file:
            context.load_verify_locations(broker.ca_file)
        else:
            context.load_default_certs()
        if broker.cert_file:
            context.load_cert_chain(broker.cert_file, broker.key_file or None, password=_nobody_is_there)
    except _Locked:
        key = quoted(broker.key_file or broker.cert_file)
        text = f"{key} wants a pass phrase, and nobody is there to type it when the daemon starts"
        raise Trouble(error("key-locked", text, "name a key without one", f"openssl pkey -in {key} -out {key}.open")) from None
    except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
        files = " ".join(quoted(path) for path in (broker.ca_file, broker.cert_file, broker.key_file) if path)
        text = f"the TLS files of this broker cannot be used: {fault}"
        raise Trouble(error("tls-files", text, f"check ca_file, cert_file and key_file; {_AS_DAEMON}", f"ls -l {files}")) from None
    return context


def password_of(broker: Broker) -> str:
    """Read the first line of the password file; Trouble(`password-unreadable`) where this user may not."""
    if not broker.password_file:
        return ""
    path = Path(broker.password_file)
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8 text"
        text = f"cannot read {path}: {reason}; so the broker was not asked"
        raise Trouble(warning("password-unreadable", text, _AS_DAEMON, f"ls -l {quoted(path)}")) from None


def _nobody_is_there() -> str:
    raise _Locked
