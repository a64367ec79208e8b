"""Replaces ids in values and schemas, for a topology that refers to entities which it creates."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import EntitySchema, FieldSchema
from qcore.machines.entity.state.field_values import measured
from qcore.machines.entity.state.value import Value


def renamed(value: Value, names: Mapping[EntityId, EntityId]) -> Value:
    """Return the value with the new ids in the place of the old ones."""
    if not names:
        return value
    match value.data:
        case EntityId() as target:
            return measured(Value(value.kind, names.get(target, target)))
        case tuple() as targets:
            return measured(Value(value.kind, tuple(names.get(one, one) for one in targets)))
        case _:
            return value


def renamed_in_schema(schema: EntitySchema, names: Mapping[EntityId, EntityId]) -> EntitySchema:
    """Return the schema with the new ids in its defaults and permissions."""
    if not names:
        return schema
    fields = {name: _renamed_in_field(field, names) for name, field in schema.fields.items()}
    return schema._replace(fields=fields)


def _renamed_in_field(field: FieldSchema, names: Mapping[EntityId, EntityId]) -> FieldSchema:
    readers, writers = field.read_permission, field.write_permission
    return field._replace(
        default=renamed(field.default, names),
        read_permission=None if readers is None else names.get(readers, readers),
        write_permission=None if writers is None else names.get(writers, writers),
    )
