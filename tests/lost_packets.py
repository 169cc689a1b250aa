"""A network of its own whose wire loses packets: what TCP makes of that, and a program on it.

It is a network namespace that ends with its only process; the machine's own network is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

_REPO = Path(__file__).parent.parent
_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_RULES = """
table inet wire {{
  chain input {{
    type filter hook input priority 0
    iif "lo" numgen random mod 1000 < {per_mille} drop
  }}
}}
"""


def run_losing(chance: float, *command: str) -> str:
    """Run a program where each packet of loopback is lost with this chance; give what it printed. Skip where that cannot be had."""
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program, path=_PLACES) is None:
            pytest.skip(f"needs a network of its own, and there is no {program} here: apt install {package}")
    allowed = _run(chance, "true")
    if allowed.returncode:
        pytest.skip(f"needs a network of its own, and this machine does not give one: {allowed.stderr.strip()}")
    done = _run(chance, *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(chance: float, *command: str) -> subprocess.CompletedProcess[str]:
    script = 'set -e; ip link set lo up; printf %s "$RULES" | nft -f -; exec "$@"'
    rules = _RULES.format(per_mille=round(chance * 1000))
    return subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-c", script, "sh", *command],
        cwd=_REPO,
        env={**os.environ, "PATH": _PLACES, "RULES": rules, "LOGNAME": "root"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
