"""`AppliedEntries`: the entry that was applied last at each index, as a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qcore.core.entry import Entry
from qcore.sim.records.entry_archive import BLOCK, EntryArchive
from qcore.sim.records.entry_list import EntryList


class AppliedEntries(Mapping[int, Entry]):
    """The entry applied last at each index, over all nodes. `pack` compresses those of low indexes.

    An entry that is applied after its index was packed is kept beside the packed ones, if it is another one.
    """

    def __init__(self) -> None:
        self._old = EntryList()  # without gaps, from index 1 on
        self._recent: dict[int, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Some node applied this entry."""
        self._recent[entry.index] = entry

    def __getitem__(self, index: int) -> Entry:
        found = self._recent.get(index)
        if found is not None:
            return found
        if 0 < index <= len(self._old):
            return self._old[index - 1]
        raise KeyError(index)

    def __iter__(self) -> Iterator[int]:
        end = len(self._old)
        yield from range(1, end + 1)
        yield from (index for index in self._recent if not 0 < index <= end)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress the entries up to index `through`, except for less than a block. No answer changes."""
        recent, old = self._recent, self._old
        end = len(old)
        for index in [index for index in recent if 0 < index <= end]:
            if recent[index] == old[index - 1]:  # a node that was behind applied it, too
                del recent[index]
        while len(old) + BLOCK <= through:
            indexes = range(len(old) + 1, len(old) + BLOCK + 1)
            if not all(index in recent and recent[index].index == index for index in indexes):
                return
            old.extend([recent.pop(index) for index in indexes])
            old.pack(len(old), archive)
