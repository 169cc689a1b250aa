"""A release for texts from its folder to results: packed, installed, tried, served; runners that die; what a small board fetches."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edged.board.inforce import board_of
from edged.clock import SystemClock
from edged.engines.choose import open_engine
from edged.models.manifest import load_release
from edged.models.packed import PACKED, parse_packed
from edged.models.store import Store
from edged.packing.pack import pack
from edged.packing.use import text_use
from edged.select.measured import Measurements
from edged.service.ports import LonePorts
from edged.service.selection import Selection
from tests.broker import Mosquitto
from tests.daemon import Daemon, edged, on_topic, pipeline
from tests.peer import Peer
from tests.rollouts import until_state
from tests.sites import DEVICE, QUICK, Site, fleet_section, until_update
from tests.smollm import needs_llama, smollm_path
from tests.test_trial import processes
from tests.texts import CASCADE, LABELS, LANGUAGE_MODEL, MANIFEST, TEXTS, head_file, write_release
from tests.waiting import until

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeBroker, MakeDaemon

pytest_plugins = ["tests.fixtures"]

OF_TEXTS = '{ type = "text" }'
PATIENT = "deadline_ms = 60000"
HEAD = """[[variants]]
name = "head"
engine = "llama"
file = "model.gguf"
head = "head.npz"
quality = 0.93
golden = { file = "golden-head.npz", atol = 0.01 }
"""
BEST = LANGUAGE_MODEL.replace("0.8", "0.95")


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a packed release with three variants: words, a head on SmolLM2's embeddings, and its scores of the label texts."""
    needs_llama()
    model = smollm_path()
    golden = 'golden = { file = "golden-labels.npz", atol = 0.01 }\n'
    folder = write_release(tmp_path_factory.mktemp("orders") / "r", MANIFEST + HEAD + BEST + golden)
    shutil.copyfile(model, folder / "model.gguf")
    head_file(folder / "head.npz", LABELS, model, width=576)
    for name in ("head", "labels"):
        np.savez(folder / f"golden-{name}.npz", texts=np.array(TEXTS[:2]), outputs=np.zeros((2, 3)))
    release = load_release(folder)
    for name in ("head", "labels"):
        variant = release.variant(name)
        engine = open_engine(release.path_of(variant), "llama", text=text_use(release, variant))
        np.savez(folder / f"golden-{name}.npz", texts=np.array(TEXTS[:2]), outputs=engine.scores(TEXTS[:2]))
        engine.close()
    report = pack(folder, lambda text: None)
    assert {ran.variant for ran in report.ran} == {"words", "head", "labels"}
    return folder


def runners(daemon: Daemon) -> list[int]:
    """Give the processes that a daemon runs models in."""
    assert daemon.process is not None
    children = [pid for pid, parent, _ in processes() if parent == daemon.process.pid]
    return [pid for pid in children if b"edged.engines.llama.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_release_with_three_variants_is_installed_tried_and_serves(
    orders: Path, make_broker: MakeBroker, make_daemon: MakeDaemon
) -> None:
    broker = make_broker().start()
    stored = pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, more=PATIENT)
    daemon = make_daemon(re.sub("model_dir = .*", 'model = "orders"', stored), broker.port).start()
    with Peer(broker.port, daemon.out("orders")) as peer:
        done = edged("models", "install", str(orders), "--windows", "2", "--seconds", "0", "--config", str(daemon.file), cwd=daemon.folder)
        assert done.returncode == 0, done.stderr.decode()
        for text in TEXTS:
            peer.publish(f"{daemon.fleet}/order", text)
        results = peer.results(daemon.out("orders"), len(TEXTS))
    until_state(daemon, "committed", 1, "orders")
    assert {each["model"]["variant"] for each in results} == {"labels"}
    assert all(sum(each["output"]["scores"].values()) == pytest.approx(1, abs=0.01) for each in results)
    status = daemon.status()
    (runner,) = runners(daemon)
    assert status["memory"]["pss_mib"] > 100, "the process of the model counts"
    shown = edged("models", "show", "orders", "--json", "--config", str(daemon.file), cwd=daemon.folder)
    trial = json.loads(shown.stdout)["trial"]
    assert (trial["variant"], trial["goldens"]) == ("labels", 2)
    assert 0.5 < trial["pss_ratio"] < 1.3
    shown = edged("models", "show", "orders", "--config", str(daemon.file), cwd=daemon.folder)
    assert "asked as" in shown.stdout.decode()
    why = json.loads(edged("why", "--json", "--config", str(daemon.file), cwd=daemon.folder).stdout)
    rows = {row["variant"]: row for row in why["rows"]}
    assert rows.keys() == {"labels", "head", "words"}
    assert rows["labels"]["measured_mib"] == pytest.approx(rows["labels"]["predicted_mib"], rel=0.5)
    assert daemon.stop() == 0
    assert not Path(f"/proc/{runner}").exists()


@pytest.mark.parametrize(("budget_mib", "fetched"), [(120, ["words"]), (400, ["labels", "words"])])
def test_a_small_board_never_fetches_the_large_file(orders: Path, tmp_path: Path, budget_mib: int, fetched: list[str]) -> None:
    packed, release = parse_packed((orders / PACKED).read_bytes(), PACKED), load_release(orders)
    selection = Selection(board_of("raspberry-pi-4b-1gb"), budget_mib, Measurements(tmp_path))
    assert LonePorts(Store(tmp_path), SystemClock(), selection).fitting(release, packed) == fetched


