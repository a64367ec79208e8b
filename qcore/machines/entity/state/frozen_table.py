"""A table by number that can be frozen at once: what is written later copies only the part that it touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

V = TypeVar("V")

#: Numbers of one part: 2 to the power of this.
PART_BITS: Final = 11


class Table(Generic[V]):
    """A dictionary of numbers that grow, in parts of at most `1 << PART_BITS` of them."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[int, V]] = {}
        self._shared: dict[int, None] = {}  # parts that a frozen table refers to, too
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, number: int) -> bool:
        return self.get(number) is not None

    def get(self, number: int) -> V | None:
        """What stands under this number, or None."""
        part = self._parts.get(number >> PART_BITS)
        return None if part is None else part.get(number)

    def __getitem__(self, number: int) -> V:
        return self._parts[number >> PART_BITS][number]

    def __setitem__(self, number: int, value: V) -> None:
        part = self._own(number >> PART_BITS)
        before = len(part)
        part[number] = value
        self._length += len(part) - before

    def __delitem__(self, number: int) -> None:
        key = number >> PART_BITS
        part = self._own(key)
        del part[number]
        self._length -= 1
        if not part:
            del self._parts[key]

    def _own(self, key: int) -> dict[int, V]:
        """The part with this key, to be changed."""
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = {}
        elif key in self._shared:
            del self._shared[key]
            part = self._parts[key] = part.copy()
        return part

    def frozen(self) -> FrozenTable[V]:
        """The table as of this call; costs a copy of the list of its parts."""
        self._shared = dict.fromkeys(self._parts)
        return FrozenTable([self._parts[key] for key in sorted(self._parts)], self._length)

    def free_gradually(self) -> Iterator[None]:
        """Forget everything, a part before each item."""
        while self._parts:
            _, part = self._parts.popitem()
            self._length -= len(part)
            del part
            yield


class FrozenTable(Generic[V]):
    """What a table held when it was frozen."""

    def __init__(self, parts: list[dict[int, V]], length: int) -> None:
        self._parts = parts
        self._length = length

    def __len__(self) -> int:
        return self._length

    def values(self) -> Iterator[V]:
        """The values, by number as far as they were added in that order. Lets go of each part once it was given."""
        parts = self._parts
        parts.reverse()
        while parts:
            yield from parts.pop().values()
