"""Recordings of what came in: made from a broker and a pipe, replayed the same each time, hostile ones refused."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.clock import VirtualClock
from edged.errors import OperatorError
from edged.records import Batch
from edged.stream.recording import Recorder, batches, read_header, replay
from tests.broker import Mosquitto
from tests.daemon import Daemon, edged, on_topic, pipeline
from tests.peer import Peer
from tests.recordings import ALL, WINDOWS, label_of, messages, window_message
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

Results = list[dict[str, Any]]


def record(daemon: Daemon, *args: str) -> subprocess.Popen[bytes]:
    """Start `edged record` with a daemon's configuration."""
    command = [sys.executable, "-m", "edged.cli.main", "record", "--config", str(daemon.file), "--out", "in.rec", *args]
    return subprocess.Popen(command, cwd=daemon.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def recording(daemon: Daemon) -> Iterator[None]:
    """Record what comes in meanwhile; Ctrl-C ends it."""
    process = record(daemon)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err


def replayed(daemon: Daemon, recording: str = "in.rec") -> bytes:
    """Replay a recording with a daemon's configuration; give the results as they were written."""
    done = edged("replay", recording, "--config", str(daemon.file), cwd=daemon.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(lines: bytes) -> Results:
    return [json.loads(line) for line in lines.splitlines()]


def without_timing(results: Results) -> Results:
    """Leave out what a replay cannot know: how long it took. Scores may differ in the last digit, where windows were batched."""
    return [
        {**{key: value for key, value in each.items() if key not in ("timing", "output")}, "label": each["output"]["label"]}
        for each in results
    ]


def test_a_recording_from_the_broker_replays_to_the_live_results_and_to_the_same_bytes_each_time(
    broker: Mosquitto, make_daemon: MakeDaemon
) -> None:
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/{person}")), broker.port).start()
    file = daemon.folder / "in.rec"
    # Live and recorded at once: both hear the broker.
    with recording(daemon), Peer(broker.port, daemon.out("har")) as peer:
        until(lambda: said_something(peer, f"{daemon.fleet}/nobody") and lines_of(file) > 1, "the recorder hears its topic")
        for name in ALL:
            peer.publish_all(f"{daemon.fleet}/{name}", messages(name))
        live = peer.results(daemon.out("har"), len(ALL) * WINDOWS)
        until(lambda: recorded_in(file, "walking_02") == 1000, "everything is recorded", lambda: lines_of(file))
    first, second = replayed(daemon), replayed(daemon)
    assert first == second
    again = parsed(first)
    assert without_timing(again) == without_timing(live)
    for mine, theirs in zip(again, live):
        assert mine["output"]["scores"] == pytest.approx(theirs["output"]["scores"], abs=1e-5)
        assert mine["output"]["label"] == label_of(mine["labels"]["person"])


def said_something(peer: Peer, topic: str) -> bool:
    peer.publish(topic, "{}")
    return True


def lines_of(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def recorded_in(file: Path, name: str) -> int:
    """Count the recorded messages of one topic."""
    topics = [json.loads(line).get("topic", "") for line in file.read_bytes().splitlines()[1:] if line.endswith(b"}")]
    return sum(base64.b64decode(topic).endswith(name.encode()) for topic in topics)


def test_a_recording_of_standard_input_ends_with_it_and_replays(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    out, err = record(daemon, "--json").communicate("\n".join(messages("running_01")).encode(), timeout=PATIENCE_S)
    assert json.loads(out) == {"recording": "in.rec", "messages": 1000, "bytes": (daemon.folder / "in.rec").stat().st_size}, err
    first = replayed(daemon)
    assert [each["output"]["label"] for each in parsed(first)] == ["running"] * WINDOWS
    assert replayed(daemon) == first


def test_results_without_event_time_also_replay_to_the_same_bytes(make_daemon: MakeDaemon) -> None:
    decoder = '{ type = "json", channels = ["x", "y", "z"] }'
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', decoder=decoder, outputs='[ { type = "stdout" } ]'))
    record(daemon).communicate("\n".join(messages("running_01")).encode(), timeout=PATIENCE_S)
    first = replayed(daemon)
    assert len(parsed(first)) == WINDOWS
    assert {each["clock"] for each in parsed(first)} == {"arrival"}
    assert replayed(daemon) == first


def test_a_replay_publishes_nothing_and_needs_no_broker(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    outputs = '[ { type = "file", path = "live.jsonl" } ]'
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs=outputs))
    record(daemon).communicate("\n".join(messages("walking_01")).encode(), timeout=PATIENCE_S)
    assert len(parsed(replayed(daemon))) == WINDOWS
    assert not (daemon.folder / "live.jsonl").exists()


def test_a_recording_is_never_overwritten(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    (daemon.folder / "in.rec").write_text("precious")
    process = record(daemon)
    _, err = process.communicate(b"", timeout=PATIENCE_S)
    assert process.returncode == 1
    assert b"exists already" in err
    assert (daemon.folder / "in.rec").read_text() == "precious"


# -- recordings that are not whole, or not ours -----------------------------------------------

HEADER = b'{"edged-recording":1,"started":1795351772000000000,"run":"r"}\n'


def entry(**changes: object) -> bytes:
    keys = {"at": 0, "pipeline": "har", "topic": "c3RkaW4=", "payload": "e30=", **changes}
    return json.dumps(keys).encode() + b"\n"


def test_a_cut_last_line_ends_the_recording(make_daemon: MakeDaemon) -> None:
    """As after a power cut while it was written."""
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    record(daemon).communicate("\n".join(messages("walking_01")[:390]).encode(), timeout=PATIENCE_S)
    whole = (daemon.folder / "in.rec").read_bytes()
    lines = whole.splitlines(keepends=True)
    (daemon.folder / "cut.rec").write_bytes(b"".join(lines[:390]) + lines[390][: len(lines[390]) // 2])
    assert len(parsed(replayed(daemon, "cut.rec"))) == 1  # the reading that completes the second window was in the cut line


HOSTILE = {
    "empty": (b"", "not-a-recording"),
    "binary": (bytes(range(256)) * 100, "not-a-recording"),
    "no-newline": (b"x" * 10_000_000, "not-a-recording"),
    "other-json": (b'{"some": "thing"}\n', "not-a-recording"),
    "newer-version": (HEADER.replace(b'"edged-recording":1', b'"edged-recording":2'), "not-a-recording"),
    "year-of-no-clock": (HEADER.replace(b"1795351772000000000", b"1" + b"0" * 40) + entry(), "not-a-recording"),
    "deep": (HEADER + b"[" * 100_000 + b"\n", "bad-recording"),
    "not-base64": (HEADER + entry(payload="%%%"), "bad-recording"),
    "text-for-a-time": (HEADER + entry(at="soon"), "bad-recording"),
    "time-of-no-year": (HEADER + entry(at=10**40), "bad-recording"),
    "before-its-start": (HEADER + entry(at=-1), "bad-recording"),
    "no-pipeline": (HEADER + b'{"at":0,"topic":"","payload":null}\n', "bad-recording"),
    "endless-line": (HEADER + entry(payload="A" * 8_000_000), "bad-recording"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_recording_is_refused_with_its_place_and_no_traceback(make_daemon: MakeDaemon, case: str) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    data, code = HOSTILE[case]
    (daemon.folder / "in.rec").write_bytes(data)
    refused = edged("replay", "in.rec", "--config", str(daemon.file), cwd=daemon.folder)
    assert refused.returncode == 3, refused.stderr
    assert f"[{code}]".encode() in refused.stderr
    assert b"in.rec" in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_odd_times_replay_without_a_crash(make_daemon: MakeDaemon) -> None:
    """A board's clock may have been anywhere; and somebody may have edited the file."""
    decoder = '{ type = "json", channels = ["x", "y", "z"] }'
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', decoder=decoder, outputs='[ { type = "stdout" } ]'))
    window = base64.b64encode(window_message("walking_01").encode()).decode()
    extremes = [entry(at=at, payload=window) for at in (5, 2**62, 0, 2**62)]
    (daemon.folder / "in.rec").write_bytes(HEADER.replace(b"1795351772000000000", b"%d" % 2**62) + b"".join(extremes))
    assert len(parsed(replayed(daemon))) == 1 + 2 + 2 + 2


texts = st.one_of(st.none(), st.binary(max_size=50))
moments = st.integers(0, 10**12)


@settings(deadline=None)
@given(
    came=st.lists(
        st.tuples(moments, st.sampled_from(["a", "b"]), st.lists(st.tuples(st.binary(max_size=9), texts), min_size=1, max_size=4))
    )
)
def test_what_was_recorded_comes_back(came: list[tuple[int, str, list[tuple[bytes, bytes | None]]]], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "round.rec"
    clock = VirtualClock(1_795_351_772_000_000_000)
    with path.open("wb", buffering=0) as file:
        recorder = Recorder(file, clock, "run")
        for at, name, items in came:
            clock.advance(at + 1)
            batch = Batch([topic for topic, _ in items], [payload for _, payload in items], clock.wall(), clock.mono())
            recorder.deliver_for(name)(batch)
    seen = []
    with path.open("rb") as file:
        again = VirtualClock(0)
        header = read_header(file, path)
        count = replay(file, header, path, again, lambda name, batch: seen.append((again.wall(), name, batch.topics, batch.payloads)))
    assert header.run == "run"
    assert count == recorder.messages == sum(len(items) for _, _, items in came)
    elapsed, expected = 0, []
    for at, name, items in came:
        elapsed += at + 1
        expected.append((1_795_351_772_000_000_000 + elapsed, name, [topic for topic, _ in items], [payload for _, payload in items]))
    assert seen == expected


lines = st.lists(
    st.one_of(st.binary(max_size=60), st.sampled_from([HEADER.strip(), entry().strip(), entry(payload=None).strip()])), max_size=8
)


@settings(deadline=None)
@given(parts=lines)
def test_no_bytes_crash_the_reader(parts: list[bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.rec"
    path.write_bytes(b"\n".join(parts))
    try:
        with path.open("rb") as file:
            header = read_header(file, path)
            for _name, batch in batches(file, header, path):
                assert len(batch.topics) == len(batch.payloads) > 0
    except OperatorError:
        pass


def test_a_full_disk_ends_the_recording_and_what_is_there_replays(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", '{ type = "stdin" }', outputs='[ { type = "stdout" } ]'))
    # A file may not grow beyond this: as a full disk, for whoever is not root.
    limit = f"ulimit -f 64; trap '' XFSZ; exec {sys.executable} -m edged.cli.main record --config {daemon.file} --out in.rec"
    lines = "\n".join(messages("walking_01")).encode()
    full = subprocess.run(["sh", "-c", limit], cwd=daemon.folder, input=lines, capture_output=True, timeout=PATIENCE_S)
    assert full.returncode == 1
    assert b"cannot go on writing in.rec" in full.stderr
    assert (daemon.folder / "in.rec").stat().st_size > 1000
    replayed(daemon)
