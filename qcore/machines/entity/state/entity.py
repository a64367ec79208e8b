"""The immutable records of entities and fields, and what a command changes in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import Value
from qcore.machines.entity.state.type_registry import Slot


class Field(NamedTuple):
    """A field's value, its write time (nanoseconds since the Unix epoch), and its writer.

    `generation` is that of the field's slot at the write; see `qcore.machines.entity.state.type_registry.Slot`.
    """

    value: Value
    time_ns: int
    writer_id: EntityId | None
    generation: int = 0


class Entity(NamedTuple):
    """An entity. Do not change `fields`: make a new record.

    Attributes:
        entity_id: the entity's type and number.
        fields: the fields that the record holds. Some may no longer belong to the type.
        created_under: the parent at its creation. The type need not have a `Parent` field.
        created_ns: the creation time of a sparse record, nanoseconds since the Unix epoch; None for a full record.
    """

    entity_id: EntityId
    fields: dict[str, Field]
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


class FieldChange(NamedTuple):
    """A field that a command changed. `old` is None for a new field, `new` for one that was deleted."""

    entity_id: EntityId
    field_type: str
    old: Field | None
    new: Field | None


class EntityChange(NamedTuple):
    """One step of a command: an entity before it (None: created) and after it (None: deleted)."""

    old: Entity | None
    new: Entity | None

    def fields(self, slots: Mapping[str, Slot]) -> Iterator[FieldChange]:
        """Yield the written fields by name, including those written with an equal value.

        Args:
            slots: the slots of the entity's type.
        """
        entity = self.old or self.new
        assert entity is not None, "an entity was there before or is there now"
        before = {} if self.old is None else self.old.fields
        after = {} if self.new is None else self.new.fields
        names = {name for name in {**before, **after} if before.get(name) is not after.get(name)}
        if self.old is None or self.new is None:
            names.update(slots)
        for name in sorted(names):
            slot = slots.get(name)
            yield FieldChange(
                entity.entity_id, name, _shown(self.old, name, slot), _shown(self.new, name, slot)
            )


def _shown(entity: Entity | None, name: str, slot: Slot | None) -> Field | None:
    """A field as a reader sees it; None if there is no entity, or it does not have the field."""
    if entity is None:
        return None
    if slot is None or entity.created_ns is None:
        return entity.fields.get(name)
    return entity.field(name, slot)
