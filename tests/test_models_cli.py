"""`edged models` without a daemon, and its screens: what a person types and sees."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.cli.columns import wide
from edged.cli.main import main
from edged.cli.models import COMMANDS
from edged.cli.models.blocks import inventory_lines
from edged.cli.models.handover import open_release
from edged.cli.models.trial_lines import trial_lines
from edged.errors import EdgedError
from edged.models.book import Book
from edged.models.edgedpack import MOST_FILES, SUFFIX
from edged.models.entries import Moved
from edged.models.packed import parse_packed
from edged.models.source import FolderSource
from edged.packing.into import pack_into
from edged.service.inventory import Inventory, ModelEntry, ReleaseEntry, Running, VariantEntry, read
from edged.service.request import MAX_FILES
from edged.service.snapshot import UpdateStatus
from tests.conftest import REPO
from tests.daemon import HAR
from tests.descriptors import descriptors
from tests.rollouts import numbered

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with packed releases of har, `1` and `2`."""
    folder = tmp_path_factory.mktemp("releases")
    for number in (1, 2):
        numbered(folder / str(number), number)
    return folder


def write_pack(folder: Path, path: Path) -> None:
    pack_into(FolderSource(folder), parse_packed((folder / "release.json").read_bytes(), ""), path)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edged models …` on a state folder of the test's own, with no daemon."""

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["models", *args, "--state-dir", str(tmp_path / "state")])
        return code, *capsys.readouterr()

    return call


# Without a daemon.


def test_what_is_installed_without_a_daemon_is_tried_here_and_served_from_the_next_start_on(run: Run, releases: Path) -> None:
    code, out, err = run("install", str(releases / "1"))
    assert code == 0
    assert out == "har 1 is active: the daemon serves it from its next start on, watches it, and then commits it or goes back\n"
    assert re.search(r"^har 1: \w+.*\(attempt 1 of 3\)", err)
    code, out, _ = run("list")
    assert code == 0
    assert "no daemon was asked; this is what its next start would serve" in out
    assert "har: 1 would serve" in out
    assert "it has still to prove itself" in out


def test_show_has_what_the_trial_measured(run: Run, releases: Path) -> None:
    assert run("install", str(releases / "1"), "--json")[0] == 0
    code, out, _ = run("show", "har")
    assert code == 0
    assert "stationary, walking, running" in out
    assert "15 computed right" in out
    assert "confined" in out
    assert max(map(len, out.splitlines())) <= 100
    shown = json.loads(run("show", "har", "1", "--json")[1])
    assert shown["trial"]["variant"] == "fp32"
    assert shown["manifest"]["input"]["preprocess"] == [{"op": "scale", "factor": 0.00025}]
    assert set(shown["costs"]) == {"fp32"}


def test_an_install_as_json_is_one_document(run: Run, releases: Path) -> None:
    code, out, _ = run("install", str(releases / "1"), "--json")
    answer = json.loads(out)
    assert (code, answer["model"], answer["release"], answer["state"]) == (0, "har", 1, "confirm")
    assert answer["update"]["report"]["goldens"] == 15


def test_a_pack_is_installed_as_a_folder_is(run: Run, releases: Path, tmp_path: Path) -> None:
    path = tmp_path / f"har{SUFFIX}"
    write_pack(releases / "1", path)
    assert run("install", str(path))[0] == 0
    assert json.loads(run("list", "--json")[1])["models"][0]["active"] == 1


def test_a_release_is_replaced_pinned_and_kept_or_removed(run: Run, releases: Path) -> None:
    for number in ("1", "2"):
        assert run("install", str(releases / number))[0] == 0
    model = json.loads(run("list", "--json")[1])["models"][0]
    assert [(each["release"], each["active"], each["why_not"]) for each in model["releases"]] == [(2, True, ""), (1, False, "older")]
    code, _, err = run("remove", "har", "2")
    assert (code, "[release-active]" in err) == (3, True)
    assert run("pin", "har", "1")[:2] == (0, "har 1 is pinned\n")
    code, _, err = run("remove", "har", "1")
    assert (code, "[release-pinned]" in err, "pin har 1 --off" in err) == (3, True, True)
    assert run("pin", "har", "1", "--off")[:2] == (0, "har 1 is no longer pinned\n")
    assert run("remove", "har", "1")[:2] == (0, "har 1 is removed\n")
    assert [each["release"] for each in json.loads(run("list", "--json")[1])["models"][0]["releases"]] == [2]


def test_without_a_daemon_rollback_changes_what_the_next_start_serves(run: Run, releases: Path, tmp_path: Path) -> None:
    assert run("install", str(releases / "1"))[0] == 0
    commit(tmp_path / "state")
    assert run("install", str(releases / "2"))[0] == 0
    assert "last good 1" in run("list")[1]
    assert run("pin", "har", "2")[0] == 0  # else the rollback removes it
    assert run("rollback", "har")[:2] == (0, "har 1 is active again: the daemon serves it from its next start on\n")
    assert "har: 1 would serve" in run("list")[1]
    assert run("activate", "har", "2")[0] == 0
    assert "har: 2 would serve" in run("list")[1]


def commit(state: Path) -> None:
    """Write into the journal what a daemon writes that finds its release good."""
    book = Book(state)
    update = book.of("har").update
    assert update is not None
    moved = {"model": "har", "release": update.release, "digest": update.digest, "input": update.input}
    book.note(Moved(at=update.since + 1, state="committed", **moved))
    book.close()


def test_a_release_that_fails_its_trial_is_an_error_and_listed_with_the_reason(run: Run, tmp_path: Path) -> None:
    bad = numbered(tmp_path / "bad", 3)
    spoil(bad)
    code, out, err = run("install", str(bad), "--json")
    error = json.loads(out)["error"]
    assert (code, error["code"], error["family"]) == (1, "golden-differs", "publisher")
    assert error["text"].startswith("har 3 was rejected: ")
    code, out, _ = run("list")
    assert "rejected: golden-differs" in out
    code, _, err = run("install", str(bad))
    assert (code, "was rejected before" in err) == (1, True)


def spoil(folder: Path) -> None:
    """Let the goldens of a packed release be others than it computes, as a publisher's broken toolchain would."""
    import numpy as np

    from edged.models.packed import PACKED, seal_file

    golden = next(folder.glob("*.npz"))
    with np.load(golden) as arrays:
        changed = {"inputs": arrays["inputs"], "outputs": arrays["outputs"][:, ::-1].copy()}
    np.savez(golden, **changed)
    packed = parse_packed((folder / PACKED).read_bytes(), PACKED)
    packed.files[golden.name] = seal_file(golden)
    (folder / PACKED).write_bytes(packed.encode())


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("show", "pump"), 3, "no-such-model"),
        (("show", "pump", "7"), 3, "no-such-release"),
        (("activate", "pump", "7"), 3, "no-such-release"),
        (("rollback", "pump"), 3, "nothing-to-roll-back"),
        (("cancel", "pump"), 3, "nothing-to-cancel"),
        (("remove", "pump", "7"), 3, "no-such-release"),
        (("pin", "pump", "7"), 3, "no-such-release"),
        (("install", "nowhere"), 3, "no-such-source"),
        (("install", str(HAR)), 1, "not-packed"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_so(run: Run, args: tuple[str, ...], code: int, error: str) -> None:
    got, out, err = run(*args, "--json")
    assert (got, json.loads(out)["error"]["code"]) == (code, error)
    assert f"[{error}]" in err


def test_an_empty_store_says_how_to_fill_it(run: Run) -> None:
    assert "no models; put one here with `edged models install DIR`" in run("list")[1]
    assert json.loads(run("list", "--json")[1]) == {"daemon": False, "models": []}


def test_two_commands_at_once_do_not_write_one_store(run: Run, releases: Path, tmp_path: Path) -> None:
    from edged.models.store import Store

    with Store(tmp_path / "state").claim():
        code, _, err = run("install", str(releases / "1"))
    assert (code, "[store-busy]" in err) == (1, True)


def test_what_a_publisher_wrote_does_not_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    made = numbered(
        tmp_path / "odd",
        1,
        ('trained_by = "', 'trained_by = "\\u001b[2J'),
        ('version = "1.0.0"', 'version = "\\u001b[31m"'),
    )
    for args in (("install", str(made)), ("list",), ("show", "har")):
        code, out, err = run(*args)
        assert code == 0
        assert "\x1b" not in out + err


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    args = [each for each in ("models", name) if each]
    assert main([*args, "--help"]) == 0
    assert f"edged {' '.join(args)}" in capsys.readouterr().out.split("Example")[1]


@pytest.mark.parametrize(
    "args", [("activate", "har", "0"), ("install", "x", "--windows", "-1"), ("install", "x", "--seconds", "nan-"), ("show",)]
)
def test_odd_arguments_are_usage_errors(run: Run, args: tuple[str, ...]) -> None:
    assert run(*args)[0] == 2


@pytest.mark.parametrize("args", [("list",), ("show", "har")])
def test_commands_that_only_look_import_nothing_heavy(run: Run, releases: Path, tmp_path: Path, args: tuple[str, ...]) -> None:
    run("install", str(releases / "1"))
    line = ["models", *args, "--state-dir", str(tmp_path / "state")]
    program = f"import sys; from edged.cli.main import main; code = main({line!r}); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    assert {"numpy", "paho", "structlog", "tflite_runtime", "ai_edge_litert"} & set(done.stderr.split()) == set()


# The screen.


def example() -> Inventory:
    return Inventory(
        True,
        [
            ModelEntry(
                "har",
                14,
                since_s=3 * 86400 + 4 * 3600.0,
                last_good=14,
                previous=13,
                running=[Running("pump", 14, "int8", "tflite-runtime 2.14.0")],
                update=UpdateStatus(
                    "har", 15, state="fetch", stage="fetch 12 of 40 MiB", since_s=4.0, left_s=3.2, attempt=1, attempts=3, bytes_total=1
                ),
                releases=[
                    ReleaseEntry(15, "1.5.0", "classify", 40 << 20, why_not="staged: fetch 12 of 40 MiB"),
                    ReleaseEntry(
                        14,
                        "1.4.0",
                        "classify",
                        1_234_567,
                        active=True,
                        last_good=True,
                        variants=[
                            VariantEntry("int8", "tflite", 618_000, 0.991),
                            VariantEntry("fp32", "tflite", 606_000, 0.987, "quality 0.987, that of int8 is 0.991"),
                            VariantEntry("fp16", "tflite", 606_000, 0.994, "does not load: engine-missing: no runtime here has float16"),
                        ],
                    ),
                    ReleaseEntry(13, "1.3.0", "classify", 1_234_567, previous=True, pinned=True, why_not="older"),
                    ReleaseEntry(
                        12, stored=False, why_not="rejected: golden-differs: 3 of 15 goldens differ by up to 0.4, and 0.0001 is allowed"
                    ),
                ],
            ),
            ModelEntry("pump-anomaly", releases=[ReleaseEntry(1, "1", "anomaly", 999, why_not="never activated")]),
        ],
    )


def test_a_block_for_each_model_says_what_serves_and_why_the_others_do_not() -> None:
    assert (
        "\n".join(inventory_lines(example(), 100, False))
        == """\
har: 14 serves for 3 d 4 h; the good one before is 13
  ↻ 15: fetch 12 of 40 MiB, 3.2 s left (attempt 1 of 3)
    15 · 1.5.0 · classify · 40.0 MiB · staged: fetch 12 of 40 MiB
  ▸ 14 · 1.4.0 · classify · 1.2 MiB · last good
      runs in pump: int8 on tflite-runtime 2.14.0
      variant int8: 604 KiB, quality 0.991; runs
      variant fp32: 592 KiB, quality 0.987; not chosen: quality 0.987, that of int8 is 0.991
      variant fp16: 592 KiB, quality 0.994; not chosen: does not load: engine-missing: no runtime
        here has float16
    13 · 1.3.0 · classify · 1.2 MiB · previous · pinned · older
    12 · no longer here · rejected: golden-differs: 3 of 15 goldens differ by up to 0.4, and 0.0001
      is allowed

pump-anomaly: nothing serves
    1 · 1 · anomaly · 999 bytes · never activated"""
    )


any_text = st.text(max_size=40) | st.sampled_from(["\x1b[2J\x1b]0;owned\x07", "泵泵泵泵泵泵泵", "a\r\nb\tc", "x" * 200, "\u202eabc"])


@settings(max_examples=60)
@given(any_text, any_text, st.integers(10, 130), st.integers(0, 10**15), st.booleans())
def test_text_from_outside_neither_steers_the_terminal_nor_widens_the_list(a: str, b: str, width: int, n: int, flag: bool) -> None:
    release = ReleaseEntry(
        n, a, b, n, flag, flag, flag, flag, flag, a + b, [VariantEntry(a, b, n, 0.5, b), VariantEntry(b, a, n, None, "")]
    )
    update = UpdateStatus(a, n, b, b, a, b, a, b, 3.0, n, n, b, waits_for=a)
    model = ModelEntry(a, n, b, float(n), n, n, flag, [Running(a, n, b, a)], update, [release])
    lines = inventory_lines(Inventory(flag, [model, model]), width, False)
    assert all(line.isprintable() for line in lines)
    assert max(map(wide, lines)) <= max(width, 20)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["variant", "engine", "load_ms", "confined", "passed_over", "p50_ms", "shadow"]),
        st.recursive(
            any_text | st.floats(0, 1e9) | st.none(), lambda each: st.lists(each, max_size=3) | st.dictionaries(any_text, each, max_size=3)
        ),
    ),
    st.integers(30, 120),
)
def test_any_report_of_a_trial_is_shown_or_said_to_be_odd(report: dict[str, object], width: int) -> None:
    lines = trial_lines(report, width)
    assert all(line.isprintable() for line in lines)


def test_an_inventory_of_another_version_is_an_error_that_says_so() -> None:
    with pytest.raises(EdgedError) as caught:
        read({"models": 7})
    assert caught.value.code == "inventory-unreadable"


# Files that are handed over.


def code_of(folder: Path) -> str:
    before = descriptors()
    with pytest.raises(EdgedError) as caught, open_release(folder):
        pass
    assert not descriptors() - before
    return caught.value.code


@pytest.fixture
def folder(releases: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(releases / "1", tmp_path / "har"))


def test_the_files_of_a_folder_are_open_under_their_names_and_closed_after(folder: Path) -> None:
    before = descriptors()
    with open_release(folder) as (names, files):
        assert names[0] == "release.json"
        assert sorted(names) == ["golden-fp32.npz", "har_float.tflite", "model.toml", "release.json"]
        for name, each in zip(names, files, strict=True):
            assert os.pread(each, 1 << 24, 0) == (folder / name).read_bytes()
    assert not descriptors() - before


def test_a_pack_is_one_open_file_without_a_name(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / f"har{SUFFIX}"
    write_pack(folder, path)
    with open_release(path) as (names, files):
        assert (names, len(files)) == ([], 1)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    (folder / "golden-fp32.npz").unlink()
    (folder / "golden-fp32.npz").symlink_to(secret)
    assert code_of(folder) == "file-outside"


def test_a_link_within_the_folder_is(folder: Path) -> None:
    (folder / "golden-fp32.npz").rename(folder / "real")
    (folder / "golden-fp32.npz").symlink_to("real")
    with open_release(folder) as (names, _):
        assert "golden-fp32.npz" in names


def test_a_pipe_is_no_file_and_is_not_waited_for(folder: Path) -> None:
    (folder / "golden-fp32.npz").unlink()
    os.mkfifo(folder / "golden-fp32.npz")
    assert code_of(folder) == "file-unreadable"


def test_a_file_that_is_missing_or_a_circle_of_links_is_said(folder: Path) -> None:
    (folder / "golden-fp32.npz").unlink()
    assert code_of(folder) == "file-changed"
    (folder / "golden-fp32.npz").symlink_to("golden-fp32.npz")
    assert code_of(folder) == "file-unreadable"


def test_a_release_that_names_more_files_than_the_daemon_takes_is_refused_before_any_is_opened(folder: Path) -> None:
    assert MAX_FILES >= MOST_FILES
    packed = parse_packed((folder / "release.json").read_bytes(), "")
    packed.files.update({f"f{i}": packed.files["model.toml"] for i in range(MAX_FILES)})
    (folder / "release.json").write_bytes(packed.encode())
    assert code_of(folder) == "pack-too-many-files"


def test_a_release_that_waits_for_its_daemon_is_cancelled_without_one(run: Run, releases: Path) -> None:
    assert run("install", str(releases / "1"))[0] == 0
    assert run("cancel", "har")[0] == 0
    assert json.loads(run("list", "--json")[1])["models"] == []
    assert run("install", str(releases / "1"))[0] == 0
