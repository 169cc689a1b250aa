"""How a connection stands, in words for people."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


@dataclass
class LinkState:
    """What a person sees of a connection.

    `state`: connecting | connected | refused | unreachable | disconnected | stopped. `since` is
    monotonic time in nanoseconds; while attempts fail in the same way it is that of the first.
    """

    state: str = "connecting"
    since: int = 0
    version: str = ""
    code: str = ""
    text: str = ""


def why(error: Exception, where: str) -> str:
    """Say why no connection to `where` could be made."""
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {where}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer"
    return f"cannot connect to {where}: {error}"


def why_refused(reason: str, username: str) -> str:
    """Say why the broker refuses the connection; `reason` is its answer."""
    if reason not in ("Bad user name or password", "Not authorized"):
        return f"the broker refuses the connection: {reason}"
    who = f"user {username}" if username else "a client without a user name"
    return f"the broker refuses {who}: wrong user name or password, or not allowed to connect ({reason})"
