"""Tracks how much of the log is on disk. It counts the writes, because asking the database would take long."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from qcore.compiled_build import register_copies
from qcore.core.effects import AppendLog, SaveHardState, StoreSnapshot, TruncateLog, Write
from qcore.core.entry import DurableState, Entry


@dataclass(init=False)
class Footprint:
    """How much of a log the disk holds.

    Attributes:
        first_index: index of the first entry, or the one that the next entry would have.
        last_index: index of the last entry, or of the snapshot's last entry, or 0.
        log_bytes: size of the entries, including `qcore.core.entry.ENTRY_OVERHEAD_BYTES` for each.
        snapshot_index: the last index that the stored snapshot covers, or 0.
    """

    first_index: int
    last_index: int
    log_bytes: int
    snapshot_index: int

    def __init__(
        self, first_index: int, last_index: int, log_bytes: int, snapshot_index: int
    ) -> None:
        self.first_index = first_index
        self.last_index = last_index
        self.log_bytes = log_bytes
        self.snapshot_index = snapshot_index


class FootprintMeter:
    """Counts the writes of one log.

    Args:
        state: the state on disk at first.
    """

    def __init__(self, state: DurableState) -> None:
        self._snapshot_index = 0
        if state.snapshot is not None:
            self._snapshot_index = state.snapshot.meta.last_included_index
        self._first = state.entries[0].index if state.entries else self._snapshot_index + 1
        self._sizes: array[int] = array("Q", map(Entry.size_bytes, state.entries))  # one per entry
        self._bytes = sum(self._sizes)

    @property
    def footprint(self) -> Footprint:
        """The footprint after the last write."""
        last = self._first + len(self._sizes) - 1
        return Footprint(self._first, last, self._bytes, self._snapshot_index)

    def written(self, writes: Iterable[Write]) -> None:
        """Count writes that are now on disk."""
        for write in writes:
            match write:
                case AppendLog(entries=entries):
                    self._append(entries)
                case TruncateLog(from_index=from_index):
                    self._drop(max(from_index - self._first, 0), len(self._sizes))
                case StoreSnapshot(snapshot=snapshot, compact_through=through, reset_log=reset):
                    self._store(snapshot.meta.last_included_index, through, reset)
                case SaveHardState():
                    pass
                case _:
                    assert_never(write)

    def compaction_index(self, limit: int, max_bytes: int) -> int:
        """The index, at most `limit`, through which compaction removes about `max_bytes`, and at least one entry."""
        index, size = self._first - 1, 0
        for entry_size in self._sizes:
            if index >= limit or (size and size + entry_size > max_bytes):
                break
            size += entry_size
            index += 1
        return min(max(index, self._first), limit)

    def _append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            size = entry.size_bytes()
            self._sizes.append(size)
            self._bytes += size

    def _store(self, index: int, through: int, reset: bool) -> None:
        self._snapshot_index = index
        if reset or through >= self._first + len(self._sizes) - 1:
            self._sizes = array("Q")
            self._bytes, self._first = 0, index + 1
        elif through >= self._first:
            gone = through - self._first + 1
            self._drop(0, gone)
            self._first += gone

    def _drop(self, start: int, end: int) -> None:
        self._bytes -= sum(self._sizes[start:end])
        del self._sizes[start:end]


register_copies(globals())
