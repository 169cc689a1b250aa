"""`edged fleet` on a terminal that is none: what a fleet manager types and sees, without a broker."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.cli.fleet import COMMANDS
from edged.cli.main import main
from edged.publisher.layout import Layout
from edged.publisher.orders import read_desired
from edged.publisher.repository import Repository
from tests.stores import MIB, large, renumber, tiny

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `edged fleet …`; give its exit code and what it said."""
    monkeypatch.delenv("EDGED_FLEET_PASSPHRASE", raising=False)

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["fleet", *map(str, args)])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def fleet(run: Run, tmp_path: Path) -> Path:
    """Make a repository with a release."""
    folder = tmp_path / "fleet"
    assert run("init", folder, "--fleet", "plant-a")[0] == 0
    assert run("add", folder, tiny(tmp_path / "r1"))[0] == 0
    return folder


def test_init_says_where_keys_are_what_boards_need_and_what_comes_next(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("init", tmp_path / "f", "--fleet", "plant-a")
    assert code == 0
    assert "they have no passphrase" in out
    assert f"{tmp_path}/f/public/metadata/1.root.json to /etc/edged/root.json" in out
    assert '[fleet]  root = "/etc/edged/root.json"' in out
    assert [line.split()[2] for line in out.split("Next:\n")[1].splitlines()] == ["add", "assign", "serve"]
    code, _, err = run("init", tmp_path / "f", "--fleet", "plant-a")
    assert code == 3
    assert "[repository-exists]" in err
    assert run("init", tmp_path / "g", "--fleet", "Plant A")[0] == 3


def test_init_with_a_passphrase_from_the_environment_encrypts_and_add_takes_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGED_FLEET_PASSPHRASE", "open sesame")
    code, out, _ = run("init", tmp_path / "f", "--fleet", "plant-a", "--json")
    assert code == 0
    assert json.loads(out)["protected"]
    assert run("add", tmp_path / "f", tiny(tmp_path / "r"))[0] == 0
    monkeypatch.setenv("EDGED_FLEET_PASSPHRASE", "wrong")
    code, _, err = run("add", tmp_path / "f", tiny(tmp_path / "r2", 2))
    assert code == 3
    assert "[passphrase-wrong]" in err
    monkeypatch.delenv("EDGED_FLEET_PASSPHRASE")
    assert "[passphrase-missing]" in run("add", tmp_path / "f", tiny(tmp_path / "r3", 3))[2]
    assert "[passphrase-missing]" in run("init", tmp_path / "g", "--fleet", "plant-a", "--passphrase")[2]


def test_add_takes_several_releases_and_says_what_was_there(run: Run, fleet: Path, tmp_path: Path) -> None:
    code, out, _ = run("add", fleet, tmp_path / "r1", tiny(tmp_path / "r2", 2))
    assert code == 0
    first, second, last = out.splitlines()
    assert first.startswith("twice 1 (1, ")
    assert first.endswith("is there already")
    assert second.startswith("added twice 2 ")
    assert "edged fleet assign" in last
    added = json.loads(run("add", fleet, tmp_path / "r2", "--json")[1])
    assert added["releases"][0]["new"] is False


def test_add_refuses_other_content_and_what_is_not_packed_with_the_next_step(run: Run, fleet: Path, tmp_path: Path) -> None:
    code, _, err = run("add", fleet, renumber(tmp_path / "r1", 1, "# other"))
    assert code == 1
    assert "[release-exists]" in err
    (tmp_path / "r1" / "release.json").unlink()
    code, _, err = run("add", fleet, tmp_path / "r1")
    assert code == 1
    assert "edged pack" in err
    assert "[not-a-repository]" in run("add", tmp_path, tmp_path / "r1")[2]
    assert "[no-such-folder]" in run("add", fleet, tmp_path / "r1", "--keys", tmp_path / "none")[2]


def test_a_pack_is_taken_as_a_folder_is(run: Run, fleet: Path, tmp_path: Path) -> None:
    from edged.models.packed import parse_packed
    from edged.models.source import FolderSource
    from edged.packing.into import pack_into

    folder = large(tmp_path / "big", 2 * MIB + 1)
    renumber(folder, 7)
    pack_into(FolderSource(folder), parse_packed((folder / "release.json").read_bytes(), ""), tmp_path / "big.edgedpack")
    code, out, err = run("add", fleet, tmp_path / "big.edgedpack")
    assert code == 0, err
    assert out.startswith("added twice 7 ")
    assert not run("add", fleet, folder)[0]


def test_assign_writes_orders_and_says_how_to_publish_them(run: Run, fleet: Path) -> None:
    code, out, _ = run("assign", fleet, "--device", "press-7", "twice=1", "--windows", "7", "--seconds", "2.5", "--days", "10")
    assert code == 0
    assert "dev:press-7: rev 1" in out
    assert "twice 1" in out
    assert "edged fleet publish" in out
    desired = read_desired(fleet / "public" / "desired" / "dev" / "press-7.json")
    assert desired is not None
    assert (desired.models["twice"].policy.windows, desired.models["twice"].policy.seconds) == (7, 2.5)
    assert (desired.expires - desired.issued).days == 10
    assert json.loads(run("assign", fleet, "--group", "line-3", "twice=1", "--json")[1])["audience"] == "group:line-3"
    code, out, _ = run("assign", fleet, "--device", "press-7", "--drop", "twice")
    assert "rev 2" in out
    assert "twice" not in out.splitlines()[1]


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("twice=1",), 2, "--device"),
        (("--device", "a", "--group", "b", "twice=1"), 2, "--device"),
        (("--device", "a", "twice"), 3, "bad-order"),
        (("--device", "a", "twice=one"), 3, "bad-order"),
        (("--device", "a", "twice=1", "twice=2"), 3, "bad-order"),
        (("--device", "a", "twice=2"), 3, "releases of twice: 1"),
        (("--device", "A/b", "twice=1"), 3, "bad-audience"),
        (("--device", "a", "--drop", "twice"), 3, "order-unknown"),
    ],
)
def test_assign_says_what_is_wrong(args: tuple[str, ...], code: int, word: str, run: Run, fleet: Path) -> None:
    given, _, err = run("assign", fleet, *args)
    assert given == code
    assert word in err


