"""Each error names its cause and what to do. Only damage calls for a new directory."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from qcore.core.entry import DurableState, Entry, HardState
from qcore.core.log.restore import RECOVERY_ADVICE, restored_log
from qcore.errors import DiskFull, LogCorrupt, StorageError
from qcore.storage.io_errors import error_from_os, error_from_sqlite, error_from_structure_check
from tests.storage.support.directories import fill

NEW_DIRECTORY = "add the node again with an empty one"


def of_sqlite(code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("a message of SQLite")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "an I/O error: check the disk"),
        (errno.EACCES, "owner and permissions"),
        (errno.EROFS, "mounted read-only"),
        (errno.EMFILE, "too many files open"),
        (errno.ENOMEM, "out of memory"),
        (errno.ESTALE, "check the disk"),
        (errno.ENOTDIR, "check what is at that path"),
    ],
)
def test_system_errors_are_explained(number: int, words: str) -> None:
    failure = error_from_os(OSError(number, os.strerror(number)), "read /data/log.db")
    assert type(failure) is StorageError
    assert str(failure).startswith(f"cannot read /data/log.db: {os.strerror(number)}: ")
    assert words in str(failure)
    assert NEW_DIRECTORY not in str(failure)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_and_full_quota_are_a_full_disk(number: int) -> None:
    failure = error_from_os(OSError(number, os.strerror(number)), "create /data/log.db")
    assert isinstance(failure, DiskFull)
    assert "free some space" in str(failure)


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        (sqlite3.SQLITE_IOERR_READ, "SQLITE_IOERR_READ", "an I/O error: check the disk"),
        (sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC", "an I/O error: check the disk"),
        (sqlite3.SQLITE_BUSY, "SQLITE_BUSY", "another program has the file open"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "SQLITE_READONLY_DBMOVED", "moved or removed"),
        (sqlite3.SQLITE_NOMEM, "SQLITE_NOMEM", "out of memory"),
        (sqlite3.SQLITE_ERROR, "SQLITE_ERROR", "nothing indicates that the data is damaged"),
        (sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN", "a missing permission, or a full disk"),
        (sqlite3.SQLITE_IOERR_LOCK, "SQLITE_IOERR_LOCK", "a missing permission, or a full disk"),
        (sqlite3.SQLITE_READONLY, "SQLITE_READONLY", "a missing permission, or a full disk"),
    ],
)
def test_sqlite_errors_are_explained(tmp_path: Path, code: int, name: str, words: str) -> None:
    fill(tmp_path).close()
    failure = error_from_sqlite(of_sqlite(code, name), tmp_path / "log.db", "read")
    assert type(failure) is StorageError
    assert words in str(failure)
    assert NEW_DIRECTORY not in str(failure)


def test_error_without_a_code_is_not_corruption(tmp_path: Path) -> None:
    failure = error_from_sqlite(
        sqlite3.ProgrammingError("a message without a code"), tmp_path / "log.db", "read"
    )
    assert type(failure) is StorageError


def test_file_that_cannot_be_opened_gives_the_system_error(tmp_path: Path) -> None:
    error = of_sqlite(sqlite3.SQLITE_CANTOPEN, "SQLITE_CANTOPEN")
    failure = error_from_sqlite(error, tmp_path / "log.db", "read")
    assert "No such file" in str(failure)


def test_corruption_is_reported_only_of_readable_files(tmp_path: Path) -> None:
    fill(tmp_path / "data").close()
    path = tmp_path / "data" / "log.db"
    error = of_sqlite(sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT")
    assert isinstance(error_from_sqlite(error, path, "read"), LogCorrupt)
    with sqlite3.connect(path) as connection:  # all its pages are sound
        assert "sound when it is read again" in str(
            error_from_sqlite(error, path, "read", connection)
        )
    connection.close()
    path.rename(tmp_path / "moved")
    path.mkdir()  # a directory cannot be read
    assert "cannot be read to its end" in str(error_from_sqlite(error, path, "read"))


@pytest.mark.parametrize(
    ("verdict", "second", "kind", "words"),
    [
        ("Page 3: unable to get the page. error code=266",) * 2 + (StorageError, "I/O error"),
        ("Page 3: unable to get the page. error code=7",) * 2 + (StorageError, "out of memory"),
        ("Freelist: failed to get page 9", "ok", StorageError, "differently each time"),
        ("Page 3 is never used", "Page 3 is never used", LogCorrupt, NEW_DIRECTORY),
        ("Page 3: unable to get the page. error code=11",) * 2 + (LogCorrupt, NEW_DIRECTORY),
    ],
)
def test_results_of_the_page_check_are_classified(
    tmp_path: Path, verdict: str, second: str, kind: type[StorageError], words: str
) -> None:
    fill(tmp_path).close()
    failure = error_from_structure_check(tmp_path / "log.db", verdict, second)
    assert type(failure) is kind
    assert words in str(failure)


def test_core_and_storage_advise_the_same_on_corruption() -> None:
    """An older copy is not a repair: it has forgotten votes."""
    gap = [Entry(index, 1, "command", "x", 0) for index in (1, 3)]
    with pytest.raises(LogCorrupt) as caught:
        restored_log(DurableState(HardState(1), None, gap))
    assert str(caught.value).endswith(RECOVERY_ADVICE)
    assert "Do not restore an older copy" in RECOVERY_ADVICE
    assert "backup" not in RECOVERY_ADVICE
