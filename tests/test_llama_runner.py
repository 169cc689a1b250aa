"""A runner that dies, hangs, starves or lies, and a parent that goes away: seen, said, and got over where that can be."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import SystemClock
from edged.engines.llama import child, wire
from edged.engines.llama.client import Client, Limits
from edged.engines.llama.engine import LlamaEngine
from edged.engines.llama.runner import serve
from edged.engines.text import Prompt
from edged.errors import BoardError, BugError
from tests.conftest import REPO
from tests.llamas import APART, CLASSIFY, opened
from tests.smollm import smollm_path
from tests.waiting import PATIENCE_S, until

TEXTS = [f"replace bucket tooth {i}" for i in range(12)]  # a second of work
ORDER = wire.Load(
    runtime="xllamacpp", path="/none", job="score", prompt=Prompt(), labels=("a",), grammar="", max_tokens=1, stop=(), temperature=0.0,
    max_chars=10, context=0, threads=1, block=64,
)  # fmt: skip


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Blow:
    """Hits the runner the first time, or each time, that it says that it works."""

    def __init__(self, engine: LlamaEngine, strike: Callable[[int], None], times: int = 1) -> None:
        self.engine, self.strike, self.left = engine, strike, times
        self.hit: list[int] = []
        engine.progress = self

    def __call__(self) -> None:
        pid = self.engine.pid
        if self.left and pid and pid not in self.hit:
            self.left -= 1
            self.hit.append(pid)
            self.strike(pid)


def by(number: signal.Signals) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


def starve(pid: int) -> None:
    """Let it have no more memory than it has."""
    size = next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmSize:"))
    resource.prlimit(pid, resource.RLIMIT_AS, (size << 10, size << 10))


def alone_mib(pid: int) -> float:
    """Give the memory of a process as if nobody else had the model's file in memory, as other tests may."""
    total, field = 0, b"Pss:"
    for line in Path(f"/proc/{pid}/smaps").read_bytes().splitlines():
        if b"-" in line.split(b" ")[0]:
            field = b"Rss:" if line.endswith(b".gguf") else b"Pss:"
        elif line.startswith(field):
            total += int(line.split()[1])
    return total / 1024


@pytest.mark.parametrize(
    "strike", [by(signal.SIGKILL), by(signal.SIGSEGV), by(signal.SIGSTOP), starve], ids=["killed", "crashes", "hangs", "starves"]
)
def test_a_runner_that_fails_once_is_started_anew_and_the_answer_is_right(strike: Callable[[int], None]) -> None:
    engine = opened(CLASSIFY, limits=Limits(silent_s=3.0, slower=0.0))
    try:
        expected = engine.scores(TEXTS)
        blow = Blow(engine, strike)
        np.testing.assert_allclose(engine.scores(TEXTS), expected, atol=APART)
        assert blow.hit
        assert strike is starve or engine.pid not in blow.hit
    finally:
        engine.close()


def test_one_that_fails_twice_is_an_error_and_the_third_time_a_loop_for_good() -> None:
    engine = opened(CLASSIFY)
    try:
        blow = Blow(engine, by(signal.SIGSEGV), times=3)
        codes = [caught(lambda: engine.scores(TEXTS)) for _ in range(3)]
        assert codes == ["runner-crashed", "runner-crash-loop", "runner-crash-loop"]
        assert len(blow.hit) == 3
        assert engine.mib() == 0
        assert not any(map(lives, blow.hit))
    finally:
        engine.close()


def test_failures_long_ago_are_no_loop() -> None:
    clock = Jumping()
    engine = opened(CLASSIFY, clock=clock)
    try:
        Blow(engine, by(signal.SIGSEGV), times=2)
        assert caught(lambda: engine.scores(TEXTS)) == "runner-crashed"
        clock.ahead = 601 * 10**9
        Blow(engine, by(signal.SIGSEGV), times=1)
        assert engine.scores(TEXTS).shape == (12, 6)
    finally:
        engine.close()


def test_the_kernel_that_kills_it_for_memory_is_told_from_a_crash() -> None:
    engine = opened(CLASSIFY)
    try:
        Blow(engine, by(signal.SIGKILL), times=2)
        assert caught(lambda: engine.scores(TEXTS)) == "runner-out-of-memory"
    finally:
        engine.close()


def test_a_model_that_there_is_no_memory_for_is_not_the_publishers_fault() -> None:
    code = f"""
import resource, sys
sys.path.insert(0, {str(REPO)!r})
from tests.llamas import APART, CLASSIFY, opened
from edged.errors import EdgedError
resource.setrlimit(resource.RLIMIT_AS, (150 << 20, 150 << 20))
try:
    opened(CLASSIFY).close()
except EdgedError as error:
    print(error.code)
"""
    smollm_path()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    )
    assert done.stdout.split() == ["runner-out-of-memory"], done.stdout + done.stderr


