"""The demo of texts: its orders, what it makes of results, the person who answers, and the whole of it as a user starts it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.clock import MS, SystemClock
from edged.config.load import load_config
from edged.demo import settings, text_release, text_settings
from edged.demo.text_orders import FOLDER, WorkOrder, load_orders
from edged.demo.text_person import Person
from edged.demo.text_tally import OrderBoard, Question
from edged.errors import BoardError
from edged.fitting.split import same_words
from edged.models.manifest import load_release
from tests.smollm import needs_llama, smollm_path
from tests.test_demo import Running, read_until
from tests.waiting import PATIENCE_S, until

ORDERS = [WorkOrder("bucket teeth worn", "Bucket"), WorkOrder("low power", "Engine"), WorkOrder("oil leak", "Hydraulic System")]


# -- orders and releases


def test_nothing_that_is_shown_was_fitted_on() -> None:
    """Not even in capitals. The releases name the file that they were made of."""
    shown, known = load_orders(), load_orders(FOLDER / "known.csv")
    assert len(shown) + len(known) == 1015
    assert {same_words(order.text) for order in shown} & {same_words(order.text) for order in known} == set()
    manifest = load_release(text_release.WORDS).manifest
    assert manifest.provenance["fit"]["data"] == "known.csv"
    assert manifest.cascade is not None
    assert manifest.cascade.fitted["data"] == "thresholds.csv"


def test_both_releases_know_the_labels_of_the_orders() -> None:
    labels = {order.system for order in load_orders()}
    for folder in (text_release.WORDS, text_release.WITH_HEAD):
        assert f"labels = {json.dumps(sorted(labels))}" in (folder / "model.toml").read_text(encoding="utf-8")


def test_the_language_model_is_asked_after_words() -> None:
    manifests = [(folder / "model.toml").read_text(encoding="utf-8") for folder in (text_release.WORDS, text_release.WITH_HEAD)]
    assert [re.findall(r'use = "(\w+)"', text) for text in manifests] == [["words"], ["words", "head"]]


def test_without_a_language_model_there_are_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_release, "language_model", lambda: None)
    chosen = text_release.choose_release({"XDG_STATE_HOME": str(tmp_path)})
    assert (chosen.folder, chosen.stages) == (text_release.WORDS, ("words",))
    assert chosen.lacks
    assert chosen.mend == text_release.INSTALL
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_lacks_a_library_of_the_system_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the package xllamacpp: pip install 'edged[text]'")

    def lacking(runtime: str) -> None:
        raise BoardError("engine-missing", f"{runtime} does not load: libgomp.so.1", "apt-get install libgomp1")

    monkeypatch.setattr(text_release, "language_model", lambda: tmp_path / "model.gguf")
    monkeypatch.setattr(text_release, "open_library", lacking)
    chosen = text_release.choose_release({"XDG_STATE_HOME": str(tmp_path)})
    assert (chosen.stages, chosen.lacks, chosen.mend) == (
        ("words",),
        "xllamacpp does not load: libgomp.so.1",
        "apt-get install libgomp1",
    )


def test_with_a_language_model_one_folder_has_all_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp", reason="needs the package xllamacpp: pip install 'edged[text]'")
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    monkeypatch.setattr(text_release, "language_model", lambda: model)
    for _ in range(2):  # also where it has been made before
        chosen = text_release.choose_release({"XDG_STATE_HOME": str(tmp_path)})
    assert chosen.stages == ("words", "head")
    assert not chosen.lacks
    assert (chosen.folder / text_release.GGUF).read_bytes() == b"GGUF"
    release = load_release(chosen.folder)
    assert [variant.name for variant in release.here] == ["words", "head"]


def test_the_configuration_has_no_faults(tmp_path: Path) -> None:
    path = settings.keep({"XDG_STATE_HOME": str(tmp_path)}, "orders", text_settings.orders_text(text_release.WORDS))
    loaded = load_config(path, {})
    assert loaded.config.pipelines[0].escalate is not None
    assert loaded.config.mqtt["main"].url == "embedded"


# -- the board


def result(number: int = 0, label: str = "Bucket", band: str = "accept", path: tuple[str, ...] = ("words",), answers: str = "") -> bytes:
    output = {"label": label, "score": 0.9, "scores": {label: 0.9}, "path": path, "band": band}
    return json.dumps({"labels": {"order": str(number)}, "output": {**output, **({"answers": answers} if answers else {})}}).encode()


def test_what_is_accepted_is_counted_by_the_stage_that_was_sure() -> None:
    board = OrderBoard(ORDERS)
    board.take(result(0), 0)
    board.take(result(1, "Bucket", path=("words", "head")), 0)
    total = board.total()
    assert (total.accepted.right, total.accepted.of, total.questions) == (1, 2, 0)
    assert {name: (each.asked, each.sure.right, each.sure.of) for name, each in total.stages.items()} == {
        "words": (2, 1, 1),
        "head": (1, 0, 1),
    }


def test_an_answer_is_the_last_word_and_no_guess() -> None:
    board = OrderBoard(ORDERS)
    board.take(result(1, "Bucket", "escalate"), 0)
    assert (board.total().questions, board.total().known.of) == (1, 0)
    board.take(result(1, "Engine", "accept", ("words", "answer"), answers="k3v"), 0)
    total = board.total()
    assert (total.answered, total.known.right, total.known.of) == (1, 1, 1)
    assert (total.guesses.right, total.guesses.of, total.accepted.of) == (0, 1, 0)
    assert board.fates[1].path == ("words", "person")


def test_what_nobody_was_asked_about_is_not_known() -> None:
    board = OrderBoard(ORDERS)
    board.take(result(0, band="abstain"), 0)
    assert (board.total().questions, board.total().known.of, board.total().guesses.of) == (0, 0, 1)


def test_latency_is_from_an_order_to_its_first_result() -> None:
    board = OrderBoard(ORDERS)
    board.note_sent(0, 10 * MS)
    board.take(result(band="escalate"), 14 * MS)
    board.take(result(answers="k3v"), 5000 * MS)
    assert board.total().latency.count() == 1
    assert board.total().latency.percentile(0.5) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", result(3), result(-1), b'{"labels":{"order":"x"},"output":{}}', result()[:-3]])
def test_what_is_not_a_result_of_ours_is_passed_over(payload: bytes) -> None:
    board = OrderBoard(ORDERS)
    board.take(payload, 0)
    assert board.total().results == 0


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_break_the_board(payload: bytes, place: int, byte: int) -> None:
    board = OrderBoard(ORDERS)
    board.take(payload, 0)
    whole = bytearray(result())
    whole[place % len(whole)] = byte
    board.take(bytes(whole), 0)


def test_a_question_is_known_by_its_order() -> None:
    board = OrderBoard(ORDERS)
    assert board.truth_of(Question("k3v", {"order": "1"})) == "Engine"
    with pytest.raises(LookupError):
        board.truth_of(Question("k3v", {"order": "-1"}))


# -- the person


def test_the_person_answers_every_second_question() -> None:
    answers: list[bytes] = []
    person = Person(0.0, SystemClock(), answers.append)
    person.start()
    for number in range(5):
        person.ask(b"%d" % number)
    until(lambda: len(answers) == 2, "two answers")
    person.stop()
    assert (answers, person.takes) == ([b"1", b"3"], 2)


def test_a_person_who_thinks_does_not_hold_up_the_end() -> None:
    answers: list[bytes] = []
    person = Person(3600.0, SystemClock(), answers.append)
    person.start()
    person.ask(b"1")
    person.ask(b"2")
    person.stop()
    assert answers == []


# -- all of it, as a user starts it

pytest.importorskip("iotcore", reason="needs the embedded broker: pip install 'edged[demo]'")
AS_ALWAYS = ("-m", "edged.cli.main", "demo", "text")
WORDS_ALONE = (
    "-c",
    "import sys, edged.demo.text_release as release; release.language_model = lambda: None\n"
    "from edged.cli.main import main; sys.exit(main(['demo', 'text', *sys.argv[1:]]))",
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a short path: a socket's path has at most 107 bytes."""
    return tmp_path_factory.mktemp("t")


