"""`PackedTable`: records by log index, of which all but the newest are kept compressed.

A run of an hour applies a hundred thousand commands. Almost every question is about the newest of them, so older ones
are kept in compressed blocks. A block takes about a twentieth of the memory of its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from qcore.sim.records.packed_rows import Row, pack_rows, unpack_rows

#: Consecutive indexes of one block.
_BLOCK: Final = 512
#: The most blocks that are not compressed.
_OPEN: Final = 6

#: What was applied at an index (the command, and of its context the time, the version, the time less the clock, and the
#: rules), the result, and the node that applied it first.
Record = tuple[str, int, int, int, int, str, int]


class PackedTable:
    """Records by index, each set once."""

    def __init__(self) -> None:
        #: The open blocks, by number, the least recently used first.
        self._open: dict[int, dict[int, Record]] = {}
        self._changed: dict[int, None] = {}
        self._packed: dict[int, bytes] = {}
        self._current: tuple[int, dict[int, Record]] = -1, {}

    def get(self, index: int) -> Record | None:
        """The record at an index, or None."""
        return self._block(index // _BLOCK).get(index)

    def set(self, index: int, record: Record) -> None:
        """Keep a record."""
        number = index // _BLOCK
        self._block(number)[index] = record
        self._changed[number] = None

    def items(self) -> Iterator[tuple[int, Record]]:
        """All records with their indexes, in the order of the indexes."""
        for number in sorted({**self._packed, **self._open}):
            block = self._open.get(number)
            if block is None:
                block = self._unpacked(number)
            for index in sorted(block):
                yield index, block[index]

    def _block(self, number: int) -> dict[int, Record]:
        if self._current[0] == number:
            return self._current[1]
        block = self._open.pop(number, None)
        if block is None:
            block = self._unpacked(number)
        self._open[number] = block  # the last one is the most recently used
        self._current = number, block
        if len(self._open) > _OPEN:
            oldest = next(iter(self._open))
            self._close(oldest, self._open.pop(oldest))
        return block

    def _close(self, number: int, block: dict[int, Record]) -> None:
        if number in self._changed:
            del self._changed[number]
            rows: list[Row] = [(index, *record) for index, record in sorted(block.items())]
            self._packed[number] = pack_rows(rows)

    def _unpacked(self, number: int) -> dict[int, Record]:
        packed = self._packed.get(number)
        if packed is None:
            return {}
        return {int(row[0]): cast(Record, row[1:]) for row in unpack_rows(packed)}
