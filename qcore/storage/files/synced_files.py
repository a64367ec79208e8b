"""Operations on plain files that report every failure: a short write, a failed sync, a name that cannot be read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from qcore.errors import StorageError
from qcore.files import special_file_kind
from qcore.storage.io_errors import error_from_os, is_full

#: The disk must have this many times the space that filling a write-ahead file takes. The database itself grows at a
#: checkpoint, and a node that takes all the space can never be checkpointed.
_ROOM_FACTOR: Final = 2
_PIECE_BYTES: Final = 1 << 20
#: Only the owner may use a node's new files and its new data directory.
FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def path_exists(path: Path) -> bool:
    """Whether the name exists.

    Not `Path.exists`: since Python 3.14 that returns False if the disk fails. Then a log that only seems absent would
    be created again.

    Raises:
        StorageError: the disk failed.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise error_from_os(error, f"look for {path}") from error
    return True


def require_regular_file(path: Path) -> None:
    """Refuse a path of a node's file that is not a regular file, before it is opened.

    Opening a FIFO waits for its other end. SQLite keeps the write-ahead file of a linked database beside the file that
    the link leads to, so it would be missing here.

    Raises:
        StorageError: it is not a regular file; the text names what it is.
    """
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise error_from_os(error, f"look for {path}") from error
    kind = special_file_kind(mode)
    if stat.S_ISLNK(mode):
        raise StorageError(
            f"{path} is a symbolic link, and a node's files must be in its data directory themselves: move the files "
            "back while no node runs on them, or make the whole directory a link or a mount"
        )
    if kind is not None:
        raise StorageError(
            f"{path} is {kind}, not a regular file: nothing was opened; find out what created it, and move it away"
        )


def create_private_file(path: Path) -> int:
    """Open a new file with mode 0600 for reading and writing. It replaces a file that a crash left under the name.

    Raises:
        OSError: it cannot be created.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)


def readable_by_others(directory: Path) -> list[str]:
    """The files in a directory that other users may read, sorted; without those that cannot be examined."""
    found: list[str] = []
    try:
        through = os.stat(directory).st_mode & 0o011
        with os.scandir(directory) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISREG(mode) and mode >> 2 & through:
                    found.append(entry.name)
    except OSError:
        return found  # the code that needs the directory meets the same error and reports it
    return sorted(found)


def write_all(file: int, data: bytes, offset: int) -> None:
    """Write all data. The system call may write less than it is given, and reports only how much.

    Raises:
        OSError: the data could not be written; a part of it may have been.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view, offset = view[written:], offset + written


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        StorageError: it is still there.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise error_from_os(error, f"remove {path}") from error


def open_and_sync(path: Path) -> None:
    """Make a file's content, or a directory's list of names, durable.

    Raises:
        OSError: the sync failed.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_path(path: Path) -> None:
    """Like `open_and_sync`, for data that a node must not forget.

    Raises:
        StorageError: the sync failed.
    """
    try:
        open_and_sync(path)
    except OSError as error:
        raise error_from_os(error, f"sync {path}") from error


def preallocate(path: Path, size: int) -> None:
    """Fill a write-ahead file with zeros up to `size` bytes.

    A sync that changes neither a file's length nor its blocks costs about half of one that does. SQLite reuses the file
    from its start after each checkpoint, and this gives it the space from the first commit on. A frame of zeros is not
    a valid frame, so recovery stops before it. If the disk has less than twice the space, or runs out of it during the
    write, the file stays as it was: nothing depends on this.

    Raises:
        StorageError: the disk failed for another reason than lack of space.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise error_from_os(error, f"open {path}") from error
    try:
        _fill(file, size)
    except OSError as error:
        raise error_from_os(error, f"fill {path}") from error
    finally:
        os.close(file)


def _fill(file: int, size: int) -> None:
    size_before = os.fstat(file).st_size
    room = os.fstatvfs(file)
    if size_before >= size or room.f_bavail * room.f_frsize < _ROOM_FACTOR * (size - size_before):
        return
    try:
        for start in range(size_before, size, _PIECE_BYTES):
            write_all(file, bytes(min(_PIECE_BYTES, size - start)), start)
    except OSError as error:
        os.ftruncate(file, size_before)
        if not is_full(error):
            raise
    os.fsync(file)
