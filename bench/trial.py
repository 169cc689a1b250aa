"""Latency of a daemon at work while releases are tried beside it: `python -m bench trial [--quick]`.

One message of 130 readings, which completes one window, each 10 ms; message in to result out. The
trials run one after the other for as long as messages are sent. In the daemon itself the trial's
parent is a thread more, which looks at the child 50 times a second; here that thread is the load generator's.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from bench.load import Results, Sender, packed_messages
from bench.parties import MODEL_DIR, PACKED, broker, edged, recording
from edged.clock import SystemClock
from edged.errors import EdgedError
from edged.fleet.trial import Limits, TrialRequest, run_trial
from edged.models.manifest import load_release
from tests import hostile

READINGS = 130
RATE = 100.0
LIMITS = Limits(memory_mib=512, cpu_s=60, wall_s=5.0)
GRAPHS = {
    "that hangs": hostile.endless, "that eats memory": hostile.creeping, "that crashes": hostile.bottomless, "that is slow": hostile.slow,
}  # fmt: skip


def trial_rows(seconds: float) -> dict[str, tuple[float, float, int]]:
    """Give p50 and p99 in ms, and the number of results missing: without a trial, with a sound one, with each hostile kind."""
    with tempfile.TemporaryDirectory() as name:
        folders = {f"a release {kind}": hostile.release(Path(name) / str(i), v=graph()) for i, (kind, graph) in enumerate(GRAPHS.items())}
        tried = {"no trial": None, "a sound release": MODEL_DIR, **folders}
        return {what: _row(folder, seconds) for what, folder in tried.items()}


def _row(folder: Path | None, seconds: float) -> tuple[float, float, int]:
    messages = packed_messages(recording(), int(seconds * RATE), b"bench/1/vib", READINGS)
    with broker() as port, edged(port, PACKED) as _, contextlib.ExitStack() as stack:
        results, sender = Results(port, "edged/1/+/+/out/+"), Sender(port)
        stack.callback(results.close)
        stack.callback(sender.close)
        if folder is not None:
            stack.enter_context(_trying(folder))
        sent = sender.send(messages, RATE)
        windows = len(messages) - 1  # the first message fills half a window
        results.wait_for(windows)
        late = sorted((came - at) * 1000 for at, came in zip(sent[1:], results.times, strict=False))
    return late[len(late) // 2], late[len(late) * 99 // 100], windows - len(late)


@contextlib.contextmanager
def _trying(folder: Path) -> Iterator[None]:
    """Try a release again and again."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            with contextlib.suppress(EdgedError):
                run_trial(_request(folder), LIMITS, stop.is_set, SystemClock())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _request(folder: Path) -> TrialRequest:
    release = load_release(folder)
    manifest = release.manifest
    return TrialRequest(
        name=manifest.name,
        release=manifest.release,
        manifest=str(folder / "model.toml"),
        files={name: str(path) for name, path in release.files.items()},
        variants=[variant.name for variant in manifest.variants],
    )


if __name__ == "__main__":
    for what, (p50, p99, missing) in trial_rows(10.0).items():
        print(f"{what:28} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  missing {missing}", flush=True)