def test_a_runner_that_dies_again_and_again_is_put_aside_and_the_next_variant_serves(
    make_broker: MakeBroker, make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    needs_llama()
    broker = make_broker().start()
    folder = write_release(tmp_path / "r", MANIFEST + BEST)
    daemon = make_daemon(pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, model=folder, more=PATIENT), broker.port).start()
    assert daemon.pipeline("orders")["variant"] == "labels"
    with Peer(broker.port, daemon.out("orders"), daemon.topic("evt/variant")) as peer:
        for answered in range(1, 3):
            for pid in until(lambda: runners(daemon), "a runner is there"):
                os.kill(pid, signal.SIGKILL)
            peer.publish(f"{daemon.fleet}/order", TEXTS[0])
            assert len(peer.results(daemon.out("orders"), answered)) == answered, "a new one answers"
        for pid in until(lambda: runners(daemon), "a runner is there"):
            os.kill(pid, signal.SIGKILL)
        peer.publish(f"{daemon.fleet}/order", TEXTS[0])
        told = json.loads(peer.wait(daemon.topic("evt/variant"))[0].payload)
        assert (told["from"], told["to"], told["cause"]) == ("labels", "words", "crash-loop")
        peer.publish(f"{daemon.fleet}/order", TEXTS[0])
        last = peer.results(daemon.out("orders"), 3)[-1]
    assert (last["model"]["variant"], last["output"]["label"]) == ("words", "Bucket")
    status = daemon.until(lambda each: any(entry["code"] == "variant-crashes" for entry in each["health"]), "the condition is set")
    (condition,) = (entry for entry in status["health"] if entry["code"] == "variant-crashes")
    assert condition["subject"] == "orders/labels"
    assert "runner-crash-loop" in condition["text"]
    why = json.loads(edged("why", "--json", "--config", str(daemon.file), cwd=daemon.folder).stdout)
    assert next(row["reason"] for row in why["rows"] if row["variant"] == "labels").startswith("load: ")
    assert not runners(daemon)


def test_where_no_variant_is_left_the_pipeline_says_so(make_broker: MakeBroker, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    needs_llama()
    broker = make_broker().start()
    alone = MANIFEST[: MANIFEST.index("[[variants]]")] + BEST
    folder = write_release(tmp_path / "r", alone)
    daemon = make_daemon(pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, model=folder, more=PATIENT), broker.port).start()
    with Peer(broker.port, daemon.topic("evt/variant")) as peer:

        def crashed_too_often() -> int:
            for pid in runners(daemon):
                os.kill(pid, signal.SIGKILL)
            peer.publish(f"{daemon.fleet}/order", TEXTS[0])
            daemon.until(lambda each: each["pipelines"][0]["queue"] == 0, "it is worked off")
            return _lost(daemon)

        until(crashed_too_often, "no new runner any more")
        told = json.loads(peer.wait(daemon.topic("evt/variant"))[0].payload)
    assert (told["from"], told["to"], told["code"]) == ("labels", "labels", "does-not-fit")
    assert _lost(daemon) >= 1
    health = {entry["code"] for entry in daemon.status()["health"]}
    assert {"variant-crashes", "pipeline-error"} <= health


def _lost(daemon: Daemon) -> int:
    """Count the texts that a crash loop cost."""
    return int(daemon.pipeline("orders")["dropped"].get("runner-crash-loop", 0))


def test_a_push_of_a_release_for_texts_and_its_update_come_into_service(broker: Mosquitto, make_daemon: MakeDaemon, tmp_path: Path) -> None:
    """By TUF and pieces over the broker, as every release: a cascade of words and a language model, then one that thinks again."""
    needs_llama()
    site = Site(tmp_path, make_daemon, broker.port)
    try:
        text = pipeline("orders", on_topic("$FLEET/order"), decoder=OF_TEXTS, more=PATIENT)
        section = fleet_section(site.fleet, "line-3") + re.sub("model_dir = .*", 'model = "orders"', text)
        board = site.board(section=section).start()
        with Peer(site.port, board.out("orders")) as peer:
            for number in (1, 2):
                folder = write_release(tmp_path / str(number), (MANIFEST + BEST + CASCADE).replace("release = 1", f"release = {number}"))
                pack(folder, lambda text: None)
                site.fleet.add(folder)
                site.fleet.assign(DEVICE, {"orders": number}, **QUICK)
                if number == 1:
                    site.server.start()
                until_update(board, number, "confirm", "committed", model="orders")
                before = len(peer.on(board.out("orders")))
                for each in TEXTS:
                    peer.publish(f"{board.fleet}/order", each)
                results = peer.results(board.out("orders"), before + len(TEXTS))[before:]
                until_update(board, number, "committed", model="orders")
                assert {each["model"]["release"] for each in results} == {number}
        paths = [each["output"]["path"] for each in results]
        assert paths[0] == ["words"]
        assert paths[-1] == ["words", "labels"], "words know nothing of it"
    finally:
        site.close()
