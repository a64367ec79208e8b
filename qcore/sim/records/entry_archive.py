"""Old log entries, compressed: for the histories and invariants of a run, which may ask for every entry that ever was.

A node compacts its log after a snapshot. Then only histories and invariants still hold the entries that the snapshot
covers. Few questions about them follow, so they go into blocks of bytes, which take about a twentieth of their memory.
A question about an old entry unpacks its block. So no check loses anything, whatever a node does later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from qcore.core.entry import Entry, EntryKind
from qcore.sim.records.packed_rows import pack_rows, unpack_rows

#: Entries of one block.
BLOCK: Final = 512
#: The most blocks whose entries are kept in unpacked form, too.
_OPEN: Final = 3


class EntryBlock:
    """Consecutive entries that are kept as bytes. Every holder of the same entries has the same block."""

    __slots__ = ("_archive", "packed")

    def __init__(self, archive: EntryArchive, packed: bytes) -> None:
        self._archive = archive
        self.packed = packed

    def __getitem__(self, place: int) -> Entry:
        return self._archive.entries_of(self)[place]

    def entries(self) -> Sequence[Entry]:
        """All of them. The caller must not change the sequence."""
        return self._archive.entries_of(self)


class EntryArchive:
    """Makes the blocks of one run, and unpacks them.

    Attributes:
        packs: how many blocks there are.
        unpacks: how often a block was unpacked.
    """

    def __init__(self) -> None:
        self.packs = 0
        self.unpacks = 0
        self._blocks: dict[bytes, EntryBlock] = {}
        #: Unpacked blocks by identity, the least recently used first.
        self._open: dict[EntryBlock, list[Entry]] = {}

    def pack(self, entries: Sequence[Entry]) -> EntryBlock:
        """The block of these entries."""
        held = list(entries)
        for block, known in self._open.items():  # mostly another holder has just packed the same
            if known[0].index == held[0].index and known == held:
                return block
        packed = pack_rows(
            [
                (one.index, one.term, one.kind, one.data, one.time_us, one.time_us - one.clock_us)
                for one in held
            ]
        )
        made = self._blocks.get(packed)
        if made is None:
            made = self._blocks[packed] = EntryBlock(self, packed)
            self.packs += 1
        self._keep_open(made, held)
        return made

    def entries_of(self, block: EntryBlock) -> list[Entry]:
        """The entries of a block."""
        held = self._open.get(block)
        if held is None:
            self.unpacks += 1
            held = [_entry(*row) for row in unpack_rows(block.packed)]
            self._keep_open(block, held)
        return held

    def _keep_open(self, block: EntryBlock, held: list[Entry]) -> None:
        self._open[block] = held
        if len(self._open) > _OPEN:
            del self._open[next(iter(self._open))]


def _entry(
    index: int | str,
    term: int | str,
    kind: int | str,
    data: int | str,
    time_us: int | str,
    lag_us: int | str,
) -> Entry:
    time = int(time_us)
    return Entry(int(index), int(term), cast(EntryKind, kind), str(data), time, time - int(lag_us))
