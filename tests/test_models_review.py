"""Releases met from the outside: what publishers claim, what attackers hand over, what people type and read."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from edged.cli.models import following
from edged.cli.models.board import Asked
from edged.cli.models.telling import Telling
from edged.clock import SystemClock
from edged.config import schema
from edged.errors import BoardError, EdgedError, OperatorError, PeerError, PublisherError
from edged.fleet.agent import Agent
from edged.fleet.job import Job
from edged.fleet.job import Progress as JobProgress
from edged.fleet.requests import failed_before
from edged.fleet.trial_words import At, Failed, Limits, TrialRequest
from edged.fleet.verdict import End, Ended, Said, judge
from edged.models.book import Book
from edged.models.entries import Failure, Held, Moved, Refusal
from edged.models.manifest import load_release
from edged.models.packed import PACKED, parse_packed
from edged.models.source import FilesSource
from edged.models.store import Store, Stored
from edged.select.terms import Option
from edged.service import stock, trials, update_ops
from edged.service.ports import LonePorts
from edged.service.request import Request
from edged.service.selection import selection_of
from edged.service.update_status import update_status
from edged.stream.channels import check_channels
from edged.trial import body
from tests.conftest import REPO
from tests.daemon import HAR
from tests.rollouts import numbered
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give the release.json of a packed release."""
    return (numbered(tmp_path_factory.mktemp("releases") / "1", 1) / PACKED).read_bytes()


# What a publisher claims.


@pytest.mark.parametrize("key", ["arena_bytes", "weight_bytes", "file_bytes", "macs_total", "elementwise"])
@pytest.mark.parametrize("value", ["-1", "1" + 400 * "0", "18446744073709551615", "NaN", "1e999", '"1"', "null"])
def test_costs_that_no_graph_has_are_malformed(sound: bytes, key: str, value: str) -> None:
    forged = re.sub(rf'"{key}":\d+', f'"{key}":{value}', sound.decode()).encode()
    assert forged != sound
    with pytest.raises(PublisherError) as caught:
        parse_packed(forged, "release.json")
    assert caught.value.code == "packed-malformed"


@pytest.mark.parametrize("value", ["-1", "1" + 400 * "0", "18446744073709551615", "18446744073709551616"])
@pytest.mark.parametrize(("old", "new"), [('"dense":', '"dense":{},"denser":'), ('"operators":{', '"operators":{{"A":{},')])
def test_numbers_beside_those_that_are_known_do_no_harm_either(sound: bytes, old: str, new: str, value: str) -> None:
    forged = sound.decode().replace(old, new.format(value), 1).encode()
    with pytest.raises(PublisherError) as caught:
        parse_packed(forged, "release.json")
    assert caught.value.code == "packed-malformed"


def test_a_trial_gets_no_more_memory_than_the_board_can_spare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []

    def run(request: TrialRequest, limits: Limits, *_: object) -> NoReturn:
        given.append(limits.memory_mib)
        raise PublisherError("trial-memory", f"it took more than {limits.memory_mib} MiB")

    monkeypatch.setattr(trials, "run_trial", run)
    folder = numbered(tmp_path / "1", 1)
    claim = Option(variant="float32", engine="tflite", quality=None, ms=1, worst_ms=1, mib=300, predicted_ms=1, predicted_mib=300)
    for available, limit, family in ((500, 436, BoardError), (5000, 674, PublisherError)):
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc" / "meminfo").write_text(f"MemAvailable: {available << 10} kB\n")
        with pytest.raises(family) as caught:
            trials.try_release(
                load_release(folder),
                [claim],
                deadline_ms=None,
                running=None,
                clock=SystemClock(),
                cancelled=lambda: False,
                root=tmp_path,
            )
        assert caught.value.code == "trial-memory"
        assert abs(given.pop() - limit) <= 10


# What somebody with the control socket sends.


