"""`PackedNumbers`: integers in order, of which only the newest are not compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qcore.sim.records.packed_rows import pack_integers, unpack_integers

_BLOCK: Final = 1024


class PackedNumbers:
    """A list of integers of at most 64 bits that grows at its end. It is small if neighbours are close."""

    __slots__ = ("_blocks", "_recent")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._recent: list[int] = []

    def append(self, number: int) -> None:
        """Add a number at the end."""
        self._recent.append(number)
        if len(self._recent) == 2 * _BLOCK:
            self._blocks.append(pack_integers(self._recent[:_BLOCK]))
            del self._recent[:_BLOCK]

    def __iter__(self) -> Iterator[int]:
        for block in self._blocks:
            yield from unpack_integers(block)
        yield from self._recent

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._recent)
