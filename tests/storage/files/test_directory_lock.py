"""The lock of a data directory says why it could not be taken."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from qcore.errors import DataDirLocked, StorageError
from qcore.storage.files.directory_lock import LOCK_FILE, DirectoryLock


def test_file_system_without_locks_is_not_a_locked_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other process is to blame, and none can be stopped."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageError, match=f"lock {tmp_path / LOCK_FILE}: No locks") as caught:
        DirectoryLock(tmp_path)
    assert not isinstance(caught.value, DataDirLocked)


def test_owner_that_cannot_be_read_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock itself proves that the directory is in use."""
    held = DirectoryLock(tmp_path)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", fail)
        with pytest.raises(DataDirLocked, match="in use by process unknown: stop that process"):
            DirectoryLock(tmp_path)
    with pytest.raises(DataDirLocked, match=f"in use by process {os.getpid()}: "):
        DirectoryLock(tmp_path)
    held.release()
    DirectoryLock(tmp_path).release()
