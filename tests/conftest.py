"""What many tests need: data that ships with the project, assets that may not, and how they run on a busy machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
ASSETS = Path(os.environ.get("EDGED_TEST_ASSETS", REPO.parent / "shared" / "assets"))

# How long an example takes says how busy this machine is, not whether the code is right.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Files that take longest, 20 s to more than a minute: where several run at once, none of these is to be begun when all others are done.
_LONG = (
    *("test_pushes_bad_links.py", "test_pushes_daemon.py", "test_fleet_walkthrough.py", "test_cut_points.py", "test_publisher_cuts.py"),
    *("test_pushes_machine.py", "test_updates.py", "test_nats.py", "test_fleet_acl.py", "test_delivery.py", "test_transfer_disk.py"),
    *("test_firmware_qemu.py", "test_firmware_c.py", "test_serial_daemon.py"),
    *("test_trial.py", "test_updates_review.py", "test_outage.py", "test_daemon_life.py", "test_mqtt_link.py", "test_soak.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    place = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(_LONG)))


@pytest.fixture(scope="session")
def data() -> Path:
    """Give the folder of test data that ships with the project."""
    return DATA


@pytest.fixture(scope="session")
def assets() -> Path:
    """Give the folder of recordings whose licences keep them out of the project; skip without it."""
    if not ASSETS.is_dir():
        pytest.skip(f"needs recordings that cannot ship with the project; set EDGED_TEST_ASSETS (looked in {ASSETS})")
    return ASSETS
