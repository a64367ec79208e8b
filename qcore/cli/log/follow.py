"""Follows a log: finds what was added, replaced and compacted between two readings."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from qcore.core.entry import Entry
from qcore.storage.live.log_reader import Batch, LogReader

#: How many entries back a replacement is found exactly. Only uncommitted entries are replaced, and a leader has few.
_REMEMBERED: Final = 10_000


@dataclass(slots=True, frozen=True)
class Note:
    """Something that is not an entry.

    Attributes:
        index: the first entry that it concerns.
        kind: `damaged`, `replaced` or `compacted`.
        what: the text for the user.
    """

    index: int
    kind: str
    what: str


class LogFollower:
    """Yields a log's entries once each, also when it changes between two readings.

    Args:
        reader: reads the log.
        next_index: where to begin.

    Attributes:
        damaged: the entries so far that are missing or were changed.
    """

    def __init__(self, reader: LogReader, next_index: int) -> None:
        self._reader = reader
        self._next = next_index
        self._shown: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self.damaged: list[int] = []

    def new_items(self, last: int) -> Iterator[Entry | Note]:
        """Read on, up to the log's end or the entry `last`.

        Raises:
            StorageError: the log cannot be read, or is gone.
        """
        while self._next <= last:
            batch = self._reader.read(self._next, last)
            if self._is_replaced(batch):
                yield self._go_back(batch)
                continue
            if self._next < batch.state.first_index:
                yield self._skip_compacted(min(batch.state.first_index, last + 1))
                continue
            if self._next > batch.state.last_index:
                return
            yield from self._items(batch)

    def _items(self, batch: Batch) -> Iterator[Entry | Note]:
        self.damaged += (index for index, _ in batch.damage)
        self._shown += ((entry.index, checksum) for entry, checksum in batch.entries)
        self._next = batch.next_index
        items: list[tuple[int, Entry | Note]] = [
            *((index, Note(index, "damaged", text)) for index, text in batch.damage),
            *((entry.index, entry) for entry, _ in batch.entries),
        ]
        for _, item in sorted(items, key=itemgetter(0)):
            yield item

    def _is_replaced(self, batch: Batch) -> bool:
        """Whether entries that were shown are no longer those of the log."""
        if not self._shown:
            return False
        index, checksum = self._shown[-1]
        if batch.state.last_index < index:
            return True
        # The log may have forgotten the checksum of the last entry that a snapshot replaced.
        is_known = index >= batch.state.first_index and index + 1 == self._next
        return is_known and batch.before not in (None, checksum)

    def _go_back(self, batch: Batch) -> Note:
        """Forget the entries that were replaced, so that what is in their places is shown next."""
        old_last = self._next - 1
        shown = list(self._shown)
        same = bisect_left(shown, True, key=lambda item: not self._is_same(batch, *item))
        self._shown = deque(shown[:same], maxlen=_REMEMBERED)
        self._next = shown[same][0] if same < len(shown) else old_last + 1
        return Note(
            self._next,
            "replaced",
            f"the entries {self._next} to {old_last} were not committed, and the node removed them; "
            "what follows takes their places",
        )

    def _is_same(self, batch: Batch, index: int, checksum: int) -> bool:
        """Whether the log still has this entry. Its checksum covers all entries before it."""
        if index > batch.state.last_index:
            return False
        if index < batch.state.first_index:
            return True  # only committed entries are compacted
        return self._reader.checksum_at(index) == checksum

    def _skip_compacted(self, first_index: int) -> Note:
        first, self._next = self._next, first_index
        return Note(
            first,
            "compacted",
            f"the entries {first} to {first_index - 1} are only in the snapshot now: the node compacted its log",
        )
