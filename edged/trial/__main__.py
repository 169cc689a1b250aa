"""The child process of `fleet/trial.py`: python -m edged.trial REPORT, with an order on standard input.

REPORT is the number of an open file: each line of it is a word of `fleet/trial_words.py`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import msgspec

from edged.engines.choose import RUNTIMES
from edged.errors import BoardError, BugError, EdgedError, PublisherError
from edged.fleet.trial_words import MOST_TEXT, At, Failed, Order, PassedOver, TrialRequest
from edged.trial.bounds import step_back

_MOST_ORDERED = 1 << 20


def main() -> None:
    """Do what the order says, tell what comes of it, and end without cleaning up: the model may have left anything in memory."""
    order = msgspec.json.decode(sys.stdin.buffer.read(_MOST_ORDERED), type=Order)
    step_back(order.parent)
    report = int(sys.argv[1])
    os.set_blocking(report, True)

    def say(word: Any) -> None:
        os.write(report, msgspec.json.encode(word) + b"\n")

    try:
        _run(order, say)
    except EdgedError as error:
        say(Failed(error.family, error.code, error.text[:MOST_TEXT], error.hint[:MOST_TEXT]))
    except MemoryError:
        say(Failed(PublisherError.family, "trial-memory", "out of the trial's memory", "make the model smaller"))
    except Exception as error:
        wrapped = BugError.of("trial-failed", error)
        say(Failed(wrapped.family, wrapped.code, wrapped.text[:MOST_TEXT], wrapped.hint))
    os._exit(0)


def _run(order: Order, say: Any) -> None:
    request = order.request
    runtime, module = (_import_for_texts if request.text else _import)(request, say)
    # Imported before the doors close: libraries read their own files, and count as ours, not as the model's memory.
    from edged.trial.confine import confine

    if request.text:
        from edged.trial.texts import TextTrial

        say(confine(order.limits))
        say(TextTrial(request, say, runtime, module).run())
    else:
        from edged.trial.windows import WindowTrial

        say(confine(order.limits))
        say(WindowTrial(request, say, runtime, module).run())


def _import(request: TrialRequest, say: Any) -> tuple[str, Any]:
    """Import the first runtime that loads, as `engines/choose.py` does."""
    faults = []
    for name in request.runtimes:
        say(At(f"importing {name}", name, portable=True))
        try:
            return name, importlib.import_module(f"{RUNTIMES[name][1]}.interpreter")
        except (ImportError, AttributeError, OSError) as error:
            say(PassedOver(name, "engine-missing", str(error)[:MOST_TEXT]))
            faults.append(f"{RUNTIMES[name][0]} does not load: {error}")
    text = f"nothing here runs tflite models: {'; '.join(faults) or 'no runtime is installed'}"
    raise BoardError("engine-missing", text, "pip install ai-edge-litert, or see `edged doctor`")


def _import_for_texts(request: TrialRequest, say: Any) -> tuple[str, Any]:
    """Load the first runtime for language models that loads, and give what opens them; empty and None: others need none."""
    from edged.trial.inside import opens_inside

    for name in request.runtimes:
        say(At(f"importing {name}", name, portable=True))
        try:
            return name, opens_inside(name)
        except EdgedError as error:
            say(PassedOver(name, error.code, error.text[:MOST_TEXT]))
    return "", None


if __name__ == "__main__":
    main()
