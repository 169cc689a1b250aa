"""The control socket: one JSON object a line in, one a line out; driven by the main thread.

A request is `{"op": "status"}` or `{"op": …, "args": {…}}`; open files may come with it as
descriptors (SCM_RIGHTS). The answer is what the op gives, or
`{"error": {"family", "code", "text", "hint"}}`.

Whoever may open the socket (mode 0660: the daemon's user and group) may be clumsy, and still
does not hold the daemon: a request has at most 64 KiB, a client has at most one answer
under way (its next request waits in the kernel), and is dropped after ten seconds without
a whole request or without reading its answer. With sixteen clients the one that did nothing
for longest makes room for the next. All clients together have at most 224 files open here.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from edged.clock import NS, Clock
from edged.errors import BugError, EdgedError, PeerError
from edged.service.claim import Claim
from edged.service.request import MAX_FILES, MAX_REQUEST, Incoming, Request, close_files

MAX_CLIENTS = 16
MAX_IDLE_NS = 10 * NS
_DEAF_NS = NS

_log = structlog.get_logger(__name__)
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
Op = Callable[[Request], Any]


class _Client:
    """One connection: what came of requests, and bytes of an answer that go."""

    def __init__(self, sock: socket.socket, mono: int) -> None:
        self.sock = sock
        self.incoming = Incoming()
        self.outgoing = memoryview(b"")
        self.active = mono

    @property
    def waits_for(self) -> int:
        """Say which event moves it on: a whole request that waits is handled when it can be answered."""
        return _WRITE if self.outgoing or self.incoming.is_whole else _READ


class ControlServer:
    """Listens at a path from construction until `close`."""

    def __init__(self, path: Path, ops: Mapping[str, Op], clock: Clock) -> None:
        """Claim `path`, see `Claim` for the errors. `ops`: what gives the answer, by name; anything msgspec encodes."""
        self._claim = Claim(path)
        self._ops = ops
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._claim.listener, _READ)
        self._deaf_until: int | None = None

    def poll(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds for something to do, do it, return: one step for each client at most."""
        self._listen_again()
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._claim.listener:
                self._accept()
            elif client := self._clients.get(key.fd):
                self._advance(client)
        self._drop_idle()

    def close(self) -> None:
        """Drop all clients, remove the socket."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._claim.release()

    def _accept(self) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.active))
        try:
            sock, _ = self._claim.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._stop_listening(error)
            return
        sock.setblocking(False)
        self._clients[sock.fileno()] = _Client(sock, self._clock.mono())
        self._selector.register(sock, _READ)

    def _stop_listening(self, error: OSError) -> None:
        """Pause: with no file descriptor left, a waiting connection would wake us without end."""
        _log.warning("control-accept-failed", error=str(error))
        self._selector.unregister(self._claim.listener)
        self._deaf_until = self._clock.mono() + _DEAF_NS

    def _listen_again(self) -> None:
        if self._deaf_until is not None and self._clock.mono() >= self._deaf_until:
            self._selector.register(self._claim.listener, _READ)
            self._deaf_until = None

    def _advance(self, client: _Client) -> None:
        """Take one step: receive, or answer one request, or send more of an answer."""
        try:
            if client.waits_for == _READ:
                self._receive(client)
            else:
                self._send(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if client.sock.fileno() >= 0:
            self._selector.modify(client.sock, client.waits_for)

    def _receive(self, client: _Client) -> None:
        held = sum(len(each.incoming.files) for each in self._clients.values())
        if not client.incoming.receive(client.sock, MAX_FILES - held):
            self._drop(client)
        elif client.incoming.is_too_long:
            _log.warning("control-request-too-long", limit=MAX_REQUEST)
            self._drop(client)

    def _send(self, client: _Client) -> None:
        if not client.outgoing:
            client.active = self._clock.mono()
            client.outgoing = memoryview(self._answer(client.incoming))
        sent = client.sock.send(client.outgoing)
        client.outgoing = client.outgoing[sent:]

    def _answer(self, incoming: Incoming) -> bytes:
        """Give the whole line to send; an op that fails takes nobody along."""
        try:
            request = incoming.next()
            try:
                answer = msgspec.json.encode(self._op(request)(request))
            finally:
                close_files(request.files)
        except EdgedError as error:
            answer = msgspec.json.encode({"error": error.as_dict()})
        except Exception as error:
            _log.exception("control-op-failed")
            bug = BugError("control-op-failed", f"{type(error).__name__}: {error}", "see the daemon's log and report this")
            answer = msgspec.json.encode({"error": bug.as_dict()})
        return answer + b"\n"

    def _op(self, request: Request) -> Op:
        if request.op not in self._ops:
            text = f"unknown op {request.op[:40]!r}"
            raise PeerError("unknown-op", text, f"there is {', '.join(sorted(self._ops))}; daemon and command may be of different versions")
        return self._ops[request.op]

    def _drop_idle(self) -> None:
        limit = self._clock.mono() - MAX_IDLE_NS
        for client in [client for client in self._clients.values() if client.active < limit]:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.sock)
        del self._clients[client.sock.fileno()]
        client.incoming.close_files()
        client.sock.close()