def test_memory_is_what_was_predicted_and_is_given_back() -> None:
    """The prediction of edged/select/text.py, for a processor with AVX2."""
    from edged.models.gguf_costs import costs_of_gguf
    from edged.select.text import Speed, text_mib
    from edged.select.text import TextUse as Used

    costs = costs_of_gguf(smollm_path())
    assert costs.text is not None
    with closing(opened(CLASSIFY)) as engine:
        engine.scores(TEXTS[:8])
        pid = engine.pid
        assert pid is not None
        measured, said = alone_mib(pid), engine.mib()

    rows = 2 * 8 * 14 + 16  # of scores: of eight texts with their labels, computed and kept, and those that are summed up at once
    predicted = text_mib(costs.file_bytes, costs.text, Speed(10, 50, 1, "avx2"), Used(10, 1, engine.context, rows))
    assert 0.7 <= measured / predicted <= 1.1, f"{measured:.0f} MiB, predicted {predicted:.0f}"
    assert 0 < said <= measured + 1
    assert not lives(pid)
    assert engine.mib() == 0
    with pytest.raises(BugError):
        engine.scores(["x"])


def test_a_runner_ends_with_its_parent_also_in_the_middle_of_work() -> None:
    smollm_path()
    code = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from tests.llamas import APART, CLASSIFY, opened
engine = opened(CLASSIFY)
print(engine.pid, flush=True)
engine.scores(["replace bucket tooth"] * 10 + [str(i) for i in range(2000)])
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        until(lambda: cpu_s(pid) > 1, "the runner works")
        parent.kill()
        until(lambda: not lives(pid), "the runner is gone")
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout:
            parent.stdout.close()


def cpu_s(pid: int) -> float:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


LIES = {
    "noise": 'import random; s.sendall(random.Random(1).randbytes(4096))',
    "a frame without end": 's.sendall(b"\\xff\\xff\\xff\\xff")',
    "a frame of something else": 's.sendall(b"\\x01\\x00\\x00\\x00\\xc0")',
    "an answer before it is ready": 'send(wire.Numbers(rows=1, columns=1, data=b"", tokens=1, cut=0))',
    "numbers of another shape": 'send(ready); send(wire.Numbers(rows=9, columns=9, data=b"", tokens=1, cut=0))',
    "words for numbers": 'send(ready); send(wire.Answers(answers=[], tokens=1))',
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_answer_is_garbled(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import socket, sys, time
sys.path.insert(0, {str(REPO)!r})
from edged.engines.llama import wire
s = socket.socket(fileno=int(sys.argv[1]))
channel = wire.Channel(s, wire.requests)
send, ready = channel.send, wire.Ready(values=1, batch=1, context=1, prefix=1)
channel.receive()
{LIES[lie]}
time.sleep(600)
"""
    monkeypatch.setattr(child, "_PROGRAM", ("-c", code))

    def use() -> None:
        client = Client(ORDER, sleep=lambda _: None)
        try:
            client.ask(wire.Score(texts=["x"]), lambda: None, lambda: None)
        finally:
            client.close()

    assert caught(use) in ("runner-garbled", "runner-crash-loop")


def test_a_runner_that_says_nothing_at_its_start_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_PROGRAM", ("-c", "import time; time.sleep(600)"))

    assert caught(lambda: Client(ORDER, Limits(start_silent_s=0.2), sleep=lambda _: None)) == "runner-hung"


@settings(max_examples=60)
@given(data=st.binary(max_size=64), announced=st.none() | st.integers(0, 2**32 - 1))
def test_a_runner_that_is_told_garbage_ends(data: bytes, announced: int | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data if announced is None else struct.pack("<I", announced) + data)
        ours.shutdown(socket.SHUT_WR)
        serve(wire.Channel(theirs, wire.requests), SystemClock())


@settings(max_examples=60)
@given(data=st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_garbled(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(struct.pack("<I", len(data)) + data)
        try:
            assert isinstance(wire.Channel(theirs, wire.replies).receive(1.0), wire.Reply)
        except wire.Garbled:
            pass


def test_a_frame_that_is_too_large_is_not_sent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(wire.Garbled):
        wire.Channel(ours, wire.requests).send(wire.Score(texts=["x" * wire.MOST_BYTES]))


def test_two_engines_decode_in_turn_and_both_get_their_answers() -> None:
    """The token is given back between decodes: the second does not wait for all of the first."""
    first, second = opened(CLASSIFY), opened(CLASSIFY, urgency="safety")
    try:
        expected = second.scores(TEXTS[:2])
        found: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: found.update(first=first.scores([*TEXTS, *(f"pump {i}" for i in range(24))])))
        begun = threading.Event()
        first.progress = begun.set
        thread.start()
        assert begun.wait(PATIENCE_S)
        found["second"] = second.scores(TEXTS[:2])
        waiting = "first" not in found
        thread.join()
        np.testing.assert_allclose(found["second"], expected, atol=APART)
        np.testing.assert_allclose(found["first"][:2], expected, atol=APART)
        assert waiting
    finally:
        first.close()
        second.close()


class Jumping(SystemClock):
    """A clock that can be put ahead."""

    ahead = 0

    def mono(self) -> int:  # type: ignore[override]
        return SystemClock.mono() + self.ahead


def caught(use: Callable[[], object]) -> str:
    with pytest.raises(BoardError) as error:
        use()
    return error.value.code
