"""Numbers that others published, computed again through the whole path: message, window, model, result."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.engines.choose import RUNTIMES
from tests.broker import Mosquitto
from tests.daemon import on_topic, pipeline
from tests.lanes import Lane
from tests.peer import Peer
from tests.releases import only

if TYPE_CHECKING:  # pytest imports it as a plugin, first
    from tests.fixtures import MakeDaemon

pytest_plugins = ["tests.fixtures"]

RECORDING = "normal_id_01_00000000"
FRAMES, BANDS, WINDOWS = 200, 128, 196
MELS = [f"m{i:03d}" for i in range(BANDS)]
MFCC = {"type": "packed", "layout": "<10b", "channels": [f"c{i}" for i in range(10)]}

# The scores were published with TensorFlow's kernels of 2020. Float sums are added in another
# order today: measured 1e-6. The quantized variants round after each layer, so a single result
# differs by some steps of 0.36 between kernels, and the mean over 196 windows by up to 1.2e-3.
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


def keywords(assets: Path) -> tuple[NDArray[np.int8], list[int]]:
    """Give 500 inputs int8 [500, 49, 10] of the benchmark's test set, and their labels."""
    with np.load(assets / "data" / "kws01" / "kws01_even_500.npz") as held:
        return held["inputs_int8"].reshape(500, 49, 10), held["labels"].tolist()


def test_keyword_accuracy_is_what_the_benchmark_asks_for(
    broker: Mosquitto, make_daemon: MakeDaemon, assets: Path, data: Path, tmp_path: Path
) -> None:
    """MLPerf Tiny asks for 90 %."""
    inputs, labels = keywords(assets)
    release = only(data / "kws", tmp_path / "release", "int8")
    decoder = f'{{ type = "packed", layout = "{MFCC["layout"]}", channels = {json.dumps(MFCC["channels"])} }}'
    daemon = make_daemon(pipeline("words", on_topic("$FLEET/mfcc"), decoder=decoder, model=release), broker.port).start()
    with Peer(broker.port, daemon.out("words")) as peer:
        peer.publish_all(f"{daemon.fleet}/mfcc", [each.tobytes() for each in inputs])
        results = peer.results(daemon.out("words"), 500)
    names = list(results[0]["output"]["scores"])
    right = sum(each["output"]["label"] == names[label] for each, label in zip(results, labels))
    assert len(results) == 500
    assert right >= 450


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_keyword_accuracy_holds_on_each_runtime(assets: Path, data: Path, tmp_path: Path, runtime: str) -> None:
    package, module = RUNTIMES[runtime]
    pytest.importorskip(module, reason=f"needs the runtime: pip install {package}")
    inputs, labels = keywords(assets)
    lane = Lane(only(data / "kws", tmp_path / "release", "int8"), MFCC, prefer=runtime)
    for each in inputs:
        lane.put(("in/a", each.tobytes()))
    names = lane.pipeline.inference.manifest.output.labels
    assert sum(result.output["label"] == names[label] for result, label in zip(lane.kept.results, labels)) >= 450
    assert lane.pipeline.inference.build.package == package
