"""Read the arrays of an .npz file that may be hostile.

An .npz is a zip of .npy files. numpy's own reader trusts the directory's size, allocates what a
header claims, and knows pickles; this one bounds all of it before it allocates, and takes plain
numbers and texts only. Format of .npy: numpy/lib/format.py.
"""

from __future__ import annotations

import ast
import re
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.errors import PublisherError

MAX_BYTES = 64 << 20  # of the file, and of its arrays together
_MAX_DIRECTORY = 1 << 16  # hundreds of arrays
_MAX_HEADER = 1 << 10
_END = 22  # bytes of the zip's end record, without a comment
_MAGIC = b"\x93NUMPY"
_NUMBERS = ("<f4", "<f8", "<f2", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8")
_TEXTS = re.compile(r"<U[1-9][0-9]{0,5}")

Array = NDArray[np.generic]


def read_arrays(path: Path, names: tuple[str, ...], texts: Collection[str] = ()) -> dict[str, Array]:
    """Give the arrays called `names`: of texts (`<U`, valid Unicode) those that `texts` names too, of numbers all others.

    Raises PublisherError(`npz-malformed`) for anything that is not a plain .npz with all of them.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _malformed(path, f"it is larger than {MAX_BYTES >> 20} MiB")
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            return _arrays(path, archive, names, texts)
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, OverflowError) as error:
        raise _malformed(path, str(error) or type(error).__name__) from None


def _check_end(path: Path) -> None:
    """Hold the size of the directory, which zipfile reads whole; numpy writes neither a comment nor zip64 records."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END - 20))
        tail = file.read()
    end = tail[-_END:]
    if end[:4] != b"PK\x05\x06" or tail[:4] == b"PK\x06\x07" or int.from_bytes(end[12:16], "little") > _MAX_DIRECTORY:
        raise _malformed(path, "it is not a zip as numpy writes it")


def _arrays(path: Path, archive: zipfile.ZipFile, names: tuple[str, ...], texts: Collection[str]) -> dict[str, Array]:
    members = {info.filename: info for info in archive.infolist()}
    missing = [name for name in names if f"{name}.npy" not in members]
    if missing:
        have = ", ".join(sorted(name.removesuffix(".npy") for name in members))[:200]
        raise _malformed(path, f"it has no array {' and no '.join(f'`{name}`' for name in missing)}; there are: {have}")
    wanted = [members[f"{name}.npy"] for name in names]
    if sum(info.file_size for info in wanted) > MAX_BYTES:
        raise _malformed(path, f"its arrays are larger than {MAX_BYTES >> 20} MiB")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in wanted):
        raise _malformed(path, "it is packed with a method other than deflate")
    return {name: _array(path, name, _content(archive, info), name in texts) for name, info in zip(names, wanted)}


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as member:
        return member.read(info.file_size)  # read() without a size unpacks all, whatever the directory says


def _array(path: Path, name: str, data: bytes, texts: bool) -> Array:
    dtype, shape, fortran, start = _header(path, name, data, texts)
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(data) - start:
        raise _malformed(path, f"array `{name}` has {len(data) - start} bytes, and its header says {count * dtype.itemsize}")
    if texts and not _are_characters(np.frombuffer(data, "<u4", offset=start)):
        raise _malformed(path, f"array `{name}` holds numbers that are no characters")
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def _are_characters(points: NDArray[np.uint32]) -> bool:
    """Say whether all are Unicode scalar values: a surrogate is none, and cannot be written as UTF-8."""
    return not bool(((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any())


def _header(path: Path, name: str, data: bytes, texts: bool) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Give dtype, shape, whether columns come first, and where the values begin."""
    if data[:6] != _MAGIC or len(data) < 12 or data[6] not in (1, 2, 3):
        raise _malformed(path, f"array `{name}` is not .npy")
    begin = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:begin], "little")
    try:
        if length > _MAX_HEADER:
            raise ValueError
        header = ast.literal_eval(data[begin : begin + length].decode("ascii").strip())
        descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        sizes = tuple(size for size in shape if type(size) is int and 0 <= size <= MAX_BYTES)
        if not isinstance(descr, str) or type(fortran) is not bool or len(sizes) != len(shape) or len(sizes) > 16:
            raise ValueError
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise _malformed(path, f"array `{name}` has a header that is not one") from None
    if descr[1:2] == "O":
        raise _malformed(path, f"array `{name}` holds pickled objects, which are never loaded")
    if texts and not _TEXTS.fullmatch(descr):
        raise _malformed(path, f"array `{name}` has the type {descr[:20]!r}, and texts are wanted")
    if not texts and descr not in _NUMBERS:
        raise _malformed(path, f"array `{name}` has the type {descr[:20]!r}, which no tensor has")
    return np.dtype(descr), sizes, fortran, begin + length


def _malformed(path: Path, text: str) -> PublisherError:
    return PublisherError("npz-malformed", f"`{path.name}`: {text}", "write it with numpy.savez")
