"""Reads and writes fields for a command: finds their schemas, and turns texts into values and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qcore.cli.options import OutputFormat
from qcore.cli.output import Row, show
from qcore.cli.store.access.entity_names import Types, find_entity
from qcore.cli.store.access.value_texts import json_of, text_of, value_from_text
from qcore.cli.store.arguments import split_assignment
from qcore.client import (
    DEFAULT,
    Choice,
    Client,
    EntityId,
    Field,
    Value,
    WritableValue,
)
from qcore.errors import FieldNotFound
from qcore.machines.entity.indirection import SEPARATOR
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.entity_schema import FieldSchema

COLUMNS = ("field", "value", "write_time", "writer_id")


@dataclass(frozen=True)
class ShownField:
    """A field, and the names of the choices if its value is one of them."""

    field: Field
    choices: tuple[str, ...]

    @property
    def text(self) -> str:
        """The value as text."""
        return text_of(self.field.value, self.choices)

    @property
    def json(self) -> Any:  # what `json.dumps` accepts
        """The value for JSON."""
        return json_of(self.field.value, self.choices)


async def field_schema(client: Client, types: Types, entity: EntityId, path: str) -> FieldSchema:
    """The schema of a field, or of the field that a path leads to.

    Raises:
        FieldNotFound: the type has no such field.
        StoreError: the path leads nowhere.
    """
    *way, name = path.split(SEPARATOR)
    owner = await _follow(client, entity, way) if way else entity
    fields = (await types.get(owner.typ)).fields
    if name not in fields:
        raise FieldNotFound(f"type {quoted(owner.typ)} has no field {quoted(name)}")
    return fields[name]


async def _follow(client: Client, entity: EntityId, way: Sequence[str]) -> EntityId:
    """The entity at the end of a path without its last segment."""
    path = SEPARATOR.join(way)
    if way[-1].isdigit():  # a place in a list: read the part of the list with this one
        path += f":{int(way[-1]) + 1}"
    value = await client.read(entity, path)
    target = value[0] if isinstance(value, list) and value else value
    if not isinstance(target, EntityId):
        raise FieldNotFound(f"{SEPARATOR.join(way)} of {entity} names no entity")
    return target


async def shown_fields(
    client: Client, types: Types, entity: EntityId, fields: Iterable[Field]
) -> list[ShownField]:
    """The fields with the names of their choices."""
    found: list[ShownField] = []
    for field in fields:
        choices: tuple[str, ...] = ()
        if isinstance(field.value, Choice):
            choices = (await field_schema(client, types, entity, field.field_type)).choices
        found.append(ShownField(field, choices))
    return found


async def values_of(
    client: Client,
    types: Types,
    entity: EntityId | str,
    assignments: Sequence[str],
    defaults: Sequence[str] = (),
) -> list[tuple[str, WritableValue]]:
    """The fields and values in `FIELD=VALUE` texts, and those that get their defaults.

    Args:
        client: reads schemas and finds entities.
        types: the schemas.
        entity: an entity, or the type of one that does not exist yet.
        assignments: the texts.
        defaults: fields.

    Raises:
        ConfigError: a text has another form, or is no value of its field's kind.
        StoreError: there is no such field, or no entity that a value names.
    """

    async def find(text: str) -> EntityId:
        return await find_entity(client, text)

    owner = EntityId(entity, 0) if isinstance(entity, str) else entity
    values: list[tuple[str, WritableValue]] = []
    for assignment in assignments:
        name, text = split_assignment(assignment)
        schema = await field_schema(client, types, owner, name)
        values.append((name, await value_from_text(schema, text, find)))
    for name in defaults:
        await field_schema(client, types, owner, name)
        values.append((name, DEFAULT))
    return values


def show_fields(output: OutputFormat, entity: EntityId, fields: Sequence[ShownField]) -> None:
    """Print the fields of an entity, one in each row."""
    rows: list[Row] = []
    body: dict[str, Mapping[str, Any]] = {}
    for shown in fields:
        field = shown.field
        time: Value = field.write_time
        more = {"write_time": json_of(time), "writer_id": json_of(field.writer_id)}
        body[field.field_type] = {"value": shown.json, **more}
        rows.append(
            {
                "field": field.field_type,
                "value": shown.text,
                "write_time": text_of(time) or None,
                "writer_id": text_of(field.writer_id) or None,
            }
        )
    columns: tuple[str, ...] = COLUMNS
    if output is OutputFormat.table and not any(row["writer_id"] for row in rows):
        columns = COLUMNS[:3]
    show(output, {"entity_id": str(entity), "fields": body}, rows=rows, columns=columns)
