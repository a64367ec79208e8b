"""Reads and writes the rows of tables `log`, `snapshot` and `state`, inside the transactions of `SqliteStorage`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry, HardState, Snapshot
from qcore.core.log.disk_errors import log_corrupt
from qcore.storage.log_outline import LogOutline
from qcore.storage.sqlite.checksums import decode_entries, decode_snapshot, needs_layout_3
from qcore.storage.sqlite.database import enter_layout_3
from qcore.storage.sqlite.log_rows import StoredState, entry_rows
from qcore.storage.sqlite.snapshot_parts import SnapshotParts

_INSERT_ENTRY = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)"


class LogTables:
    """The tables of one database.

    Args:
        path: the database, for messages.
        connection: the only one to it.
        parts: writes and reads the parts of large snapshots.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, parts: SnapshotParts) -> None:
        self._path = path
        self._connection = connection
        self._parts = parts

    def read(self) -> DurableState:
        """Return everything that is stored, verified.

        Raises:
            LogCorrupt: a row is missing or was changed.
            sqlite3.Error: SQLite could not read.
        """
        stored = self.read_state()
        snapshot = self._read_snapshot(stored)
        rows = self._connection.execute("SELECT * FROM log ORDER BY idx")
        entries, chain = decode_entries(self._path, rows, stored.first_index, stored.base_chain)
        last = entries[-1].index if entries else stored.first_index - 1
        if last != stored.last_index:
            raise log_corrupt(
                self._path, f"entry {last + 1}", f"missing, up to {stored.last_index}"
            )
        if chain != stored.chain:
            raise log_corrupt(self._path, f"entry {last}", "it is not the one last written")
        commit = min(stored.commit, stored.last_index)
        hard = HardState(stored.term, stored.voted_for, commit, stored.promise_ms or 0)
        return DurableState(hard, snapshot, entries)

    def read_state(self) -> StoredState:
        """Return the row of table `state`, verified.

        Raises:
            LogCorrupt: it is missing or was changed.
            sqlite3.Error: SQLite could not read.
        """
        rows = self._connection.execute("SELECT * FROM state").fetchall()
        if len(rows) != 1:
            raise log_corrupt(self._path, "table 'state'", f"has {len(rows)} rows, must have 1")
        return StoredState.from_row(self._path, rows[0][1:])

    def _read_snapshot(self, stored: StoredState) -> Snapshot | None:
        rows = self._connection.execute(
            "SELECT last_index, last_term, last_time_us, membership, parts, data, checksum FROM snapshot"
        ).fetchall()
        if len(rows) != stored.has_snapshot:
            raise log_corrupt(self._path, "the snapshot", f"{len(rows)} found")
        return decode_snapshot(self._path, rows[0], self._parts.of(rows[0][0])) if rows else None

    def commit(
        self,
        connection: sqlite3.Connection,
        writes: Sequence[Write],
        commit: int | None,
        stored: StoredState,
        outline: LogOutline,
    ) -> int:
        """Do the writes in the open transaction, and commit it.

        Args:
            connection: has the transaction.
            writes: must fit the log.
            commit: the newest commit index, or None.
            stored: the new row of table `state`; it is brought up to date.
            outline: of the log after the writes.

        Returns:
            roughly how many bytes were written.

        Raises:
            ValueError, sqlite3.Error: see `write`.
        """
        if stored.promise_ms is None and any(map(write_needs_layout_3, writes)):
            stored.promise_ms = 0
            enter_layout_3(connection, stored.row())
        written = self.write(writes, stored)
        if commit is not None and commit > stored.commit:
            stored.commit = commit
        stored.first_index, stored.last_index = outline.first_index, outline.last_index
        connection.execute(stored.update, stored.row())
        connection.execute("COMMIT")
        return written

    def write(self, writes: Sequence[Write], stored: StoredState) -> int:
        """Do the writes inside the open transaction, except for the row of table `state`.

        Args:
            writes: must fit the log.
            stored: the new row of table `state`; it is brought up to date.

        Returns:
            roughly how many bytes were written.

        Raises:
            ValueError: a text cannot be encoded, or a number does not fit 64 bits.
            sqlite3.Error: SQLite could not write.
        """
        size = 0
        appends: list[Entry] = []
        for write in writes:
            match write:
                case SaveHardState(hard_state=hard):
                    stored.term, stored.voted_for = hard.term, hard.voted_for
                    stored.commit = hard.commit
                    stored.promise_ms = None if stored.promise_ms is None else hard.promise_ms
                case AppendLog(entries=entries):
                    appends += entries
                case TruncateLog(from_index=from_index):
                    size += self._append(appends, stored)
                    self._truncate(from_index, stored)
                case StoreSnapshot(snapshot=snapshot, compact_through=through, reset_log=reset):
                    size += self._append(appends, stored) + len(snapshot.data)
                    self._store(snapshot, through, reset, stored)
                case _:
                    assert_never(write)
        return size + self._append(appends, stored)

    def _append(self, entries: list[Entry], stored: StoredState) -> int:
        """Insert the collected entries and empty the list. Returns roughly how many bytes they take."""
        if not entries:
            return 0
        rows, stored.chain = entry_rows(entries, stored.chain)
        self._connection.executemany(_INSERT_ENTRY, rows)
        stored.last_index = entries[-1].index
        size = 0
        for entry in entries:
            size += entry.size_bytes()
        entries.clear()
        return size

    def _truncate(self, from_index: int, stored: StoredState) -> None:
        if from_index > stored.last_index:
            return
        self._connection.execute("DELETE FROM log WHERE idx >= ?", (from_index,))
        kept = self._checksum_at(from_index - 1)
        stored.chain = stored.base_chain if kept is None else kept
        stored.last_index = from_index - 1

    def _store(self, snapshot: Snapshot, through: int, reset: bool, stored: StoredState) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            self._parts.row(snapshot),
        )
        stored.has_snapshot = True
        if reset or through >= stored.last_index:
            self._connection.execute("DELETE FROM log")
            stored.base_chain = stored.chain = 0
            stored.last_index = snapshot.meta.last_included_index
            return
        before_first = self._checksum_at(through)
        if before_first is not None:
            stored.base_chain = before_first
            self._connection.execute("DELETE FROM log WHERE idx <= ?", (through,))

    def _checksum_at(self, index: int) -> int | None:
        row = self._connection.execute(
            "SELECT checksum FROM log WHERE idx = ?", (index,)
        ).fetchone()
        return None if row is None else int(row[0])


def write_needs_layout_3(write: Write) -> bool:
    """Whether the write holds something that layout 2 (0.1.0) cannot hold."""
    match write:
        case SaveHardState(hard_state=hard):
            return bool(hard.promise_ms)
        case AppendLog(entries=entries):
            for entry in entries:  # noqa: SIM110 - a generator takes twice as long
                if entry.clock_us or entry.kind == "version":
                    return True
            return False
        case StoreSnapshot(snapshot=snapshot):
            return needs_layout_3(snapshot.meta)
        case TruncateLog():
            return False
        case _:
            assert_never(write)
