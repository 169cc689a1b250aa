"""A runner of a language model neither holds the daemon up nor takes something along; nor does who shares the token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from edged.engines.choose import llama_build
from edged.engines.llama import child, wire
from edged.engines.llama.client import Client, Limits
from edged.engines.llama.engine import LlamaEngine
from edged.engines.llama.token import BandwidthToken
from edged.engines.text import Prompt, TextTask, TextUse
from edged.errors import BoardError, PublisherError
from tests.conftest import REPO
from tests.ggufs import encoder
from tests.smollm import needs_llama
from tests.waiting import PATIENCE_S

ORDER = wire.Load(
    runtime="xllamacpp", path="/none", job="score", prompt=Prompt(), labels=("a",), grammar="", max_tokens=1, stop=(), temperature=0.0,
    max_chars=10, context=0, threads=1, block=64,
)  # fmt: skip
_BEGIN = f"""
import socket, sys, time
sys.path.insert(0, {str(REPO)!r})
from edged.engines.llama import wire
channel = wire.Channel(socket.socket(fileno=int(sys.argv[1])), wire.requests)
channel.receive()
"""
READY = "channel.send(wire.Ready(values=1, batch=1, context=1, prefix=1))\n"
WORKING = "channel.send(wire.Working())\n"
SLEEPS = "time.sleep(600)\n"


class GaveUp(Exception):
    """What a caller raises that has no more time."""


def give_up() -> NoReturn:
    raise GaveUp


@contextmanager
def played(monkeypatch: pytest.MonkeyPatch, *does: str, silent_s: float = 0.3) -> Iterator[Client]:
    """Start a runner that is played by these lines."""
    monkeypatch.setattr(child, "_PROGRAM", ("-c", _BEGIN + "".join(does)))
    client = Client(ORDER, Limits(silent_s=silent_s, failures=9), sleep=lambda _: None)
    try:
        yield client
    finally:
        client.close()


def test_a_runner_that_reads_nothing_hangs_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with played(monkeypatch, READY, SLEEPS) as client:
        more_than_a_socket_holds = wire.Score(texts=["x" * 1_000_000] * 8)
        with pytest.raises(BoardError) as caught:
            client.ask(more_than_a_socket_holds, lambda: None, lambda: None)
        assert caught.value.code == "runner-hung"
        assert client.pid is None


def test_a_call_that_is_given_up_while_the_runner_starts_anew_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    with played(monkeypatch, READY) as client:  # which then ends
        monkeypatch.setattr(child, "_PROGRAM", ("-c", _BEGIN + WORKING + SLEEPS))
        said: list[int] = []

        def progress() -> None:
            said.append(1)
            if len(said) == 2:  # after it was seen to have ended, and as the new one loads
                give_up()

        with pytest.raises(GaveUp):
            client.ask(wire.Score(texts=["x"]), progress, lambda: None)
        assert client.pid is None


def test_a_runner_that_the_system_does_not_start_is_an_error_of_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_process(*_: object, **__: object) -> NoReturn:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("edged.engines.llama.child.subprocess.Popen", no_process)
    with pytest.raises(BoardError) as caught:
        Client(ORDER, sleep=lambda _: None)
    assert caught.value.code == "runner-crashed"
    assert "Resource temporarily unavailable" in caught.value.text
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_runner_that_hangs_in_the_runtime_ends_with_its_parent_too() -> None:
    hangs = "import ctypes; from edged.engines.llama import runner; runner.serve = lambda *_: ctypes.CDLL(None).sleep(600); runner.main()"
    ours, theirs = socket.socketpair()
    with theirs:
        runner = subprocess.Popen([sys.executable, "-c", hangs, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            runner.wait(1)
        ours.close()
        assert runner.wait(PATIENCE_S) == 0
    finally:
        runner.kill()
        runner.wait()


def test_the_token_is_not_lost_where_its_holder_cannot_be_asked() -> None:
    token = BandwidthToken()
    assert token.acquire("normal", give_up)
    with pytest.raises(GaveUp):
        token.acquire("normal", lambda: None)
    token.release()
    assert token.acquire("background", lambda: None, timeout_s=0)


@pytest.mark.parametrize("task", ["embed", "classify", "generate"])
def test_an_encoder_is_refused_before_it_makes_wrong_vectors_of_parts_of_texts(task: TextTask, tmp_path: Path) -> None:
    needs_llama()
    (path := tmp_path / "bert.gguf").write_bytes(encoder())
    with pytest.raises(PublisherError) as caught:
        LlamaEngine(path, TextUse(task, labels=("a", "b"), max_chars=100), llama_build("xllamacpp"), threads=1).close()
    assert caught.value.code == "model-unsupported"
