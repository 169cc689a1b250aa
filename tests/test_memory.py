"""What the daemon takes of a small board's memory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.broker import Mosquitto
from tests.daemon import on_topic, pipeline

if TYPE_CHECKING:
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

BUDGET_MIB = 75
# Each costs megabytes, or is for machines with room: none may come in by way of another.
HEAVY = {"scipy", "pandas", "tensorflow", "google.protobuf", "ml_dtypes", "http.server", "cbor2", "iotcore", "tuf", "multiprocessing"}


def test_the_daemon_with_one_model_stays_in_its_budget(broker: Mosquitto, make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(pipeline("har", on_topic("$FLEET/{person}")), broker.port).start()
    assert daemon.status()["memory"]["pss_mib"] < BUDGET_MIB


def test_the_daemon_imports_nothing_heavy() -> None:
    code = "import sys; import edged.service.daemon; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert HEAVY & set(loaded) == set()
