"""The public conformance suite on qcore's two storages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from qcore.storage.interface import LogStorage
from qcore.storage.memory import MemoryStorage
from qcore.storage.sqlite.sqlite_storage import SqliteStorage
from qcore.testing.conformance.storage_conformance import NODE_ID, Opener, StorageConformance


class TestMemoryStorage(StorageConformance):
    examples = 300

    def make(self) -> Opener:
        storage = MemoryStorage(NODE_ID)
        storage.close()
        return storage.reopen


class TestSqliteStorage(StorageConformance):
    outlives_process = True

    @pytest.fixture(autouse=True)
    def _use(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def make(self) -> Opener:
        self._count += 1
        directory = self._scratch / str(self._count)

        def opener() -> LogStorage:
            # A small write-ahead file makes checkpoints frequent and opening cheap.
            return SqliteStorage.open(directory, NODE_ID, wal_bytes=20_000)

        return opener

    @contextmanager
    def no_space(self, storage: LogStorage) -> Iterator[None]:
        assert isinstance(storage, SqliteStorage)
        (pages,) = storage._connection.execute("PRAGMA page_count").fetchone()
        storage._connection.execute(f"PRAGMA max_page_count = {pages + 20}").fetchall()
        yield
        storage._connection.execute("PRAGMA max_page_count = 1000000").fetchall()

    def files(self) -> Sequence[Path]:
        directory = self._scratch / str(self._count)
        return [path for path in sorted(directory.iterdir()) if path.suffix != ".lock"]
