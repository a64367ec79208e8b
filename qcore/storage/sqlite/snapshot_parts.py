"""Snapshots in parts: a large one is written early, part by part, between the transactions that clients wait for.

Parts belong to a snapshot only once its row in table `snapshot` has their `last_index`. Parts of a half-written
snapshot that a crash left are not read and do no harm. `remove_stale_parts` removes them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from qcore.core.entry import Snapshot
from qcore.storage.sqlite.checksums import SnapshotRow, part_checksum, snapshot_row

#: Characters in a part. A snapshot of at most this length is kept in its row.
PART_CHARS: Final = 256 * 1024
#: Parts that one transaction writes.
PARTS_PER_TRANSACTION: Final = 2
#: Parts that one transaction removes. Removing costs a fraction of writing.
REMOVED_PARTS_PER_TRANSACTION: Final = 16


class SnapshotParts:
    """Table `snapshot_part`, through a connection on which the caller has opened a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._snapshot: Snapshot | None = None
        self._checksums: list[bytes] = []
        self._uncommitted_parts: tuple[Snapshot | None, list[bytes]] = (None, [])
        self._may_have_stale_parts = True  # an earlier process may have left some

    def write_snapshot_parts(self, snapshot: Snapshot) -> int:
        """Write the next parts of a snapshot. If another one was begun, abandon it.

        Returns:
            roughly how many bytes were written or removed; 0 if nothing is left to do. Call `confirm` once they are
            durable.

        Raises:
            ValueError: the text cannot be encoded.
        """
        done = self._checksums if self._snapshot is snapshot else []
        if not done and len(snapshot.data) > PART_CHARS:
            removed = self._remove(snapshot.meta.last_included_index, REMOVED_PARTS_PER_TRANSACTION)
            if removed:
                self._uncommitted_parts = (snapshot, [])
                return removed
        written = list(self._write(snapshot, len(done), PARTS_PER_TRANSACTION))
        self._uncommitted_parts = (snapshot, [*done, *(part for _, part in written)])
        return sum(size for size, _ in written)

    def confirm(self) -> None:
        """Record that the transaction of the last `write_snapshot_parts` is durable.

        If a transaction fails, the record of earlier parts stays.
        """
        self._snapshot, self._checksums = self._uncommitted_parts

    def discard_unfinished(self) -> None:
        """Forget the parts that were written before their snapshot."""
        self._snapshot, self._checksums = None, []

    def row(self, snapshot: Snapshot) -> SnapshotRow:
        """Return the row for table `snapshot`. Write the parts that were not written early.

        Raises:
            ValueError: the text cannot be encoded.
        """
        self._may_have_stale_parts = True
        if self._snapshot is not snapshot:
            self.discard_unfinished()  # a newer snapshot supersedes the unfinished one
        done = self._checksums
        if not done:
            self._remove(snapshot.meta.last_included_index)
        if len(snapshot.data) <= PART_CHARS:
            return snapshot_row(snapshot.meta, 0, str(snapshot.data).encode())
        checksums = [*done, *(part for _, part in self._write(snapshot, len(done)))]
        return snapshot_row(snapshot.meta, len(checksums), b"".join(checksums))

    def of(self, last_index: int) -> Iterator[tuple[bytes]]:
        """The parts of a snapshot in order."""
        return self._connection.execute(
            "SELECT data FROM snapshot_part WHERE last_index = ? ORDER BY id", (last_index,)
        )

    def remove_stale_parts(self, last_index: int | None) -> bool:
        """Remove some parts that belong neither to the snapshot with this last index nor to the one being written.

        Returns:
            False if there was none to remove.
        """
        if not self._may_have_stale_parts:
            return False
        begun = None if self._snapshot is None else self._snapshot.meta.last_included_index
        found = self._connection.execute(
            "SELECT id FROM snapshot_part WHERE last_index IS NOT ? AND last_index IS NOT ? LIMIT ?",
            (last_index, begun, REMOVED_PARTS_PER_TRANSACTION),
        ).fetchall()
        self._connection.executemany("DELETE FROM snapshot_part WHERE id = ?", found)
        self._may_have_stale_parts = bool(found)
        return self._may_have_stale_parts

    def _write(
        self, snapshot: Snapshot, first: int, limit: int | None = None
    ) -> Iterator[tuple[int, bytes]]:
        """Insert parts from number `first` on. Yields the size and the checksum of each."""
        data, index = snapshot.data, snapshot.meta.last_included_index
        if len(data) <= PART_CHARS:
            return
        starts = range(first * PART_CHARS, len(data), PART_CHARS)
        for start in starts[:limit]:
            part = data[start : start + PART_CHARS].encode()
            self._connection.execute(
                "INSERT INTO snapshot_part (last_index, data) VALUES (?, ?)", (index, part)
            )
            yield len(part), part_checksum(part)

    def _remove(self, last_index: int, limit: int = -1) -> int:
        """Remove parts with this last index, all or at most `limit`. Returns how many were removed."""
        found = self._connection.execute(
            "SELECT id FROM snapshot_part WHERE last_index = ? LIMIT ?", (last_index, limit)
        ).fetchall()
        self._connection.executemany("DELETE FROM snapshot_part WHERE id = ?", found)
        return len(found)
