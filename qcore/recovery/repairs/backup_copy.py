"""Copies the files of a data directory into a directory inside it, before they are changed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from pathlib import Path

from qcore.errors import DiskFull
from qcore.node.peers.node_key_file import KEY_FILE_NAME
from qcore.storage.files.directory_lock import LOCK_FILE
from qcore.storage.files.synced_files import DIRECTORY_MODE, FILE_MODE, open_and_sync
from qcore.storage.io_errors import error_from_os


def back_up(directory: Path, prefix: str) -> Path:
    """Copy all files of a data directory but the lock and the key, which never change. No node may run on it.

    Args:
        directory: the data directory.
        prefix: the beginning of the name of the copy; the time (UTC) follows.

    Returns:
        the directory with the copy, durable.

    Raises:
        DiskFull: no space; nothing is left of the copy.
        StorageError: the files cannot be copied.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = directory / f"{prefix}-{moment}"
    number = 1
    while target.exists():
        number += 1
        target = directory / f"{prefix}-{moment}-{number}"
    try:
        target.mkdir(DIRECTORY_MODE)
        for name in sorted(os.listdir(directory)):
            source = directory / name
            if name in (LOCK_FILE, KEY_FILE_NAME) or not stat.S_ISREG(source.lstat().st_mode):
                continue
            copy = target / name
            shutil.copyfile(source, copy)
            copy.chmod(FILE_MODE)
            open_and_sync(copy)
        open_and_sync(target)
        open_and_sync(directory)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"there is no room in {directory} for a copy of its files, and nothing was changed: free some space"
            ) from error
        raise error_from_os(error, f"copy the files of {directory} to {target}") from error
    return target
