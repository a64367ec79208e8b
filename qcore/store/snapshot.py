"""The entity store's records as lines of text, and back.

Lines: a header, then each schema, then each entity, all as JSON. The header counts them, so that a
snapshot cut short is noticed even without the checksums of the storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field as Constraint
from pydantic import TypeAdapter, ValidationError, with_config
from pydantic_core import to_json
from typing_extensions import TypedDict

from qcore.errors import StoreError
from qcore.store.errors import SchemaInvalid, quoted
from qcore.store.records import Entity, Field, Records, entity_text, schema_text
from qcore.store.schema import EntitySchema, EntitySchemaJson, Schemas, schema_from_json
from qcore.store.values import (
    STRICT,
    EntityIdJson,
    ValueJson,
    id_from_json,
    value_from_json,
)

#: Lines that are read before an item: some milliseconds.
LINES_AT_A_TIME = 128

_Count = Annotated[int, Constraint(ge=0)]


@with_config(STRICT)
class _Header(TypedDict):
    format: Literal["qcore-entities"]
    version: Literal[1]
    schemas: _Count
    entities: _Count
    last_id: _Count
    loaded: bool


_FieldLine = tuple[str, ValueJson, int, EntityIdJson | None]
_EntityLine = tuple[EntityIdJson, EntityIdJson | None, list[_FieldLine]]

_header_adapter: TypeAdapter[_Header] = TypeAdapter(_Header)
_schema_adapter: TypeAdapter[EntitySchemaJson] = TypeAdapter(EntitySchemaJson)
_entity_adapter: TypeAdapter[_EntityLine] = TypeAdapter(_EntityLine, config=STRICT)


def snapshot_lines(records: Records) -> Iterator[str]:
    """The records as of this call; the lines are made as they are consumed.

    The call itself costs a shallow copy of the table of entities: records are immutable.
    """
    header: _Header = {
        "format": "qcore-entities",
        "version": 1,
        "schemas": len(records.schemas.own),
        "entities": len(records.entities),
        "last_id": records.last_id,
        "loaded": records.loaded,
    }
    return _lines(header, records.schemas, records.entities.copy())


def _lines(header: _Header, schemas: Schemas, entities: dict[int, Entity]) -> Iterator[str]:
    yield to_json(header).decode()
    for schema in schemas.own.values():
        yield schema_text(schema)
    for entity in entities.values():
        yield entity_text(entity)


class SnapshotReader:
    """Inverse of `snapshot_lines`, in parts."""

    def __init__(self) -> None:
        #: Whole once `read` is at its end.
        self.records = Records()

    def read(self, lines: Iterable[str]) -> Iterator[None]:
        """Read everything, a bounded number of lines before each item.

        Raises:
            StoreError: a line is missing, extra or malformed; the text names it.
        """
        number = 0
        header: _Header | None = None
        schemas: list[EntitySchema] = []
        records = self.records
        try:
            for number, line in enumerate(lines, start=1):
                if header is None:
                    header = _header_adapter.validate_json(line)
                elif len(schemas) < header["schemas"]:
                    schemas.append(schema_from_json(_schema_adapter.validate_json(line)))
                else:
                    if not records.entities:
                        records.set_schemas(Schemas().updated(schemas))
                    entity = _read_entity(_entity_adapter.validate_json(line))
                    _check_shape(entity, records)
                    records.put(entity)
                if number % LINES_AT_A_TIME == 0:
                    records.state_hash()  # else all that is new would be digested in one go later
                    yield
            if not records.entities:
                records.set_schemas(Schemas().updated(schemas))
        except (ValidationError, StoreError) as error:
            raise StoreError(
                f"restore: line {number} of the snapshot is malformed: {error}"
            ) from error
        if header is None or len(records.entities) != header["entities"]:
            raise StoreError(f"restore: the snapshot is cut short after line {number}")
        records.last_id, records.loaded = header["last_id"], header["loaded"]


def _check_shape(entity: Entity, records: Records) -> None:
    """An entity has exactly its type's fields: the rest of the store relies on it."""
    schema = records.schemas.complete(entity.entity_id.typ)
    if entity.fields.keys() != schema.fields.keys():
        name = quoted(str(entity.entity_id))
        raise SchemaInvalid(f"entity {name} does not have the fields of its type")


def _read_entity(line: _EntityLine) -> Entity:
    entity_id, created_under, fields = line
    return Entity(
        id_from_json(entity_id),
        {
            name: Field(
                value_from_json(value), time_ns, None if writer is None else id_from_json(writer)
            )
            for name, value, time_ns, writer in fields
        },
        None if created_under is None else id_from_json(created_under),
    )
