"""The immutable records of entities."""

from __future__ import annotations

from typing import Final, NamedTuple

from qcore.core.text_size import utf8_length
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Field
from qcore.machines.entity.state.packed_fields import Fields
from qcore.machines.entity.state.value import LargeValue, Value

#: An entity besides its fields and the names of types: ids, times, brackets.
_ENTITY_BYTES: Final = 80
#: A field besides its name, value and writer: its kind, its time, brackets.
_FIELD_BYTES: Final = 48
#: An id besides the name of its type.
_ID_BYTES: Final = 24
#: A number, a truth value, null.
_SCALAR_BYTES: Final = 8


class Entity(NamedTuple):
    """An entity. Do not change `fields`: make a new record.

    Attributes:
        entity_id: the entity's type and number.
        fields: the fields that the record holds. Some may no longer belong to the type. A stored sparse record has them
            as `PackedFields`, if they are few.
        created_under: the parent at its creation. The type need not have a `Parent` field.
        created_ns: the creation time of a sparse record, nanoseconds since the Unix epoch; None for a full record.
    """

    entity_id: EntityId
    fields: Fields
    created_under: EntityId | None
    created_ns: int | None = None

    def field(self, name: str, slot: Slot) -> Field:
        """Return the field with this slot of the entity's type: as it was written, or its default."""
        field = self.fields.get(name)
        if field is not None and field.generation == slot.generation:
            if slot.schema.kind != "Choice" or slot.schema.fits(field.value):
                return field
            return field._replace(value=slot.schema.default)  # a choice that no longer exists
        number = self.entity_id.id
        since_ns = slot.since_ns
        if number > slot.since_id and self.created_ns is not None:
            since_ns = self.created_ns
        return Field(slot.default_of(number), since_ns, None, slot.generation)


# --- how many bytes records take in a snapshot, about: a large value counts in each field that holds it


def entity_bytes(entity: Entity) -> int:
    """The bytes of a record."""
    size = head_bytes(entity)
    for name, field in entity.fields.items():
        size += field_bytes(name, field)
    return size


def head_bytes(entity: Entity) -> int:
    """The bytes of a record without its fields."""
    under = entity.created_under
    size = _ENTITY_BYTES + len(entity.entity_id.typ)
    return size if under is None else size + _id_bytes(under)


def field_bytes(name: str, field: Field | None) -> int:
    """The bytes of a field in a record; 0 if the record does not have it."""
    if field is None:
        return 0
    value, _, writer, _ = field
    size = _FIELD_BYTES + len(name) + _value_bytes(value)
    return size if writer is None else size + _id_bytes(writer)


def _value_bytes(value: Value) -> int:
    if type(value) is LargeValue:
        return value.size
    match value.data:
        case str() as text:
            return utf8_length(text)
        case bytes() as blob:
            return 4 * len(blob)
        case ChildList() as children:
            return children.json_bytes
        case EntityId() as entity_id:
            return _id_bytes(entity_id)
        case tuple() as ids:
            return sum(map(_id_bytes, ids))
    return _SCALAR_BYTES


def _id_bytes(entity_id: EntityId) -> int:
    return _ID_BYTES + len(entity_id.typ)
