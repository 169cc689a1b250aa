"""What a disk's refusals mean while a blob is written: no space, or a folder that takes no writes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edged.errors import BoardError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell an OSError inside as BoardError(`no-space`, `store-unwritable`)."""
    try:
        yield
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BoardError("no-space", text, "remove releases that are not used, or other files") from None
        raise BoardError(
            "store-unwritable", text, "look at the owner and mode of the folder, and for errors of the disk in `dmesg`"
        ) from None
