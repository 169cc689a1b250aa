"""Whether configuration and models are sound: what `edged check` says, asked of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.doctor.finding import Finding, error, ok, quoted
from edged.errors import BugError

CHECK_S = 60.0
_SHOWN = 5


def check_configuration(config: Path) -> Iterator[Finding]:
    """Run `edged check` in a child process: it reads models, and with them what is heavy to import."""
    # `-m` looks for modules in the present folder first: not where the user happens to be.
    command = [sys.executable, "-m", "edged.cli.main", "check", "--json", "--config", str(config.absolute())]
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_S)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise BugError("check-unanswered", f"`edged check` ended with exit code {done.returncode}: {''.join(last)[:200]}") from None
    return judge_answer(answer, config)


def judge_answer(answer: dict[str, Any], config: Path) -> Iterator[Finding]:
    """Turn its answer into findings, a few of many."""
    fault = answer.get("error", {})
    faults = [_sentence(each) for each in fault.get("faults", answer.get("faults", []))]
    if fault and not faults:
        faults = [str(fault.get("text", "it cannot be read"))]
    fix = f"edged check --config {quoted(config)}"
    for text in faults[:_SHOWN]:
        yield error("config-fault", text, fix=fix)
    if len(faults) > _SHOWN:
        yield error("config-fault", f"{config}: {len(faults) - _SHOWN} more faults", fix=fix)
    if not faults:
        yield ok(f"{config} and its models have no faults")


def _sentence(fault: Any) -> str:
    """Write a fault in a line: of the file's form they come in parts, of models as text."""
    if not isinstance(fault, dict):
        return str(fault)
    where = f"{fault.get('file', '')}:{fault.get('line', 0)}"
    key = f" {fault['key']}:" if fault.get("key") else ""
    return f"{where}:{key} {fault.get('text', '')}" + (f"; {fault['hint']}" if fault.get("hint") else "")
