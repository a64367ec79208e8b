"""`RaftLog`: the log in memory: the entries after the last compaction, and terms by index."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from qcore.core.entry import Entry


class RaftLog:
    """A run of entries that may begin after a snapshot.

    `offset` is the index just before the first entry held (0 for a log from the beginning).
    `offset_term` is its term, or None if unknown after a restart. `total_bytes` counts all entries that were ever held
    and not truncated, also compacted ones: its increase is the size of what was appended.
    """

    __slots__ = (
        "_begin_bytes",
        "_end_bytes",
        "entries",
        "last_index",
        "offset",
        "offset_term",
        "total_bytes",
    )

    def __init__(
        self, entries: Sequence[Entry] = (), *, offset: int = 0, offset_term: int | None = 0
    ) -> None:
        self.entries = list(entries)
        self.offset = offset
        self.offset_term = offset_term
        self.last_index = offset + len(self.entries)
        #: The bytes (`Entry.size_bytes`) of all entries that this log has ever held: up to its offset, and up to the
        #: end of each entry. Their differences give the size of any part of the log without adding up its entries.
        self._begin_bytes = 0
        self._end_bytes: array[int] = array("Q")
        self.total_bytes = 0
        self._note_sizes(self.entries)
        assert not self.entries or self.entries[0].index == offset + 1, "gap after the snapshot"

    @property
    def last_term(self) -> int:
        term = self.term(self.last_index)
        assert term is not None
        return term

    def _note_sizes(self, entries: list[Entry]) -> None:
        end = self.total_bytes
        for entry in entries:
            end += entry.size_bytes()
            self._end_bytes.append(end)
        self.total_bytes = end

    def bytes_after(self, index: int) -> int:
        """Bytes of the held entries after `index`, as `Entry.size_bytes` counts them."""
        if index >= self.last_index:
            return 0
        return self.total_bytes - self._bytes_before(max(index - self.offset, 0))

    def bytes_between(self, first: int, last: int) -> int:
        """Bytes of the entries from `first` to `last`, both included; all must be held."""
        if last == first:
            return self.entries[first - self.offset - 1].size_bytes()
        return self._bytes_before(last - self.offset) - self._bytes_before(first - self.offset - 1)

    def _bytes_before(self, position: int) -> int:
        return self._end_bytes[position - 1] if position else self._begin_bytes

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None if it lies beyond the end or was compacted."""
        position = index - self.offset - 1
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return self.offset_term if position == -1 else None

    def entry(self, index: int) -> Entry | None:
        """The entry at `index`; None if it lies beyond the end or was compacted."""
        position = index - self.offset - 1
        return self.entries[position] if 0 <= position < len(self.entries) else None

    def matches(self, index: int, term: int) -> bool:
        """True if the log holds an entry with this index and term (paper, figure 2, AppendEntries 2)."""
        position = index - self.offset - 1
        if 0 <= position < len(self.entries):
            return self.entries[position].term == term
        return position == -1 and self.offset_term == term

    def between(self, first: int, last: int) -> list[Entry]:
        """The entries from `first` to `last`, both included; all must be held."""
        assert self.offset < first, "entries are compacted"
        assert last <= self.last_index, "entries beyond the end"
        return self.entries[first - self.offset - 1 : last - self.offset]

    def batch(self, first: int, max_bytes: int) -> list[Entry]:
        """As many entries from `first` on as fit into `max_bytes`, but at least one if there is one."""
        position = first - self.offset - 1
        if position >= len(self.entries) - 1:
            return self.entries[position:]
        limit = self._bytes_before(position) + max_bytes
        end = bisect_right(self._end_bytes, limit, lo=position)
        return self.entries[position : max(end, position + 1)]

    def count_within(self, last: int, max_bytes: int, max_count: int) -> int:
        """How many of the newest entries up to `last` take at most `max_bytes` on disk together, at most `max_count`.

        `last` must be held.
        """
        end = last - self.offset
        # What comes before the first of them has at least so many bytes.
        least = self._bytes_before(end) - max_bytes
        if least <= self._begin_bytes:
            return min(end, max_count)
        return min(end - 1 - bisect_left(self._end_bytes, least, hi=end), max_count)

    def append(self, entries: list[Entry]) -> None:
        assert not entries or entries[0].index == self.last_index + 1, "gap in the log"
        self.entries.extend(entries)
        self._note_sizes(entries)
        self.last_index += len(entries)

    def truncate(self, from_index: int) -> None:
        """Remove the entry at `from_index` and all that follow."""
        assert from_index > self.offset, "truncation of compacted entries"
        del self.entries[from_index - self.offset - 1 :]
        del self._end_bytes[from_index - self.offset - 1 :]
        self.total_bytes = self._bytes_before(len(self.entries))
        self.last_index = self.offset + len(self.entries)

    def compact(self, through: int) -> None:
        """Remove the entries up to `through`, which must be held, but remember its term."""
        if through <= self.offset:
            return
        self.offset_term = self.term(through)
        count = through - self.offset
        self._begin_bytes = self._bytes_before(count)
        del self.entries[:count], self._end_bytes[:count]
        self.offset = through

    def reset(self, index: int, term: int) -> None:
        """Remove everything: the log now ends at a snapshot's last entry."""
        self.entries.clear()
        del self._end_bytes[:]
        self._begin_bytes = self.total_bytes = 0
        self.offset = self.last_index = index
        self.offset_term = term

    def find_conflict_by_term(self, index: int, term: int) -> int:
        """The largest index up to `index` whose entry's term is not above `term`.

        Two logs that disagree at an index can agree only at or before the result. So each rejected append skips a
        whole term (paper, end of section 5.3). The search stops at the compaction point.
        """
        index = min(index, self.last_index)
        while index > self.offset:
            held = self.term(index)
            if held is not None and held <= term:
                return index
            index -= 1
        return index
