"""`AtomicFile`: a file that appears under its name whole or not at all, however its writer ends.

Until then it has no name, if the file system supports that (`O_TMPFILE`, Linux), so a killed writer leaves nothing.
Elsewhere, and for the moment in which it replaces another file, its name is `.NAME.xxxxxxxx.partial` beside the
target. Its writer holds a lock on it, which ends with the process. So the next writer of the same target can recognise
the leftovers of dead writers and remove them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from pathlib import Path
from typing import IO, Final

from qcore.storage.files.synced_files import open_and_sync

#: Only the owner may read the file, until the operator changes that.
_MODE: Final = 0o600
#: Errors of a file system that cannot hold a file without a name. An old kernel takes the flag for another one.
_NO_UNNAMED_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
#: Attempts to find a name that no other process takes or removes at the same moment.
_ATTEMPTS: Final = 10


class AtomicFile:
    """A file that gets its name when it is complete. Write to `file`, then call `publish`; call `discard` in any case.

    Args:
        target: its future name, in an existing directory; must not be a symbolic link.

    Attributes:
        file: the open file.

    Raises:
        OSError: it cannot be created there.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        _remove_leftovers(target)
        self._name: Path | None = None
        file = _unnamed(target.parent)
        if file is None:
            self._name, file = _named(target)
        self.file: IO[bytes] = os.fdopen(file, "w+b")

    def publish(self, *, replace: bool) -> None:
        """Make the content durable and give it its name.

        Args:
            replace: replace an existing file of this name.

        Raises:
            FileExistsError: there is a file of this name, and it may not be replaced.
            OSError: the disk failed; whether the file has its name is unknown.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        if replace:
            os.replace(self._with_name(), self._target)
        else:
            self._link()
        open_and_sync(self._target.parent)

    def discard(self) -> None:
        """Close the file, and remove it unless it was published. Idempotent."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self._name is not None:
            with contextlib.suppress(OSError):
                self._name.unlink(missing_ok=True)

    def _link(self) -> None:
        """Give the file its name. Never replaces another file, not even one created just now."""
        try:
            if self._name is None:
                _link_unnamed(self.file.fileno(), self._target)
            else:
                os.link(self._name, self._target)
        except FileExistsError:
            raise
        except OSError:
            # The file system has no hard links: check immediately before the renaming.
            name = self._with_name()
            if os.path.lexists(self._target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(name, self._target)

    def _with_name(self) -> Path:
        """Give the file a name beside the target if it has none."""
        if self._name is not None:
            return self._name
        with contextlib.suppress(OSError):
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            name = _partial_name(self._target)
            _link_unnamed(self.file.fileno(), name)
            self._name = name
            return name
        # It cannot be linked, such as without /proc. A copy with a name can be renamed.
        self._name, file = _named(self._target)
        with os.fdopen(file, "wb") as copy:
            self.file.seek(0)
            shutil.copyfileobj(self.file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return self._name


def _unnamed(directory: Path) -> int | None:
    """An open file without a name, or None if the system has no such files."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        return os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, _MODE)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES:
            return None
        raise


def _link_unnamed(file: int, name: Path) -> None:
    # With a directory Python calls linkat(2), which can follow the link in /proc. link(2) would link to that link.
    directory = os.open(name.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{file}", name, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _partial_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.urandom(4).hex()}.partial")


def _named(target: Path) -> tuple[Path, int]:
    """A new file beside the target, locked if the file system has locks."""
    for _ in range(_ATTEMPTS):
        name = _partial_name(target)
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)  # another writer took it for a leftover and removed it
            continue
        except OSError:
            return name, file  # no locks here for any process: no writer takes it for a leftover
        if os.fstat(file).st_nlink:
            return name, file
        os.close(file)
    raise OSError(errno.EBUSY, "other processes keep removing the files written there")


def _remove_leftovers(target: Path) -> None:
    """Remove what dead writers of the same target left. A leftover that cannot be removed does no harm."""
    leftover = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if leftover.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(file)
