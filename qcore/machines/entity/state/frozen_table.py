"""`Table`: the entities by number. It can be frozen in one step, and a later write copies only what it changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qcore.machines.entity.state.entity import Entity

_PART_BITS: Final = 11


class Table:
    """A dictionary with growing numbers as keys.

    Args:
        part_bits: a part holds at most 2 to the power of this many numbers.
    """

    def __init__(self, part_bits: int = _PART_BITS) -> None:
        self._bits = part_bits
        self._parts: dict[int, dict[int, Entity]] = {}
        self._shared: dict[int, None] = {}  # parts that a frozen table also refers to
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, number: int) -> bool:
        return self.get(number) is not None

    def get(self, number: int) -> Entity | None:
        """Return the value with this number, or None."""
        part = self._parts.get(number >> self._bits)
        return None if part is None else part.get(number)

    def __getitem__(self, number: int) -> Entity:
        return self._parts[number >> self._bits][number]

    def __setitem__(self, number: int, value: Entity) -> None:
        part = self._writable_part(number >> self._bits)
        before = len(part)
        part[number] = value
        self._length += len(part) - before

    def __delitem__(self, number: int) -> None:
        key = number >> self._bits
        part = self._writable_part(key)
        del part[number]
        self._length -= 1
        if not part:
            del self._parts[key]

    def _writable_part(self, key: int) -> dict[int, Entity]:
        """Return the part with this key. Copies it first if a frozen table shares it."""
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = {}
        elif key in self._shared:
            del self._shared[key]
            part = self._parts[key] = part.copy()
        return part

    def frozen(self) -> FrozenTable:
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


class FrozenTable:
    """The content of a table when it was frozen."""

    def __init__(self, parts: list[dict[int, Entity]], length: int) -> None:
        self._parts = parts
        self._length = length

    def __len__(self) -> int:
        return self._length

    def values(self) -> Iterator[Entity]:
        """Yield the values, sorted by part and in insertion order inside a part. Drops each part after its values."""
        parts = self._parts
        parts.reverse()
        while parts:
            yield from parts.pop().values()
