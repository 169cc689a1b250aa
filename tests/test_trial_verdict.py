"""From what a trial's child said and how it ended to a report or an error: every row of the table, and which goes before which."""

from __future__ import annotations

import signal

import msgspec
import pytest

from edged.errors import BoardError, BugError, EdgedError, PublisherError
from edged.fleet.trial_words import At, Confined, Done, Failed, Limits, Measured, PassedOver, Predicted, TrialRequest
from edged.fleet.verdict import End, Ended, Said, judge, runtime_to_blame

LIMITS = Limits(memory_mib=64, cpu_s=10, wall_s=30.0)
DONE = Done("int8", "litert 2", load_ms=5.0, pss_mib=12.0, p50_ms=2.0, p95_ms=4.0, windows=400, goldens=15)
AT = At("loading int8", "litert")
OPENING = At("opening int8", "litert", portable=True)
CONFINED = Confined(["seccomp"], ["landlock: not implemented"], 1000)
FAILED = Failed("publisher", "golden-differs", "int8 differs", "mend it")


def request(**more: object) -> TrialRequest:
    return TrialRequest(name="pump", release=7, manifest="", files={}, variants=["int8"], **more)  # type: ignore[arg-type]


def said(*words: object) -> Said:
    heard = Said()
    for word in words:
        heard.hear(msgspec.json.encode(word))
    return heard


ROWS: list[tuple[str, Said, Ended, type[EdgedError], str, str]] = [
    ("the wall", said(AT, CONFINED), Ended(End.WALL, -9), PublisherError, "trial-hung", "30 s while loading int8"),
    ("a busy board", said(AT), Ended(End.WALL, -9, waited_s=16.0), BoardError, "trial-starved", "waited 16 of 30 s"),
    ("a busy board's loop", said(AT), Ended(End.WALL, -9, waited_s=14.0), PublisherError, "trial-hung", "30 s"),
    ("the wall before a word", said(), Ended(End.WALL, -9), PublisherError, "trial-hung", "30 s"),
    ("the wall after success", said(AT, CONFINED, DONE), Ended(End.WALL, -9), PublisherError, "trial-hung", "30 s"),
    ("memory", said(AT, CONFINED), Ended(End.MEMORY, -9), PublisherError, "trial-memory", "64 MiB while loading"),
    ("one piece of memory", said(AT, CONFINED), Ended(End.ITSELF, -signal.SIGSYS), PublisherError, "trial-memory", "one piece"),
    ("the kernel", said(AT, CONFINED), Ended(End.ITSELF, -9), BoardError, "trial-memory", "kernel"),
    ("the processor", said(AT, CONFINED), Ended(End.ITSELF, -signal.SIGXCPU), PublisherError, "trial-cpu", "10 s of processor"),
    ("nonsense", said(AT, CONFINED), Ended(End.NOISE, -9), PublisherError, "trial-crashed", "nonsense"),
    ("a crash", said(AT, CONFINED), Ended(End.ITSELF, -11), PublisherError, "trial-crashed", "SIGSEGV while loading int8"),
    ("a crash after success", said(AT, CONFINED, DONE), Ended(End.ITSELF, -6), PublisherError, "trial-crashed", "SIGABRT"),
    ("a nameless signal", said(AT, CONFINED), Ended(End.ITSELF, -40), PublisherError, "trial-crashed", "signal 40"),
    ("a runtime that dies", said(OPENING), Ended(End.ITSELF, -4), BoardError, "engine-missing", "litert crashes here with SIGILL"),
    ("no start", said(), Ended(End.ITSELF, 1, "Traceback\nImportError: no numpy\n"), BoardError, "trial-no-start", "no numpy"),
    ("no start by a signal", said(), Ended(End.ITSELF, -11), BoardError, "trial-no-start", "SIGSEGV"),
    ("no words", said(AT, CONFINED), Ended(End.ITSELF, 0), PublisherError, "trial-crashed", "exit code 0"),
    ("last words", said(AT, CONFINED), Ended(End.ITSELF, 3, "oh\nno\n"), PublisherError, "trial-crashed", "code 3 while loading int8: no"),
    ("a refusal", said(AT, CONFINED, FAILED), Ended(End.ITSELF, 0), PublisherError, "golden-differs", "pump 7: int8 differs"),
    ("a refusal by the board", said(Failed("board", "engine-missing", "x")), Ended(End.ITSELF, 0), BoardError, "engine-missing", "x"),
    ("an unknown family", said(AT, Failed("kings", "new-code", "x")), Ended(End.ITSELF, 0), BugError, "new-code", "x"),
    ("a refusal and success", said(AT, DONE, FAILED), Ended(End.ITSELF, 0), PublisherError, "golden-differs", "int8"),
    ("too slow", said(AT, CONFINED, DONE), Ended(End.ITSELF, 0), PublisherError, "too-slow", "takes 4 ms a window (p95)"),
]  # fmt: skip


