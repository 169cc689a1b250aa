"""Numbers that others published, computed again through the whole path: message, window, model, result."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edged.engines.choose import RUNTIMES, open_engine
from edged.stream.inference import Inference
from edged.stream.loading import load_best
from tests.broker import Mosquitto
from tests.daemon import on_topic, pipeline
from tests.peer import Peer
from tests.releases import only

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

RECORDING = "normal_id_01_00000000"
FRAMES, BANDS, WINDOWS = 200, 128, 196
MELS = [f"m{i:03d}" for i in range(BANDS)]

# The scores were published with TensorFlow's own kernels of 2020. Between them and the runtimes
# of today float sums are added in another order, a part in 10⁵ here. The quantized variants
# round after each layer: one step of the output is 0.36, single results differ by some steps,
# their mean over 196 windows by at most a few parts in a thousand.
PUBLISHED = {
    "fp32": ("tflite_anomaly_score_ToyCar_id_01.csv", 1e-5),
    "dynrange": ("tflite_quant_anomaly_score_ToyCar_id_01.csv", 3e-3),
    "int8-floatio": ("tflite_quant_fullint_anomaly_score_ToyCar_id_01.csv", 3e-3),
}


def published(assets: Path, file: str) -> float:
    """Give the published score of the recording."""
    with (assets / "data" / "ad01" / file).open() as lines:
        return next(float(score) for name, score in csv.reader(lines) if name.startswith(RECORDING))


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_anomaly_score_of_a_recording_is_the_published_one(
    broker: Mosquitto, make_daemon: MakeDaemon, assets: Path, data: Path, tmp_path: Path, variant: str
) -> None:
    release = only(data / "ad01", tmp_path / "release", variant)
    frames = np.fromfile(assets / "data" / "ad01" / f"{RECORDING}_hist_librosa.bin", "<f4").reshape(FRAMES, BANDS)
    decoder = f'{{ type = "packed", layout = "<{BANDS}f", channels = {json.dumps(MELS)} }}'
    daemon = make_daemon(pipeline("toycar", on_topic("$FLEET/frame"), decoder=decoder, model=release), broker.port).start()
    with Peer(broker.port, daemon.out("toycar")) as peer:
        peer.publish_all(f"{daemon.fleet}/frame", [frame.tobytes() for frame in frames])
        results = peer.results(daemon.out("toycar"), WINDOWS)
    assert len(results) == WINDOWS
    assert {each["model"]["variant"] for each in results} == {variant}
    score = float(np.mean([each["output"]["score"] for each in results]))
    file, tolerance = PUBLISHED[variant]
    assert score == pytest.approx(published(assets, file), rel=tolerance)


def keywords(assets: Path) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Give 500 inputs int8 [500, 49, 10] of the benchmark's test set, and their labels."""
    with np.load(assets / "data" / "kws01" / "kws01_even_500.npz") as held:
        return held["inputs"].reshape(500, 49, 10), held["labels"].tolist()


def test_keyword_accuracy_is_what_the_benchmark_asks_for(
    broker: Mosquitto, make_daemon: MakeDaemon, assets: Path, data: Path, tmp_path: Path
) -> None:
    """MLPerf Tiny asks for 90 %."""
    inputs, labels = keywords(assets)
    release = only(data / "kws", tmp_path / "release", "int8")
    decoder = f'{{ type = "packed", layout = "<10b", channels = {json.dumps([f"c{i}" for i in range(10)])} }}'
    daemon = make_daemon(pipeline("words", on_topic("$FLEET/mfcc"), decoder=decoder, model=release), broker.port).start()
    with Peer(broker.port, daemon.out("words")) as peer:
        peer.publish_all(f"{daemon.fleet}/mfcc", [each.tobytes() for each in inputs])
        results = peer.results(daemon.out("words"), 500)
    names = list(results[0]["output"]["scores"])
    right = sum(each["output"]["label"] == names[label] for each, label in zip(results, labels))
    assert len(results) == 500
    assert right >= 450


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_keyword_accuracy_is_the_same_on_either_runtime(assets: Path, data: Path, tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(RUNTIMES[runtime][1], reason=f"needs the other runtime: pip install {RUNTIMES[runtime][0]}")
