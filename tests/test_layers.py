"""The layers of the package, and who may import what: held by reading the imports of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO

PACKAGE = REPO / "edged"
BRIDGE = REPO / "firmware_bridge"

# A layer imports lower layers only; packages of one layer do not import each other.
LAYERS: dict[str, tuple[int, str]] = {
    "": (0, "the ground: errors, clock, values; knows nothing of the rest"),
    "config": (1, "what the user wrote; commands that only look read it without the data path"),
    "preprocess": (2, "arithmetic on windows; a release checks its chain with it before anything runs"),
    "board": (3, "what this board is; must not know what runs on it"),
    "engines": (3, "model runtimes; must not know how models are stored or where data comes from"),
    "models": (3, "releases on disk; must be readable without loading a runtime"),
    "spool": (3, "results on disk; must not know where they go"),
    "mqtt": (3, "the broker's connection; must not know what a message means"),
    "packing": (4, "checks a release by running it: needs engines and models"),
    "select": (4, "which variants fit; pure but for its files, so that a fleet manager's machine can answer for any board"),
    "exchange": (4, "formats that boards and fleet managers share; pure, and imported by both"),
    "calibrate": (4, "measures engines and board; needs both, and nothing of what runs"),
    "stream": (5, "the data path, which joins all of the above"),
    "fleet": (5, "the control path; meets the data path only where the service joins them"),
    "publisher": (5, "the fleet manager's side; no board imports it"),
    "trial": (6, "a process of its own, which runs a candidate as the data path would"),
    "service": (7, "the life of the daemon around the two paths"),
    "demo": (8, "uses the service as a user would"),
    "fitting": (8, "learns from labelled rows, off the board; no board imports it"),
    "doctor": (8, "looks at the board and the installation from outside"),
    "cli": (9, "what people type; nothing below it writes to a terminal"),
}

# Foreign packages that one place wraps, so that they can be changed there and nowhere else.
ONLY_IN: dict[str, tuple[set[str], str]] = {
    "paho": ({"mqtt/client.py"}, "its exceptions and threads end there"),
    "iotcore": ({"service/embedded.py"}, "for demos only, and it must stay on loopback"),
    "tflite_runtime": ({"engines/choose.py", "engines/tflite.py"}, "which runtime there is, is chosen once"),
    "ai_edge_litert": ({"engines/choose.py", "engines/tflite.py"}, "which runtime there is, is chosen once"),
    "xllamacpp": (set(), "its shared object is loaded without it, in a process of its own"),
    "llama_cpp": ({"engines/llama/library.py"}, "its structures end there, in a process of its own"),
    "cryptography": ({"publisher/keys.py", "cli/fleet/options.py"}, "boards verify, and sign nothing"),
    "urllib3": (
        {"fleet/repositories.py", "fleet/transfer/carriers/http.py", "fleet/transfer/carriers/ranges.py"},
        "its exceptions end there, and what a server says is bounded there",
    ),
    "cbor2": ({"stream/decoders/cbor.py"}, "its decoder meets bytes from outside"),
    "serial": (set(), "firmware_bridge opens serial ports, and its exceptions end there"),
    "sklearn": ({"fitting/logistic.py"}, "fitted off the board; a board computes with numpy alone"),
    "tomlkit": ({"fitting/manifest_edit.py"}, "edits a publisher's file and leaves the rest of it as it is"),
    "structlog": (
        {"service/log.py", "service/daemon.py", "service/control.py", "service/chronicle.py"},
        "what is below the service returns or raises, it does not log",
    ),
}

# Who may speak with firmware: the bridge beside edged knows nothing of it.
SPEAK_WITH_FIRMWARE = {"stream", "service", "cli", "doctor"}
BRIDGE_NEEDS = {"serial": {"port.py"}}

# What runs from a shell prompt all day must start in a blink on a small board.
QUICK = ["status", "top", "check", "why"]
HEAVY = [
    "numpy",
    "paho",
    "structlog",
    "tflite_runtime",
    "ai_edge_litert",
    "sklearn",
    "tomlkit",
    "tuf",
    "securesystemslib",
    "urllib3",
    "serial",
]


def modules(package: Path = PACKAGE) -> list[Path]:
    return sorted(path.relative_to(package) for path in package.rglob("*.py"))


def imports(module: Path, package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """Give the line and dotted name of each import, wherever in the module it stands."""
    tree = ast.parse((package / module).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{package.name}/{module}:{node.lineno}: imports are absolute here"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("import_module", "__import__"):
            text = node.args[0]
            yield node.lineno, str(text.value) if isinstance(text, ast.Constant) else ""


def package_of(name: str) -> str:
    """Give the package of `edged` that a dotted name is in; the ground is empty."""
    first = name.split(".")[1] if "." in name else ""
    return first if (PACKAGE / first).is_dir() else ""


def home(module: Path) -> str:
    return module.parts[0] if len(module.parts) > 1 else ""


def test_every_package_has_a_layer() -> None:
    assert {home(module) for module in modules()} == set(LAYERS)


def test_a_layer_imports_lower_layers_only() -> None:
    assert [fault for module in modules() for fault in faults_of(module)] == []


def faults_of(module: Path) -> Iterator[str]:
    own = home(module)
    for line, name in imports(module):
        other = package_of(name)
        if name.split(".")[0] == "edged" and other != own and LAYERS[other][0] >= LAYERS[own][0]:
            yield f"edged/{module}:{line} imports {name}, but `{own or 'the ground'}` is: {LAYERS[own][1]}"


def test_no_board_imports_the_publishers_side() -> None:
    """It signs; a board verifies."""
    found = {str(module.parent) for module in modules() for _, name in imports(module) if name.startswith("edged.publisher")}
    assert found == {"publisher", "cli/fleet"}


@pytest.mark.parametrize("foreign", ONLY_IN)
def test_a_foreign_package_is_imported_in_its_places_only(foreign: str) -> None:
    places, reason = ONLY_IN[foreign]
    found = {str(module) for module in modules() for _, name in imports(module) if name.split(".")[0] == foreign}
    assert found <= places, f"{foreign} is for {', '.join(sorted(places))}: {reason}"


def test_only_what_handles_readings_or_people_speaks_with_firmware() -> None:
    found = {home(module) for module in modules() for _, name in imports(module) if name.split(".")[0] == "firmware_bridge"}
    assert found <= SPEAK_WITH_FIRMWARE


def test_the_bridge_imports_itself_and_what_it_needs() -> None:
    """It can be used without edged, and all but its port without pyserial."""
    foreign = [
        (str(module), name.split(".")[0])
        for module in modules(BRIDGE)
        for _, name in imports(module, BRIDGE)
        if name.split(".")[0] not in sys.stdlib_module_names | {"firmware_bridge"}
    ]
    assert [(module, name) for module, name in foreign if module not in BRIDGE_NEEDS.get(name, set())] == []


@pytest.mark.parametrize("command", QUICK)
def test_a_command_that_only_looks_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    arguments = [command, "--config", str(tmp_path / "none.toml")]
    program = (
        f"import sys; from edged.cli.main import main; code = main({arguments!r}); print([m for m in {HEAVY!r} if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] 3", done.stdout + done.stderr
