"""Try a runtime in a child process first: a wheel built for another processor kills the process that uses it.

Seen with ai-edge-litert 2.3.0 on an emulated aarch64: a segmentation fault when the interpreter
is made. A forged model can do the same to a sound runtime. The child costs one start of Python
for each model.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

PROBE_S = 120.0  # an emulated or very slow board takes seconds to import

_CODE = """
import importlib, sys
importlib.import_module(sys.argv[1] + ".interpreter").Interpreter(model_path=sys.argv[2], num_threads=1).allocate_tensors()
"""


@cache
def crash_of(module: str, path: Path) -> str:
    """Say how a runtime's Python package dies over a model file; empty where it lives, also when it refuses the file."""
    command = [sys.executable, "-c", _CODE, module, str(path)]
    try:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PROBE_S
        ).returncode
    except subprocess.TimeoutExpired:
        return f"hangs for {PROBE_S:g} s"
    return f"crashes here with {signal.Signals(-code).name}" if code < 0 else ""
