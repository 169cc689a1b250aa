"""Read a `.edgedpack`: a release as one file.

It is a ZIP whose entries are stored, not compressed: `release.json` first, then the files it
names, without gaps. So each file is a section of the pack, and nothing is unpacked. The directory
is read by `zipfile`, from a file that refuses to give more at once than the directory of the largest
release, so that no forged number is ever allocated. Numbers beyond 32 bits are ZIP64's.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

from edged.errors import PublisherError
from edged.models.packed import MAX_PACKED_BYTES, PACKED, parse_packed
from edged.models.rules import is_plain
from edged.models.section import Section, regular_size

SUFFIX = ".edgedpack"
MOST_FILES = 2 + 3 * 64  # model.toml, release.json, and for each variant a file, its head and its goldens
_MOST_AT_ONCE = 1 << 17  # the directory of so many files with the longest names takes a quarter of it
_LOCAL = struct.Struct("<4s2H H 2H 3L 2H")  # what lies before each file; then its name, and more
_UTF8 = 0x800  # the only flag that changes nothing: names are ASCII
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DOS_FOLDER = 0x10


class PackSource:
    """A `.edgedpack`; a Source. Its directory is held against its release.json before it is used."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Take an open file, which is this source's from here on, also where it is refused; `name` is for people.

        Raises PublisherError: `file-unreadable`, `packed-malformed`, and `pack-` with `malformed`,
        `too-many-files`, `bad-name`, `duplicate`, `not-a-file`, `encrypted`, `compressed`,
        `files-differ`, `size-differs`.
        """
        self.name = name
        self._file = file
        try:
            self._places = self._read()
            self._packed = self._check()
        except BaseException:
            self.close()
            raise

    def packed(self) -> bytes:
        """Give the bytes of release.json."""
        return self._packed

    def size(self, file: str) -> int:
        """Give the bytes of one of its files. Raises as `open`."""
        return self._place(file)[1]

    def open(self, file: str) -> BinaryIO:
        """Open one of its files. Raises PublisherError(`file-changed`) where there is none."""
        start, size = self._place(file)
        return io.BufferedReader(Section(self._file.fileno(), start, size, f"`{file}` in {self.name}"))

    def close(self) -> None:
        """Close the pack."""
        self._file.close()

    def _place(self, file: str) -> tuple[int, int]:
        if file not in self._places:
            raise PublisherError("file-changed", f"there is no {file[:200]!r} in {self.name}", "make the pack again")
        return self._places[file]

    def _read(self) -> dict[str, tuple[int, int]]:
        """Give where the bytes of each file begin, and how many they are."""
        size = regular_size(self._file.fileno(), self.name)
        section = Section(self._file.fileno(), 0, size, self.name)
        try:
            with zipfile.ZipFile(_Bounded(section)) as archive:
                entries, end = sorted(archive.infolist(), key=lambda entry: entry.header_offset), archive.start_dir
        # Whatever zipfile raises for bytes that are no archive; of memory there is enough, see _Bounded.
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error, EOFError, OSError, OverflowError) as error:
            raise self._malformed(str(error) or type(error).__name__) from None
        self._check_entries(entries)
        return dict(self._placed(entries, section, end))

    def _check_entries(self, entries: list[zipfile.ZipInfo]) -> None:
        if len(entries) > MOST_FILES:
            raise self._refused("too-many-files", f"has {len(entries)} files, and a release has {MOST_FILES} at most")
        seen: set[str] = set()
        for entry in entries:
            shown, mode = repr(entry.orig_filename[:200]), entry.external_attr >> 16
            if entry.orig_filename.endswith("/") or entry.external_attr & _DOS_FOLDER or stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise self._refused("not-a-file", f"holds {shown}, which is a folder, a link or a device")
            if not is_plain(entry.orig_filename):
                raise self._refused("bad-name", f"holds a file with the name {shown}, which is not a plain one")
            if entry.filename in seen:
                raise self._refused("duplicate", f"holds {shown} twice")
            if entry.flag_bits & _ENCRYPTED:
                raise self._refused("encrypted", f"holds {shown}, which is encrypted")
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise self._refused("compressed", f"holds {shown}, which is compressed")
            if entry.flag_bits & ~_UTF8:
                raise self._malformed(f"{shown} has the flags {entry.flag_bits:#x}")
            seen.add(entry.filename)

    def _placed(self, entries: list[zipfile.ZipInfo], section: Section, end: int) -> Iterable[tuple[str, tuple[int, int]]]:
        """Hold each entry against what lies before its bytes: one follows the other, and none lies in another."""
        at = 0
        for entry in entries:
            section.seek(at)
            head = section.read(_LOCAL.size) or b""
            if entry.header_offset != at or len(head) != _LOCAL.size:
                raise self._malformed(f"`{entry.filename}` does not begin where the file before it ends")
            mark, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL.unpack(head)
            name = section.read(name_bytes) or b""
            if (mark, flags, method) != (b"PK\3\4", entry.flag_bits, 0) or name != entry.filename.encode():
                raise self._malformed(f"the directory says something else of `{entry.filename}` than stands before its bytes")
            start = at + _LOCAL.size + name_bytes + extra_bytes
            at = start + entry.file_size
            yield entry.filename, (start, entry.file_size)
        if at != end:
            raise self._malformed("its files do not end where its directory begins")

    def _check(self) -> bytes:
        """Hold the directory against release.json, and give its bytes."""
        if next(iter(self._places), None) != PACKED:
            raise self._malformed(f"its first file is not {PACKED}")
        with self.open(PACKED) as opened:
            data = opened.read(MAX_PACKED_BYTES + 1)
        sealed = {file: seal.size for file, seal in parse_packed(data, f"{PACKED} in {self.name}").files.items()}
        sizes = {file: size for file, (_, size) in self._places.items() if file != PACKED}
        if differing := sorted(sizes.keys() ^ sealed.keys()):
            what = "lacks" if differing[0] in sealed else "holds"
            raise self._refused("files-differ", f"{what} `{differing[0]}`, and its {PACKED} says otherwise")
        for file, size in sizes.items():
            if size != sealed[file]:
                raise self._refused("size-differs", f"holds `{file}` with {size} bytes, and its {PACKED} says {sealed[file]}")
        return data

    def _malformed(self, text: str) -> PublisherError:
        hint = "copy it again: it may be cut short; or make it again with `edged pack DIR --into FILE`"
        return PublisherError("pack-malformed", f"{self.name} is not a sound {SUFFIX}: {text[:300]}", hint)

    def _refused(self, code: str, text: str) -> PublisherError:
        return PublisherError(f"pack-{code}", f"{self.name} {text}", "make it with `edged pack DIR --into FILE`")


class _Bounded:
    """What zipfile reads a directory from; no read of it gives more than that takes."""

    def __init__(self, section: Section) -> None:
        self._section = section
        self.seek, self.tell, self.seekable = section.seek, section.tell, section.seekable

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes, or all that are left; BadZipFile where they are too many."""
        data = b"" if size > _MOST_AT_ONCE else self._section.read(_MOST_AT_ONCE + 1 if size < 0 else size) or b""
        if size > _MOST_AT_ONCE or len(data) > _MOST_AT_ONCE:
            raise zipfile.BadZipFile("its directory is larger than that of any release")
        return data
