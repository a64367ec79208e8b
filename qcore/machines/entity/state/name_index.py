"""`NameIndex`: finds entities by parent and name. Derived from the records, and not part of the state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias
from zlib import crc32

from sortedcontainers import SortedList

from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId

#: A dictionary that grows moves all its items in one step, so the index has many small ones.
_PARTS: Final = 256
#: How many numbers are freed in one step.
_FREED_PER_STEP: Final = 2048

_Key: TypeAlias = tuple[int, str]
#: Usually one entity; SortedList is generic only for type checkers.
_Numbers: TypeAlias = "int | SortedList[int]"


class NameIndex:
    """The written names of all entities, by parent. 0 stands for the top level.

    Whether `Parent` counts depends on the type's schema, which may change. So an entity is listed under each parent
    that may count, and the reader compares with the entity itself.

    Attributes:
        top: the numbers of the entities that may be at the top level.
    """

    def __init__(self) -> None:
        self._parts: list[dict[_Key, _Numbers]] = [{} for _ in range(_PARTS)]
        self.top: SortedList[int] = SortedList()

    def find(self, parent: int, name: str) -> Iterable[int]:
        """Return the numbers of the entities that may have this parent and name, in growing order."""
        found = self._part(name).get((parent, name), ())
        return (found,) if isinstance(found, int) else found

    def replace(self, old: Entity | None, new: Entity | None) -> None:
        """An entity has another record; None: it did not exist, or no longer exists."""
        if (
            old is not None
            and new is not None
            and old.created_under == new.created_under
            and old.fields.get("Parent") == new.fields.get("Parent")
            and old.fields.get("Name") == new.fields.get("Name")
        ):
            return
        before: tuple[int, ...] = ()
        after: tuple[int, ...] = ()
        number = 0
        if old is not None:
            before, number = _parents(old), old.entity_id.id
            self._remove_name(_name(old), before, number)
        if new is not None:
            after, number = _parents(new), new.entity_id.id
            self._add_name(_name(new), after, number)
        if 0 in before and 0 not in after:
            self.top.remove(number)
        elif 0 in after and 0 not in before:
            self.top.add(number)

    def free_gradually(self) -> Iterator[None]:
        """Forget everything, a bounded part before each item."""
        while self._parts:
            self._parts.pop()
            yield
        yield from free_numbers(self.top)

    def _part(self, name: str) -> dict[_Key, _Numbers]:
        return self._parts[crc32(name.encode()) % _PARTS]

    def _add_name(self, name: str | None, parents: tuple[int, ...], number: int) -> None:
        if name is None:
            return
        part = self._part(name)
        for parent in parents:
            held = part.setdefault((parent, name), number)
            if isinstance(held, SortedList):
                held.add(number)
            elif held != number:
                part[(parent, name)] = SortedList((held, number))

    def _remove_name(self, name: str | None, parents: tuple[int, ...], number: int) -> None:
        if name is None:
            return
        part = self._part(name)
        for parent in parents:
            held = part[(parent, name)]
            if isinstance(held, SortedList) and len(held) > 1:
                held.remove(number)
            else:
                del part[(parent, name)]


def _name(entity: Entity) -> str | None:
    field = entity.fields.get("Name")
    name = None if field is None else field.value.data
    return name if isinstance(name, str) else None


def _parents(entity: Entity) -> tuple[int, ...]:
    """The parents that may count: the written field `Parent`, and the one of the creation or the last move."""
    recorded = 0 if entity.created_under is None else entity.created_under.id
    field = entity.fields.get("Parent")
    if field is None:
        return (recorded,)
    data = field.value.data
    written = data.id if isinstance(data, EntityId) else 0
    return (written,) if written == recorded else (written, recorded)


def free_numbers(numbers: SortedList[int]) -> Iterator[None]:
    """Empty a sorted list, a bounded number of items before each item of the result."""
    while numbers:
        for _ in range(min(len(numbers), _FREED_PER_STEP)):
            numbers.pop()
        yield
