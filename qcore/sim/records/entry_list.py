"""`EntryList`: entries in order, of which the oldest may be packed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcore.core.entry import Entry
from qcore.sim.records.entry_archive import BLOCK, EntryArchive, EntryBlock


class EntryList:
    """A list of entries that grows at its end. `pack` compresses the front."""

    __slots__ = ("_blocks", "_recent", "packed")

    def __init__(self) -> None:
        #: How many entries are packed.
        self.packed = 0
        self._blocks: list[EntryBlock] = []
        self._recent: list[Entry] = []

    def __len__(self) -> int:
        return self.packed + len(self._recent)

    def __getitem__(self, place: int) -> Entry:
        """The entry at a place from 0 on.

        Raises:
            IndexError: there is none.
        """
        offset = place - self.packed
        if offset >= 0:
            return self._recent[offset]
        if place < 0:
            raise IndexError(place)
        return self._blocks[place // BLOCK][place % BLOCK]

    def __iter__(self) -> Iterator[Entry]:
        for block in self._blocks:
            yield from block.entries()
        yield from self._recent

    def extend(self, entries: Sequence[Entry]) -> None:
        """Append entries."""
        self._recent.extend(entries)

    def between(self, place: int, end: int) -> list[Entry]:
        """The entries from `place` on, before `end`."""
        return [self[at] for at in range(place, end)]

    def pack(self, count: int, archive: EntryArchive) -> None:
        """Pack the first `count` entries, as far as they fill whole blocks."""
        while self.packed + BLOCK <= count and len(self._recent) >= BLOCK:
            self._blocks.append(archive.pack(self._recent[:BLOCK]))
            del self._recent[:BLOCK]
            self.packed += BLOCK
