"""Data directories with known content, as a clean stop or a crash leaves them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.version import ClusterVersion
from qcore.errors import StorageError
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

NODE_ID = 3
#: Small, so a directory is copied and opened in milliseconds.
WAL_BYTES = 60_000
#: Large enough for the ten transactions of `crashed` without a checkpoint.
CRASHED_WAL_BYTES = 150_000

FILES = ("log.db", "log.db-wal", "log.mark")


def open_storage(directory: Path) -> SqliteStorage:
    return SqliteStorage.open(directory, NODE_ID, wal_bytes=WAL_BYTES)


def command(index: int, term: int = 2, size: int = 60, layout: int = 3) -> Entry:
    text = f"command {index} ".ljust(size, "abcdefghij"[index % 10])
    clock_us = 1_000 * index if layout == 3 and index > 50 else 0
    return Entry(index, term, "command", text, 1_700_000_000_000_000 + index, clock_us)


def snapshot(index: int, term: int = 2, layout: int = 3) -> Snapshot:
    membership = Membership(voters=(1, 2, 3), addresses=((1, "a:1"),), cluster_id="north")
    meta = SnapshotMeta(index, term, 1_700_000_000_000_000 + index, membership)
    if layout == 3:
        meta = replace(meta, last_included_clock_us=index, version=ClusterVersion(2, "register", 1))
    return Snapshot(meta, f"machine at {index} " * 700)


@dataclass(frozen=True)
class Directory:
    """A directory that no process uses, and the state that `load` must find in it."""

    path: Path
    content: DurableState

    def copy(self, path: Path) -> Directory:
        if path.exists():
            shutil.rmtree(path)
        return Directory(Path(shutil.copytree(self.path, path)), self.content)


def stopped(path: Path, layout: int = 3) -> Directory:
    """A directory with the entries 31..90 and a snapshot through 40, after a clean stop."""
    storage = fill(path, layout)
    content = storage.load()
    storage.close()
    return Directory(path, content)


def crashed(path: Path) -> Directory:
    """The same with ten more transactions, which are only in the write-ahead file."""
    live = path.with_name(path.name + ".live")
    fill(live).close()
    storage = SqliteStorage.open(live, NODE_ID, wal_bytes=CRASHED_WAL_BYTES)
    for index in range(91, 101):
        storage.write([AppendLog(index, [command(index)])], commit=index - 1)
    content = storage.load()
    # A process that dies now leaves all that it wrote in the files, synced or not.
    shutil.copytree(live, path)
    storage.close()
    return Directory(path, content)


def fill(path: Path, layout: int = 3) -> SqliteStorage:
    storage = open_storage(path)
    storage.join_cluster("north")
    storage.write([SaveHardState(1, HardState(1, 2, 0))])
    storage.write([AppendLog(2, [command(i, term=1) for i in range(1, 11)])], commit=5)
    storage.write([SaveHardState(3, HardState(2, None, 5, 300 * (layout - 2))), TruncateLog(4, 8)])
    for first in range(8, 88, 20):
        storage.write(
            [AppendLog(5, [command(i, layout=layout) for i in range(first, first + 20)])], first
        )
    storage.write(
        [
            AppendLog(
                6,
                [
                    command(88, layout=layout),
                    command(89, 2, 9000, layout),
                    command(90, layout=layout),
                ],
            )
        ],
        88,
    )
    storage.write([StoreSnapshot(7, snapshot(20, layout=layout), 20, False)])
    storage.write([StoreSnapshot(8, snapshot(40, layout=layout), 30, False)])
    return storage


def outcome(directory: Directory) -> str:
    """Open and load the directory and write to it. Returns `refused: ...` or `same`; anything else fails.

    A refusal must name a file of the directory. A directory that is not refused must hold exactly what was written
    and must remain usable.
    """
    try:
        storage = open_storage(directory.path)
        try:
            loaded = storage.load()
            assert loaded == directory.content, "changed content was accepted"
            last = loaded.entries[-1].index
            storage.write([AppendLog(1, [command(last + 1)])], commit=last)
            assert len(storage.load().entries) == len(loaded.entries) + 1
        finally:
            storage.close()
    except StorageError as error:
        text = str(error)
        assert str(directory.path) in text, f"the refusal names no file: {text}"
        return f"refused: {text}"
    return "same"


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))
