"""Texts with a real language model: an alarm becomes a sentence, sensors do not wait for it, and a stop ends it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edged.engines.choose import open_engine
from edged.engines.llama.token import BandwidthToken
from edged.errors import Cancelled
from edged.models.manifest import load_release
from edged.stream.loading import Usage, load_best
from tests.broker import Mosquitto
from tests.daemon import HAR, on_topic, pipeline
from tests.peer import Peer
from tests.recordings import START_MS, window_message
from tests.releases import changed
from tests.smollm import needs_llama, smollm_path
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

NOTE = """name = "note"
version = "1"
release = 1
task = "generate"
[input]
kind = "text"
chat = true
system = "You write one short sentence for the operator of a machine."
template = "{text}"
render = "Sensor of {labels.person} reports `{output.label}` with score {output.score}. What should be looked at?"
[output]
max_tokens = 16
[[variants]]
name = "smollm"
engine = "llama"
file = "model.gguf"
"""
LONG = NOTE.replace("max_tokens = 16", "max_tokens = 4000").replace("render = ", "# ")
ALARM = ('activation = "none"', 'activation = "none"\nalarm = { label = "running", on = 0.9, off = 0.7 }')


def release_of(folder: Path, manifest: str) -> Path:
    """Write a release of the tests' language model; the file itself is not copied."""
    needs_llama()
    model = smollm_path()
    folder.mkdir()
    try:
        os.link(model, folder / "model.gguf")
    except OSError:  # another file system
        shutil.copy(model, folder / "model.gguf")
    (folder / "model.toml").write_text(manifest)
    return folder


def test_an_alarm_of_sensors_becomes_a_sentence_for_the_operator(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    sensors = changed(HAR, tmp_path / "har", ALARM, ("hop = 130", "hop = 260"))
    note = release_of(tmp_path / "note", NOTE)
    config = pipeline("har", on_topic("$FLEET/{person}"), model=sensors)
    source = '{ type = "pipeline", name = "har", when = "alarm" }'
    config += pipeline("note", source, decoder='{ type = "text" }', model=note, more="deadline_ms = 600000")
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        for i, name in enumerate(("walking_01", "running_01")):
            peer.publish(f"{daemon.fleet}/ann", window_message(name, START_MS + 10_000 * i))
        (result,) = peer.results(daemon.out("note"))
        assert len(peer.results(daemon.out("har"), 2)) == 2
    assert result["labels"] == {"person": "ann"}
    assert result["model"]["engine"] == "llama"
    assert len(result["output"]["text"].split()) >= 3
    assert result["output"].get("truncated", "max_tokens") == "max_tokens"
    assert daemon.pipeline("note")["last_result"]["text"]
    assert daemon.stop() == 0


def test_sensors_do_not_wait_for_a_text_and_a_stop_ends_it(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    note = release_of(tmp_path / "note", LONG)
    config = pipeline("har", on_topic("$FLEET/in"))
    config += pipeline("note", on_topic("$FLEET/text"), decoder='{ type = "text" }', model=note, more="deadline_ms = 600000")
    daemon = make_daemon(config, broker.port).start()
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        peer.publish(f"{daemon.fleet}/text", "Tell a very long story of a pump.")
        until(lambda: daemon.pipeline("note")["messages"], "the text is worked on")
        peer.publish(f"{daemon.fleet}/in", window_message("running_01"))
        peer.results(daemon.out("har"))
        assert peer.on(daemon.out("note")) == []
        assert daemon.pipeline("note")["state"] == "running"
        assert daemon.stop() == 0  # and nothing that it started is left
    assert daemon.logged("stopped-with-work-left") == []
    assert daemon.logged("stopped")


def test_a_text_that_was_given_up_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    release = load_release(release_of(tmp_path / "note", LONG.replace("4000", "200")))
    inference, _ = load_best(release, open_engine, usage=Usage(deadline_ms=600_000))

    def give_up() -> None:
        raise Cancelled

    inference.watch(give_up, lambda error: None)
    with pytest.raises(Cancelled):
        inference.scores(np.array(["Tell a very long story of a pump."], object), np.zeros(1, np.intp))
    calls: list[int] = []
    inference.watch(lambda: calls.append(1), lambda error: None)
    (written,) = inference.scores(np.array(["Tell it again."], object), np.zeros(1, np.intp))
    inference.close()
    assert written.text
    assert calls


# -- waiting for another model ----------------------------------------------------------------


def test_who_waits_for_the_token_is_told_so_and_may_give_up() -> None:
    token = BandwidthToken()
    token.acquire("normal", lambda: None)
    calls: list[int] = []

    def third_time() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        token.acquire("background", lambda: None, waiting=third_time)
    token.release()
    assert token.acquire("background", lambda: None, 0.0)


def test_a_token_that_comes_while_its_waiter_gives_up_is_passed_on() -> None:
    token = BandwidthToken()
    token.acquire("normal", lambda: None)

    def too_late() -> None:
        token.release()  # it comes to this waiter
        raise Cancelled

    with pytest.raises(Cancelled):
        token.acquire("normal", lambda: None, waiting=too_late)
    assert token.acquire("normal", lambda: None, 0.0)


def test_waiters_of_any_number_all_come_to_their_turn() -> None:
    token, held, most = BandwidthToken(), [0], [0]

    def work() -> None:
        for _ in range(50):
            token.acquire("normal", lambda: None, waiting=lambda: None)
            held[0] += 1
            most[0] = max(most[0], held[0])
            held[0] -= 1
            token.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1]
