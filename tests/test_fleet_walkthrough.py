"""docs/fleet.md does what it says: its commands, as a new fleet manager types them, with a broker, a publisher and three boards."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edged.errors import DaemonUnreachable
from edged.service.ask import ask
from tests.broker import _program
from tests.conftest import REPO
from tests.daemon import codes
from tests.waiting import PATIENCE_S, until
from tests.walking import PART, Walk

pytest.importorskip("tuf", reason="needs the package tuf")
pytest.importorskip("tflite", reason="needs the package tflite, the official schema's writer")

MIB = 1 << 20
VARIANTS = {"zero": "small", "pi-4": "medium", "orin": "large"}


class FleetWalk(Walk):
    """A walk with three boards."""

    def status(self, board: str) -> dict[str, Any]:
        """Give what `edged status --json` would say on a board; empty while its daemon does not answer."""
        with suppress(DaemonUnreachable):
            return ask(self.folder / "fleet-example" / f"{board}.sock", "status", PATIENCE_S)
        return {}


def check_nobody_has_a_model(walk: FleetWalk) -> None:
    def waits(board: str) -> bool:
        status = walk.status(board)
        return bool(status) and status["fleet"]["trust"] == "waiting" and "model-awaited" in codes(status)

    until(lambda: all(waits(board) for board in VARIANTS), "all boards wait", walk.logs)


def check_first(walk: FleetWalk) -> None:
    """Each board has its variant, its bytes and no other large file; `why` says so."""
    release = walk.folder / "fleet-example" / "release-1"
    size = {name: (release / f"{name}.tflite").stat().st_size for name in ("small", "medium", "large")}
    for board, status in all_serve(walk, 1).items():
        variant, received = VARIANTS[board], status["fleet"]["received"]
        most = size[variant] + (0 if variant == "small" else size["small"])
        assert size[variant] <= received < 1.05 * most + MIB / 4, (board, received)
        why = walk.edged("why", "--config", f"fleet-example/{board}.toml", "--json")
        absent = size.keys() - {variant, "small"}
        assert all(re.search(rf'"{name}"[^{{}}]*"absent"', why) for name in absent), why


def check_second(walk: FleetWalk) -> None:
    for status in all_serve(walk, 2).values():
        assert status["pipelines"][0]["dropped"] == {}


def check_rejected(walk: FleetWalk) -> None:
    """All three say why, and have served release 2 all the time: not one was restarted."""
    all_ended(walk, 3, "rejected", "golden-differs")
    for status in all_serve(walk, 2).values():
        assert "unclean-stop" not in codes(status)


def check_rolled_back(walk: FleetWalk) -> None:
    """The daemons crashed twice, and serve release 2 again."""
    crashes = platform.machine() == "x86_64"
    all_ended(walk, 4, "rolled_back", "crash-loop", *(() if crashes else ("error-flood",)))
    for status in all_serve(walk, 2).values():
        assert not crashes or "unclean-stop" in codes(status)
    assert not crashes or walk.logs().count("Floating point exception") > 0


def check_tidied(walk: FleetWalk) -> None:
    """`watch` tells the same as the boards, who follow the rotated key."""
    found: dict[str, Any] = {}

    def told() -> bool:
        lines = walk.edged("fleet", "watch", "--broker", f"mqtt://127.0.0.1:{walk.port}", "--fleet", "plant-a", "--seconds", "2", "--json")
        said = [json.loads(line) for line in lines.splitlines()]
        found.update({each["device"]: each["payload"] for each in said if each["topic"] == "reported"})
        return found.keys() == VARIANTS.keys() and all(each["trust"]["root"] == 2 for each in found.values())

    until(told, "all boards report the new root", lambda: found)
    for board, variant in VARIANTS.items():
        assert found[board]["trust"]["state"] == "ok"
        model = found[board]["models"]["vibration"]
        assert (model["running"]["release"], model["running"]["variant"], model["wanted"]) == (2, variant, 2)
    listed = json.loads(walk.edged("fleet", "list", "fleet-example/fleet", "--json"))
    assert [each["release"] for each in listed["releases"]] == [1, 2]


def all_ended(walk: FleetWalk, release: int, state: str, *because: str) -> None:
    """Wait until the update of all boards ended so, for one of these reasons."""

    def there(board: str) -> bool:
        update: dict[str, Any] = next(iter(walk.status(board).get("updates", [])), {})
        return bool(update) and (update["release"], update["state"], update["code"] in because) == (release, state, True)

    until(lambda: all(there(board) for board in VARIANTS), f"{release} {state} everywhere", walk.logs)


def all_serve(walk: FleetWalk, release: int) -> dict[str, Any]:
    """Wait until all boards give new results of a release, each in its own variant; give their statuses."""
    before: dict[str, int] = {}
    found: dict[str, Any] = {}

    def serves(board: str) -> bool:
        status = walk.status(board)
        if not status or status["pipelines"][0]["state"] != "running":
            return False
        found[board], results = status, status["pipelines"][0]["results"]
        return results > before.setdefault(board, results)

    until(lambda: all(serves(board) for board in VARIANTS), f"all boards serve {release}", lambda: found)
    running = {board: (each["pipelines"][0]["release"], each["pipelines"][0]["variant"]) for board, each in found.items()}
    assert running == {board: (release, variant) for board, variant in VARIANTS.items()}
    return found


CHECKS: dict[str, Callable[[FleetWalk], None]] = {
    "Three boards": check_nobody_has_a_model,
    "The first push": check_first,
    "The second push": check_second,
    "A release that computes something else": check_rejected,
    "A release that crashes in service": check_rolled_back,
    "Tidy up the orders": check_tidied,
}


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[FleetWalk]:
    _program("mosquitto")
    made = FleetWalk(tmp_path)
    yield made
    made.kill()


def test_the_page_does_what_it_says(walk: FleetWalk) -> None:
    """Take the page in order: run its marked blocks, and at the end of each part look whether what it claims is so."""
    heading = ""
    checked = []

    def close() -> None:
        if heading in CHECKS:
            CHECKS[heading](walk)
            checked.append(heading)

    for part in PART.finditer((REPO / "docs" / "fleet.md").read_text(encoding="utf-8")):
        if part["heading"]:
            close()
            heading = part["heading"]
        else:
            walk.take(part)
    close()
    assert checked == [*CHECKS]
    walk.end()
