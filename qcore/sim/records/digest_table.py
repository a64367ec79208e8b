"""`DigestTable`: the first digest of the state after each index, and the server that reported it."""

from __future__ import annotations

from typing import Final

from qcore.sim.records.packed_rows import pack_rows, unpack_rows

#: Records of one block.
_BLOCK: Final = 256


class DigestTable:
    """The first digest at each index with its server. `pack` compresses those of low indexes.

    A digest is text of hexadecimal digits, and takes half as many bytes.
    """

    def __init__(self) -> None:
        self._recent: dict[int, tuple[str, int]] = {}
        #: Blocks by their indexes: the lowest, the highest, and the rows (index, digest, server).
        self._blocks: list[tuple[int, int, bytes]] = []
        self._highest_packed = 0

    def first(self, index: int, digest: str, node: int) -> tuple[str, int]:
        """The first digest and server of an index, which are the given ones if there are no others."""
        found = self._recent.get(index)
        if found is None:
            if index <= self._highest_packed:
                found = self._old(index)
            if found is None:
                found = self._recent[index] = digest, node
        return found

    def pack(self, through: int) -> None:
        """Compress the digests of indexes up to `through`, except for less than a block. No answer changes."""
        recent = self._recent
        while True:
            indexes = sorted(index for index in recent if index <= through)[:_BLOCK]
            if len(indexes) < _BLOCK:
                return
            rows = [(index, *recent.pop(index)) for index in indexes]
            self._blocks.append((indexes[0], indexes[-1], pack_rows(rows)))
            self._highest_packed = max(self._highest_packed, indexes[-1])

    def _old(self, index: int) -> tuple[str, int] | None:
        for low, high, packed in self._blocks:
            if low <= index <= high:
                for at, digest, node in unpack_rows(packed):
                    if at == index:
                        return str(digest), int(node)
        return None