def test_list_shows_all_and_what_ends_soon(run: Run, fleet: Path) -> None:
    run("assign", fleet, "--device", "press-7", "twice=1", "--days", "5")
    code, out, _ = run("list", fleet)
    assert code == 0
    assert "! what director signed for dev:press-7 ends on " in out
    assert max(map(len, out.splitlines())) <= 100
    for word in ("twice", "dev:press-7", "director", "1 of 1", "timestamp"):
        assert word in out
    shown = json.loads(run("list", fleet, "--json")[1])
    assert shown["releases"][0]["ordered_by"] == ["dev:press-7"]
    assert [role["role"] for role in shown["roles"]] == ["root", "targets", "snapshot", "timestamp", "director"]
    assert len(shown["warnings"]) == 1


def test_remove_takes_a_release_out_frees_its_files_and_names_orders_for_it(run: Run, fleet: Path, tmp_path: Path) -> None:
    run("add", fleet, tiny(tmp_path / "r2", 2))
    run("assign", fleet, "--group", "line-3", "twice=1")
    before = {path.name for path in (fleet / "public" / "blobs" / "sha256").iterdir()}
    code, out, _ = run("remove", fleet, "twice", 1)
    assert code == 0
    assert "bytes freed" in out
    assert "! group:line-3 still has orders for it" in out
    after = {path.name for path in (fleet / "public" / "blobs" / "sha256").iterdir()}
    assert len(before - after) == 2  # release.json and model.toml; the model's file is shared
    assert not after - before
    assert "not in the repository: boards refuse it" in " ".join(run("list", fleet)[1].split())
    code, _, err = run("remove", fleet, "twice", 1)
    assert code == 3
    assert "releases of twice: 2" in err
    assert run("assign", fleet, "--group", "line-3", "twice=1")[0] == 3


