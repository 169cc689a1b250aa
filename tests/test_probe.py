"""A runtime that crashes on this processor is passed over, not loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edged.engines import choose
from edged.engines.probe import crash_of
from edged.errors import BoardError
from tests.daemon import HAR

MODEL = HAR / "har_float.tflite"


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of a Python package that dies like a wheel for another processor."""
    (tmp_path / "wrong_wheel").mkdir()
    (tmp_path / "wrong_wheel" / "__init__.py").write_text("")
    (tmp_path / "wrong_wheel" / "interpreter.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "wrong_wheel"


def test_a_runtime_that_crashes_is_passed_over_for_the_next(crashing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "RUNTIMES", {"wrong": ("wrong-wheel", crashing), **choose.RUNTIMES})
    engine = choose.open_engine(MODEL, "tflite", batching=False)
    assert engine.build.package != "wrong-wheel"
    engine.close()


def test_where_none_is_left_it_says_how_each_died(crashing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "RUNTIMES", {"wrong": ("wrong-wheel", crashing)})
    with pytest.raises(BoardError, match="wrong-wheel crashes here with SIGSEGV"):
        choose.open_engine(MODEL, "tflite")


def test_a_runtime_that_refuses_a_file_has_not_crashed(tmp_path: Path) -> None:
    broken = tmp_path / "empty.tflite"
    broken.write_bytes(b"")
    module = next(module for _, module in choose.RUNTIMES.values() if find_spec(module))
    assert crash_of(module, MODEL) == ""
    assert crash_of(module, broken) == ""


def test_a_model_that_crashes_a_runtime_costs_no_other_model_that_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = next(module for _, module in choose.RUNTIMES.values() if find_spec(module))
    (tmp_path / "touchy_wheel").mkdir()
    (tmp_path / "touchy_wheel" / "__init__.py").write_text("")
    dies = 'import os, signal, sys\nif sys.argv[-1].endswith("bad.tflite"):\n    os.kill(os.getpid(), signal.SIGSEGV)\n'
    (tmp_path / "touchy_wheel" / "interpreter.py").write_text(f"{dies}from {real}.interpreter import *\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(choose, "RUNTIMES", {"touchy": ("touchy-wheel", "touchy_wheel"), **choose.RUNTIMES})
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(MODEL.read_bytes())
    for path, expected in ((bad, False), (MODEL, True)):
        engine = choose.open_engine(path, "tflite", batching=False)
        assert (engine.build.package == "touchy-wheel") is expected
        engine.close()
