"""Writes the records of the entity store as lines of text. `snapshot_reader` reads them.

The first line is a header. It counts types and entities, so a snapshot that is cut short is detected even without the
checksums of the storage. Version 1, which 0.1.0 reads and writes, continues with a line for each schema and each
entity. It is written until a command of apply rules 3 has been applied. Version 2 has lines of these kinds:

| line | content |
|---|---|
| `["type", schema, slots]` | a type's own schema, and the fields of its complete schema that are not plain (`Slot`) |
| `["value", value]` | a large value; later lines refer to it by its digest, `{"ref": digest}`, however many share it |
| `["entity", id, created under, created at, fields]` | a sparse record |
| `["children", [[position, type, number], ...]]` | a part of the list of children of the entity before |
| `["full", id, created under, fields]` | a full record |

Version 3 is written while a part of `StoreRestoreSnapshot` is staged. Its header describes what is staged (`Staged`).
The lines of the staged records follow, each after a `+`, and then those of the state as in version 1 or 2, header
included.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from pydantic_core import to_json

from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_records import Records, entity_text, own_schema_text
from qcore.machines.entity.state.entity_schema import schema_to_json
from qcore.machines.entity.state.field_values import Field, id_to_json, value_to_json
from qcore.machines.entity.state.frozen_table import FrozenTable
from qcore.machines.entity.state.snapshot.staged import Staged
from qcore.machines.entity.state.type_registry import Schemas
from qcore.machines.entity.state.value import LargeValue, Value

FORMAT: Final = "qcore-entities"
#: Stands before each line of the staged records.
STAGED_MARK: Final = "+"
#: Children in a line.
CHILDREN_PER_LINE: Final = 1000


def state_lines(records: Records, staged: Staged | None) -> Iterator[str]:
    """Like `snapshot_lines`, with what is staged."""
    live = snapshot_lines(records)
    if staged is None:
        return live
    header = {
        "format": FORMAT,
        "version": 3,
        "upload": staged.upload,
        "began_ns": staged.began_ns,
        "next_part": staged.next_part,
        "size": staged.size,
        "last": id_to_json(staged.last),
    }
    marked = (STAGED_MARK + line for line in snapshot_lines(staged.records))
    return chain([to_json(header).decode()], marked, live)


def snapshot_lines(records: Records) -> Iterator[str]:
    """Yield the records as of this call as lines, which are built as they are consumed.

    The call itself copies only the entity table's list of parts, and the table of types.
    """
    header: dict[str, object] = {
        "format": FORMAT,
        "version": 2 if records.sparse else 1,
        "schemas": len(records.schemas.own),
        "entities": len(records.entities),
        "last_id": records.last_id,
        "loaded": records.loaded,
    }
    schemas, entities = records.schemas.frozen(), records.entities.frozen()
    return (
        _lines_2(header, schemas, entities)
        if records.sparse
        else _lines_1(header, schemas, entities)
    )


def _lines_1(header: dict[str, object], schemas: Schemas, entities: FrozenTable) -> Iterator[str]:
    yield to_json(header).decode()
    for schema in schemas.own.values():
        yield own_schema_text(schema)
    for entity in entities.values():
        yield entity_text(entity)


def _lines_2(header: dict[str, object], schemas: Schemas, entities: FrozenTable) -> Iterator[str]:
    writer = _Writer()
    yield to_json(header).decode()
    for entity_type in schemas.own:
        yield from writer.type_lines(schemas, entity_type)
    for entity in entities.values():
        if entity.created_ns is None:
            yield f'["full",{entity_text(entity)[1:]}'
        else:
            yield from writer.entity_lines(entity)


class _Writer:
    """Builds the lines of version 2. Remembers which large values it has written."""

    def __init__(self) -> None:
        self._written: set[str] = set()

    def type_lines(self, schemas: Schemas, entity_type: str) -> Iterator[str]:
        slots: list[tuple[str, Slot]] = [
            (name, slot) for name, slot in schemas.slots(entity_type).items() if not slot.is_plain
        ]
        for _, slot in slots:
            for _, value in slot.earlier:
                yield from self._value_line(value)
        rows = [
            (name, *slot.history[:3], [(last, _stored(value)) for last, value in slot.earlier])
            for name, slot in slots
        ]
        yield _text(("type", schema_to_json(schemas.get(entity_type)), rows))

    def entity_lines(self, entity: Entity) -> Iterator[str]:
        # Sorted by name, so the text does not depend on the order of the writes.
        fields = sorted(entity.fields.items())
        for _, field in fields:
            yield from self._value_line(field.value)
        yield _text(
            (
                "entity",
                id_to_json(entity.entity_id),
                id_to_json(entity.created_under),
                entity.created_ns,
                [(name, *_parts(field)) for name, field in fields],
            )
        )
        for _, field in fields:
            if isinstance(field.value.data, ChildList):
                entries = field.value.data.entries()
                while part := list(islice(entries, CHILDREN_PER_LINE)):
                    rows = [(position, child.typ, child.id) for position, child in part]
                    yield _text(("children", rows))

    def _value_line(self, value: Value) -> Iterator[str]:
        if isinstance(value, LargeValue) and value.digest not in self._written:
            self._written.add(value.digest)
            yield _text(("value", value_to_json(value)))


def _parts(field: Field) -> tuple[object, ...]:
    return (
        _stored(field.value),
        field.time_ns,
        id_to_json(field.writer_id),
        field.generation,
    )


def _stored(value: Value) -> object:
    """Return the representation of a value in a line."""
    if isinstance(value, LargeValue):
        return {"ref": value.digest}
    if isinstance(value.data, ChildList):
        return {"children": (len(value.data), value.data.next_position)}
    return value_to_json(value)


def _text(line: tuple[object, ...]) -> str:
    return to_json(line).decode()
