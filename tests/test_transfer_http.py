"""Blobs over HTTP from a real server: in ranges, never more than asked for, and on over another carrier when it ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edged.clock import SystemClock
from edged.errors import Cancelled, PeerError
from edged.exchange.pieces import PIECE
from edged.fleet.transfer.carriers import http
from edged.fleet.transfer.carriers.folder import FolderCarrier
from edged.fleet.transfer.carriers.http import HttpCarrier
from tests.broker import free_port
from tests.transfers import Blob, Server, bring, transfer
from tests.waiting import until

BLOB = Blob.random(6 * PIECE + 17)

Answer = Callable[["Handler", bytes, int, int], None]


class Handler(BaseHTTPRequestHandler):
    """Answers a range of a blob as `answer` says."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]
    answer: Answer
    asked: list[tuple[str, int, int]]

    def do_GET(self) -> None:
        name = self.path.removeprefix("/fleet/blobs/sha256/")
        if name not in self.blobs:
            self.head(404, 0)
            return
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        assert self.headers["Accept-Encoding"] == "identity"
        self.asked.append((name, int(first), int(last) + 1))
        type(self).answer(self, self.blobs[name], int(first), int(last) + 1)

    def head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()

    def range(self, data: bytes, first: int, end: int) -> None:
        """Answer as it should."""
        self.head(206, end - first, Content_Range=f"bytes {first}-{end - 1}/{len(data)}")
        self.wfile.write(data[first:end])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[tuple[str, type[Handler]]]:
    """Give the URL of a server, and its handler, whose `answer` may be changed."""
    handler = type("Own", (Handler,), {"blobs": BLOB.all(), "answer": Handler.range, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/fleet/", handler
    server.shutdown()
    thread.join()
    server.server_close()


Web = tuple[str, type[Handler]]


def over(tmp_path: Path, *carriers: Any) -> Any:
    return transfer(tmp_path / "in", *carriers, clock=SystemClock())


def from_stick(tmp_path: Path) -> FolderCarrier:
    return FolderCarrier(BLOB.lay(tmp_path / "stick"))


def test_a_blob_comes_in_ranges(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "MOST_PIECES", 4)
    it = over(tmp_path, HttpCarrier(web[0]))
    assert bring(it, BLOB) == BLOB.data
    assert it.received == len(BLOB.data) + len(BLOB.index)
    assert [each[1:] for each in web[1].asked[1:]] == [(0, 4 * PIECE), (4 * PIECE, len(BLOB.data))]


def test_a_connection_that_is_cut_in_the_middle_goes_on_over_mqtt(web: Web, tmp_path: Path):
    def cut(handler: Handler, data: bytes, first: int, end: int) -> None:
        handler.head(206, end - first, Content_Range=f"bytes {first}-{end - 1}/{len(data)}")
        handler.wfile.write(data[first : min(end, 3 * PIECE + 1000)])
        handler.close_connection = True

    web[1].answer = cut
    with Server(BLOB.all()) as server:
        it = over(tmp_path, HttpCarrier(web[0]), server.carrier)
        assert bring(it, BLOB) == BLOB.data
    assert min(each.off for each in server.requests if each.sha256 == BLOB.seal.sha256) == 3 * PIECE
    assert it.received < len(BLOB.data) + len(BLOB.index) + PIECE


def test_a_bad_piece_is_asked_for_again_alone(web: Web, tmp_path: Path):
    bad = bytearray(BLOB.data)
    bad[2 * PIECE + 7] ^= 1

    def once(handler: Handler, data: bytes, first: int, end: int) -> None:
        handler.range(bytes(bad) if len(handler.asked) == 2 else data, first, end)

    web[1].answer = once
    it = over(tmp_path, HttpCarrier(web[0]))
    assert bring(it, BLOB) == BLOB.data
    assert web[1].asked[-1] == (BLOB.seal.sha256, 2 * PIECE, 3 * PIECE)
    assert it.received == len(BLOB.data) + len(BLOB.index) + PIECE


def test_a_server_that_sends_without_end_is_read_as_far_as_was_asked(web: Web, tmp_path: Path):
    def endless(handler: Handler, data: bytes, first: int, end: int) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
        handler.end_headers()
        handler.close_connection = True
        handler.wfile.write(data[first:end])
        try:
            while True:
                handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    web[1].answer = endless
    it = over(tmp_path, HttpCarrier(web[0]))
    assert bring(it, BLOB) == BLOB.data
    assert it.received == len(BLOB.data) + len(BLOB.index)


def test_a_server_without_ranges_serves_where_all_is_wanted(web: Web, tmp_path: Path):
    def whole(handler: Handler, data: bytes, _first: int, _end: int) -> None:
        handler.head(200, len(data))
        handler.wfile.write(data)

    web[1].answer = whole
    it = over(tmp_path, HttpCarrier(web[0]))
    assert bring(it, BLOB) == BLOB.data


@pytest.mark.parametrize("status", [200, 206, 301, 302, 403, 416, 500, 503])
def test_another_carrier_is_taken_where_the_answer_is_not_what_was_asked_for(web: Web, tmp_path: Path, status: int):
    def other(handler: Handler, data: bytes, first: int, end: int) -> None:
        if len(handler.asked) == 1:
            handler.range(data, first, end)
        elif first == 0 and status == 200:
            handler.head(206, end - first, Content_Range=f"bytes {first}-{end - 1}/{len(data)}")
            handler.wfile.write(data[: PIECE + 5])
            handler.close_connection = True
        else:
            handler.head(status, 4, Location="/elsewhere", Content_Range="bytes 1-4/5")
            handler.wfile.write(b"what")

    web[1].answer = other
    it = over(tmp_path, HttpCarrier(web[0]), from_stick(tmp_path))
    assert bring(it, BLOB) == BLOB.data


def test_what_the_server_does_not_have_is_not_found(web: Web, tmp_path: Path):
    web[1].blobs = {}
    with pytest.raises(PeerError) as raised:
        bring(over(tmp_path, HttpCarrier(web[0])), BLOB)
    assert raised.value.code == "blob-not-found"


def test_where_nobody_listens_another_carrier_is_taken(tmp_path: Path):
    assert bring(over(tmp_path, HttpCarrier(f"http://127.0.0.1:{free_port()}"), from_stick(tmp_path)), BLOB) == BLOB.data


def test_what_is_no_http_is_not_believed(tmp_path: Path, web: Web):
    def noise(handler: Handler, *_: Any) -> None:
        handler.wfile.write(random.Random(1).randbytes(100_000))
        handler.close_connection = True

    web[1].answer = noise
    assert bring(over(tmp_path, HttpCarrier(web[0]), from_stick(tmp_path)), BLOB) == BLOB.data


def test_a_cancel_is_heard_while_a_server_says_nothing_and_its_thread_ends_with_the_connection(web: Web, tmp_path: Path):
    over_now = threading.Event()

    def silent(handler: Handler, *_: Any) -> None:
        over_now.wait()
        handler.close_connection = True

    web[1].answer = silent
    calls = [0]

    def cancelled() -> bool:
        calls[0] += 1
        return calls[0] > 3

    try:
        with pytest.raises(Cancelled):
            bring(over(tmp_path, HttpCarrier(web[0])), BLOB, cancelled)
    finally:
        over_now.set()
    until(lambda: all(thread.name != "transfer-http" for thread in threading.enumerate()), "the thread has ended")


def test_the_name_for_people_has_no_password():
    assert HttpCarrier("https://board:secret@models.example:8443/fleet").name == "https://models.example:8443"
