"""The immutable records of entities and fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Value


class Field(NamedTuple):
    """A field's value, its write time (nanoseconds since the Unix epoch), and its writer.

    `generation` is that of the field's slot at the write; see `qcore.machines.entity.state.complete_type.Slot`.
    """

    value: Value
    time_ns: int
    writer_id: EntityId | None
    generation: int = 0


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
    fields: Mapping[str, Field]
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
