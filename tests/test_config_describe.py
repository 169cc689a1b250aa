"""The page about the configuration says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edged.config.describe import EXAMPLE, describe
from edged.config.load import Machine, load_config
from edged.errors import ConfigFaults

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"


def test_the_page_is_made_from_the_schema() -> None:
    """Mend it with `python -m edged.config.describe > docs/configuration.md`."""
    assert PAGE.read_text(encoding="utf-8") == describe()


def test_the_example_has_no_faults_but_its_missing_file(tmp_path: Path) -> None:
    example, *_ = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example == EXAMPLE
    (tmp_path / "edged.toml").write_text(example, encoding="utf-8")
    with pytest.raises(ConfigFaults) as caught:
        load_config(tmp_path / "edged.toml", {}, Machine(root=tmp_path))
    assert [(fault.key, fault.code) for fault in caught.value.faults] == [("mqtt.main.password_file", "file-missing")]


def test_the_example_loads_once_the_file_is_there(tmp_path: Path) -> None:
    (tmp_path / "mqtt.password").write_text("secret\n")
    (tmp_path / "edged.toml").write_text(EXAMPLE.replace("/etc/edged/", ""), encoding="utf-8")
    loaded = load_config(tmp_path / "edged.toml", {}, Machine(root=tmp_path))
    assert (loaded.device_id, str(loaded.socket)) == ("press-7", "/run/edged/control.sock")
    assert "secret" not in repr(loaded)


def test_every_table_of_the_page_has_four_cells_a_row() -> None:
    rows = [line for line in describe().splitlines() if line.startswith("| `") and "EDGED" not in line]
    assert rows
    assert {len(re.split(r" \| ?", row.strip("| "))) for row in rows if "`type`" not in row} == {4}
