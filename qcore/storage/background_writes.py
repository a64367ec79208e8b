"""What the writer's thread does between the transactions that clients wait for: large snapshots, old parts.

A large snapshot of the node's own state may be stored late: it and the entries that it replaces say the same, and
what is written meanwhile comes after those entries. A crash leaves the older snapshot, and them. But it must not
be late for ever, or the log on disk grows without a bound. So:

- **A snapshot that was begun is finished.** Of those that come meanwhile the newest waits for its turn, and the
  others are forgotten. Only what must be stored at once (a leader's snapshot, a small one) supersedes it.
- **Storing keeps pace with the log**: for every `ASSIST_BYTES` that were appended, one transaction's worth is done
  before the next entries are written, as the assists of an incremental garbage collector do. As many bytes of log
  as the snapshot has characters can come in before it is stored, and a third of that for what follows.
- **Nothing is done at one go**: parts are written, the log is compacted and superseded parts are removed a bounded
  amount in each transaction. Parts are removed before the next snapshot is begun, so that their pages are used
  again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

from qcore.core.effects import StoreSnapshot, Write
from qcore.core.entry import Snapshot
from qcore.storage.log_size import FootprintMeter

#: A snapshot with fewer characters is stored with the rest of its batch.
BACKGROUND_SNAPSHOT_MIN_CHARS: Final = 1 << 20
#: Bytes of log after which one transaction is done here: it writes as many characters of a snapshot.
ASSIST_BYTES: Final = 512 << 10
#: Bytes of log that one transaction removes behind a snapshot.
COMPACTED_BYTES_PER_TRANSACTION: Final = 8 << 20


@runtime_checkable
class SupportsSnapshotParts(Protocol):
    """A storage that takes a large snapshot in parts, so that what clients wait for need not wait for it."""

    def write_snapshot_parts(self, snapshot: Snapshot) -> bool:
        """Write the next parts of a snapshot whose `StoreSnapshot` comes later; False if none is left."""
        ...

    def remove_stale_parts(self) -> bool:
        """Remove some of what earlier snapshots left; False if nothing is left."""
        ...


@runtime_checkable
class SnapshotPartsStorage(SupportsSnapshotParts, Protocol):
    """Such a storage, as far as it is used here."""

    def write(self, writes: list[Write]) -> None:
        """See `qcore.storage.interface.LogStorage.write`."""
        ...


class BackgroundSnapshots:
    """The snapshots of one log that are put off, and what superseded ones left.

    Args:
        storage: has no transaction open when a method is called.
        meter: knows what of the log is on disk.
    """

    def __init__(self, storage: SnapshotPartsStorage, meter: FootprintMeter) -> None:
        self._storage = storage
        self._meter = meter
        self._begun: StoreSnapshot | None = None
        self._whole = False  # all parts of that are written
        self._waiting: StoreSnapshot | None = None
        self._removing_stale_parts = True
        self._bytes_behind = 0

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return self._removing_stale_parts or self.is_storing

    @property
    def is_storing(self) -> bool:
        """Whether a snapshot is being stored, or waits for that."""
        return self._begun is not None or self._waiting is not None

    def defer_snapshots(self, writes: Iterable[Write]) -> list[Write]:
        """Take the snapshots that may be stored late out of the writes; returns what must be written now."""
        now: list[Write] = []
        for write in writes:
            if not isinstance(write, StoreSnapshot):
                now.append(write)
            elif write.reset_log or len(write.snapshot.data) < BACKGROUND_SNAPSHOT_MIN_CHARS:
                self.discard_pending()  # superseded: what is stored must not go back to an older one
                self._removing_stale_parts = True
                now.append(write)
            else:
                self._waiting = write
        return now

    def appended(self, size: int) -> None:
        """The log on disk has grown by so many bytes."""
        self._bytes_behind += size

    @property
    def is_behind(self) -> bool:
        """Whether something must be done before more of the log is written."""
        if not self.has_work:
            self._bytes_behind = 0
        return self._bytes_behind >= ASSIST_BYTES

    def work(self) -> None:
        """Do one transaction's worth.

        Raises:
            DiskFull: nothing was done; it may be tried again.
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
        # Each of these writes is a whole state: after the first one the snapshot is stored, the others compact.
        through = self._meter.compaction_index(
            begun.compact_through, COMPACTED_BYTES_PER_TRANSACTION
        )
        write = replace(begun, compact_through=through)
        self._storage.write([write])
        self._meter.written([write])
        if through >= begun.compact_through:
            self._begun, self._removing_stale_parts = None, True

    def discard_pending(self) -> None:
        """Forget the snapshots that wait: the stored one stays, and the entries after it."""
        self._begun = self._waiting = None

    def stop(self) -> None:
        """Do nothing more: the disk is full, and the writer is being closed."""
        self.discard_pending()
        self._removing_stale_parts = False
