"""`Value`: the value of a field as the store holds it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.entity_id import EntityId

Kind = Literal[
    "Blob",
    "Bool",
    "Choice",
    "EntityList",
    "EntityReference",
    "Float",
    "Int",
    "String",
    "Timestamp",
]
Data: TypeAlias = (
    bytes | bool | int | float | str | EntityId | tuple[EntityId, ...] | ChildList | None
)


class Value(NamedTuple):
    """A field's value. Immutable. Values are equal if kind and data are.

    `data` by kind: Blob bytes; Bool bool; Choice int; EntityList tuple of `EntityId`, or a `ChildList` in the field
    `Children`; EntityReference `EntityId` or None; Float finite float; Int int of 64 bits; String str;
    Timestamp int, nanoseconds since the Unix epoch.
    """

    kind: Kind
    data: Data


#: A value with a longer JSON text than this is a `LargeValue`, bytes.
SMALL_BYTES: Final = 512


class LargeValue(Value):
    """A value with its size and digest. They are computed once, because many fields may share a value.

    Attributes:
        size: length of its JSON text in bytes.
        digest: BLAKE2b of that text, 64 hexadecimal digits.
    """

    size: int
    digest: str
