"""Reading while another thread writes, truncates, compacts and checkpoints: no reading is ever unsound."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog
from qcore.core.entry import HardState
from qcore.storage.live import log_reader
from qcore.storage.live.log_reader import LogReader
from qcore.storage.live.table_rows import Pages, table_roots
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from tests.storage.support.directories import NODE_ID, command, snapshot

ROUNDS = 60


def write(storage: SqliteStorage, stop: threading.Event) -> None:
    storage.write([SaveHardState(1, HardState(2))])
    last, compacted, number = 0, 0, 0
    while not stop.is_set():
        number += 1
        added = [command(last + step, size=200 * step) for step in range(1, 6)]
        storage.write([AppendLog(number, added)])
        last += 5
        if number % 7 == 0:
            storage.write([TruncateLog(number, last - 2)])
            last -= 3
        if number % 30 == 0:
            compacted = last - 20
            storage.write([StoreSnapshot(number, snapshot(compacted), compacted, False)])
        if number % 100 == 0:
            storage.write([StoreSnapshot(number, snapshot(last), last, True)])


def test_every_reading_is_sound(tmp_path: Path) -> None:
    storage = SqliteStorage.open(tmp_path, NODE_ID, wal_bytes=60_000)
    stop = threading.Event()
    writer = threading.Thread(target=write, args=(storage, stop))
    writer.start()
    try:
        reader = LogReader(tmp_path)
        seen = 0
        for _ in range(ROUNDS):
            log = reader.describe()
            if log.snapshot is not None:
                text = "".join(reader.snapshot_parts(log.snapshot))
                assert text.startswith(f"machine at {log.snapshot.meta.last_included_index} ")
            batch = reader.read(log.state.last_index - 40, 2**62)
            assert batch.damage == []
            seen += len(batch.entries)
            for entry, _ in batch.entries:
                assert entry.data.startswith(f"command {entry.index} ")
        assert seen > ROUNDS
    finally:
        stop.set()
        writer.join()
        storage.close()


def test_a_reading_is_repeated_if_the_node_wrote_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node fills its write-ahead file again between two pages of the first reading."""
    storage = SqliteStorage.open(tmp_path, NODE_ID, wal_bytes=60_000)
    storage.write([SaveHardState(1, HardState(3))])
    storage.write([AppendLog(2, [command(index, size=900) for index in range(1, 31)])])
    readings: list[int] = []

    def roots_and_writes(pages: Pages) -> dict[str, int]:
        found = table_roots(pages)
        readings.append(len(readings))
        if len(readings) == 1:
            storage.write([TruncateLog(3, 11)])
            for index in range(11, 91):
                storage.write([AppendLog(index, [command(index, term=3, size=900)])])
        return found

    monkeypatch.setattr(log_reader, "table_roots", roots_and_writes)
    try:
        batch = LogReader(tmp_path).read(1, 100)
    finally:
        storage.close()
    assert batch.damage == []
    assert [entry for entry, _ in batch.entries] == [
        command(index, term=2 if index < 11 else 3, size=900) for index in range(1, 91)
    ]
    assert len(readings) > 1