@pytest.mark.parametrize("release", [-1, 0, 10**5000], ids=["-1", "0", "10^5000"])
@pytest.mark.parametrize("model", ["../../etc", "/etc", "", "\x1b[2Jhar", "x" * 60_000, "har\x00"], ids=repr)
@pytest.mark.parametrize("op", ["activate", "remove", "pin", "rollback", "cancel"])
def test_odd_names_and_numbers_are_refused_and_not_a_bug(tmp_path: Path, op: str, model: str, release: int) -> None:
    store = Store(tmp_path)
    claim = store.claim()
    with contextlib.closing(Book(tmp_path)) as book:
        ops = {
            "activate": update_ops._activate,
            "remove": update_ops._remove,
            "pin": update_ops._pin,
            "rollback": update_ops._rollback,
            "cancel": update_ops._cancel,
        }
        agent = Agent(store, book, LonePorts(store, SystemClock(), selection_of(tmp_path, "auto", 0)), SystemClock())
        with pytest.raises(EdgedError) as caught:
            ops[op](agent, Request(op, {"model": model, "release": release}))
        assert (caught.value.family, caught.value.code) in (("operator", "no-such-model"), ("peer", "malformed-request"))
        assert len(caught.value.text) < 1000
    claim.release()


@pytest.mark.parametrize(
    "policy",
    [
        {"windows": -1},
        {"windows": 10**30},
        {"windows": 0.5},
        {"seconds": -1},
        {"seconds": 1e300},
        {"seconds": "1"},
        {"shadow": 10**7},
        [],
        7,
    ],
    ids=repr,
)
def test_an_absurd_policy_is_a_malformed_request(policy: Any) -> None:
    with pytest.raises(PeerError) as caught:
        update_ops._policy(Request("install", {"policy": policy}))
    assert caught.value.code == "malformed-request"


def test_memory_of_a_process_is_no_release(tmp_path: Path) -> None:
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        source = FilesSource({PACKED: memory}, "handed over")  # type: ignore[dict-item]
        with pytest.raises(PublisherError) as caught:
            Store(tmp_path).examine(source)
    assert caught.value.code == "packed-malformed"


# What people read.


def test_a_trial_names_files_as_the_release_does() -> None:
    request = TrialRequest(name="har", release=11, manifest="m", files={"har.tflite": f"/blobs/{'0a' * 32}"}, variants=["fp32"])
    said = Said(at=At("x"), failed=Failed("publisher", "model-not-loadable", f"`har.tflite`: {'0a' * 32}: not a sound .tflite file", ""))
    with pytest.raises(PublisherError) as caught:
        judge(request, Limits(64), said, Ended(End.ITSELF, 0))
    assert caught.value.text == "har 11: `har.tflite`: not a sound .tflite file"


def test_a_release_that_failed_before_is_named_once() -> None:
    why = Refusal(family="publisher", code="model-nan", text="har 3: m gives no finite result", hint="")
    error = failed_before("har", Failure(release=3, state="rejected", at=0, why=why))
    assert error.text == "har 3 was rejected before, and nothing has changed since: m gives no finite result"


WORDS = '"([a-z]+(?:-[a-z0-9]+)+)"'
RAISED = re.compile(rf"(?:Error|DoesNotFit|_publisher|Cancelled|error_of)(?:\.of)?\(\s*{WORDS}|code={WORDS}")


def test_every_code_of_the_control_path_is_in_the_document() -> None:
    document = (REPO / "docs" / "models.md").read_text()
    places = [*(REPO / "edged/fleet").glob("*.py"), *(REPO / "edged/cli/models").glob("*.py")]
    places += [
        REPO / f"edged/models/{each}.py"
        for each in ("store", "disk", "shelf", "claim", "journal", "source", "section", "packed", "candidate")
    ]
    places += [
        REPO / f"edged/service/{each}.py"
        for each in ("control_path", "update_ops", "ports", "serving", "shadowing", "rehearsal", "trials", "footprint", "request")
    ]
    found = {code for place in places for match in RAISED.findall(place.read_text()) for code in match if code}
    assert len(found) > 40
    ours = {"store-not-claimed", "no-such-transition"}  # bugs that nobody meets
    assert {code for code in found - ours if f"`{code}`" not in document} == set()


