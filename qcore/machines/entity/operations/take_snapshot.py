"""Executes StoreTakeSnapshot."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

from qcore.errors import TooLarge
from qcore.machines.entity.operations.store_operation import StoreOperation, always
from qcore.machines.entity.permission_checks import check_everything
from qcore.machines.entity.requests.store_requests import NoBody
from qcore.machines.entity.state.child_list import LEAST_ID_BYTES
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, schema_to_json
from qcore.machines.entity.state.field_values import value_bytes
from qcore.machines.entity.state.snapshot.store_snapshot import (
    FORMAT_VERSION,
    FieldJson,
    SnapshotContent,
    StoreSnapshot,
    field_json,
    snapshot_checksum,
)
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.state.wire.value_json import EntityIdJson
from qcore.machines.entity.transaction import Transaction
from qcore.machines.limits import BYTES_PER_STEP, MAX_SNAPSHOT_BYTES, MAX_SNAPSHOT_FIELDS

#: Upper bounds of the JSON text around a field's name and value, and around an entity's type and fields, bytes.
_FIELD_BYTES: Final = 128
_ENTITY_BYTES: Final = 96
#: A longer text or blob is counted before its JSON is built.
_SHORT: Final = 32
#: The most bytes of JSON for a character in UTF-8, and for a byte of a Blob.
_LONGEST: Final = 6


def take_snapshot(transaction: Transaction) -> StoreSnapshot:
    """Return the whole state. Types, ids and fields are sorted, so equal states give equal snapshots.

    Raises:
        PermissionDenied: the user may not read everything.
        TooLarge: the state exceeds `MAX_SNAPSHOT_FIELDS` or `MAX_SNAPSHOT_BYTES`. That is found out before the work
            is done.
    """
    check_everything(transaction, "read")
    types = sorted(transaction.schemas.own)
    _count_fields(transaction, types)
    room = _Room(transaction)
    schemas: dict[str, EntitySchemaJson] = {}
    for name in types:
        schema = transaction.schemas.get(name)
        slots = transaction.schemas.slots(name)
        room.take(len(name) * _LONGEST + _ENTITY_BYTES)
        for field_name in schema.fields:
            room.take(slots[field_name].size + len(field_name) * _LONGEST)
        schemas[name] = schema_to_json(schema)
    entities: dict[str, list[EntityIdJson]] = {}
    fields: dict[str, dict[str, FieldJson]] = {}
    for name in types:
        found = sorted(transaction.of_types([name]), key=_number)
        sorted_slots = sorted(transaction.schemas.slots(name).items())
        # The names repeat for each entity, so their JSON is measured once.
        names = [(key, slot, _FIELD_BYTES + 2 * len(to_json(key))) for key, slot in sorted_slots]
        entity_bytes = _ENTITY_BYTES + 2 * len(to_json(name))
        ids: list[EntityIdJson] = []
        for entity in found:
            entity_id = entity.entity_id
            room.take(entity_bytes)
            shown: dict[str, FieldJson] = {}
            for key, slot, name_bytes in names:
                field = entity.field(key, slot)
                writer = field.writer_id
                writer_bytes = 0 if writer is None else len(writer.typ) * _LONGEST + 40
                room.take(name_bytes + writer_bytes + _value_bytes(field.value))
                shown[key] = field_json(key, field)
            fields[str(entity_id)] = shown
            ids.append({"typ": entity_id.typ, "id": entity_id.id})
        if ids:
            entities[name] = ids
    content: SnapshotContent = {
        "version": FORMAT_VERSION,
        "types": types,
        "schemas": schemas,
        "entities": entities,
        "fields": fields,
    }
    return {**content, "checksum": snapshot_checksum(content)}


def _number(entity: Entity) -> int:
    return entity.entity_id.id


class _Room:
    """The bytes that are left for the snapshot's text."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._left = MAX_SNAPSHOT_BYTES

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _too_large(f"about {MAX_SNAPSHOT_BYTES} bytes")
        self._transaction.uncounted += size // BYTES_PER_STEP


def _count_fields(transaction: Transaction, types: list[str]) -> None:
    """Count the fields of all entities and types, one step for each type."""
    total = 0
    for name in types:
        slots = transaction.schemas.slots(name)
        # An entity without fields also takes a step.
        total += 1 + len(slots) + transaction.number_of([name]) * (1 + len(slots))
        if total > MAX_SNAPSHOT_FIELDS:
            raise _too_large(f"{MAX_SNAPSHOT_FIELDS} fields, types and entities together")
    transaction.uncounted += total


def _value_bytes(value: Value) -> int:
    """An upper bound of the length of the value's JSON text. Unlike `value_bytes`, close to it for a small value."""
    match value.data:
        case str() as text if len(text) <= _SHORT:
            return len(text) * _LONGEST + 16
        case bytes() as blob if len(blob) <= _SHORT:
            return len(blob) * 4 + 16
        case EntityId(typ=typ):
            return len(typ) * _LONGEST + 80
        case tuple() as targets if len(targets) > MAX_SNAPSHOT_BYTES // LEAST_ID_BYTES:
            return (
                len(targets) * LEAST_ID_BYTES
            )  # a list from older rules, whose length would take long to compute
        case None | bool() | int() | float():
            return 80
    return value_bytes(value)


def _too_large(what: str) -> TooLarge:
    return TooLarge(
        f"the state exceeds what one message may hold ({what}): save it in parts with SaveSnapshot and ReadSnapshot "
        "(the command `qcore snapshot save`)"
    )


def _take(transaction: Transaction, _: NoBody) -> str:
    return to_json(take_snapshot(transaction)).decode()


SNAPSHOT_OPERATIONS: Final = {"StoreTakeSnapshot": StoreOperation(_take, always)}
