"""`KeyIndex`: keys in order, cheap to add to and to remove from at any size."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

#: A block is cut in two when it has more keys than this.
BLOCK_KEYS: Final = 512


class KeyIndex:
    """A set of keys, ordered as bytes.

    The keys are in blocks, so a change moves the keys of one block. Ranges are half-open: from `begin` on, and before
    `end`. An `end` of None means no upper bound.
    """

    def __init__(self) -> None:
        self._blocks: list[list[bytes]] = []
        #: The last key of each block.
        self._lasts: list[bytes] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, key: bytes) -> None:
        """Add a key that is not in the set."""
        self._length += 1
        if not self._blocks:
            self._blocks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > BLOCK_KEYS:
            half = len(block) // 2
            self._blocks.insert(at + 1, block[half:])
            self._lasts.insert(at + 1, block[-1])
            del block[half:]
        self._lasts[at] = self._blocks[at][-1]

    def remove(self, key: bytes) -> None:
        """Remove a key that is in the set."""
        self._length -= 1
        at = bisect_left(self._lasts, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def count(self, begin: bytes, end: bytes | None) -> int:
        """The number of keys in a range."""
        last = self._length if end is None else self._rank(end)
        return max(0, last - self._rank(begin))

    def ascending(self, begin: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys of a range, the smallest first. The set must not change meanwhile."""
        first = bisect_left(self._lasts, begin)
        for at in range(first, len(self._blocks)):
            block = self._blocks[at]
            start = bisect_left(block, begin) if at == first else 0
            if end is not None and block[-1] >= end:
                yield from block[start : bisect_left(block, end)]
                return
            yield from block[start:] if start else block

    def descending(self, begin: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys of a range, the largest first. The set must not change meanwhile."""
        last = len(self._blocks) - 1
        if end is not None:
            last = min(bisect_left(self._lasts, end), last)
        for at in range(last, -1, -1):
            block = self._blocks[at]
            if block[-1] < begin:
                return
            stop = len(block) if end is None else bisect_left(block, end)
            yield from reversed(block[bisect_left(block, begin) : stop])

    def _rank(self, key: bytes) -> int:
        """The number of keys below a key."""
        at = bisect_left(self._lasts, key)
        before = sum(map(len, self._blocks[:at]))
        return before if at == len(self._blocks) else before + bisect_left(self._blocks[at], key)
