"""`ChildList`: the immutable list of an entity's children, cheap to append to and remove from at any length.

Each entry has a position, a number that grows along the list and is never used twice. The list is a tree of three
levels: leaves of entries, branches of leaves, and a root of branches. A change makes a new list, which shares all
leaves and branches but one with the old list. So keeping the old list for a snapshot costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple, Self

from pydantic_core import to_json

from qcore.machines.entity.state.entity_id import EntityId

#: Maximum number of entries in a leaf, and of leaves in a branch.
LEAF: Final = 256
BRANCH: Final = 128
#: Length of the shortest id and its comma as JSON text.
LEAST_ID_BYTES: Final = 18
_MASK: Final = (1 << 256) - 1


class _Leaf(NamedTuple):
    positions: tuple[int, ...]
    ids: tuple[EntityId, ...]


class _Branch(NamedTuple):
    length: int
    leaves: tuple[_Leaf, ...]


class ChildList:
    """An immutable list of entity ids.

    Attributes:
        next_position: position of the next entry. All entries have lower positions.
        json_bytes: length of the list's JSON text in bytes.
        digest_sum: sum, modulo 2**256, of the digests of all entries with their positions.
    """

    __slots__ = ("_length", "_root", "digest_sum", "json_bytes", "next_position")

    def __init__(
        self,
        root: tuple[_Branch, ...] = (),
        length: int = 0,
        next_position: int = 0,
        json_bytes: int = 2,
        digest_sum: int = 0,
    ) -> None:
        self._root = root
        self._length = length
        self.next_position = next_position
        self.json_bytes = json_bytes
        self.digest_sum = digest_sum

    @classmethod
    def of(cls, ids: Iterable[EntityId]) -> Self:
        """Return a list of these ids, at the positions 0, 1, 2, ..."""
        return cls.restored(enumerate(ids), None)

    @classmethod
    def restored(cls, entries: Iterable[tuple[int, EntityId]], next_position: int | None) -> Self:
        """Return the list with these entries.

        Args:
            entries: positions, in growing order, and ids.
            next_position: position of the next entry; None for the one after the last.

        Raises:
            ValueError: the positions do not grow, or one reaches `next_position`.
        """
        builder = ChildListBuilder()
        for position, entity_id in entries:
            builder.add(position, entity_id)
        return cls(*builder.parts(next_position))

    def __len__(self) -> int:
        return self._length

    def shares_with(self, other: ChildList) -> bool:
        """Whether both lists have the same first or last leaf: a change of one entry leaves one of them."""
        if not (self._root and other._root):
            return False
        return (
            self._root[0].leaves[0] is other._root[0].leaves[0]
            or self._root[-1].leaves[-1] is other._root[-1].leaves[-1]
        )

    def __iter__(self) -> Iterator[EntityId]:
        for branch in self._root:
            for leaf in branch.leaves:
                yield from leaf.ids

    def entries(self) -> Iterator[tuple[int, EntityId]]:
        """Yield positions and ids in order."""
        for branch in self._root:
            for leaf in branch.leaves:
                yield from zip(leaf.positions, leaf.ids, strict=True)

    def entries_after(self, position: int) -> Iterator[tuple[int, EntityId]]:
        """Yield the positions and ids behind a position, in order."""
        number = max(0, bisect_right(self._root, position, key=_first_of_branch) - 1)
        for branch in islice(self._root, number, None):
            skip = max(0, bisect_right(branch.leaves, position, key=_first_of_leaf) - 1)
            for leaf in islice(branch.leaves, skip, None):
                begin = bisect_right(leaf.positions, position)
                yield from zip(leaf.positions[begin:], leaf.ids[begin:], strict=True)

    def slice(self, start: int, stop: int) -> tuple[EntityId, ...]:
        """Return the ids from index `start` to before `stop`. There are fewer at the end of the list."""
        found: list[EntityId] = []
        skip, left = start, min(stop, self._length) - start
        for branch in self._root:
            if skip >= branch.length:
                skip -= branch.length
                continue
            for leaf in branch.leaves:
                if left <= 0:
                    return tuple(found)
                if skip >= len(leaf.ids):
                    skip -= len(leaf.ids)
                    continue
                part = leaf.ids[skip : skip + left]
                skip, left = 0, left - len(part)
                found += part
        return tuple(found)

    def appended(self, entity_id: EntityId) -> ChildList:
        """Return this list with one more entry, at `next_position`."""
        position = self.next_position
        root = self._root
        if not root:
            root = (_Branch(1, (_Leaf((position,), (entity_id,)),)),)
        else:
            length, leaves = root[-1]
            last = leaves[-1]
            if len(last.ids) < LEAF:
                grown = _Leaf((*last.positions, position), (*last.ids, entity_id))
                root = (*root[:-1], _Branch(length + 1, (*leaves[:-1], grown)))
            elif len(leaves) < BRANCH:
                leaf = _Leaf((position,), (entity_id,))
                root = (*root[:-1], _Branch(length + 1, (*leaves, leaf)))
            else:
                root = (*root, _Branch(1, (_Leaf((position,), (entity_id,)),)))
        return ChildList(
            root,
            self._length + 1,
            position + 1,
            self.json_bytes + id_bytes(entity_id),
            (self.digest_sum + _term(position, entity_id)) & _MASK,
        )

    def extended(self, ids: Iterable[EntityId]) -> ChildList:
        """Return this list with more entries, at the next positions."""
        builder = ChildListBuilder(self._root, self._length, self.json_bytes, self.digest_sum)
        position = self.next_position
        for entity_id in ids:
            builder.add(position, entity_id)
            position += 1
        return ChildList(*builder.parts(position))

    def without(self, position: int) -> ChildList:
        """Return this list without the entry at a position.

        Raises:
            KeyError: there is no such entry.
        """
        number = bisect_right(self._root, position, key=_first_of_branch) - 1
        if number < 0:
            raise KeyError(position)
        length, leaves = self._root[number]
        leaf_number = bisect_right(leaves, position, key=_first_of_leaf) - 1
        positions, ids = leaves[leaf_number]
        at = bisect_left(positions, position)
        if at == len(positions) or positions[at] != position:
            raise KeyError(position)
        rest: tuple[_Leaf, ...] = ()
        if len(ids) > 1:
            rest = (_Leaf(positions[:at] + positions[at + 1 :], ids[:at] + ids[at + 1 :]),)
        leaves = leaves[:leaf_number] + rest + leaves[leaf_number + 1 :]
        branch = (_Branch(length - 1, leaves),) if leaves else ()
        return ChildList(
            self._root[:number] + branch + self._root[number + 1 :],
            self._length - 1,
            self.next_position,
            self.json_bytes - id_bytes(ids[at]),
            (self.digest_sum - _term(position, ids[at])) & _MASK,
        )


class ChildListBuilder:
    """Builds a `ChildList` entry by entry.

    Args:
        root, length, json_bytes, digest_sum: of the list to begin with.
    """

    def __init__(
        self,
        root: tuple[_Branch, ...] = (),
        length: int = 0,
        json_bytes: int = 2,
        digest_sum: int = 0,
    ) -> None:
        self._branches = list(root)
        self._leaves: list[_Leaf] = list(self._branches.pop().leaves) if root else []
        self._positions: list[int] = []
        self._ids: list[EntityId] = []
        self._length = length
        self._last = -1
        self._bytes = json_bytes
        self._sum = digest_sum
        if self._leaves:
            positions, ids = self._leaves.pop()
            self._positions, self._ids = list(positions), list(ids)
            self._last = positions[-1]

    def add(self, position: int, entity_id: EntityId) -> None:
        """Add the next entry.

        Raises:
            ValueError: its position is not above that of the entry before.
        """
        if position <= self._last:
            raise ValueError(f"position {position} of a child follows position {self._last}")
        self._last = position
        self._positions.append(position)
        self._ids.append(entity_id)
        self._length += 1
        self._bytes += id_bytes(entity_id)
        self._sum += _term(position, entity_id)
        if len(self._ids) >= LEAF:
            self._end_leaf()

    def parts(self, next_position: int | None) -> tuple[tuple[_Branch, ...], int, int, int, int]:
        """Return the arguments of `ChildList`; see `ChildList.restored`."""
        after = self._last + 1
        if next_position is not None and next_position < after:
            raise ValueError(f"the next position {next_position} of a child is taken")
        self._end_leaf()
        self._end_branch()
        root = tuple(self._branches)
        return root, self._length, next_position or after, self._bytes, self._sum & _MASK

    def _end_leaf(self) -> None:
        if self._ids:
            self._leaves.append(_Leaf(tuple(self._positions), tuple(self._ids)))
            self._positions, self._ids = [], []
        if len(self._leaves) >= BRANCH:
            self._end_branch()

    def _end_branch(self) -> None:
        if self._leaves:
            length = sum(len(leaf.ids) for leaf in self._leaves)
            self._branches.append(_Branch(length, tuple(self._leaves)))
            self._leaves = []


def slice_of(
    targets: tuple[EntityId, ...] | ChildList, start: int, stop: int
) -> tuple[EntityId, ...]:
    """Return the ids from index `start` to before `stop` of a list in either form."""
    return targets.slice(start, stop) if isinstance(targets, ChildList) else targets[start:stop]


def ids_text(targets: Iterable[EntityId]) -> str:
    """Return ids as the JSON text of a list."""
    names: dict[str, str] = {}
    parts: list[str] = []
    for typ, number in targets:
        name = names.get(typ)
        if name is None:
            name = names[typ] = to_json(typ).decode()
        parts.append(f'{{"typ":{name},"id":{number}}}')
    return f"[{','.join(parts)}]"


def equal_ids(one: Iterable[EntityId], other: tuple[EntityId, ...], length: int) -> bool:
    """Whether two lists, the first of `length` ids, hold the same ids in the same order."""
    return length == len(other) and all(
        left == right for left, right in zip(one, islice(other, length), strict=True)
    )


def same_ids(
    one: tuple[EntityId, ...] | ChildList, other: tuple[EntityId, ...] | ChildList
) -> bool:
    """Whether two lists in either form hold the same ids in the same order, at whatever positions."""
    if len(one) != len(other):
        return False
    if isinstance(one, ChildList) and isinstance(other, ChildList):
        if one.digest_sum == other.digest_sum:
            return True
        if one.json_bytes != other.json_bytes:
            return False
    return all(left == right for left, right in zip(one, other, strict=True))


def _first_of_branch(branch: _Branch) -> int:
    return branch.leaves[0].positions[0]


def _first_of_leaf(leaf: _Leaf) -> int:
    return leaf.positions[0]


def id_bytes(entity_id: EntityId) -> int:
    """Length of `{"typ":...,"id":...}` and a comma, in bytes."""
    typ = entity_id.typ
    name = len(typ) + 2 if typ.isalnum() and typ.isascii() else len(to_json(typ))
    return name + len(str(entity_id.id)) + 15


def _term(position: int, entity_id: EntityId) -> int:
    text = f"{position} {entity_id.id} {entity_id.typ}"
    return int.from_bytes(blake2b(text.encode(), digest_size=32).digest())
