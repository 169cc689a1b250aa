"""Serve metrics and health over HTTP: /metrics for Prometheus, /healthz for monitors.

`/healthz` answers 200 while no condition is an error, else 503 with the errors, one a line.
Imported only where `[metrics] listen` is set. Runs in its own daemon threads: at most eight
connections, each at most ten seconds, one request each, so that no scraper holds the board.
There is no access control: it listens on loopback unless the configuration says otherwise.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from time import monotonic
from typing import Any

from edged.errors import OperatorError
from edged.service.metrics import CONTENT_TYPE, render
from edged.service.snapshot import ERROR, Snapshot, is_healthy

MAX_CONNECTIONS = 8
MAX_SECONDS = 10.0
_STOP_POLL_S = 0.2


class MetricsServer:
    """The HTTP server. `get` gives the newest snapshot; it is called on the server's threads."""

    def __init__(self, listen: str, get: Callable[[], Snapshot]) -> None:
        """Bind to `listen` (`host:port`, `[v6]:port`, `:port` on loopback; port 0: any).

        Raises OperatorError(`metrics-listen-malformed`, `metrics-address-in-use`,
        `metrics-address-refused`).
        """
        host, port = parse_listen(listen)
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._server = _Server(family, address, get)
        except OSError as error:
            raise _cannot_listen(listen, error) from None
        self._thread = Thread(target=self._server.serve_forever, args=(_STOP_POLL_S,), name="metrics", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Give host and port that it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, cut what is open and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def parse_listen(listen: str) -> tuple[str, int]:
    """Split `host:port`; without a host it is 127.0.0.1."""
    host, colon, port = listen.rpartition(":")
    # isascii: int() would take digits of other scripts.
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise OperatorError("metrics-listen-malformed", f"[metrics] listen = {listen!r} is not host:port", 'write "127.0.0.1:9464"')
    return host.strip("[]") or "127.0.0.1", int(port)


def _cannot_listen(listen: str, error: OSError) -> OperatorError:
    if error.errno == errno.EADDRINUSE:
        text, hint = f"another program listens on {listen}", "find it with `ss -ltnp`, or choose another port in [metrics] listen"
        return OperatorError("metrics-address-in-use", text, hint)
    text = f"cannot listen on {listen}: {error.strerror or error}"
    return OperatorError("metrics-address-refused", text, "choose another address or port in [metrics] listen")


class _Server(ThreadingMixIn, TCPServer):
    """Bounds the connections, and ends those that take too long."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, family: int, address: Any, get: Callable[[], Snapshot]) -> None:
        self.address_family = family
        self.get = get
        self._lock = Lock()
        self._open: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            accepted = len(self._open) < MAX_CONNECTIONS
            if accepted:
                self._open[request] = monotonic()
        if accepted:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut what is too old: a client may send one byte each second, for ever."""
        self._cut(monotonic() - MAX_SECONDS)

    def server_close(self) -> None:
        super().server_close()
        self._cut(float("inf"))

    def _cut(self, before: float) -> None:
        with self._lock:
            for request, since in self._open.items():
                if since <= before:
                    _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what a client does to its own connection is not our news."""


def _hang_up(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is gone already


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "edged"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE, render(self.server.get()))
        elif path == "/healthz":
            self._answer(*_health(self.server.get()))
        else:
            self._answer(404, "text/plain; charset=utf-8", "here are /metrics and /healthz\n")

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scrape every few seconds is not news."""


def _health(snapshot: Snapshot) -> tuple[int, str, str]:
    errors = [f"{c.code} {c.subject}: {c.text}" if c.subject else f"{c.code}: {c.text}" for c in snapshot.health if c.severity == ERROR]
    return (200 if is_healthy(snapshot) else 503), "text/plain; charset=utf-8", "\n".join(errors or ["ok"]) + "\n"