def test_an_update_that_nobody_hears_of_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        has_daemon = True

        def update(self, model: str) -> None:
            return None

    monkeypatch.setattr(following, "AWAY_S", -1.0)
    with pytest.raises(PeerError) as caught:
        following.follow(Silent(), Asked("har", 1), {"committed"}, Telling())  # type: ignore[arg-type]
    assert caught.value.code == "update-not-seen"
    with pytest.raises(PeerError) as caught:
        following.follow_rollback(Silent(), Asked("har", 1))  # type: ignore[arg-type]
    assert caught.value.code == "update-not-seen"


def test_a_model_that_takes_text_does_not_fit_a_pipeline_of_readings() -> None:
    text = msgspec.convert({"type": "text"}, schema.Decoder)
    options = schema.Pipeline(name="p", source=schema.StdinSource(), decoder=text, model="har")
    with pytest.raises(OperatorError) as caught:
        check_channels(options, load_release(HAR).manifest)
    assert caught.value.code == "decoder-does-not-fit"
    assert "the decoder text gives texts, har takes readings" in caught.value.text


@pytest.mark.parametrize("of_the_board", ["infer-failed"])
def test_what_fails_in_a_trial_is_the_publishers_where_the_model_did_it(of_the_board: str) -> None:
    blamed = body._of_the_model(BoardError(of_the_board, "the interpreter failed"))
    assert (type(blamed), blamed.code) == (PublisherError, of_the_board)


def test_the_good_release_before_is_not_called_never_activated_after_a_rollback(tmp_path: Path) -> None:
    stored = Stored("har", 2, "1.0.0", "classify", {}, 1, tmp_path)
    assert stock._why_not(stored, Held(active=1, last_good=1, previous=2), None, None) == "served before"
    assert stock._why_not(stored, Held(active=1, last_good=1), None, None) == "not activated"


def test_small_files_are_told_in_kib() -> None:
    moved = Moved(at=0, model="har", release=1, digest="", input="", state="fetch")
    job = Job(moved, None, progress=JobProgress(done=512, total=2048))
    status = update_status("har", Held(), job, SystemClock())
    assert status is not None
    assert status.stage == "fetch 0.5 of 2.0 KiB"


# Root, where no daemon runs.

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone can become another user")
needs_others = pytest.mark.skipif(not Path("/").stat().st_mode & 0o001, reason="here other users than root may not even enter /")
NOBODY = 65534


@pytest.fixture
def state() -> Iterator[Path]:
    """Give a state folder of another user's, which that user can reach."""
    with tempfile.TemporaryDirectory(prefix="edged-owner-", dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "state").mkdir()
        os.chown(folder / "state", NOBODY, NOBODY)
        yield folder / "state"


@needs_root
@needs_others
def test_root_becomes_the_owner_of_the_store_and_cannot_go_back(state: Path) -> None:
    program = f"""
import os
from pathlib import Path
from edged.cli.models.ownership import become_owner_of
become_owner_of(Path({str(state)!r}))
tried = []
for call in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    try:
        call()
    except PermissionError:
        tried.append("refused")
caps = next(line for line in open("/proc/self/status") if line.startswith("CapEff")).split()[1]
print(os.getresuid(), os.getresgid(), os.getgroups(), int(caps, 16), *tried)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPO)
    ids = (NOBODY,) * 3
    assert done.stdout.strip() == f"{ids} {ids} [] 0 refused refused refused refused", done.stderr


@needs_root
@needs_others
def test_what_root_installs_without_a_daemon_is_the_owners_and_tried_as_the_owner(state: Path, tmp_path: Path) -> None:
    folder = numbered(tmp_path / "1", 1)
    command = [sys.executable, "-m", "edged.cli.main", "models", "install", str(folder), "--state-dir", str(state)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=PATIENCE_S)
    assert {(each.stat().st_uid, each.stat().st_gid) for each in state.rglob("*")} <= {(NOBODY, NOBODY)}
    if "[edged-out-of-reach]" in done.stderr:
        assert (done.returncode, "install edged where every user may read it" in done.stderr) == (3, True)
        pytest.skip("this Python, or edged, is in a folder that other users cannot read; install both for all users")
    assert done.returncode == 0, done.stderr
    assert (state / "models" / "journal").exists()
