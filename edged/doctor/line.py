"""A connection to a broker for the time of a check: name, TCP, TLS, and bytes until a deadline.

Whatever goes wrong is a `Trouble` that says where it went wrong and what to do.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Protocol

from edged.config.addresses import BrokerUrl
from edged.doctor.finding import Finding, Trouble, error, quoted
from edged.doctor.tls_faults import ended, not_trusted, reason_of

_CHUNK = 1 << 14
_MOST_ADDRESSES = 4

Address = tuple[int, Any]  # family, and the address in that family's form


class Stream(Protocol):
    """Bytes both ways."""

    def send(self, data: bytes) -> None:
        """Send all of it; Trouble where the other side is gone."""

    def receive(self) -> bytes:
        """Give what came next, empty at the end; Trouble(`broker-silent`) after the deadline."""


class Line:
    """A TCP or TLS connection whose operations all end before a deadline that `allow` sets anew."""

    def __init__(self, sock: socket.socket, url: BrokerUrl) -> None:
        """Take a connected socket."""
        self.sock = sock
        self._url = url
        self._deadline = 0.0
        self._allowed = 0.0

    def allow(self, seconds: float) -> None:
        """Let what follows take so long in all."""
        self._allowed, self._deadline = seconds, monotonic() + seconds

    def send(self, data: bytes) -> None:
        """See `Stream`."""
        self._do(lambda: self.sock.sendall(data))

    def receive(self) -> bytes:
        """See `Stream`."""
        return self._do(lambda: self.sock.recv(_CHUNK)) or b""

    def close(self) -> None:
        """Close it."""
        self.sock.close()

    def _do(self, operation: Callable[[], bytes | None]) -> bytes | None:
        try:
            self.sock.settimeout(max(0.001, self._deadline - monotonic()))
            return operation()
        except TimeoutError:
            text = f"{at(self._url)} is there, but does not answer within {self._allowed:g} s"
            raise Trouble(error("broker-silent", text, "is it the broker's port? does the broker still work?", look(self._url))) from None
        except ssl.SSLEOFError:
            return b""
        except ssl.SSLError as fault:
            raise Trouble(ended(at(self._url), look(self._url), fault)) from None
        except OSError:  # reset: the same as an end; after a send, the next receive may still find the reason
            return b""


def connect_tcp(url: BrokerUrl, timeout_s: float) -> socket.socket:
    """Resolve the name, then connect to the first address that answers, each of the two within `timeout_s` seconds."""
    addresses = _resolve(url, timeout_s)[:_MOST_ADDRESSES]
    last: OSError = TimeoutError()
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s / len(addresses))
            sock.connect(address)
        except OSError as fault:
            sock.close()
            last = fault
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise Trouble(_not_connected(url, last, timeout_s))


def wrap_tls(sock: socket.socket, url: BrokerUrl, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLSocket:
    """Begin TLS on a connected socket, within `timeout_s` seconds."""
    try:
        sock.settimeout(timeout_s)
        return context.wrap_socket(sock, server_hostname=url.host)
    except ssl.SSLCertVerificationError as fault:
        raise Trouble(not_trusted(at(url), look(url), fault)) from None
    except TimeoutError:
        text = f"{at(url)} is there, but does not begin TLS within {timeout_s:g} s"
        raise Trouble(error("broker-silent", text, "is it the broker's TLS port?", look(url))) from None
    except (ssl.SSLError, OSError) as fault:
        plain = {"mqtts": "mqtt", "wss": "ws"}[url.scheme]
        text = f"{at(url)} does not speak TLS as we do: {reason_of(fault)}"
        advice = f"a port without TLS wants `{plain}://` in the URL; one with TLS may be too old"
        raise Trouble(error("broker-no-tls", text, advice, look(url))) from None


def at(url: BrokerUrl) -> str:
    """Write host and port."""
    return f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"


def look(url: BrokerUrl) -> str:
    """Give a command that shows what listens there."""
    if url.scheme in ("mqtts", "wss"):
        return f"openssl s_client -connect {quoted(at(url))} </dev/null"
    return f"nc -vz {quoted(url.host)} {url.port}"


def _resolve(url: BrokerUrl, timeout_s: float) -> list[Address]:
    """Ask for the addresses of a name in a thread of its own: the system's resolver knows no deadline."""
    answers: SimpleQueue[list[Address] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
            answers.put([(family, address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as fault:
            answers.put(fault if isinstance(fault, OSError) else OSError(str(fault)))

    threading.Thread(target=ask, daemon=True).start()
    show = f"getent hosts {quoted(url.host)}"
    try:
        answer = answers.get(timeout=timeout_s)
    except Empty:
        text = f"the name server does not answer within {timeout_s:g} s when asked for {url.host}"
        raise Trouble(error("broker-name-unknown", text, "check the network, or write the broker's address in `url`", show)) from None
    if isinstance(answer, OSError):
        text = f"there is no host {url.host}: {answer.strerror or answer}"
        raise Trouble(error("broker-name-unknown", text, "mend `url`, or check the network's name server", show))
    return answer


def _not_connected(url: BrokerUrl, fault: OSError, timeout_s: float) -> Finding:
    if isinstance(fault, ConnectionRefusedError):
        text = f"nothing listens at {at(url)}"
        if is_local(url.host):
            return error("broker-unreachable", text, "start the broker, or mend `url`", "sudo systemctl start mosquitto")
        return error("broker-unreachable", text, "start the broker there, mend `url`, or open its firewall", look(url))
    if isinstance(fault, TimeoutError):
        text = f"{at(url)} does not answer within {timeout_s:g} s"
    else:
        text = f"cannot connect to {at(url)}: {fault.strerror or fault}"
    return error("broker-unreachable", text, "check the network between, and the broker's firewall", f"ping -c 3 {quoted(url.host)}")


def is_local(host: str) -> bool:
    """Say whether a host is this machine by its name or address alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
