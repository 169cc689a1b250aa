"""docs/serial.md does what it says: its commands, as somebody types them who has a board with a sensor on a port."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.config import schema
from edged.config.load import load_config
from tests.conftest import REPO
from tests.firmwares import VIBRO, FakeFirmware
from tests.serial_ports import SerialCable
from tests.waiting import until
from tests.walking import PART, Walk

PAGE = (REPO / "docs" / "serial.md").read_text(encoding="utf-8")
ON_PAGE = "/dev/ttyACM0"


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    made = Walk(tmp_path)
    yield made
    made.kill()


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[SerialCable]:
    """A board whose firmware sends a block of readings every quarter of a second."""
    firmware = FakeFirmware(VIBRO)
    made = SerialCable(tmp_path / "ttyACM0", firmware)
    over = threading.Event()

    def measure() -> None:
        while not over.wait(0.25):
            made.say(lambda: firmware.block(7))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    yield made
    over.set()
    thread.join()
    made.close()


def test_the_page_does_what_it_says(walk: Walk, cable: SerialCable) -> None:
    """The monitor shows the sensor, the configuration has no faults, and the daemon reads it."""
    page = PAGE.replace(ON_PAGE, str(cable.path))
    printed = [walk.take(part) for part in PART.finditer(page) if not part["heading"]]
    monitor, check = filter(None, printed)
    assert "vibro" in monitor
    assert f'port = "{cable.path}"' in monitor
    assert "no faults" in check
    until(lambda: "vibro" in walk.edged("status"), "the daemon knows the firmware", walk.logs)
    walk.end()


def test_sources_and_outputs_on_the_page_have_no_faults(tmp_path: Path) -> None:
    text = re.search(r"<!-- file: edged.toml -->\n```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert text
    for decoder in re.findall(r"`(decoder = \{ type = [^`]+ \})`", PAGE):
        file = tmp_path / "edged.toml"
        file.write_text(text[1].replace("outputs", f"{decoder}\noutputs").replace("edged/demo", f"{REPO}/edged/demo"), encoding="utf-8")
        assert isinstance(load_config(file, {}).config.pipelines[0].source, schema.SerialSource)
