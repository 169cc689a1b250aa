"""An anomaly becomes a sentence: the chain of docs/text.md, with real models from sensor to sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.broker import Mosquitto
from tests.conftest import REPO
from tests.daemon import on_topic, pipeline
from tests.peer import Peer
from tests.releases import only
from tests.smollm import needs_llama, smollm_path

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

BANDS, FRAMES = 128, 5  # one window
LOUD, SEED = 5.0, 1  # spread of the bands, far above what the model knows
THRESHOLD = 10.74


@pytest.fixture
def page() -> tuple[str, str]:
    """Give the release and the pipeline that the page shows for a chain."""
    text = (REPO / "docs" / "text.md").read_text(encoding="utf-8")
    chapter = text[text.index("## Chains") :]
    release, chained = re.findall(r"^```toml\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)[:2]
    return release, chained


def test_an_anomaly_becomes_a_sentence_for_the_operator(
    broker: Mosquitto, make_daemon: MakeDaemon, data: Path, tmp_path: Path, page: tuple[str, str]
) -> None:
    needs_llama()
    model, (release, chained) = smollm_path(), page
    writer = tmp_path / "my-sentence"
    writer.mkdir()
    (writer / "model.toml").write_text(release, encoding="utf-8")
    _put(model, writer / model.name)
    bands = ", ".join(f'"m{i:03d}"' for i in range(BANDS))
    decoder = f'{{ type = "packed", layout = "<{BANDS}f", channels = [{bands}] }}'
    config = pipeline("sound", on_topic("$FLEET/{machine}/frame"), decoder=decoder, model=only(data / "ad01", tmp_path / "ad01", "fp32"))
    daemon = make_daemon(config + chained.replace('"my-sentence"', f'"{writer}"'), broker.port).start()
    frames = np.random.default_rng(SEED).normal(0, LOUD, (FRAMES, BANDS)).astype("<f4")
    with Peer(broker.port, daemon.topic("out/+")) as peer:
        peer.publish_all(f"{daemon.fleet}/toycar/frame", [frame.tobytes() for frame in frames])
        (sound,) = peer.results(daemon.out("sound"))
        (sentence,) = peer.results(daemon.out("sentence"))
    assert sound["alarm"] is True
    assert sound["output"]["score"] > THRESHOLD
    assert sentence["labels"] == {"machine": "toycar"}
    said = sentence["output"]["text"]
    assert "truncated" not in sentence["output"]
    assert re.fullmatch(r"[^\n]*toycar[^\n]*\.", said, re.IGNORECASE), said
    assert f"{sound['output']['score']:g}" in said
    assert f"{THRESHOLD:g}" in said
    assert daemon.stop() == 0


def _put(model: Path, place: Path) -> None:
    """Put the model into a release, which has no links that lead out of it; without a copy where that can be."""
    try:
        os.link(model, place)
    except OSError:
        place.write_bytes(model.read_bytes())