def test_rotate_says_what_became_of_the_keys_and_what_else_to_do_when_one_was_stolen(run: Run, fleet: Path) -> None:
    run("assign", fleet, "--device", "a", "twice=1")
    for role in ("root", "targets", "snapshot", "timestamp", "director"):
        code, out, err = run("rotate", fleet, role, "--compromised")
        assert code == 0, err
        assert f"new key of {role}, without a passphrase: " in out
        assert ".retired; destroy it" in out
        assert "Somebody else may have signed" in out
    assert Repository(fleet, None).stand().root.signed.version == 5  # type: ignore[arg-type]
    rotated = json.loads(run("rotate", fleet, "director", "--json")[1])
    assert rotated["signed"] == ["dev:a"]


def test_the_new_key_of_a_protected_one_is_protected(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_FLEET_PASSPHRASE", "open sesame")
    run("init", tmp_path / "f", "--fleet", "plant-a")
    code, out, err = run("rotate", tmp_path / "f", "targets")
    assert code == 0, err
    assert "new key of targets, with the passphrase: " in out
    new = next((tmp_path / "f" / "keys").glob("targets-*.pem"))
    assert b"ENCRYPTED" in new.read_bytes()
    monkeypatch.delenv("EDGED_FLEET_PASSPHRASE")
    assert "[passphrase-missing]" in run("rotate", tmp_path / "f", "targets")[2]  # it asks, and nobody is there


def test_a_key_that_was_taken_away_is_asked_for_by_name(run: Run, fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    key = next((fleet / "keys").glob("targets-*"))
    key.rename(tmp_path / "stick" / key.name)
    code, _, err = run("add", fleet, tiny(tmp_path / "r2", 2))
    assert code == 3
    assert key.name in err
    assert "--keys FOLDER" in err
    assert run("add", fleet, tmp_path / "r2", "--keys", tmp_path / "stick")[0] == 0
    assert "not here" in run("list", fleet)[1]


def test_without_the_package_that_signs_a_person_is_told_which(run: Run, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    code, _, err = run("list", fleet)
    assert code == 3
    assert "cryptography [fleet-extra-missing]" in err
    assert "edged[fleet]" in err


def test_a_folder_that_cannot_be_written_is_named(run: Run, fleet: Path, tmp_path: Path) -> None:
    (fleet / "lock").unlink()
    (fleet / "lock").mkdir()
    code, _, err = run("add", fleet, tiny(tmp_path / "r2", 2))
    assert code == 1
    assert "[repository-unwritable]" in err


def test_another_command_on_the_same_folder_is_waited_for_and_then_named(run: Run, fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.publisher.layout.Layout.locked.__wrapped__.__defaults__", (0.1,))
    with Layout(fleet).locked():
        code, _, err = run("assign", fleet, "--device", "a", "twice=1")
    assert code == 3
    assert "[repository-busy]" in err
    assert run("assign", fleet, "--device", "a", "twice=1")[0] == 0


def test_errors_are_json_too_where_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("list", tmp_path, "--json")
    assert code == 3
    assert json.loads(out)["error"]["code"] == "not-a-repository"


@pytest.mark.parametrize("url", ["localhost", "http://x", "mqtt://user:secret@x", "mqtt://"])
def test_a_url_that_is_none_is_said_and_not_repeated(url: str, run: Run, fleet: Path) -> None:
    code, _, err = run("publish", fleet, "--broker", url)
    assert code == 3
    assert "[bad-url]" in err
    assert "secret" not in err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(name: str, run: Run) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"edged fleet {name}" in out
    assert name in run("--help")[1]


@pytest.mark.parametrize("broker", ["mosquitto", "nats", "emqx"])
def test_rules_name_every_topic_and_no_stranger(broker: str, run: Run) -> None:
    code, out, _ = run("acl", "--broker", broker, "--fleet", "plant-a", "--device", "press-7", "--manager", "ops")
    assert code == 0
    base = "edged.1.plant-a" if broker == "nats" else "edged/1/plant-a"
    for topic in ("status", "reported", "desired", "blob/req", "_repo"):
        assert topic.replace("/", "." if broker == "nats" else "/") in out
    assert base in out
    assert "ops" in out
    assert run("acl", "--broker", broker, "--fleet", "plant a")[0] == 3
    assert run("acl", "--broker", broker, "--fleet", "plant-a", "--manager", 'x" }')[0] == 3