@pytest.mark.parametrize(("heard", "ended", "family", "code", "text"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_row_of_the_table(heard: Said, ended: Ended, family: type[EdgedError], code: str, text: str) -> None:
    with pytest.raises(EdgedError) as caught:
        judge(request(deadline_ms=3.9), LIMITS, heard, ended)
    assert (type(caught.value), caught.value.code) == (family, code)
    assert text in caught.value.text


def test_success_gives_a_report_with_ratios() -> None:
    heard = said(AT, CONFINED, PassedOver("fp16", "model-not-loadable", "torn"), DONE)
    wanted = request(deadline_ms=4.0, predicted={"int8": Predicted(ms=4.0, mib=10.0)}, running=Measured(1.0, 2.0, 50))
    report = judge(wanted, LIMITS, heard, Ended(End.ITSELF, 0))
    assert (report.variant, report.p95_ms, report.goldens) == ("int8", 4.0, 15)
    assert (report.pss_ratio, report.predicted_ratio, report.p50_ratio) == (1.2, 0.5, 2.0)
    assert report.not_confined == ["landlock: not implemented"]
    assert report.passed_over == {"fp16": "model-not-loadable: torn"}
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_without_a_deadline_nothing_is_too_slow() -> None:
    assert judge(request(), LIMITS, said(AT, CONFINED, DONE), Ended(End.ITSELF, 0)).deadline_ms is None


def test_only_a_runtime_that_dies_by_itself_over_an_opening_is_to_blame() -> None:
    crash = Ended(End.ITSELF, -11)
    assert runtime_to_blame(said(OPENING), crash) == "litert"
    assert runtime_to_blame(said(OPENING, AT), crash) == ""
    assert runtime_to_blame(said(OPENING), Ended(End.WALL, -9)) == ""
    assert runtime_to_blame(said(OPENING), Ended(End.ITSELF, 1)) == ""
    assert runtime_to_blame(said(), crash) == ""


def test_what_the_child_says_cannot_steer_a_terminal() -> None:
    heard = said(AT, CONFINED, Failed("publisher", "golden-differs", "\x1b[2Jwiped\n" + "x" * 3000))
    with pytest.raises(PublisherError) as caught:
        judge(request(), LIMITS, heard, Ended(End.ITSELF, 0))
    assert caught.value.text.isprintable()
    assert len(caught.value.text) < 500


@pytest.mark.parametrize(
    "line",
    [
        b"", b"null", b"{}", b'{"type":"King"}', b'{"type":"At"}', b'{"type":"At","stage":7}', b"\xff", b"[" * 2000,
        b'{"type":"Failed","family":"x","code":"No Code","text":""}', b'{"type":"Done","variant":"a"}',
        b'{"type":"Failed","family":"x","code":"a\\n","text":""}', b'{"type":"At","stage":"' + b"x" * 5000 + b'"}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_word_is_refused(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        Said().hear(line)


def test_the_base_of_memory_is_told_once() -> None:
    heard = said(CONFINED, Confined([], [], 1 << 40))
    assert heard.confined is not None
    assert heard.confined.anon_kib == 1000
