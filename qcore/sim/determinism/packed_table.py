"""`PackedTable`: records by log index, of which all but the newest are kept compressed.

A run of an hour applies a hundred thousand commands. Almost every question is about the newest of them, so older ones
are kept in compressed blocks. A block takes about a twentieth of the memory of its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar, cast

from qcore.sim.records.packed_rows import Row, pack_rows, unpack_rows

#: Consecutive indexes of one block.
_BLOCK: Final = 512
#: The most blocks that are not compressed.
_OPEN: Final = 6

_R = TypeVar("_R", bound=Row)


class PackedTable(Generic[_R]):
    """Records by index, each set once. A record is a tuple of integers and texts; all have the same length."""

    def __init__(self) -> None:
        #: The open blocks, by number, the least recently used first.
        self._open: dict[int, dict[int, _R]] = {}
        self._changed: dict[int, None] = {}
        self._packed: dict[int, bytes] = {}
        self._current: tuple[int, dict[int, _R]] = -1, {}

    def get(self, index: int) -> _R | None:
        """The record at an index, or None."""
        return self._block(index // _BLOCK).get(index)

    def set(self, index: int, record: _R) -> None:
        """Keep a record."""
        number = index // _BLOCK
        self._block(number)[index] = record
        self._changed[number] = None

    def items(self) -> Iterator[tuple[int, _R]]:
        """All records with their indexes, in the order of the indexes."""
        for number in sorted({**self._packed, **self._open}):
            block = self._open.get(number)
            if block is None:
                block = self._unpacked(number)
            for index in sorted(block):
                yield index, block[index]

    def _block(self, number: int) -> dict[int, _R]:
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

    def _close(self, number: int, block: dict[int, _R]) -> None:
        if number in self._changed:
            del self._changed[number]
            rows: list[Row] = [(index, *record) for index, record in sorted(block.items())]
            self._packed[number] = pack_rows(rows)

    def _unpacked(self, number: int) -> dict[int, _R]:
        packed = self._packed.get(number)
        if packed is None:
            return {}
        return {int(row[0]): cast(_R, row[1:]) for row in unpack_rows(packed)}
