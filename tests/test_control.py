"""The control socket, both sides."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import NS, SystemClock, VirtualClock
from edged.errors import BoardError, BugError, DaemonUnreachable, EdgedError, OperatorError, PeerError
from edged.service.ask import NobodyListens, ask
from edged.service.control import MAX_CLIENTS, MAX_IDLE_NS, MAX_REQUEST, ControlServer
from edged.service.request import MAX_FILES, Request
from edged.service.snapshot import Condition, Snapshot
from tests.conftest import REPO
from tests.descriptors import descriptors
from tests.waiting import PATIENCE_S, until

SNAPSHOT = Snapshot(device="press-7", health=[Condition("hot", "warning", text="81 °C\n")])
BIG = {"filler": "x" * 4_000_000}


def fail(request: Request) -> Any:
    raise OperatorError("not-now", "no", "later")


def crash(request: Request) -> Any:
    return 1 / 0


def no_fit(request: Request) -> Any:
    raise BoardError("does-not-fit", "too large")


def echo(request: Request) -> Any:
    return {"args": request.args, "files": len(request.files), "number": request.arg("number", int, 7)}


def read(request: Request) -> Any:
    """Read what came along, as an install does; the files are the op's."""
    contents = []
    for each in request.take_files():
        assert fcntl.fcntl(each, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with os.fdopen(each, "rb") as file:
            contents.append(file.read().decode())
    return {"contents": contents}


OPS = {
    "status": lambda request: SNAPSHOT,
    "big": lambda request: BIG,
    "fail": fail,
    "crash": crash,
    "no-fit": no_fit,
    "echo": echo,
    "read": read,
}


@pytest.fixture
def path() -> Iterator[Path]:
    """A short path: pytest's own may be longer than a socket's path can be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "run", "control.sock")


class Served:
    """A server polled by a thread, as the daemon's main thread does."""

    def __init__(self, path: Path) -> None:
        self.server = ControlServer(path, OPS, SystemClock())
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.server.poll(0.01)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()


@pytest.fixture
def served(path: Path) -> Iterator[Served]:
    served = Served(path)
    yield served
    served.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server(path: Path, clock: VirtualClock) -> Iterator[ControlServer]:
    """A server that only moves when the test polls it."""
    server = ControlServer(path, OPS, clock)
    yield server
    server.close()


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    client.connect(str(path))
    return client


def settle(server: ControlServer) -> None:
    for _ in range(20):
        server.poll(0)


def is_dropped(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# Asking.


def test_status_is_one_snapshot(served: Served, path: Path) -> None:
    answer = ask(path, "status", 10)
    assert answer["device"] == "press-7"
    assert answer["health"][0]["text"] == "81 °C\n"


def test_an_answer_larger_than_the_socket_buffer_arrives_whole(served: Served, path: Path) -> None:
    assert ask(path, "big", 10) == BIG


def test_many_clients_at_once(served: Served, path: Path) -> None:
    answers: list[dict[str, Any]] = []
    threads = [Thread(target=lambda: answers.append(ask(path, "status", 10))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 10


def test_an_unknown_op_is_an_error_that_names_the_known_ones(served: Served, path: Path) -> None:
    with pytest.raises(PeerError, match="unknown op 'dance'") as caught:
        ask(path, "dance", 10)
    assert (caught.value.code, "big, crash, echo, fail, no-fit, read, status" in caught.value.hint) == ("unknown-op", True)


def test_an_error_of_an_op_keeps_its_code_text_and_hint(served: Served, path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        ask(path, "fail", 10)
    assert (caught.value.code, caught.value.text, caught.value.hint) == ("not-now", "no", "later")


def test_an_error_of_an_op_has_the_exit_code_that_it_has_everywhere(served: Served, path: Path) -> None:
    for op, code in (("fail", 3), ("crash", 1), ("no-fit", 7), ("dance", 1)):
        with pytest.raises(EdgedError) as caught:
            ask(path, op, 10)
        assert caught.value.exit_code == code, op


def test_an_op_that_crashes_does_not_take_the_daemon_along(served: Served, path: Path) -> None:
    with pytest.raises(BugError, match="ZeroDivisionError") as caught:
        ask(path, "crash", 10)
    assert caught.value.code == "control-op-failed"
    assert ask(path, "status", 10)["device"] == "press-7"


def test_without_a_socket_it_says_how_to_start_one(path: Path) -> None:
    with pytest.raises(NobodyListens, match="there is no socket") as caught:
        ask(path, "status", 1)
    assert (caught.value.code, caught.value.exit_code) == ("daemon-not-reachable", 4)
    assert "systemctl start edged" in caught.value.hint


def test_a_socket_left_by_a_dead_daemon_is_told_from_none(path: Path) -> None:
    leave_stale(path)
    with pytest.raises(NobodyListens, match="left over") as caught:
        ask(path, "status", 1)
    assert caught.value.code == "daemon-not-reachable"


def test_a_daemon_that_does_not_answer_is_stuck_and_named(server: ControlServer, path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match=f"process {os.getpid()}.*did not answer") as caught:
        ask(path, "status", 0.05)
    assert (caught.value.code, caught.value.exit_code) == ("daemon-stuck", 4)


def test_a_daemon_whose_backlog_is_full_is_stuck(server: ControlServer, path: Path) -> None:
    waiting = []
    for _ in range(64):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex(str(path))
        waiting.append(client)
    with pytest.raises(DaemonUnreachable) as caught:
        ask(path, "status", 0.05)
    assert caught.value.code == "daemon-stuck"
    for client in waiting:
        client.close()


def answering(path: Path, answer: bytes) -> Thread:
    """Stand in for another program at the path: send `answer`, hang up."""
    path.parent.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        client, _ = listener.accept()
        with listener, client:
            client.recv(100)
            try:
                client.sendall(answer)
            except OSError:
                pass

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "daemon-not-reachable"),
        (b'{"v":1', "daemon-not-reachable"),
        (b"HTTP/1.0 400 Bad Request\r\n", "daemon-answer-malformed"),
        (b"[1]\n", "daemon-answer-malformed"),
        (b"\xff\n", "daemon-answer-malformed"),
        (b"[" * 100_000 + b"\n", "daemon-answer-malformed"),
        (b"x" * (17 * 1024 * 1024), "daemon-answer-malformed"),
    ],
    ids=["nothing", "half", "http", "list", "not-utf8", "deep", "endless"],
)
def test_an_answer_that_is_none_is_refused(path: Path, answer: bytes, code: str) -> None:
    other = answering(path, answer)
    with pytest.raises(DaemonUnreachable) as caught:
        ask(path, "status", 10)
    assert caught.value.code == code
    other.join()


def test_an_error_answer_of_odd_shape_is_still_an_error(path: Path) -> None:
    other = answering(path, b'{"error":{"code":7}}\n')
    with pytest.raises(PeerError) as caught:
        ask(path, "status", 10)
    assert caught.value.code == "7"
    other.join()


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user that may nothing: root may open any socket."""
    if os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


@pytest.mark.parametrize("hidden", [False, True], ids=["socket", "folder"])
def test_without_permission_it_names_the_group(served: Served, path: Path, hidden: bool) -> None:
    path.chmod(0)
    path.parent.chmod(0 if hidden else 0o755)
    path.parent.parent.chmod(0o755)
    with nobody():
        if not os.access("/", os.X_OK, effective_ids=True):
            pytest.skip("other users may not enter this root folder: chmod 755 /")
        with pytest.raises(DaemonUnreachable, match="you may not use") as caught:
            ask(path, "status", 5)
    path.parent.chmod(0o750)
    assert caught.value.code == "daemon-not-reachable"
    assert f"it is for group {grp.getgrgid(os.getegid()).gr_name}:" in caught.value.hint


# Arguments and open files.


@pytest.fixture
def open_files(tmp_path: Path) -> Iterator[list[int]]:
    """Give two files that are open for reading."""
    opened = []
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
        opened.append(os.open(tmp_path / text, os.O_RDONLY))
    yield opened
    for each in opened:
        os.close(each)


def send_with(client: socket.socket, data: bytes, files: list[int]) -> None:
    socket.send_fds(client, [data], files)


def answers(client: socket.socket) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.recv(1 << 20).splitlines()]


def test_arguments_arrive(served: Served, path: Path) -> None:
    assert ask(path, "echo", 10, {"model": "har", "number": 3}) == {"args": {"model": "har", "number": 3}, "files": 0, "number": 3}
    assert ask(path, "echo", 10)["number"] == 7


def test_an_argument_of_another_type_is_a_malformed_request(served: Served, path: Path) -> None:
    with pytest.raises(PeerError, match="`number` of echo") as caught:
        ask(path, "echo", 10, {"number": "three"})
    assert caught.value.code == "malformed-request"


def test_open_files_arrive_in_order_and_are_closed_with_their_programs(served: Served, path: Path, open_files: list[int]) -> None:
    before = descriptors()
    assert ask(path, "read", 10, {"names": ["one", "two"]}, open_files) == {"contents": ["one", "two"]}
    until(lambda: not descriptors() - before, "all that came is closed")


def test_open_files_come_along_with_a_request_larger_than_the_socket_buffer_takes_at_once(
    served: Served, path: Path, open_files: list[int]
) -> None:
    assert ask(path, "echo", 10, {"filler": "x" * 60_000}, open_files)["files"] == 2


@pytest.mark.parametrize("request_", [b'{"op":"status"}', b'{"op":"fail"}', b'{"op":"crash"}', b'{"op":"no"}', b"not json", b""])
def test_files_that_nobody_takes_are_closed_after_the_answer(
    server: ControlServer, path: Path, open_files: list[int], request_: bytes
) -> None:
    with connect(path) as client:
        settle(server)
        before = descriptors()
        send_with(client, request_ + b"\n", open_files)
        settle(server)
        assert answers(client)
        assert not descriptors() - before


def test_files_of_a_client_that_goes_away_are_closed(server: ControlServer, clock: VirtualClock, path: Path, open_files: list[int]) -> None:
    before = descriptors()
    with connect(path) as client:
        send_with(client, b'{"op":"read"', open_files)
        settle(server)
        assert len(descriptors() - before) == 4
    settle(server)
    assert not descriptors() - before


def test_files_of_a_client_that_is_silent_or_never_ends_are_closed(
    server: ControlServer, clock: VirtualClock, path: Path, open_files: list[int]
) -> None:
    before = descriptors()
    with connect(path) as silent, connect(path) as endless:
        settle(server)
        assert len(descriptors() - before) == 4  # both ends of two connections
        send_with(silent, b"{", open_files)
        send_with(endless, b"x" * 4096, open_files)
        settle(server)
        assert len(descriptors() - before) == 4 + 4
        while not is_dropped(endless):
            try:
                endless.send(b"x" * 4096)
            except (BrokenPipeError, ConnectionResetError):
                break
            except BlockingIOError:
                pass
            server.poll(0)
        clock.advance(MAX_IDLE_NS + 1)
        settle(server)
        assert len(descriptors() - before) == 2  # the server's ends of their connections are closed, too


def test_files_may_come_in_pieces_and_go_with_the_request_that_they_are_part_of(
    server: ControlServer, path: Path, open_files: list[int]
) -> None:
    with connect(path) as client:
        send_with(client, b'{"op":', open_files[:1])
        settle(server)
        send_with(client, b'"read"}\n{"op":"echo"}\n', open_files[1:])
        settle(server)
        settle(server)
        first, second = answers(client)
    assert (first, second["files"]) == ({"contents": ["one", "two"]}, 0)


def test_more_files_than_a_release_has_are_refused_and_all_closed(server: ControlServer, path: Path, open_files: list[int]) -> None:
    with connect(path) as client:
        settle(server)
        before = descriptors()
        send_with(client, b'{"op":', open_files[:1] * 100)
        settle(server)
        send_with(client, b'"read"}\n', open_files[:1] * (MAX_FILES - 99))
        settle(server)
        assert answers(client)[0]["error"]["code"] == "too-many-files"
        assert not descriptors() - before
        send_with(client, b'{"op":"read"}\n', open_files)
        settle(server)
        assert answers(client) == [{"contents": ["one", "two"]}]


def test_as_many_files_as_are_allowed_arrive(server: ControlServer, path: Path, open_files: list[int]) -> None:
    with connect(path) as client:
        send_with(client, b'{"op":"echo"}\n', open_files[:1] * MAX_FILES)
        settle(server)
        assert answers(client)[0]["files"] == MAX_FILES


def test_a_flood_of_files_from_many_clients_takes_no_more_places_than_one_may(
    server: ControlServer, path: Path, open_files: list[int]
) -> None:
    before = descriptors()
    flood = [connect(path) for _ in range(MAX_CLIENTS - 1)]
    settle(server)
    assert len(descriptors() - before) == 2 * len(flood)
    for each in flood:
        for _ in range(10):
            send_with(each, b" ", open_files[:1] * 100)
            settle(server)
            assert len(descriptors() - before) <= 2 * len(flood) + MAX_FILES
    with connect(path) as person:
        person.sendall(b'{"op":"status"}\n')
        settle(server)
        assert b"press-7" in person.recv(1 << 20)
    for each in flood:
        each.close()
    settle(server)
    assert not descriptors() - before


def test_files_that_this_process_has_no_place_for_are_refused(server: ControlServer, path: Path, open_files: list[int]) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(path) as client:
        settle(server)
        send_with(client, b'{"op":"read"}\n', open_files)
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        lowest_free = next(fd for fd in range(highest + 2) if not os.path.exists(f"/proc/self/fd/{fd}"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
        try:
            settle(server)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert answers(client)[0]["error"]["code"] == "too-many-files"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=40)
            | st.sampled_from([b'{"op":"read"}\n', b'{"op":"echo","args":7}\n', b"\n", b'{"op":"crash"}\n']),
            st.integers(0, 200),
        ),
        max_size=6,
    )
)
def test_any_bytes_with_any_number_of_files_leave_none_open(chunks: list[tuple[bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, before = Path(folder, "s"), descriptors()
        server = ControlServer(path, OPS, VirtualClock())
        with connect(path) as hostile, connect(path) as person, open(os.devnull, "rb") as file:
            for data, count in chunks:
                send_with(hostile, data, [file.fileno()] * count)
                server.poll(0)
                assert len(descriptors() - before) <= 10 + MAX_FILES
            person.sendall(b'{"op":"status"}\n')
            settle(server)
            assert b"press-7" in person.recv(1 << 20)
        settle(server)
        server.close()
        assert not descriptors() - before


# Serving.


def test_socket_and_folder_are_for_user_and_group_only(server: ControlServer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_folder_that_is_there_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    ControlServer(path, OPS, SystemClock()).close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_requests_of_one_connection_are_answered_in_order(server: ControlServer, path: Path) -> None:
    with connect(path) as client:
        client.sendall(b'{"op":"status","later":1}\n{"op":"no"}\nnot json\n\n')
        settle(server)
        answers = [json.loads(line) for line in client.recv(1 << 20).splitlines()]
    assert answers[0]["device"] == "press-7"
    assert [answer["error"]["code"] for answer in answers[1:]] == ["unknown-op", "malformed-request", "malformed-request"]


def test_a_request_may_come_one_byte_at_a_time(server: ControlServer, path: Path) -> None:
    with connect(path) as client:
        for byte in b'{"op":"status"}\n':
            client.send(bytes([byte]))
            server.poll(0)
        settle(server)
        assert b"press-7" in client.recv(1 << 20)


def test_a_request_whose_sender_stops_sending_is_answered(server: ControlServer, path: Path) -> None:
    with connect(path) as client:
        client.sendall(b'{"op":"status"}\n')
        client.shutdown(socket.SHUT_WR)
        settle(server)
        assert b"press-7" in client.recv(1 << 20)


def test_a_request_without_end_is_dropped(server: ControlServer, path: Path) -> None:
    with connect(path) as client:
        client.setblocking(False)
        sent = 0
        try:
            while sent < 10 * MAX_REQUEST:
                sent += client.send(b"x" * 4096)
                server.poll(0)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert MAX_REQUEST <= sent <= 4 * MAX_REQUEST
        assert is_dropped(client)


def test_a_silent_client_is_dropped_after_a_while(server: ControlServer, clock: VirtualClock, path: Path) -> None:
    with connect(path) as client:
        settle(server)
        assert not is_dropped(client)
        clock.advance(MAX_IDLE_NS + 1)
        settle(server)
        assert is_dropped(client)


def test_a_trickle_of_bytes_does_not_keep_a_client(server: ControlServer, clock: VirtualClock, path: Path) -> None:
    with connect(path) as client:
        settle(server)
        for _ in range(11):
            client.send(b" ")
            clock.advance(NS)
            server.poll(0)
        settle(server)
        assert is_dropped(client)


def test_a_client_that_does_not_read_holds_one_answer_and_is_dropped(server: ControlServer, clock: VirtualClock, path: Path) -> None:
    with connect(path) as client, connect(path) as other:
        client.sendall(b'{"op":"big"}\n' * 100)
        settle(server)
        clock.advance(MAX_IDLE_NS // 2)
        other.sendall(b'{"op":"status"}\n')
        settle(server)
        assert b"press-7" in other.recv(1 << 20)
        clock.advance(MAX_IDLE_NS // 2 + 1)
        settle(server)
        assert len(server._clients) == 1


def test_idle_clients_make_room_for_the_next(server: ControlServer, clock: VirtualClock, path: Path) -> None:
    idle = []
    for _ in range(MAX_CLIENTS):
        idle.append(connect(path))
        settle(server)
        clock.advance(1)
    with connect(path) as client:
        client.sendall(b'{"op":"status"}\n')
        settle(server)
        assert b"press-7" in client.recv(1 << 20)
    assert [is_dropped(one) for one in idle] == [True] + [False] * (MAX_CLIENTS - 1)
    for one in idle:
        one.close()


def test_without_file_descriptors_it_pauses_instead_of_spinning(server: ControlServer, clock: VirtualClock, path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(path) as client:
        client.sendall(b'{"op":"status"}\n')
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        lowest_free = next(fd for fd in range(highest + 2) if not os.path.exists(f"/proc/self/fd/{fd}"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            server.poll(0)
            waiting = server._selector.select(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert waiting == []
        clock.advance(NS)
        settle(server)
        assert b"press-7" in client.recv(1 << 20)


@settings(max_examples=60)
@given(
    st.lists(st.binary(max_size=80) | st.sampled_from([b'{"op":"status"}\n', b"\n", b"{", b'{"op":7}\n', b"[" * 5000 + b"\n"]), max_size=6)
)
def test_any_bytes_leave_the_server_answering(chunks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s")
        server = ControlServer(path, OPS, VirtualClock())
        with connect(path) as hostile, connect(path) as person:
            for chunk in chunks:
                hostile.sendall(chunk)
                server.poll(0)
            person.sendall(b'{"op":"status"}\n')
            settle(server)
            assert b"press-7" in person.recv(1 << 20)
        server.close()


# Claiming the path.


def leave_stale(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))


def test_the_socket_of_a_dead_daemon_is_replaced(path: Path) -> None:
    leave_stale(path)
    served = Served(path)
    assert ask(path, "status", 10)["device"] == "press-7"
    served.close()


def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    """Also its lock: the kernel lets it go."""
    script = (
        "import os, sys; from pathlib import Path; from edged.service.claim import Claim;"
        "claim = Claim(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], env={**os.environ, "PYTHONPATH": str(REPO)}, check=False)
    assert path.is_socket()
    ControlServer(path, OPS, SystemClock()).close()


def test_a_live_daemon_keeps_its_socket_and_is_named(served: Served, path: Path) -> None:
    with pytest.raises(OperatorError, match=f"process {os.getpid()}") as caught:
        ControlServer(path, OPS, SystemClock())
    assert (caught.value.code, caught.value.exit_code) == ("already-running", 3)
    assert ask(path, "status", 10)["device"] == "press-7"


def test_a_live_daemon_keeps_its_socket_even_when_its_lock_file_was_removed(served: Served, path: Path) -> None:
    path.with_name("control.sock.lock").unlink()
    with pytest.raises(OperatorError, match=f"process {os.getpid()}") as caught:
        ControlServer(path, OPS, SystemClock())
    assert caught.value.code == "already-running"
    assert ask(path, "status", 10)["device"] == "press-7"


def test_a_file_at_the_path_is_not_removed(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(OperatorError) as caught:
        ControlServer(path, OPS, SystemClock())
    assert (caught.value.code, path.read_text()) == ("control-path-taken", "precious")


def test_a_path_that_no_socket_can_have_is_the_operators_to_mend(path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        ControlServer(path.with_name("x" * 120), OPS, SystemClock())
    assert caught.value.code == "control-path-too-long"


def test_a_folder_that_cannot_be_made_is_the_operators_to_mend(path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        ControlServer(Path("/proc/edged/control.sock"), OPS, SystemClock())
    assert caught.value.code == "control-path-refused"


def test_a_folder_that_somebody_else_made_in_a_shared_one_is_refused() -> None:
    """In /tmp anybody may be first, and would answer in our name."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of another user")
    with tempfile.TemporaryDirectory() as shared:
        os.chmod(shared, 0o1777)
        folder = Path(shared, "edged-0")
        folder.mkdir()
        os.chown(folder, 65534, 65534)
        with pytest.raises(OperatorError, match="belongs to another user") as caught:
            ControlServer(folder / "control.sock", OPS, SystemClock())
        assert caught.value.code == "control-path-taken"


def test_after_close_the_path_is_free_and_the_socket_gone(path: Path) -> None:
    ControlServer(path, OPS, SystemClock()).close()
    assert not path.exists()
    ControlServer(path, OPS, SystemClock()).close()


def test_all_failures_of_claiming_leave_no_lock_behind(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("in the way")
    with pytest.raises(EdgedError):
        ControlServer(path, OPS, SystemClock())
    path.unlink()
    ControlServer(path, OPS, SystemClock()).close()
