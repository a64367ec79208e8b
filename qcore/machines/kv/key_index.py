"""`KeyIndex`: keys in order, cheap to add to and to remove from at any size."""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedList


class KeyIndex:
    """A set of keys, ordered as bytes.

    Ranges are half-open: from `begin` on, and before `end`. An `end` of None means no upper bound.
    """

    def __init__(self) -> None:
        self._keys: SortedList[bytes] = SortedList()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes) -> None:
        """Add a key that is not in the set."""
        self._keys.add(key)

    def remove(self, key: bytes) -> None:
        """Remove a key that is in the set."""
        self._keys.remove(key)

    def count(self, begin: bytes, end: bytes | None) -> int:
        """The number of keys in a range."""
        last = len(self._keys) if end is None else self._keys.bisect_left(end)
        return max(0, last - self._keys.bisect_left(begin))

    def ascending(self, begin: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys of a range, the smallest first. The set must not change meanwhile."""
        return self._keys.irange(begin, end, inclusive=(True, False))

    def descending(self, begin: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys of a range, the largest first. The set must not change meanwhile."""
        return self._keys.irange(begin, end, inclusive=(True, False), reverse=True)