def test_words_and_a_person_sort_all_orders(folder: Path) -> None:
    demo = Running(folder, "--speed", "20", "--json", program=WORDS_ALONE)
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    assert "the language model is not installed" in err
    summary = json.loads(out)
    assert summary["results"] == summary["orders"] == 316
    assert (summary["stages"], [*summary["by_stage"]]) == (["words"], ["words"])
    check_shares(summary)
    assert summary["answered"] == summary["questions"] // 2 > 0
    assert demo.leftovers() == []


def test_a_language_model_is_asked_what_words_are_not_sure_of(folder: Path) -> None:
    smollm_path()
    needs_llama()
    demo = Running(folder, "--seconds", "4", "--speed", "5", "--json", program=AS_ALWAYS)
    out, err = demo.end()
    assert demo.process.returncode == 0, err
    summary = json.loads(out)
    assert summary["results"] == summary["orders"] > 50, summary
    assert (summary["stages"], [*summary["by_stage"]]) == (["words", "head"], ["words", "head"])
    check_shares(summary)
    assert summary["by_stage"]["head"]["asked"] == summary["questions"] + summary["by_stage"]["head"]["accepted"]["of"]
    assert summary["language_model_pss_mib"] > 100
    assert demo.leftovers() == []


def check_shares(summary: dict[str, Any]) -> None:
    """What is accepted is right more often than what is guessed, and far more often than the most frequent label."""
    orders, guesses, accepted, known, frequent = (summary[key] for key in ("orders", "guesses", "accepted", "known", "most_frequent"))
    assert guesses["of"] == frequent["of"] == orders
    assert summary["questions"] == orders - accepted["of"]
    assert known["of"] == accepted["of"] + summary["answered"]
    assert known["right"] == accepted["right"] + summary["answered"]
    assert frequent["right"] / orders < 0.6 < 0.8 < guesses["right"] / orders < accepted["right"] / accepted["of"]
    assert accepted["right"] / accepted["of"] >= 0.97


def test_on_a_terminal_orders_come_and_q_ends_it(folder: Path) -> None:
    master, slave = pty.openpty()
    demo = Running(folder, "--speed", "10", terminal=slave, program=WORDS_ALONE)
    os.close(slave)
    read_until(master, "→ asks")
    os.write(master, b"q")
    rest = read_until(master, "run --config")
    demo.process.wait(PATIENCE_S)
    os.close(master)
    assert demo.process.returncode == 0
    assert "none lost" in rest
    assert demo.leftovers() == []


def test_sensors_are_for_the_other_demo() -> None:
    done = subprocess.run([sys.executable, *AS_ALWAYS, "--sensors", "3"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "--sensors is for the demo of sensors" in done.stderr
