"""`FirstEntries`: the first entry that was seen at each index, in little memory."""

from __future__ import annotations

from typing import Final

from qcore.core.entry import Entry
from qcore.sim.records.entry_archive import BLOCK, EntryArchive
from qcore.sim.records.entry_list import EntryList
from qcore.sim.records.packed_rows import pack_rows, unpack_rows

#: Stands for "not known".
_UNKNOWN: Final = -1


class FirstEntries:
    """For each index an entry, the server that had it first, and the term of the entry before it, if known.

    Nearly all indexes come one after the other, so they are kept in lists, whose front `pack` compresses. The others
    are in a dictionary, and so are those that change after they were packed.
    """

    def __init__(self) -> None:
        self._packed = 0  # how many indexes are packed
        self._entries: list[Entry] = []
        self._nodes: list[int] = []
        self._previous: list[int] = []
        self._others: dict[int, tuple[Entry, int | None, int]] = {}
        self._old = EntryList()
        self._old_owners: list[bytes] = []  # for each block, rows of (server, term before)

    def entry(self, index: int) -> Entry | None:
        """The entry at an index; None if none was seen."""
        place = index - self._packed - 1
        if 0 <= place < len(self._entries):
            return self._entries[place]
        found = self._others.get(index)
        if found is not None:
            return found[0]
        return self._old[index - 1] if 0 < index <= self._packed else None

    def get(self, index: int) -> tuple[Entry, int | None, int] | None:
        """The entry, the term of the entry before it, and the first server; None if no entry was seen."""
        place = index - self._packed - 1
        if 0 <= place < len(self._entries):
            previous = self._previous[place]
            return (
                self._entries[place],
                None if previous == _UNKNOWN else previous,
                self._nodes[place],
            )
        found = self._others.get(index)
        if found is None and 0 < index <= self._packed:
            return self._old_record(index)
        return found

    def set(self, index: int, entry: Entry, node: int, previous: int | None = None) -> None:
        """Keep the entry of an index, in place of an earlier one."""
        place = index - self._packed - 1
        term = _UNKNOWN if previous is None else previous
        if place == len(self._entries) and index not in self._others:
            self._entries.append(entry)
            self._nodes.append(node)
            self._previous.append(term)
        elif 0 <= place < len(self._entries):
            self._entries[place] = entry
            self._nodes[place] = node
            self._previous[place] = term
        else:
            self._others[index] = (entry, previous, node)

    def pack(self, through: int, archive: EntryArchive) -> None:
        """Compress what is known of indexes up to `through`, except for less than a block. No answer changes."""
        while self._packed + BLOCK <= through and len(self._entries) >= BLOCK:
            self._old.extend(self._entries[:BLOCK])
            owners = zip(self._nodes[:BLOCK], self._previous[:BLOCK], strict=True)
            self._old_owners.append(pack_rows(list(owners)))
            del self._entries[:BLOCK], self._nodes[:BLOCK], self._previous[:BLOCK]
            self._packed += BLOCK
            self._old.pack(self._packed, archive)

    def _old_record(self, index: int) -> tuple[Entry, int | None, int]:
        block, place = divmod(index - 1, BLOCK)
        node, previous = map(int, unpack_rows(self._old_owners[block])[place])
        return self._old[index - 1], None if previous == _UNKNOWN else previous, node
