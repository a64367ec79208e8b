"""A node's files: only their owner may use them, they are regular files, and they obey the file-size limit."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import HardState
from qcore.errors import DiskFull, LogCorrupt, StorageError
from qcore.node.peers.known_members_file import load_known_members
from qcore.storage.files.synced_files import readable_by_others
from qcore.storage.io_errors import error_from_os
from qcore.storage.sqlite.inspection import stored_version
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import command

NAMES = ("log.db", "log.db-wal", "log.db-shm", "log.mark", "qcore.lock")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    return {**found, ".": stat.S_IMODE(directory.stat().st_mode)}


def test_new_files_and_directories_are_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "above" / "data"
    with umask(0):
        storage = SqliteStorage.open(directory, 1)
        storage.write([SaveHardState(1, HardState(2))])
        storage.write([AppendLog(2, [command(1)])])
        load_known_members(directory, set(), lambda why: pytest.fail(why))
        (directory / "log.mark.new").touch()  # as a crash leaves it
        seen = modes(directory)
        storage.close()
    assert seen.pop(".") == 0o700
    assert {"log.db", "log.db-wal", "log.mark", "qcore.lock", "peers.json"} <= set(seen)
    assert seen.pop("log.mark.new") == 0o666
    assert set(seen.values()) == {0o600}, seen
    assert readable_by_others(directory) == []


def test_existing_files_keep_their_mode_and_are_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    SqliteStorage.open(tmp_path, 1).close()
    for name, mode in (("log.db", 0o640), ("log.mark", 0o604)):
        (tmp_path / name).chmod(mode)
    SqliteStorage.open(tmp_path, 1).close()
    assert modes(tmp_path)["log.db"] == 0o640
    assert readable_by_others(tmp_path) == ["log.db"]  # only the group can enter the directory
    tmp_path.chmod(0o700)
    assert readable_by_others(tmp_path) == []
    assert readable_by_others(tmp_path / "nothing") == []


@pytest.mark.timeout(20)  # a FIFO that is opened waits for ever
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["FIFO", "symbolic link", "directory"])
@pytest.mark.parametrize("begun", [False, True])
def test_non_regular_file_is_refused_unopened(
    tmp_path: Path, name: str, kind: str, begun: bool
) -> None:
    directory, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    directory.mkdir()
    if begun:
        SqliteStorage.open(directory, 1).close()
    path = directory / name
    if path.exists():
        path.rename(elsewhere)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(elsewhere)  # it may lead nowhere
    before = sorted(each.name for each in directory.iterdir())
    assert stored_version(directory) is None
    with pytest.raises(StorageError, match=f"{name} is a {kind}") as refusal:
        SqliteStorage.open(directory, 1)
    assert not isinstance(refusal.value, LogCorrupt)
    assert sorted(each.name for each in directory.iterdir()) == before, (
        "it created or removed a file"
    )


def test_a_link_left_under_a_temporary_name_is_not_followed(tmp_path: Path) -> None:
    directory, victim = tmp_path / "data", tmp_path / "victim"
    directory.mkdir()
    victim.write_text("mine")
    for name in ("log.db.new", "log.mark.new", "peers.new"):
        (directory / name).symlink_to(victim)
    SqliteStorage.open(directory, 1).close()
    load_known_members(directory, set(), lambda why: pytest.fail(why))
    assert victim.read_text() == "mine"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_size_limit_is_waited_out_like_a_full_disk(tmp_path: Path) -> None:
    """SQLite reports an I/O error, which would end the node."""
    limit, index = 1_000_000, 0
    storage = SqliteStorage.open(tmp_path, 1, wal_bytes=limit // 4)
    storage.write([SaveHardState(1, HardState(2))])

    def append() -> None:
        storage.write([AppendLog(index + 1, [command(index, size=20_000)])])

    with file_size_limit(limit):
        rejected: list[DiskFull] = []
        # Checkpoints fail, until the write-ahead file may not grow either.
        while not rejected:
            index += 1
            try:
                append()
            except DiskFull as error:
                rejected.append(error)
        assert f"ulimit -f, {limit} bytes" in str(rejected[0])
        assert (tmp_path / "log.db").stat().st_size > limit - 70_000
        assert (tmp_path / "log.db-wal").stat().st_size > limit - 70_000
        with pytest.raises(DiskFull):
            append()
    append()
    storage.close()
    with closing(SqliteStorage.open(tmp_path, 1)) as again:
        assert [entry.index for entry in again.load().entries] == list(range(1, index + 1))


def test_efbig_counts_as_a_full_disk() -> None:
    failure = error_from_os(OSError(errno.EFBIG, "File too large"), "write log.mark")
    assert isinstance(failure, DiskFull)
    assert "ulimit -f" in str(failure)
