"""Read the addresses of the configuration: a broker's URL, and host:port."""

from __future__ import annotations

import re
from typing import NamedTuple

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
EMBEDDED = "embedded"

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?)?(?::([0-9]{1,5}))?")
_PATH = re.compile(r"(?:/[!-~]*)?")


class BrokerUrl(NamedTuple):
    """Where a broker is: `scheme` mqtt, mqtts, ws or wss; `host` without brackets; `path` for ws and wss."""

    scheme: str
    host: str
    port: int
    path: str


class BadAddress(ValueError):
    """Not an address of ours; the arguments are what is wrong and what to write instead."""


def parse_broker_url(url: str) -> BrokerUrl:
    """Read a broker's URL (not `"embedded"`); BadAddress(text, hint) where it is none."""
    match = _URL.fullmatch(url)
    if not match:
        raise BadAddress("is not a URL", "write it as `mqtt://host:port`, or `mqtts://host:port` with TLS")
    scheme, authority, path, rest = match[1].lower(), match[2], match[3], match[4]
    if scheme not in DEFAULT_PORTS:
        near = {"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "http": "mqtt", "https": "mqtts"}.get(scheme)
        raise BadAddress(f"has the unknown scheme `{scheme}`", f"write `{near}://`" if near else f"one of: {', '.join(DEFAULT_PORTS)}")
    if "@" in authority:
        raise BadAddress("has a user name or password in it", "use the keys `username` and `password_file`")
    host, port = _host_port(authority)
    if not host:
        raise BadAddress("has no host", f"write `{scheme}://host:{DEFAULT_PORTS[scheme]}`")
    if rest or (path not in ("", "/") and scheme in ("mqtt", "mqtts")):
        raise BadAddress("goes on after the port", f"write `{scheme}://{authority}`")
    if not _PATH.fullmatch(path):
        raise BadAddress("has a path with characters that a URL cannot have", "escape them as %xx")
    return BrokerUrl(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, path)


def parse_listen(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:9464` or `[::1]:9464`; BadAddress(text, hint) where it is none. Port 0: any free one."""
    host, port = _host_port(text, least=0)
    if not host or port is None:
        raise BadAddress("is not an address and a port", 'write it as "127.0.0.1:9464"; "0.0.0.0:9464" for all networks')
    return host, port


def _host_port(text: str, least: int = 1) -> tuple[str, int | None]:
    match = _HOST_PORT.fullmatch(text)
    if not match:
        raise BadAddress("has a host or port that cannot be", "write it as `host:port`, an IPv6 address as `[::1]:port`")
    port = None if match[2] is None else int(match[2])
    if port is not None and not least <= port <= 65_535:
        raise BadAddress(f"has the port {port}", f"a port is a number from {least} to 65535")
    return (match[1] or "").strip("[]"), port
