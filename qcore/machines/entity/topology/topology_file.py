"""Checks a topology file (such as examples/topology.yaml) and converts it to one command for the log.

Every error is a `ConfigError` of the form `file:line:column: path: reason`. The store accepts what this module accepts:
`LoadTopology` fails only if a topology was loaded before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from qcore.errors import StoreError
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import (
    LoadTopologyBody,
    NamedTopologyEntityJson,
    encode_topology,
)
from qcore.machines.entity.state.complete_type import Moment
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import (
    BUILT_IN,
    EntitySchema,
    EntitySchemaJson,
    FieldSchema,
    check_schema,
    schema_to_json,
)
from qcore.machines.entity.state.field_values import check_size, measured, value_to_json
from qcore.machines.entity.state.type_registry import Schemas
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.state.wire.value_json import EntityIdJson
from qcore.machines.entity.topology.yaml_values import ValueReader
from qcore.yaml_reader import (
    MappingNode,
    Node,
    Place,
    ScalarNode,
    SequenceNode,
    null_at,
    parse_yaml,
)

_NO_TYPES: Final[Mapping[str, EntitySchema]] = MappingProxyType({})


class Topology(NamedTuple):
    """A checked topology: schemas, and entities, each of which comes after its parent."""

    schemas: list[EntitySchemaJson]
    entities: list[NamedTopologyEntityJson]

    def command(self) -> str:
        """Return the log command that loads the topology."""
        body: LoadTopologyBody = {"schemas": self.schemas, "entities": self.entities}
        return encode_topology(body)


def parse_topology(
    text: str, source: str, known: Mapping[str, EntitySchema] = _NO_TYPES
) -> Topology:
    """Check a topology file.

    Args:
        text: the file's content.
        source: the file's name, for errors.
        known: types that the file may use without their schemas.

    Raises:
        ConfigError: the file is invalid; `source:line:column: path: reason`.
    """
    root = parse_yaml(text, source)
    checker = _SchemaChecker(known)
    top = checker.mapping(root, "the file", ("schemas",), ("tree",))
    items = checker.sequence(top["schemas"], "schemas")
    schemas, registry = checker.check(items, top["schemas"])
    entities = _TreeChecker(registry).check(top.get("tree", null_at(root)))
    return Topology([schema_to_json(schema) for schema in schemas], entities)


def parse_schema_list(
    items: list[Node], place: Place, known: Mapping[str, EntitySchema]
) -> list[EntitySchema]:
    """Check schemas in the form of a topology file.

    Args:
        items: the schemas.
        place: the place of the whole list, for errors.
        known: types that the schemas may inherit.

    Raises:
        ConfigError: a schema is invalid.
    """
    return _SchemaChecker(known).check(items, place)[0]


class _Checker:
    """Reads nodes of an expected shape."""

    def mapping(
        self, node: Node, what: str, required: tuple[str, ...], optional: tuple[str, ...]
    ) -> dict[str, Node]:
        """Return the entries of a map with all required keys and no unknown ones."""
        if not isinstance(node, MappingNode):
            keys = ", ".join(required)
            raise node.error(f"{what} must be a map with the keys {keys}")
        entries = node.texts()
        for key in entries:
            if key not in required and key not in optional:
                known = ", ".join(required + optional)
                raise node.key_places[key].error(
                    f"{what}: unknown key {quoted(key)}; known keys: {known}"
                )
        for key in required:
            if key not in entries:
                raise node.error(f"{what}: key '{key}' is missing")
        return entries

    def any_mapping(self, node: Node, what: str) -> MappingNode:
        """Return a map with any keys; null is an empty one."""
        if isinstance(node, ScalarNode) and node.value is None:
            return MappingNode(node.source, node.line, node.column, node.parent, node.key)
        if not isinstance(node, MappingNode):
            raise node.error(f"{what} must be a map")
        return node

    def sequence(self, node: Node, what: str) -> list[Node]:
        """Return the items of a list; null is an empty one."""
        if isinstance(node, ScalarNode) and node.value is None:
            return []
        if not isinstance(node, SequenceNode):
            raise node.error(f"{what} must be a list")
        return node.items

    def text(self, node: Node, what: str) -> str:
        """Return a text."""
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            raise node.error(f"{what} must be a text; quote it")
        return node.value


class _SchemaChecker(_Checker):
    """Reads a list of schemas.

    Args:
        known: types that they may inherit.
    """

    def __init__(self, known: Mapping[str, EntitySchema]) -> None:
        self._known = known

    def check(self, items: list[Node], place: Place) -> tuple[list[EntitySchema], Schemas]:
        """The schemas, and a registry that holds them and the known types."""
        entries = [
            self.mapping(item, "a schema", ("entity_type", "fields"), ("inherit",))
            for item in items
        ]
        places = self._type_places(entries)
        values = ValueReader({**self._known, **places})
        schemas = [self._schema(entry, values) for entry in entries]
        for schema, entry in zip(schemas, entries, strict=True):
            known = schema.inherit in places or schema.inherit in self._known
            if schema.inherit is not None and not known:
                raise entry["inherit"].error(
                    f"{quoted(schema.entity_type)} inherits from unknown type {quoted(schema.inherit)}",
                )
        return schemas, self._registry(schemas, places, place)

    def _type_places(self, entries: list[dict[str, Node]]) -> dict[str, Place]:
        places: dict[str, Place] = {}
        for entry in entries:
            node = entry["entity_type"]
            name = self.text(node, "entity_type")
            if name in places:
                first = places[name].line
                raise node.error(
                    f"type {quoted(name)} is already defined in line {first}",
                )
            places[name] = node
        return places

    def _registry(
        self, schemas: list[EntitySchema], places: dict[str, Place], all_schemas: Place
    ) -> Schemas:
        own = {**self._known, **{schema.entity_type: schema for schema in schemas}}
        registry = Schemas()
        for name in places:
            try:
                registry.check_lineage(name, own)
            except StoreError as error:
                raise places[name].error(str(error)) from error
        try:
            registry.adopt(registry.plan_change(own.values(), Moment(0, 0, 0)))
        except StoreError as error:
            raise all_schemas.error(str(error)) from error
        return registry

    def _schema(self, entry: dict[str, Node], values: ValueReader) -> EntitySchema:
        name = self.text(entry["entity_type"], "entity_type")
        inherit = entry.get("inherit")
        parent = None
        if inherit is not None and not (isinstance(inherit, ScalarNode) and inherit.value is None):
            parent = self.text(inherit, "inherit")
        nodes = self.any_mapping(entry["fields"], "fields")
        fields: dict[str, FieldSchema] = {}
        self._check(EntitySchema(name, parent, {}), entry["entity_type"])
        for field_name, node in nodes.texts().items():
            field = self._field(field_name, node, values)
            self._check(EntitySchema(name, parent, {field_name: field}), node)
            fields[field_name] = field
        return EntitySchema(name, parent, fields)

    def _check(self, schema: EntitySchema, place: Place) -> None:
        try:
            check_schema(schema)
        except StoreError as error:
            raise place.error(str(error)) from error

    def _field(self, name: str, node: Node, values: ValueReader) -> FieldSchema:
        optional = ("choices", "read_permission", "write_permission")
        what = f"field {quoted(name)}"
        entry = self.mapping(node, what, ("default_value", "rank"), optional)
        absent = null_at(node)
        choices_node = entry.get("choices", absent)
        choices = tuple(
            self.text(item, "a choice") for item in self.sequence(choices_node, "choices")
        )
        default = values.value(entry["default_value"], None, choices)
        # A schema from the wire may have an empty list of choices.
        if default.kind == "Choice" and not choices and not isinstance(choices_node, SequenceNode):
            raise node.error(f"{what}: a Choice needs its choices")
        if default.kind != "Choice" and choices:
            raise choices_node.error(f"{what}: only a Choice has choices")
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

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._values = ValueReader(schemas.own)
        self._ids: dict[EntityId, Node] = {}

    def check(self, node: Node) -> list[NamedTopologyEntityJson]:
        return list(self._walk(node))

    def _walk(self, tree: Node) -> Iterator[NamedTopologyEntityJson]:
        to_visit: list[tuple[Node, int | None]] = [
            (node, None) for node in reversed(self.sequence(tree, "tree"))
        ]
        count = 0
        while to_visit:
            node, parent = to_visit.pop()
            entry = self.mapping(
                node, "an entity", ("entity_type", "name"), ("id", "attributes", "children")
            )
            schema = self._schema(entry["entity_type"])
            made: NamedTopologyEntityJson = {
                "entity_type": schema.entity_type,
                "name": self._name(entry["name"], schema),
                "parent": parent,
                "attributes": {
                    key: value_to_json(value)
                    for key, value in self._attributes(node, entry, schema)
                },
            }
            if "id" in entry:
                made["id"] = self._id(entry["id"], schema.entity_type)
            yield made
            children = self.sequence(entry.get("children", null_at(node)), "children")
            if children and "Children" not in schema.fields:
                reason = f"type {quoted(schema.entity_type)} has no field Children"
                raise children[0].error(f"{reason}, so it cannot have children")
            to_visit += [(child, count) for child in reversed(children)]
            count += 1

    def _name(self, node: Node, schema: EntitySchema) -> str:
        name = self.text(node, "name")
        if "Name" in schema.fields:
            try:
                check_size(measured(Value("String", name)), "Name")
            except StoreError as error:
                raise node.error(str(error)) from error
        return name

    def _id(self, node: Node, entity_type: str) -> EntityIdJson:
        entity_id = self._values.reference(node)
        if entity_id is None or entity_id.typ != entity_type:
            raise node.error(f"the id of this entity is a text such as {entity_type}$123")
        if entity_id in self._ids:
            first = self._ids[entity_id].line
            raise node.error(f"the entity in line {first} has this id, too")
        self._ids[entity_id] = node
        return {"typ": entity_id.typ, "id": entity_id.id}

    def _schema(self, node: Node) -> EntitySchema:
        try:
            return self._schemas.complete(self.text(node, "entity_type"))
        except StoreError as error:
            raise node.error(str(error)) from error

    def _attributes(
        self, node: Node, entry: dict[str, Node], schema: EntitySchema
    ) -> Iterator[tuple[str, Value]]:
        attributes = self.any_mapping(entry.get("attributes", null_at(node)), "attributes")
        for name, given in attributes.texts().items():
            place = attributes.key_places[name]
            if name in BUILT_IN:
                raise place.error(f"attribute {name} is set by the tree itself")
            field = schema.fields.get(name)
            if field is None:
                raise place.error(f"type {quoted(schema.entity_type)} has no field {quoted(name)}")
            value = self._values.value(given, field.kind, field.choices)
            try:
                field.accept(value)
                check_size(measured(value), name)
            except StoreError as error:
                raise given.error(str(error)) from error
            yield name, value
