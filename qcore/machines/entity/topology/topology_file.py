"""Checks a topology file (such as examples/topology.yaml) and converts it to one command for the log.

Every error is a `ConfigError` of the form `file:line: reason`. The store accepts what this module accepts:
`LoadTopology` fails only if a topology was loaded before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from qcore.errors import StoreError
from qcore.machines.entity.perform_requests import (
    LoadTopologyBody,
    TopologyEntityJson,
    encode_topology,
)
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.entity_schema import (
    BUILT_IN,
    EntitySchema,
    EntitySchemaJson,
    FieldSchema,
    check_schema,
    schema_to_json,
)
from qcore.machines.entity.state.field_values import Value, value_to_json
from qcore.machines.entity.state.type_registry import Moment, Schemas
from qcore.machines.entity.topology.yaml_tree import (
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    error_at_line,
    parse_yaml,
)
from qcore.machines.entity.topology.yaml_values import ValueReader


class Topology(NamedTuple):
    """A checked topology: schemas, and entities, each of which comes after its parent."""

    schemas: list[EntitySchemaJson]
    entities: list[TopologyEntityJson]

    def command(self) -> str:
        """Return the log command that loads the topology."""
        body: LoadTopologyBody = {"schemas": self.schemas, "entities": self.entities}
        return encode_topology(body)


def parse_topology(text: str, source: str) -> Topology:
    """Check a topology file.

    Args:
        text: the file's content.
        source: the file's name, for errors.

    Raises:
        ConfigError: the file is invalid; `source:line: reason`.
    """
    top = _Checker(source).mapping(parse_yaml(text, source), "the file", ("schemas",), ("tree",))
    schemas = _SchemaChecker(source).check(top["schemas"])
    entities = _TreeChecker(source, schemas).check(top.get("tree", ScalarNode(1, None)))
    return Topology([schema_to_json(schema) for schema in schemas.own.values()], entities)


class _Checker:
    """Reads nodes of an expected shape."""

    def __init__(self, source: str) -> None:
        self.source = source

    def mapping(
        self, node: Node, what: str, required: tuple[str, ...], optional: tuple[str, ...]
    ) -> dict[str, Node]:
        """Return the entries of a map with all required keys and no unknown ones."""
        if not isinstance(node, MappingNode):
            keys = ", ".join(required)
            raise error_at_line(
                self.source, node.line, f"{what} must be a map with the keys {keys}"
            )
        for key, line in node.key_lines.items():
            if key not in required and key not in optional:
                known = ", ".join(required + optional)
                raise error_at_line(
                    self.source, line, f"{what}: unknown key {quoted(key)}; known keys: {known}"
                )
        for key in required:
            if key not in node.entries:
                raise error_at_line(self.source, node.line, f"{what}: key '{key}' is missing")
        return node.entries

    def any_mapping(self, node: Node, what: str) -> MappingNode:
        """Return a map with any keys; null is an empty one."""
        if isinstance(node, ScalarNode) and node.value is None:
            return MappingNode(node.line)
        if not isinstance(node, MappingNode):
            raise error_at_line(self.source, node.line, f"{what} must be a map")
        return node

    def sequence(self, node: Node, what: str) -> list[Node]:
        """Return the items of a list; null is an empty one."""
        if isinstance(node, ScalarNode) and node.value is None:
            return []
        if not isinstance(node, SequenceNode):
            raise error_at_line(self.source, node.line, f"{what} must be a list")
        return node.items

    def text(self, node: Node, what: str) -> str:
        """Return a text."""
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise error_at_line(self.source, node.line, f"{what} must be a text; quote it")
        return node.value


class _SchemaChecker(_Checker):
    """Reads the list of schemas."""

    def check(self, node: Node) -> Schemas:
        items = self.sequence(node, "schemas")
        entries = [
            self.mapping(item, "a schema", ("entity_type", "fields"), ("inherit",))
            for item in items
        ]
        lines = self._type_lines(entries)
        values = ValueReader(self.source, lines)
        schemas = [self._schema(entry, values) for entry in entries]
        for schema, entry in zip(schemas, entries, strict=True):
            if schema.inherit is not None and schema.inherit not in lines:
                raise error_at_line(
                    self.source,
                    entry["inherit"].line,
                    f"{quoted(schema.entity_type)} inherits from unknown type {quoted(schema.inherit)}",
                )
        return self._registry(schemas, lines)

    def _type_lines(self, entries: list[dict[str, Node]]) -> dict[str, int]:
        lines: dict[str, int] = {}
        for entry in entries:
            node = entry["entity_type"]
            name = self.text(node, "entity_type")
            if name in lines:
                first = lines[name]
                raise error_at_line(
                    self.source,
                    node.line,
                    f"type {quoted(name)} is already defined in line {first}",
                )
            lines[name] = node.line
        return lines

    def _registry(self, schemas: list[EntitySchema], lines: dict[str, int]) -> Schemas:
        own = {schema.entity_type: schema for schema in schemas}
        registry = Schemas()
        for name in own:
            try:
                registry.check_lineage(name, own)
            except StoreError as error:
                raise error_at_line(self.source, lines[name], str(error)) from error
        try:
            registry.adopt(registry.plan_change(schemas, Moment(0, 0, 0)))
        except StoreError as error:
            raise error_at_line(self.source, 1, str(error)) from error
        return registry

    def _schema(self, entry: dict[str, Node], values: ValueReader) -> EntitySchema:
        name = self.text(entry["entity_type"], "entity_type")
        inherit = entry.get("inherit")
        parent = None
        if inherit is not None and not (isinstance(inherit, ScalarNode) and inherit.value is None):
            parent = self.text(inherit, "inherit")
        nodes = self.any_mapping(entry["fields"], "fields")
        fields: dict[str, FieldSchema] = {}
        self._check(EntitySchema(name, parent, {}), entry["entity_type"].line)
        for field_name, node in nodes.entries.items():
            field = self._field(field_name, node, values)
            self._check(EntitySchema(name, parent, {field_name: field}), node.line)
            fields[field_name] = field
        return EntitySchema(name, parent, fields)

    def _check(self, schema: EntitySchema, line: int) -> None:
        try:
            check_schema(schema)
        except StoreError as error:
            raise error_at_line(self.source, line, str(error)) from error

    def _field(self, name: str, node: Node, values: ValueReader) -> FieldSchema:
        optional = ("choices", "read_permission", "write_permission")
        what = f"field {quoted(name)}"
        entry = self.mapping(node, what, ("default_value", "rank"), optional)
        absent = ScalarNode(node.line, None)
        choices_node = entry.get("choices", absent)
        choices = tuple(
            self.text(item, "a choice") for item in self.sequence(choices_node, "choices")
        )
        default = values.value(entry["default_value"], None, choices)
        if default.kind == "Choice" and not choices:
            raise error_at_line(self.source, node.line, f"{what}: a Choice needs its choices")
        if default.kind != "Choice" and choices:
            raise error_at_line(
                self.source, choices_node.line, f"{what}: only a Choice has choices"
            )
        return FieldSchema(
            kind=default.kind,
            field_type=name,
            default=default,
            rank=values.integer(entry["rank"], "rank"),
            read_permission=values.reference(entry.get("read_permission", absent)),
            write_permission=values.reference(entry.get("write_permission", absent)),
            choices=choices,
        )


class _TreeChecker(_Checker):
    """Reads the tree, parents before children, without recursion."""

    def __init__(self, source: str, schemas: Schemas) -> None:
        super().__init__(source)
        self._schemas = schemas
        self._values = ValueReader(source, schemas.own)

    def check(self, node: Node) -> list[TopologyEntityJson]:
        return list(self._walk(node))

    def _walk(self, tree: Node) -> Iterator[TopologyEntityJson]:
        to_visit: list[tuple[Node, int | None]] = [
            (node, None) for node in reversed(self.sequence(tree, "tree"))
        ]
        count = 0
        while to_visit:
            node, parent = to_visit.pop()
            entry = self.mapping(
                node, "an entity", ("entity_type", "name"), ("attributes", "children")
            )
            schema = self._schema(entry["entity_type"])
            yield {
                "entity_type": schema.entity_type,
                "name": self.text(entry["name"], "name"),
                "parent": parent,
                "attributes": {
                    name: value_to_json(value) for name, value in self._attributes(entry, schema)
                },
            }
            children = self.sequence(entry.get("children", ScalarNode(node.line, None)), "children")
            if children and "Children" not in schema.fields:
                reason = f"type {quoted(schema.entity_type)} has no field Children"
                raise error_at_line(
                    self.source, children[0].line, f"{reason}, so it cannot have children"
                )
            to_visit += [(child, count) for child in reversed(children)]
            count += 1

    def _schema(self, node: Node) -> EntitySchema:
        try:
            return self._schemas.complete(self.text(node, "entity_type"))
        except StoreError as error:
            raise error_at_line(self.source, node.line, str(error)) from error

    def _attributes(
        self, entry: dict[str, Node], schema: EntitySchema
    ) -> Iterator[tuple[str, Value]]:
        absent = ScalarNode(0, None)
        attributes = self.any_mapping(entry.get("attributes", absent), "attributes")
        for name, node in attributes.entries.items():
            line = attributes.key_lines[name]
            if name in BUILT_IN:
                raise error_at_line(
                    self.source, line, f"attribute {name} is set by the tree itself"
                )
            field = schema.fields.get(name)
            if field is None:
                raise error_at_line(
                    self.source,
                    line,
                    f"type {quoted(schema.entity_type)} has no field {quoted(name)}",
                )
            value = self._values.value(node, field.kind, field.choices)
            try:
                field.accept(value)
            except StoreError as error:
                raise error_at_line(self.source, node.line, str(error)) from error
            yield name, value
