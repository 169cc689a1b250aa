"""The Python that runs edged, and whether the packages it needs have wheels for it."""

from __future__ import annotations

import importlib.util
import os
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from edged.board.tree import Tree
from edged.doctor.finding import Finding, error, hint, ok, quoted, warning
from edged.engines.choose import available

MACHINES = ("aarch64", "x86_64")
OLDEST, NEWEST = (3, 10), (3, 13)
LAST_FOR_TFLITE_RUNTIME = (3, 11)
GLIBC_OF_LITERT, GLIBC_OF_TFLITE_RUNTIME = (2, 27), (2, 34)

_GOMP_PLACES = ("usr/lib/*/libgomp.so.1", "lib/*/libgomp.so.1", "usr/lib/libgomp.so.1", "usr/lib64/libgomp.so.1")


@dataclass(frozen=True)
class PythonFacts:
    """`version` of Python, its `bits`, the kernel's `machine`, the C library's version (None: another library).

    `runtimes` are the installed packages that run TFLite models; `llama` says that the package
    for text models is there, `gomp` the library that it needs.
    """

    version: tuple[int, int, int]
    bits: int
    machine: str
    glibc: tuple[int, int] | None
    runtimes: tuple[str, ...]
    llama: bool = False
    gomp: bool = False

    @property
    def minor(self) -> tuple[int, int]:
        """Give the version that wheels are made for."""
        return self.version[:2]


def check_python(tree: Tree) -> Iterator[Finding]:
    """Judge the Python that runs this."""
    return judge_python(read_python(tree), sys.executable)


def read_python(tree: Tree) -> PythonFacts:
    """Look at the running Python, and for libraries under the root."""
    return PythonFacts(
        version=sys.version_info[:3],
        bits=8 * struct.calcsize("P"),
        machine=os.uname().machine,
        glibc=_glibc(),
        runtimes=tuple(build.package for build in available()),
        llama=importlib.util.find_spec("xllamacpp") is not None,
        gomp=any(tree.find(place) for place in _GOMP_PLACES),
    )


def litert_has_wheels(python: PythonFacts) -> bool:
    """Say whether ai-edge-litert can be installed with pip here."""
    fits = OLDEST <= python.minor <= NEWEST and python.bits == 64 and python.machine in MACHINES
    return fits and python.glibc is not None and python.glibc >= GLIBC_OF_LITERT


def judge_python(python: PythonFacts, executable: str) -> Iterator[Finding]:
    """Say what the facts mean; a missing wheel is an error only where nothing runs models yet."""
    if python.bits < 64:
        yield _too_narrow(python)
        return
    missing = error if not python.runtimes else hint
    problems = [problem for problem in (_machine(python), _version(python), _libc(python)) if problem]
    for code, text, advice in problems:
        yield missing(code, text, advice)
    if not python.runtimes and not problems and _refuses_tflite_runtime(python):
        text = f"pip refuses tflite-runtime here: it needs glibc 2.34, this is {_dotted(python.glibc)}"
        yield warning("glibc-old", text, "take the other runtime", f"{quoted(executable)} -m pip install ai-edge-litert")
    if python.llama and not python.gomp:
        yield hint("libgomp-missing", "text models need libgomp1, which is not here", fix="sudo apt install libgomp1")
    if not problems:
        libc = f"glibc {_dotted(python.glibc)}"
        yield ok(f"Python {_dotted(python.version)}, 64-bit, {python.machine}, {libc}")


def _too_narrow(python: PythonFacts) -> Finding:
    where = "a 64-bit kernel with a 32-bit system on it" if python.machine in MACHINES else f"a 32-bit system ({python.machine})"
    advice = "edged and its runtimes are for 64 bits: install the 64-bit image of the operating system"
    return error("python-32-bit", f"this is {where}: Python is 32-bit", advice)


def _machine(python: PythonFacts) -> tuple[str, str, str] | None:
    if python.machine in MACHINES:
        return None
    return "machine-no-wheels", f"runtimes have no wheels for {python.machine}", f"edged is for {' and '.join(MACHINES)}"


def _version(python: PythonFacts) -> tuple[str, str, str] | None:
    if OLDEST <= python.minor <= NEWEST:
        return None
    advice = f"make edged's environment anew with one of Python {_dotted(OLDEST)} to {_dotted(NEWEST)}"
    return "python-no-wheels", f"runtimes have no wheels for Python {_dotted(python.minor)}", advice


def _libc(python: PythonFacts) -> tuple[str, str, str] | None:
    if python.glibc is None:
        return "libc-no-wheels", "runtimes have no wheels for this C library: they need glibc", "take a system with glibc, such as Debian"
    if python.glibc < GLIBC_OF_LITERT:
        text = f"runtimes have no wheels for glibc {_dotted(python.glibc)}: they need {_dotted(GLIBC_OF_LITERT)}"
        return "libc-no-wheels", text, "install a newer release of the operating system"
    return None


def _refuses_tflite_runtime(python: PythonFacts) -> bool:
    wanted = python.minor <= LAST_FOR_TFLITE_RUNTIME  # newer ones take LiteRT from the start
    return wanted and python.glibc is not None and python.glibc < GLIBC_OF_TFLITE_RUNTIME


def _glibc() -> tuple[int, int] | None:
    name, version = platform.libc_ver()
    parts = version.split(".")
    if name != "glibc" or len(parts) < 2 or not all(part.isdecimal() for part in parts[:2]):
        return None
    return int(parts[0]), int(parts[1])


def _dotted(version: tuple[int, ...] | None) -> str:
    return ".".join(map(str, version or ()))
