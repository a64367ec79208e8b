"""What commands change in the entity store, as watches receive it.

| command | changes |
|---|---|
| a write, also of an equal value | the field; a write with `Changes` and an equal value writes nothing |
| a creation | the fields that it sets, without a previous value, and the parent's `Children` |
| a deletion | every field of the entity, without a current value, and the parent's `Children` |
| a rename, a move | the fields that they write |

A new schema changes no entity. The topics of a change are the field of the entity, and the field of its type and of
each type above it at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic_core import to_json

from qcore.machines.entity.state.child_list import ChildList, same_ids
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    Field,
    id_to_json,
    ids_of,
    same_value,
    value_bytes,
    value_to_json,
)
from qcore.machines.entity.state.value import SMALL_BYTES, Value

#: A larger value is not sent.
MAX_SENT_BYTES: Final = 256 * 1024
#: About the memory that a change holds besides its values, bytes.
_CHANGE_BYTES: Final = 300
#: About the memory of a list of entities for each byte of its JSON text.
_BYTES_PER_LIST_BYTE: Final = 4
#: About the memory that a changed `ChildList` does not share with the list before: a leaf and a branch, bytes.
_CHANGED_LIST_BYTES: Final = 5 * 1024


def entity_topic(entity_id: EntityId, field_type: str) -> str:
    """The topic of a field of one entity."""
    return f"entity {entity_id.id} {field_type}"


def type_topic(entity_type: str, field_type: str) -> str:
    """The topic of a field of all entities of a type."""
    return (
        f"type {len(entity_type)} {entity_type} {field_type}"  # the length: names may hold spaces
    )


class FieldChanged:
    """A field that a command wrote.

    Args:
        entity_id: the entity.
        field_type: the field.
        old: the field before; None for a new entity.
        new: the field afterwards.
        lineage: the entity's type and those above it.
    """

    __slots__ = ("entity_id", "field_type", "lineage", "new", "old")

    def __init__(
        self,
        entity_id: EntityId,
        field_type: str,
        old: Field | None,
        new: Field,
        lineage: tuple[str, ...],
    ) -> None:
        self.entity_id = entity_id
        self.field_type = field_type
        self.old = old
        self.new = new
        self.lineage = lineage

    @property
    def topics(self) -> tuple[str, ...]:
        """See `Change`."""
        name = self.field_type
        types = (type_topic(typ, name) for typ in self.lineage)
        return (entity_topic(self.entity_id, name), *types)

    @property
    def body(self) -> str:
        """See `Change`: the notification without its context. Not kept, because it may be large (`NoticeTexts`)."""
        return self.body_for(self.field_type) + "}"

    @property
    def size_bytes(self) -> int:
        """See `Change`. A list of children may share most of its memory with the list before."""
        new = self.new.value
        if self.old is None:
            return _CHANGE_BYTES + _held_bytes(new)
        old = self.old.value
        if type(new) is type(old) is Value and new.kind == old.kind != "EntityList":
            # As `value_bytes` says, but faster: each write comes here.
            return _CHANGE_BYTES + 2 * SMALL_BYTES
        if (
            isinstance(old.data, ChildList)
            and isinstance(new.data, ChildList)
            and new.data.shares_with(old.data)
        ):
            grown = abs(_held_bytes(new) - _held_bytes(old))
            return _CHANGE_BYTES + grown + min(_held_bytes(new), _CHANGED_LIST_BYTES)
        return _CHANGE_BYTES + _held_bytes(old) + _held_bytes(new)

    def is_difference(self) -> bool:
        """Whether the value is another one than before."""
        if self.old is None:
            return True
        old, new = self.old.value, self.new.value
        if isinstance(old.data, ChildList) or isinstance(new.data, ChildList):
            return old.kind != new.kind or not same_ids(ids_of(old), ids_of(new))
        return not same_value(old, new)

    def body_for(self, field_type: str) -> str:
        """The body for a watch of a field, without the closing brace."""
        old = None if self.old is None else self.old.value
        return body_text(self.entity_id, self.field_type, old, self.new.value)


class EntityDeleted:
    """An entity that a command deleted, with all its fields.

    Args:
        entity: the entity before.
        slots: the fields of its type.
        lineage: its type and those above it.
        schema_bytes: about the memory that the slots take.
    """

    __slots__ = ("entity", "entity_id", "lineage", "schema_bytes", "slots")

    def __init__(
        self,
        entity: Entity,
        slots: Mapping[str, Slot],
        lineage: tuple[str, ...],
        schema_bytes: int,
    ) -> None:
        self.entity = entity
        self.entity_id = entity.entity_id
        self.slots = slots
        self.lineage = lineage
        self.schema_bytes = schema_bytes

    @property
    def topics(self) -> tuple[str, ...]:
        """See `Change`."""
        entity_id = self.entity_id
        return tuple(
            topic
            for name in self.slots
            for topic in (
                entity_topic(entity_id, name),
                *(type_topic(typ, name) for typ in self.lineage),
            )
        )

    @property
    def body(self) -> str:
        """See `Change`. Watches receive the text of their field instead (`body_for`)."""
        return to_json({"entity_id": id_to_json(self.entity_id)}).decode()

    @property
    def size_bytes(self) -> int:
        """See `Change`. The schemas count too: the type may have others by now, and this change alone keeps these."""
        size = _CHANGE_BYTES + self.schema_bytes
        for field in self.entity.fields.values():
            size += _held_bytes(field.value)
        return size

    def is_difference(self) -> bool:
        """Whether the value is another one than before: always."""
        return True

    def body_for(self, field_type: str) -> str:
        """The body for a watch of a field, without the closing brace."""
        old = self.entity.field(field_type, self.slots[field_type]).value
        return body_text(self.entity_id, field_type, old, None)


EntityChange = FieldChanged | EntityDeleted


def _held_bytes(value: Value) -> int:
    size = value_bytes(value)
    return _BYTES_PER_LIST_BYTE * size if value.kind == "EntityList" else size


def body_text(entity_id: EntityId, field_type: str, old: Value | None, new: Value | None) -> str:
    """The JSON object of a notification without its context, and without the closing brace.

    A value that is too large to send is null, and `omitted` names it.
    """
    content: dict[str, object] = {"entity_id": id_to_json(entity_id), "field_type": field_type}
    omitted: list[str] = []
    for name, value in (("current_value", new), ("previous_value", old)):
        large = value is not None and value_bytes(value) > MAX_SENT_BYTES
        if large:
            omitted.append(name)
        content[name] = None if value is None or large else value_to_json(value)
    if omitted:
        content["omitted"] = omitted
    return to_json(content).decode()[:-1]
