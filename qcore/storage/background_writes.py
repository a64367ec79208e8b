"""Background writes, between the transactions that clients wait for: store large snapshots, remove superseded parts.

A node's own large snapshot may be stored late. It is redundant with the log until it is stored: after a crash, the
older snapshot and the log entries after it are still there. But if it waited for ever, the log on disk would grow
without a bound. So:

- **A snapshot that has been begun is finished.** Meanwhile only the newest other snapshot waits; older ones are
  dropped. A snapshot that must be stored immediately (the leader's, or a small one) supersedes all of them.
- **Storing keeps pace with the log**: for every `ASSIST_BYTES` appended, one transaction's worth is done before the
  next entries are written, like the assists of an incremental garbage collector. While a snapshot is stored, the log
  grows by at most as many bytes as the snapshot has characters, and by a third of that during the clean-up after it.
- **Each transaction does a bounded amount of work**: it writes parts, compacts the log or removes superseded parts.
  Parts are removed before the next snapshot is begun, so their pages are used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from qcore.core.effects import StoreSnapshot, Write
from qcore.storage.log_size import FootprintMeter
from qcore.storage.optional_work import SnapshotPartsStorage

#: A snapshot with fewer characters is stored with the rest of its batch.
BACKGROUND_SNAPSHOT_MIN_CHARS: Final = 1 << 20
#: After this many bytes of log one transaction is done here. It writes the same number of characters of a snapshot.
ASSIST_BYTES: Final = 512 << 10
#: Bytes of log that one transaction compacts after a snapshot.
COMPACTED_BYTES_PER_TRANSACTION: Final = 8 << 20


class BackgroundSnapshots:
    """The deferred snapshots of one log, and the removal of superseded parts.

    Args:
        storage: must have no transaction open when a method is called.
        meter: knows how much of the log is on disk.
    """

    def __init__(self, storage: SnapshotPartsStorage, meter: FootprintMeter) -> None:
        self._storage = storage
        self._meter = meter
        self._begun: StoreSnapshot | None = None
        self._whole = False  # all parts of the begun snapshot are written
        self._waiting: StoreSnapshot | None = None
        self._removing_stale_parts = True
        self._bytes_behind = 0

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return self._removing_stale_parts or self.is_storing

    @property
    def is_storing(self) -> bool:
        """Whether a snapshot is being stored or waits to be."""
        return self._begun is not None or self._waiting is not None

    def defer_snapshots(self, writes: Iterable[Write]) -> list[Write]:
        """Hold back the snapshots that may be stored late, and return the writes to do now."""
        now: list[Write] = []
        for write in writes:
            if not isinstance(write, StoreSnapshot):
                now.append(write)
            elif write.reset_log or len(write.snapshot.data) < BACKGROUND_SNAPSHOT_MIN_CHARS:
                self.discard_pending()  # superseded: an older snapshot must not replace this one
                self._removing_stale_parts = True
                now.append(write)
            else:
                self._waiting = write
        return now

    def appended(self, size: int) -> None:
        """The log on disk has grown by `size` bytes."""
        self._bytes_behind += size

    @property
    def is_behind(self) -> bool:
        """Whether work must be done before more of the log is written."""
        if not self.has_work:
            self._bytes_behind = 0
        return self._bytes_behind >= ASSIST_BYTES

    def work(self) -> None:
        """Do one transaction's worth.

        Raises:
            DiskFull: nothing was done; the call may be repeated.
            StorageError: the disk failed.
        """
        if self._begun is None and self._removing_stale_parts:
            self._removing_stale_parts = self._storage.remove_stale_parts()
        else:
            self._store()
        self._bytes_behind = max(0, self._bytes_behind - ASSIST_BYTES)

    def _store(self) -> None:
        if self._begun is None:
            self._begun, self._waiting, self._whole = self._waiting, None, False
        begun = self._begun
        assert begun is not None, "called only if there is something to store"
        if not self._whole:
            self._whole = not self._storage.write_snapshot_parts(begun.snapshot)
            if not self._whole:
                return
        # The state is complete after each of these writes: the first one stores the snapshot, the others compact the
        # log.
        through = self._meter.compaction_index(
            begun.compact_through, COMPACTED_BYTES_PER_TRANSACTION
        )
        write = replace(begun, compact_through=through)
        self._storage.write([write])
        self._meter.written([write])
        if through >= begun.compact_through:
            self._begun, self._removing_stale_parts = None, True

    def discard_pending(self) -> None:
        """Drop the snapshots that wait. The stored one stays, and so do the entries after it."""
        self._begun = self._waiting = None

    def stop(self) -> None:
        """Do no more work: the disk is full and the writer is being closed."""
        self.discard_pending()
        self._removing_stale_parts = False
