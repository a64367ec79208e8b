"""Files that a user names: opened without waiting for another process, read with a bound."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_regular(path: Path | str) -> IO[bytes]:
    """Open a file for reading, if it is a regular one.

    Opening a FIFO waits until somebody writes to it, and a device may never end: neither is opened. Symbolic links are
    followed.

    Raises:
        OSError: it cannot be opened, or is no regular file; `strerror` says which.
    """
    _require_regular(os.stat(path))
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(file))  # another file may have taken its place
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_regular(path: Path | str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    return content


def open_nonblocking(path: str, flags: int) -> int:
    """An `opener` for `open(path, "w")` and the like. A FIFO is opened if somebody reads from it; nobody is waited for.

    A new file is for its owner alone.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "no process reads from it") from None
        raise
    os.set_blocking(file, True)
    return file


def special_file_kind(mode: int) -> str | None:
    """What stands in the place of a regular file, with its article; None for a regular file."""
    if stat.S_ISREG(mode):
        return None
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((name for is_one, name in kinds if is_one(mode)), "something else")


def _require_regular(status: os.stat_result) -> None:
    kind = special_file_kind(status.st_mode)
    if kind is None:
        return
    number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
    raise OSError(number, f"it is {kind}, not a regular file")
