"""A file that appears under its name when it is whole, or not at all, whatever ends its writer.

Until then it has no name, where the file system can do that (`O_TMPFILE`, Linux): a writer that is killed leaves
nothing. Elsewhere, and for the moment in which it replaces another file, it is `.NAME.xxxxxxxx.partial` beside the
target. Its writer holds a lock on it, which ends with the process: so the next writer of the same target tells what a
dead one left, and removes that.
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

#: Only its owner may read it, until somebody decides otherwise.
_MODE: Final = 0o600
#: What a file system says that cannot hold a file without a name. An old kernel takes the flag for another.
_NO_UNNAMED_FILES: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
#: Attempts at a name that no other process takes or removes at this very moment.
_ATTEMPTS: Final = 10


class AtomicFile:
    """A file on its way to a name. Write to `file`, then `publish`; `discard` in any case.

    Args:
        target: its name to be, in a directory that exists; no symbolic link.

    Attributes:
        file: to write to.

    Raises:
        OSError: it cannot be made there.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        _sweep(target)
        self._name: Path | None = None
        file = _unnamed(target.parent)
        if file is None:
            self._name, file = _named(target)
        self.file: IO[bytes] = os.fdopen(file, "w+b")

    def publish(self, *, replace: bool) -> None:
        """Make the content durable and give it its name.

        Args:
            replace: another file of this name, if there is one.

        Raises:
            FileExistsError: there is one by now, and it may not be replaced.
            OSError: the disk failed; whether the name is there is unknown.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        if replace:
            os.replace(self._with_name(), self._target)
        else:
            self._link()
        open_and_sync(self._target.parent)

    def discard(self) -> None:
        """Close the file, and remove what has not got its name. Idempotent."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self._name is not None:
            with contextlib.suppress(OSError):
                self._name.unlink(missing_ok=True)

    def _link(self) -> None:
        """Never over another file, not even one made just now."""
        try:
            if self._name is None:
                _link_unnamed(self.file.fileno(), self._target)
            else:
                os.link(self._name, self._target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the check comes as close to the renaming as it can.
            name = self._with_name()
            if os.path.lexists(self._target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            os.rename(name, self._target)

    def _with_name(self) -> Path:
        """Give it a name beside the target if it has none."""
        if self._name is not None:
            return self._name
        with contextlib.suppress(OSError):
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(OSError):
            name = _partial_name(self._target)
            _link_unnamed(self.file.fileno(), name)
            self._name = name
            return name
        # It cannot be linked for whatever reason: copied, it can be renamed.
        self._name, file = _named(self._target)
        with os.fdopen(file, "wb") as copy:
            self.file.seek(0)
            shutil.copyfileobj(self.file, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return self._name


def _unnamed(directory: Path) -> int | None:
    """An open file without a name, or None where there is no such thing."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None:
        return None
    try:
        file = os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, _MODE)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES:
            return None
        raise
    if not os.path.exists(_path_of(file)):
        os.close(file)  # without /proc it could never get a name
        return None
    return file


def _path_of(file: int) -> str:
    return f"/proc/self/fd/{file}"


def _link_unnamed(file: int, name: Path) -> None:
    # With a directory Python calls linkat(2), which can follow the link in /proc; link(2) would name that link itself.
    directory = os.open(name.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.link(_path_of(file), name, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _partial_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.urandom(4).hex()}.partial")


def _named(target: Path) -> tuple[Path, int]:
    """A new file beside the target, locked where there are locks."""
    for _ in range(_ATTEMPTS):
        name = _partial_name(target)
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)  # another writer took it for a leftover, and removes it
            continue
        except OSError:
            return name, file  # no locks here, for others neither: nobody takes it for a leftover
        if os.fstat(file).st_nlink:
            return name, file
        os.close(file)
    raise OSError(errno.EBUSY, "other processes keep removing what is written there")


def _sweep(target: Path) -> None:
    """Remove what dead writers of the same target left. What cannot be removed is in nobody's way."""
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
