"""Small data directories in which every bit can be flipped, and what a node does with them.

They are small, because a page of SQLite has 32,768 bits and each of them costs an opening or two. Yet they hold
everything that a directory may hold: entries of every kind, one that spills into an overflow page, a snapshot in
parts, parts of an older snapshot, free pages, and after a crash a write-ahead file with all kinds of writes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog
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
from qcore.node.peers.known_members_file import load_known_members
from qcore.replica.peers.known_members import KnownMember
from qcore.storage.sqlite import snapshot_parts
from qcore.storage.sqlite.inspection import first_entries, stored_snapshot, stored_version
from qcore.storage.sqlite.sqlite_storage import SqliteStorage

NODE_ID = 1
PART_CHARS = 100
WAL_BYTES = 36_000
MEMBERS = Membership(voters=(1, 2, 3), addresses=((1, "a:1"), (2, "b:1")), cluster_id="north")
VERSION = ClusterVersion(2, "register", 1)
MET = {2: KnownMember("0123456789abcdef" * 2, 17), 3: KnownMember("fedcba9876543210" * 2, 17)}
#: The kinds of entries that a node inspects before it opens the log.
_INSPECTED: tuple[EntryKind, ...] = ("command", "session")


@dataclass(frozen=True)
class Start:
    """Everything that a node finds in its directory at a start."""

    owner: tuple[object, str]
    log: DurableState
    met: object
    version: ClusterVersion | None
    snapshot: Snapshot | None
    inspected: list[Entry]


@dataclass(frozen=True)
class Sample:
    """A directory that no process uses.

    Attributes:
        files: the content of each file.
        start: what a node finds in the directory.
    """

    path: Path
    files: dict[str, bytes]
    start: Start

    def restore(self) -> None:
        """Restore the content of every file."""
        for name in os.listdir(self.path):
            if name not in self.files:
                (self.path / name).unlink()
        for name, content in self.files.items():
            path = self.path / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)


def make(path: Path, *, crashed: bool) -> Sample:
    """Create a directory with a log and a snapshot, as a clean stop or a crash leaves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot_parts, "PART_CHARS", PART_CHARS)
        live = path.with_name(path.name + ".live")
        storage = _open(live)
        _fill(storage)
        storage.close()
        load_known_members(live)._save(MET)
        storage = _open(live)
        if crashed:
            _write_more(storage)
            shutil.copytree(live, path)
        storage.close()
        if not crashed:
            shutil.copytree(live, path)
        shutil.rmtree(live)
    files = {name: (path / name).read_bytes() for name in sorted(os.listdir(path))}
    sample = Sample(path, files, _start(path))
    sample.restore()
    return sample


def _open(path: Path) -> SqliteStorage:
    return SqliteStorage.open(path, NODE_ID, wal_bytes=WAL_BYTES)


def _entry(index: int, kind: EntryKind = "command", data: str | None = None) -> Entry:
    text = f"command {index}" if data is None else data
    return Entry(index, 2, kind, text, 1_700_000_000_000_000 + index, 1000 * index)


def _snapshot(index: int, text: str) -> Snapshot:
    meta = SnapshotMeta(index, 2, 1_700_000_000_000_000 + index, MEMBERS, 1000 * index, VERSION)
    return Snapshot(meta, text)


def _fill(storage: SqliteStorage) -> None:
    storage.join_cluster("north")
    storage.write([SaveHardState(1, HardState(2, 3, 0, 300))])
    first = [_entry(index) for index in range(1, 5)]
    storage.write([AppendLog(2, first)], commit=4)
    storage.write([StoreSnapshot(3, _snapshot(2, "older " * 40), 1, False)])
    storage.write([StoreSnapshot(4, _snapshot(4, "state " * 50), 3, False)])
    storage.write(
        [
            AppendLog(
                5,
                [
                    _entry(5, "noop", ""),
                    _entry(6, "membership", MEMBERS.to_json()),
                    _entry(7, "session", '["open",60000]'),
                    _entry(8, "version", VERSION.to_json()),
                    _entry(9, data="spills over " * 400),
                    _entry(10, data="taken back " * 500),
                ],
            )
        ],
        commit=8,
    )
    storage.write([TruncateLog(6, 10)])
    storage.load()


def _write_more(storage: SqliteStorage) -> None:
    """Make writes that stay in the write-ahead file."""
    storage.load()
    storage.write([SaveHardState(7, HardState(3, 1, 8, 400))])
    storage.write([AppendLog(8, [_entry(10), _entry(11)])], commit=9)
    storage.write([StoreSnapshot(9, _snapshot(9, "newer " * 40), 5, False)])


def _start(path: Path) -> Start:
    """Return what a node finds at a start, read in the node's order.

    Raises:
        StorageError: it does not start.
    """
    version = stored_version(path)
    assert version in (None, VERSION), "the node would demand another program"
    snapshot = stored_snapshot(path)
    with closing(first_entries(path, _INSPECTED, 10)) as entries:
        inspected = list(entries)
    with closing(_open(path)) as storage:
        log = storage.load()
        owner = storage.identity(), storage.incarnation
    known = load_known_members(path)._known
    return Start(owner, log, known, version, snapshot, inspected)


def outcome(sample: Sample, *, briefly: bool = False) -> str:
    """Start on the directory, write, start again. Returns `same`, or `refused: ...` with an error that names a file.

    Args:
        sample: the directory.
        briefly: only open and load the log.
    """
    try:
        if briefly:
            with closing(_open(sample.path)) as storage:
                assert storage.load() == sample.start.log, "accepted with another meaning"
            return "same"
        found = _start(sample.path)
    except StorageError as error:
        text = str(error)
        assert str(sample.path) in text, f"the refusal names no file: {text}"
        return f"refused: {text}"
    assert found == sample.start, "accepted with another meaning"
    last = sample.start.log.entries[-1].index
    with closing(_open(sample.path)) as storage:
        storage.write([AppendLog(1, [_entry(last + 1)]), SaveHardState(2, HardState(9, 1, last))])
    with closing(_open(sample.path)) as storage:
        log = storage.load()
    assert log.entries == [*sample.start.log.entries, _entry(last + 1)]
    assert (log.snapshot, log.hard_state) == (sample.start.log.snapshot, HardState(9, 1, last))
    return "same"


def unused(content: bytes) -> bytearray:
    """For each byte, whether it is inside a run of zeros. Almost certainly nothing uses such a byte."""
    marks = bytearray(len(content))
    for run in re.finditer(rb"\0{64,}", content):
        marks[run.start() + 16 : run.end() - 16] = b"\1" * (len(run[0]) - 32)
    return marks


def flips(sample: Sample, name: str, bits: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Flip the bits of a file one at a time. Yields the bit's number and the outcome.

    In unused space all bits are alike. There, most of them are only tested by opening and loading the log.
    """
    path, sound = sample.path / name, sample.files[name]
    idle = unused(sound)
    for bit in bits:
        place, mask = bit // 8, 1 << bit % 8
        with path.open("r+b", buffering=0) as file:
            file.seek(place)
            file.write(bytes([sound[place] ^ mask]))
        try:
            seen = outcome(sample, briefly=bool(idle[place]) and bit % 61 > 0)
        except Exception as error:
            raise AssertionError(f"{name}: bit {mask:#x} of byte {place}: {error!r}") from error
        finally:
            sample.restore()
        yield bit, seen
