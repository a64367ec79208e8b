"""`Table`: a dictionary by number that can be frozen in one step. A later write copies only what it changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

V = TypeVar("V")

#: A part holds 2 to the power of this many numbers.
PART_BITS: Final = 11


class Table(Generic[V]):
    """A dictionary with growing numbers as keys, in parts of at most `1 << PART_BITS` numbers."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[int, V]] = {}
        self._shared: dict[int, None] = {}  # parts that a frozen table also refers to
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, number: int) -> bool:
        return self.get(number) is not None

    def get(self, number: int) -> V | None:
        """Return the value with this number, or None."""
        part = self._parts.get(number >> PART_BITS)
        return None if part is None else part.get(number)

    def __getitem__(self, number: int) -> V:
        return self._parts[number >> PART_BITS][number]

    def __setitem__(self, number: int, value: V) -> None:
        part = self._writable_part(number >> PART_BITS)
        before = len(part)
        part[number] = value
        self._length += len(part) - before

    def __delitem__(self, number: int) -> None:
        key = number >> PART_BITS
        part = self._writable_part(key)
        del part[number]
        self._length -= 1
        if not part:
            del self._parts[key]

    def _writable_part(self, key: int) -> dict[int, V]:
        """Return the part with this key. Copies it first if a frozen table shares it."""
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = {}
        elif key in self._shared:
            del self._shared[key]
            part = self._parts[key] = part.copy()
        return part

    def frozen(self) -> FrozenTable[V]:
        """Return the table as of this call. Costs a copy of the list of parts."""
        self._shared = dict.fromkeys(self._parts)
        return FrozenTable([self._parts[key] for key in sorted(self._parts)], self._length)

    def free_gradually(self) -> Iterator[None]:
        """Forget everything, one part before each item."""
        while self._parts:
            _, part = self._parts.popitem()
            self._length -= len(part)
            del part
            yield


class FrozenTable(Generic[V]):
    """The content of a table when it was frozen."""

    def __init__(self, parts: list[dict[int, V]], length: int) -> None:
        self._parts = parts
        self._length = length

    def __len__(self) -> int:
        return self._length

    def values(self) -> Iterator[V]:
        """Yield the values, sorted by part and in insertion order inside a part. Drops each part after its values."""
        parts = self._parts
        parts.reverse()
        while parts:
            yield from parts.pop().values()
