"""The whole state as one JSON value, the `snapshot` of `StoreTakeSnapshot`, and its checksum."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from typing import Final, cast

from pydantic import with_config
from typing_extensions import TypedDict

from qcore.machines.entity.state.entity_schema import EntitySchemaJson, FieldSchemaJson
from qcore.machines.entity.state.field_values import Field, id_to_json, time_to_json, value_to_json
from qcore.machines.entity.state.wire.value_json import (
    STRICT,
    EntityIdJson,
    TimestampJson,
    ValueJson,
)

#: The version of the format.
FORMAT_VERSION: Final = 1


@with_config(STRICT)
class FieldJson(TypedDict):
    """A field of an entity."""

    field_type: str
    value: ValueJson
    write_time: TimestampJson
    writer_id: EntityIdJson | None


@with_config(STRICT)
class SnapshotContent(TypedDict):
    """A snapshot without its checksum.

    Attributes:
        version: `FORMAT_VERSION`.
        types: the names of all types.
        schemas: each type's own schema.
        entities: the ids of each type that has entities.
        fields: the fields of each entity, by the text of its id, such as `User$123`.
    """

    version: int
    types: list[str]
    schemas: dict[str, EntitySchemaJson]
    entities: dict[str, list[EntityIdJson]]
    fields: dict[str, dict[str, FieldJson]]


@with_config(STRICT)
class StoreSnapshot(SnapshotContent):
    """A snapshot, with the result of `snapshot_checksum`."""

    checksum: str


def field_json(name: str, field: Field) -> FieldJson:
    """Return a field in its form on the wire."""
    return {
        "field_type": name,
        "value": value_to_json(field.value),
        "write_time": time_to_json(field.time_ns),
        "writer_id": id_to_json(field.writer_id),
    }


def snapshot_checksum(content: SnapshotContent) -> str:
    """Return the SHA-256 of the canonical text, 64 hexadecimal digits. docs/reference/wire.md defines that text.

    Languages write the same Float in different ways, so the canonical text has its bits instead.
    """
    canonical = {
        "version": content["version"],
        "types": content["types"],
        "schemas": {name: _schema(schema) for name, schema in content["schemas"].items()},
        "entities": content["entities"],
        "fields": {
            entity: {name: _field(field) for name, field in fields.items()}
            for entity, fields in content["fields"].items()
        },
    }
    text = json.dumps(canonical, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _schema(schema: EntitySchemaJson) -> dict[str, object]:
    fields: dict[str, object] = {
        name: _field_schema(field) for name, field in schema["fields"].items()
    }
    # `_marker` is always null, and optional in what a client sends.
    return {"entity_type": schema["entity_type"], "inherit": schema["inherit"], "fields": fields}


def _field_schema(field: FieldSchemaJson) -> object:
    if "Float" not in field:
        return field
    body = field["Float"]
    return {"Float": {**body, "default_value": _bits(body["default_value"])}}


def _field(field: FieldJson) -> object:
    value = field["value"]
    if "Float" not in value:
        return field
    return {**cast("dict[str, object]", field), "value": {"Float": _bits(value["Float"])}}


def _bits(number: float) -> str:
    """The IEEE 754 form of a number: 16 hexadecimal digits. Not every JSON writer has a negative zero."""
    return struct.pack(">d", number or 0.0).hex()
