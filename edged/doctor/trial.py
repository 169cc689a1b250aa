"""Run the demo's small model with one runtime and say how it went; the child process of `runtimes.py`.

    python -m edged.doctor.trial RUNTIME

prints one line of JSON: `{"ms": …, "wrong": …}`, or `{"error": …}` where the runtime does not
load. A wheel for another processor kills this process, and nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import resources
from pathlib import Path

from edged.engines.choose import open_engine
from edged.errors import EdgedError
from edged.models.manifest import Release, load_release
from edged.packing.goldens import run_golden, why_not

_RUNS = 20


def main() -> None:
    """Try the runtime that the command line names."""
    with resources.as_file(resources.files("edged") / "demo" / "har") as folder:
        print(json.dumps(_try(sys.argv[1], load_release(Path(folder)))))


def _try(runtime: str, release: Release) -> dict[str, float | str]:
    import numpy as np

    variant = release.manifest.variants[0]
    assert variant.golden is not None
    try:
        engine = open_engine(release.path_of(variant), variant.engine, prefer=runtime, batching=False)
        wrong = why_not(run_golden(engine, release.path_of_file(variant.golden.file)), variant.golden)
    except EdgedError as error:
        return {"error": error.text}
    window = np.zeros((1, *engine.input.shape), np.float32)
    least = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        engine.infer(window)
        least = min(least, time.perf_counter() - start)
    return {"ms": round(1000 * least, 3), "wrong": wrong}


if __name__ == "__main__":
    main()
