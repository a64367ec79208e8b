"""Reads the records of the entity store from the lines that `entity_snapshot` writes, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, TypeAdapter, ValidationError, with_config
from pydantic import Field as Constraint
from typing_extensions import TypedDict

from qcore.errors import SchemaInvalid, StoreError
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.child_list import ChildList, ChildListBuilder
from qcore.machines.entity.state.complete_type import SlotHistory
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import Positions, Records, add_positions
from qcore.machines.entity.state.entity_schema import (
    EntitySchema,
    EntitySchemaJson,
    schema_from_json,
)
from qcore.machines.entity.state.field_values import (
    Field,
    id_from_json,
    optional_id_from_json,
    value_from_json,
)
from qcore.machines.entity.state.value import LargeValue, Value
from qcore.machines.entity.state.wire.value_json import (
    STRICT,
    EntityIdJson,
    ValueJson,
    ValueTags,
    exactly_one_key,
)

#: Limits of the work before each item (some milliseconds): lines, and roughly their characters.
LINES_PER_STEP: Final = 128
CHARS_PER_STEP: Final = 256 * 1024

_Count = Annotated[int, Constraint(ge=0)]


@with_config(STRICT)
class _Header(TypedDict):
    format: Literal["qcore-entities"]
    version: Literal[1, 2]
    schemas: _Count
    entities: _Count
    last_id: _Count
    loaded: bool


@with_config(STRICT)
class _StoredTags(ValueTags, total=False):
    """A value, the digest of a value in a separate line, or the length and next position of a list of children."""

    ref: str
    children: tuple[_Count, _Count]


_Stored = Annotated[_StoredTags, AfterValidator(exactly_one_key)]

_FullField = tuple[str, ValueJson, int, EntityIdJson | None]
_FullLine = tuple[EntityIdJson, EntityIdJson | None, list[_FullField]]
_SlotRow = tuple[str, _Count, int, int, list[tuple[int, _Stored]]]
_TypeLine = tuple[Literal["type"], EntitySchemaJson, list[_SlotRow]]
_ValueLine = tuple[Literal["value"], ValueJson]
_SparseField = tuple[str, _Stored, int, EntityIdJson | None, _Count]
_EntityLine = tuple[Literal["entity"], EntityIdJson, EntityIdJson | None, int, list[_SparseField]]
_ChildrenLine = tuple[Literal["children"], list[tuple[_Count, str, _Count]]]
_FullLine2 = tuple[Literal["full"], EntityIdJson, EntityIdJson | None, list[_FullField]]

_header: TypeAdapter[_Header] = TypeAdapter(_Header)
_schema: TypeAdapter[EntitySchemaJson] = TypeAdapter(EntitySchemaJson)
_full: TypeAdapter[_FullLine] = TypeAdapter(_FullLine, config=STRICT)
_type_line: TypeAdapter[_TypeLine] = TypeAdapter(_TypeLine, config=STRICT)
_value_line: TypeAdapter[_ValueLine] = TypeAdapter(_ValueLine, config=STRICT)
_entity_line: TypeAdapter[_EntityLine] = TypeAdapter(_EntityLine, config=STRICT)
_children_line: TypeAdapter[_ChildrenLine] = TypeAdapter(_ChildrenLine, config=STRICT)
_full_line_2: TypeAdapter[_FullLine2] = TypeAdapter(_FullLine2, config=STRICT)


class SnapshotReader:
    """Inverse of `snapshot_lines`, step by step."""

    def __init__(self) -> None:
        #: Complete at the end of `read`.
        self.records = Records()
        self._schemas: list[EntitySchema] = []
        self._histories: dict[str, dict[str, SlotHistory]] = {}
        self._values: dict[str, LargeValue] = {}
        self._open: _OpenEntity | None = None

    def read(self, lines: Iterable[str]) -> Iterator[None]:
        """Read everything, a bounded number of lines before each item.

        Raises:
            StoreError: a line is missing, extra or malformed; names the line.
        """
        number = 0
        header: _Header | None = None
        pending, records = 0, self.records
        schemas_done = False
        try:
            for number, line in enumerate(lines, start=1):
                if header is None:
                    header = _header.validate_json(line)
                    records.sparse = header["version"] == 2
                elif records.sparse:
                    self._line_2(line)
                elif len(self._schemas) < header["schemas"]:
                    self._schemas.append(schema_from_json(_schema.validate_json(line)))
                else:
                    self._entity_1(line)
                if not schemas_done and len(self._schemas) == header["schemas"]:
                    schemas_done = True
                    yield from records.schemas.restore(self._schemas, self._histories)
                    records.schemas_restored()
                pending += len(line)
                if number % LINES_PER_STEP == 0 or pending >= CHARS_PER_STEP:
                    pending = 0
                    records.state_hash()  # otherwise all new records would be digested in one step later
                    yield
            self._end_entity()
        except (ValidationError, StoreError, ValueError, KeyError) as error:
            raise StoreError(
                f"restore: line {number} of the snapshot is malformed: {error}"
            ) from error
        if header is None or not schemas_done or len(records.entities) != header["entities"]:
            raise StoreError(f"restore: the snapshot is cut short after line {number}")
        records.last_id, records.loaded = header["last_id"], header["loaded"]

    def _entity_1(self, line: str) -> None:
        entity_id, created_under, fields = _full.validate_json(line)
        entity = _full_record(entity_id, created_under, fields)
        if entity.fields.keys() != self.records.schemas.slots(entity.entity_id.typ).keys():
            name = quoted(str(entity.entity_id))
            raise SchemaInvalid(f"entity {name} does not have the fields of its type")
        self.records.put(entity, None)

    def _line_2(self, line: str) -> None:
        if line.startswith('["children"'):
            if self._open is None:
                raise ValueError("children without an entity")
            self._open.add(_children_line.validate_json(line)[1])
            return
        self._end_entity()
        if line.startswith('["entity"'):
            _, entity_id, created_under, created_ns, fields = _entity_line.validate_json(line)
            self._open = _OpenEntity(
                id_from_json(entity_id), optional_id_from_json(created_under), created_ns
            )
            for name, stored, time_ns, writer, generation in fields:
                value = self._value(stored)
                self._open.field(name, value, time_ns, optional_id_from_json(writer), generation)
        elif line.startswith('["value"'):
            value = value_from_json(_value_line.validate_json(line)[1])
            if not isinstance(value, LargeValue):
                raise ValueError("a small value has a separate line")
            self._values[value.digest] = value
        elif line.startswith('["full"'):
            _, entity_id, created_under, full_fields = _full_line_2.validate_json(line)
            entity = _full_record(entity_id, created_under, full_fields)
            self.records.schemas.slots(entity.entity_id.typ)  # raises for an unknown type
            self.records.put(entity, None)
        else:
            _, schema_json, slots = _type_line.validate_json(line)
            schema = schema_from_json(schema_json)
            self._schemas.append(schema)
            self._histories[schema.entity_type] = {
                name: (generation, since_id, since_ns, self._earlier(earlier))
                for name, generation, since_id, since_ns, earlier in slots
            }

    def _earlier(self, rows: list[tuple[int, _Stored]]) -> tuple[tuple[int, Value], ...]:
        found: list[tuple[int, Value]] = []
        for last_id, stored in rows:
            value = self._value(stored)
            if not isinstance(value, Value):
                raise ValueError("a default is a list of children")
            found.append((last_id, value))
        return tuple(found)

    def _value(self, stored: _Stored) -> Value | tuple[int, int]:
        """Return a value, or length and next position of a list of children."""
        if "ref" in stored:
            return self._values[stored["ref"]]
        if "children" in stored:
            return stored["children"]
        value = value_from_json(stored)
        if isinstance(value, LargeValue):
            return self._values.setdefault(value.digest, value)
        return value

    def _end_entity(self) -> None:
        if self._open is None:
            return
        entity, child_positions = self._open.end()
        self.records.schemas.slots(entity.entity_id.typ)  # raises for an unknown type
        self.records.put(entity, None)
        if child_positions is not None:
            self.records.child_positions[entity.entity_id.id] = child_positions
        self._open = None


class _OpenEntity:
    """A sparse record that is being read. Its list of children may follow."""

    def __init__(
        self, entity_id: EntityId, created_under: EntityId | None, created_ns: int
    ) -> None:
        self._fields: dict[str, Field] = {}
        self._entity = Entity(entity_id, self._fields, created_under, created_ns)
        self._listed: tuple[str, int, int] | None = None  # field, length, next position
        self._builder = ChildListBuilder()
        self._child_positions: dict[EntityId, Positions] = {}
        self._count = 0

    def field(
        self,
        name: str,
        value: Value | tuple[int, int],
        time_ns: int,
        writer: EntityId | None,
        generation: int,
    ) -> None:
        if not isinstance(value, Value):
            self._listed = (name, *value)
            value = Value("EntityList", ())
        self._fields[name] = Field(value, time_ns, writer, generation)

    def add(self, rows: list[tuple[int, str, int]]) -> None:
        entries = [(position, EntityId(typ, number)) for position, typ, number in rows]
        for position, child in entries:
            self._builder.add(position, child)
        add_positions(self._child_positions, entries)
        self._count += len(rows)

    def end(self) -> tuple[Entity, dict[EntityId, Positions] | None]:
        """Return the record, and the positions of its children if it has a list of them."""
        if self._listed is None:
            if self._count:
                raise ValueError("children of an entity that has none")
            return self._entity, None
        name, length, next_position = self._listed
        if length != self._count:
            raise ValueError(f"{self._count} children of {length}")
        children = ChildList(*self._builder.parts(next_position))
        fields = self._fields
        fields[name] = fields[name]._replace(value=Value("EntityList", children))
        return self._entity, self._child_positions


def _full_record(
    entity_id: EntityIdJson, created_under: EntityIdJson | None, fields: list[_FullField]
) -> Entity:
    return Entity(
        id_from_json(entity_id),
        {
            name: Field(value_from_json(value), time_ns, optional_id_from_json(writer))
            for name, value, time_ns, writer in fields
        },
        optional_id_from_json(created_under),
    )
