"""Writes a state of the entity store as a topology file. `topology_file` reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from qcore.errors import Refused
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import Records
from qcore.machines.entity.state.entity_schema import BUILT_IN, EntitySchema, FieldSchema
from qcore.machines.entity.state.field_values import same_value, time_to_json
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.transaction import CHILDREN, NAME, PARENT, Transaction

#: Deeper trees exceed the depth that the reader of YAML accepts.
MAX_TREE_DEPTH: Final = 450
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]*")


def topology_lines(records: Records) -> Iterator[str]:
    """Yield the lines of the file.

    The file has every type, and every entity with the fields that differ from their default. Times and writers are not
    part of it. A reference to an entity that does not exist becomes null, and leaves a list.

    Raises:
        Refused: a topology cannot express the state; names the entity.
    """
    yield from _Export(records).lines()


class _Export:
    def __init__(self, records: Records) -> None:
        self._view = Transaction(records, 0, 0, sparse=True)
        self._records = records
        #: The entities that the file refers to.
        self._named: dict[EntityId, None] = {}

    def lines(self) -> Iterator[str]:
        own = self._view.schemas.own
        # Both are built first: they decide which entities need a name.
        schemas = [line for name in own for line in self._schema(own[name])]
        tree = list(self._tree())
        yield "schemas:" if schemas else "schemas: []"
        yield from schemas
        yield "tree:" if tree else "tree: []"
        for indent, entity, attributes in tree:
            yield f"{indent}- entity_type: {_text(entity.entity_id.typ)}"
            yield f"{indent}  name: {_text(self._name(entity))}"
            if entity.entity_id in self._named:
                yield f"{indent}  id: {_text(str(entity.entity_id))}"
            if attributes:
                yield f"{indent}  attributes:"
                yield from (f"{indent}    {line}" for line in attributes)
            if self._children(entity):
                yield f"{indent}  children:"

    # -- schemas ---------------------------------------------------------------------------------

    def _schema(self, schema: EntitySchema) -> Iterator[str]:
        yield f"  - entity_type: {_text(schema.entity_type)}"
        yield f"    inherit: {'null' if schema.inherit is None else _text(schema.inherit)}"
        yield "    fields:" if schema.fields else "    fields: {}"
        for name, field in schema.fields.items():
            parts = [f"default_value: {self._value(field, field.default)}", f"rank: {field.rank}"]
            if field.kind == "Choice":
                parts.append(f"choices: [{', '.join(map(_text, field.choices))}]")
            for key, entity_id in (
                ("read_permission", field.read_permission),
                ("write_permission", field.write_permission),
            ):
                if entity_id is not None and self._exists(entity_id):
                    parts.append(f"{key}: {self._reference(entity_id)}")
            yield f"      {_text(name)}: {{{', '.join(parts)}}}"

    # -- the tree --------------------------------------------------------------------------------

    def _tree(self) -> Iterator[tuple[str, Entity, list[str]]]:
        entities = sorted(self._records.entities.frozen().values(), key=lambda e: e.entity_id.id)
        roots = [entity for entity in entities if self._parent(entity) is None]
        seen: dict[EntityId, None] = {}
        to_visit = [(entity, 0) for entity in reversed(roots)]
        while to_visit:
            entity, depth = to_visit.pop()
            if depth > MAX_TREE_DEPTH:
                raise Refused(
                    f"entity {quoted(str(entity.entity_id))} is below more than {MAX_TREE_DEPTH} others: a topology "
                    "file cannot hold so deep a tree"
                )
            seen[entity.entity_id] = None
            yield "  " + "    " * depth, entity, list(self._attributes(entity))
            to_visit += [(child, depth + 1) for child in reversed(self._children(entity))]
        for entity in entities:
            if entity.entity_id not in seen:
                raise Refused(
                    f"entity {quoted(str(entity.entity_id))} is not in the tree, because its parent does not exist or "
                    "does not list it: delete it, or move it with StoreMoveEntity, and export again"
                )

    def _parent(self, entity: Entity) -> EntityId | None:
        if PARENT in self._view.schemas.slots(entity.entity_id.typ):
            return self._view.reference(entity, PARENT)
        return entity.created_under

    def _children(self, entity: Entity) -> list[Entity]:
        """The entities below it, in the order of its list, each once."""
        found: dict[EntityId, Entity] = {}
        for child_id in self._view.targets(entity, CHILDREN):
            child = self._view.find(child_id)
            if child is not None and self._parent(child) == entity.entity_id:
                found[child_id] = child
        return list(found.values())

    def _name(self, entity: Entity) -> str:
        slot = self._view.schemas.slots(entity.entity_id.typ).get(NAME)
        name = None if slot is None else entity.field(NAME, slot).value.data
        return name if isinstance(name, str) else ""

    def _attributes(self, entity: Entity) -> Iterator[str]:
        for name, slot in self._view.schemas.slots(entity.entity_id.typ).items():
            value = entity.field(name, slot).value
            if name not in BUILT_IN and not same_value(value, slot.schema.default):
                yield f"{_text(name)}: {self._value(slot.schema, value)}"

    # -- values ----------------------------------------------------------------------------------

    def _value(self, field: FieldSchema, value: Value) -> str:
        return f"{{{value.kind}: {self._data(field, value)}}}"

    def _data(self, field: FieldSchema, value: Value) -> str:
        match value.data:
            case None:
                return "null"
            case bool() as flag:
                return "true" if flag else "false"
            case EntityId() as target:
                return self._reference(target) if self._exists(target) else "null"
            case (tuple() | ChildList()) as targets:
                return (
                    f"[{', '.join(self._reference(one) for one in targets if self._exists(one))}]"
                )
            case bytes() as blob:
                return f"[{', '.join(map(str, blob))}]"
            case str() as text:
                return _text(text)
            case int() as number if value.kind == "Timestamp":
                time = time_to_json(number)
                return (
                    f"{{secs_since_epoch: {time['secs_since_epoch']}, "
                    f"nanos_since_epoch: {time['nanos_since_epoch']}}}"
                )
            case int() as number if value.kind == "Choice" and number < len(field.choices):
                return _text(field.choices[number])
            case number:
                return repr(number)

    def _exists(self, entity_id: EntityId) -> bool:
        return self._view.find(entity_id) is not None

    def _reference(self, entity_id: EntityId) -> str:
        self._named[entity_id] = None
        return _text(str(entity_id))


def _text(text: str) -> str:
    """A text in double quotes, on one line."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return f'"{"".join(map(_character, text))}"'


def _character(one: str) -> str:
    if one in '"\\':
        return "\\" + one
    return one if one.isprintable() else f"\\U{ord(one):08X}"
