"""Reads files of schemas, in the form of the wire or of a topology file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args

from pydantic import TypeAdapter, ValidationError

from qcore.errors import StoreError
from qcore.machines.entity.state.entity_schema import (
    EntitySchema,
    EntitySchemaJson,
    check_schema,
    schema_from_json,
)
from qcore.machines.entity.state.value import Kind
from qcore.machines.entity.topology.topology_file import parse_schema_list
from qcore.yaml_reader import MappingNode, Node, SequenceNode, find, parse_yaml, to_python

_WIRE_SCHEMA: Final = TypeAdapter(EntitySchemaJson)
_KINDS: Final = frozenset(get_args(Kind))
#: The deepest file: `to_python` recurses.
_MAX_DEPTH: Final = 100


def parse_schemas(text: str, source: str, known: Mapping[str, EntitySchema]) -> list[EntitySchema]:
    """The schemas in a text, each after the one that it inherits.

    Args:
        text: one schema, a list of schemas, or a topology.
        source: the name of the file, for errors.
        known: the types of the cluster, which the schemas may inherit.

    Raises:
        ConfigError: a schema is invalid: `source:line:column: path: reason`.
    """
    root = parse_yaml(text, source, max_depth=_MAX_DEPTH)
    node: Node = root
    if isinstance(root, MappingNode) and "schemas" in root.entries:
        node = root.entries["schemas"]
    items: list[Node] = node.items if isinstance(node, SequenceNode) else [node]
    if items and all(map(_is_wire_form, items)):
        schemas = [_wire_schema(item) for item in items]
    else:
        schemas = list(parse_schema_list(items, root, known))
    return parents_first(schemas)


def parents_first(schemas: list[EntitySchema]) -> list[EntitySchema]:
    """The schemas in an order in which each comes after the one that it inherits."""
    by_name = {schema.entity_type: schema for schema in schemas}
    ordered: dict[str, EntitySchema] = {}
    for schema in schemas:
        above: list[EntitySchema] = []
        current: EntitySchema | None = schema
        while current is not None and current.entity_type not in ordered and current not in above:
            above.append(current)
            current = by_name.get(current.inherit) if current.inherit is not None else None
        ordered |= {one.entity_type: one for one in reversed(above)}
    return list(ordered.values())


def _is_wire_form(node: Node) -> bool:
    """Whether the fields of a schema are tagged by their kinds, as on the wire."""
    fields = node.entries.get("fields") if isinstance(node, MappingNode) else None
    if not isinstance(fields, MappingNode):
        return False
    return bool(fields.entries) and all(
        isinstance(field, MappingNode) and len(field.entries) == 1 and set(field.entries) <= _KINDS
        for field in fields.entries.values()
    )


def _wire_schema(node: Node) -> EntitySchema:
    try:
        schema = schema_from_json(_WIRE_SCHEMA.validate_python(to_python(node)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, _ = find(node, list(first["loc"]))
        message = re.sub(r"^Input should be", "it should be", first["msg"])
        where = ".".join(map(str, first["loc"]))
        raise place.error(f"{where}: {message}") from None
    try:
        check_schema(schema)
    except StoreError as error:
        raise node.error(str(error)) from None
    return schema
