"""Data directories of nodes, with everything that a check reads, and damage to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot
from qcore.core.entry import (
    DurableState,
    Entry,
    EntryKind,
    HardState,
    Membership,
    Snapshot,
    SnapshotMeta,
)
from qcore.core.version import ClusterVersion
from qcore.errors import StorageError
from qcore.machines.register import RegisterMachine
from qcore.node.peers.known_members_file import load_known_members
from qcore.node.peers.node_key_file import load_or_create_key
from qcore.replica.peers.known_members import KnownMember
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

NODE_ID = 1
WAL_BYTES = 60_000
VERSION = ClusterVersion(5, "register", 1)
#: A snapshot of a node without users and sessions, with a state of the machine `register`.
SNAPSHOT_TEXT = '{"sessions":0}\n' + "".join(RegisterMachine().snapshot())
MET = {2: KnownMember("2" * 32, 0), 3: KnownMember("3" * 32, 0)}


def keys() -> dict[int, str]:
    """The keys of the members 1 to 3; that of node 1 is the one that `make` stores."""
    from qcore.security.keys.node_key import NodeKey

    return {node: NodeKey(bytes([node]) * 32).public for node in (1, 2, 3)}


MEMBERS = Membership(
    voters=(1, 2, 3),
    addresses=((1, "a:1"), (2, "b:1"), (3, "c:1")),
    cluster_id="north",
    keys=tuple(sorted(keys().items())),
)


def entry(index: int, kind: EntryKind = "command", data: str | None = None, term: int = 2) -> Entry:
    """An entry; by default a write to the machine `register`."""
    text = f'["set","key {index}","{index}"]' if data is None else data
    return Entry(index, term, kind, text, 1_700_000_000_000_000 + index, 1000 * index)


def snapshot(index: int, text: str = SNAPSHOT_TEXT, term: int = 2) -> Snapshot:
    """A snapshot through an entry."""
    meta = SnapshotMeta(index, term, 1_700_000_000_000_000 + index, MEMBERS, 1000 * index, VERSION)
    return Snapshot(meta, text)


@dataclass(frozen=True)
class Sample:
    """A directory that no process uses, and what a node finds in its log."""

    path: Path
    content: DurableState

    def copy(self, path: Path) -> Path:
        """A copy of the directory; replaces what is there."""
        if path.exists():
            shutil.rmtree(path)
        return Path(shutil.copytree(self.path, path))


def open_storage(path: Path, node_id: int = NODE_ID) -> SqliteStorage:
    """The log of a directory."""
    return SqliteStorage.open(path, node_id, wal_bytes=WAL_BYTES)


def make(path: Path, *, crashed: bool = False, keep_all: bool = False, last: int = 60) -> Sample:
    """A directory with a snapshot through entry 40 and the entries 31 (with `keep_all`: 1) to `last`.

    Args:
        path: the directory to make.
        crashed: leave the write-ahead file as a crash does.
        keep_all: the snapshot has compacted nothing.
        last: the last entry, at least 41.
    """
    live = path.with_name(path.name + ".live") if crashed else path
    storage = open_storage(live)
    storage.join_cluster("north")
    load_or_create_key(live, lambda size: bytes([NODE_ID]) * size)
    load_known_members(live)._save(MET)
    first = [entry(1, "membership", MEMBERS.to_json()), entry(2, "version", VERSION.to_json())]
    storage.write([SaveHardState(1, HardState(2, 2, 0)), AppendLog(2, first)])
    storage.write([AppendLog(3, [entry(index) for index in range(3, 41)])], commit=40)
    through = 0 if keep_all else 30
    storage.write([StoreSnapshot(4, snapshot(40), through, False)])
    if not crashed:
        newest = [entry(index) for index in range(41, last + 1)]
        storage.write([AppendLog(5, newest)], commit=last - 1)
        content = storage.load()
        storage.close()
        return Sample(path, content)
    storage.close()
    storage = open_storage(live)
    for index in range(41, last + 1):
        storage.write([AppendLog(5, [entry(index)])], commit=index - 1)
    content = storage.load()
    shutil.copytree(live, path)
    storage.close()
    shutil.rmtree(live)
    return Sample(path, content)


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """Fail if a name, a byte, a mode or a time of change differs at the end."""
    before = state_of(path)
    yield
    assert state_of(path) == before


def state_of(path: Path) -> Mapping[str, object]:
    """Everything in a directory that a read-only program must leave alone."""
    found: dict[str, object] = {}
    for each in sorted([path, *path.rglob("*")]):
        status = os.lstat(each)
        content = each.read_bytes() if each.is_file() else b""
        found[str(each)] = (content, status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
    return found


def starts_with(path: Path, content: DurableState) -> bool:
    """Whether a node starts on the directory and finds just this. The directory is used up."""
    try:
        storage = open_storage(path)
        try:
            return storage.load() == content
        finally:
            storage.close()
    except StorageError:
        return False
