"""Short builders for requests of the entity store."""

from __future__ import annotations

from typing import Any

from tests.process.attacks.attacker import Json
from tests.process.support.wire_client import read_field, write_field


def field(kind: str, name: str, default: object) -> Json:
    """The schema of a field."""
    body = {"field_type": name, "default_value": default, "rank": 0}
    return {kind: {**body, "read_permission": None, "write_permission": None}}


def set_schema(entity_type: str, *fields: Json, inherit: str | None = None) -> Json:
    """`SetSchema` of a type with these fields."""
    by_name = {body["field_type"]: schema for schema in fields for body in schema.values()}
    return {
        "SetSchema": {
            "entity_schema": {"entity_type": entity_type, "inherit": inherit, "fields": by_name}
        }
    }


def create(entity_type: str, parent: Json | None = None, name: str = "x") -> Json:
    """`CreateEntity`."""
    return {"CreateEntity": {"entity_type": entity_type, "parent_id": parent, "name": name}}


def delete(entity: Json) -> Json:
    """`DeleteEntity`."""
    return {"DeleteEntity": {"entity_id": entity}}


def update(*items: Json) -> Json:
    """`UpdateEntity`."""
    return {"UpdateEntity": {"request": list(items)}}


def read(entity: Json, path: str) -> Json:
    """An item of `UpdateEntity` that reads."""
    return read_field(entity, path)


def write(
    entity: Json, path: str, value: Any, behavior: str = "Set", writer: Json | None = None
) -> Json:
    """An item of `UpdateEntity` that writes; the value None stands for the default."""
    item = write_field(entity, path, value)
    item["Write"] |= {"adjust_behavior": behavior, "writer_id": writer}
    return item
