"""Opens files that a user names, without blocking on a FIFO or device, and reads them up to a limit."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

from qcore.errors import ConfigError


def open_regular(path: Path | str) -> IO[bytes]:
    """Open a regular file for reading; follow symbolic links.

    FIFOs and devices are not opened: opening a FIFO blocks until a process writes to it, and a device may never end.

    Raises:
        OSError: the file cannot be opened or is not regular; `strerror` states which.
    """
    _require_regular(os.stat(path))
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(file))  # the path may name another file by now
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_regular(path: Path | str, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: as for `open_regular`, or the file is larger.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    return content


def decode_text(data: bytes, source: str) -> str:
    """The text of a file.

    Raises:
        ConfigError: it is not UTF-8. The error names the line and the column.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        raise ConfigError(f"{source}:{line}:{column}: not UTF-8 text: {error.reason}") from None


def open_nonblocking(path: str, flags: int) -> int:
    """Open a file for writing without blocking. Use it as the `opener` of `open(path, "w")`.

    A FIFO is opened only if a process is reading from it. A new file is accessible to its owner only.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "no process reads from it") from None
        raise
    os.set_blocking(file, True)
    return file


def open_to_append(path: Path) -> int:
    """Open a file to append to it; returns the descriptor. See `open_nonblocking`.

    Raises:
        OSError: the file cannot be opened.
    """
    return open_nonblocking(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def special_file_kind(mode: int) -> str | None:
    """Name the kind of a file that is not regular, with its article; None for a regular file."""
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
