"""Executes the parts of StoreRestoreSnapshot. They change only what is staged, never the state beside it."""

from __future__ import annotations

from typing import Final

from qcore.errors import SnapshotInvalid, StoreError
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.staging_requests import (
    StageBody,
    StagedEntityJson,
    UseStagedBody,
)
from qcore.machines.entity.state.child_list import ChildList
from qcore.machines.entity.state.complete_type import Moment
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_records import Positions, add_positions
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, schema_from_json
from qcore.machines.entity.state.field_values import (
    Field,
    id_from_json,
    measured,
    optional_id_from_json,
    time_from_json,
    value_bytes,
    value_from_json,
)
from qcore.machines.entity.state.snapshot.staged import Staged
from qcore.machines.entity.state.snapshot.store_snapshot import FieldJson
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.transaction import CHILDREN
from qcore.machines.limits import MAX_RESTORED_ID, MAX_STAGED_BYTES, MAX_VALUE_BYTES

#: When the types of a snapshot began. It has no entity that is older than its type.
_BEGIN: Final = Moment(0, 0, 0, keeps_kinds=True)


def expected_part(staged: Staged | None, body: StageBody) -> bool:
    """Whether this is the next part of the staged upload. False if it has been staged before.

    The caller begins a new upload at part 0 of another one.

    Raises:
        SnapshotInvalid: another upload has replaced this one, or parts before this one are missing.
    """
    upload, part = body["upload"], body["part"]
    if staged is None or staged.upload != upload:
        if part == 0:
            return True
        raise SnapshotInvalid(_replaced(upload))
    if part > staged.next_part:
        raise SnapshotInvalid(
            f"part {part} of the snapshot {quoted(upload)} came before part {staged.next_part}: restore it again"
        )
    return part == staged.next_part


def stage(staged: Staged, body: StageBody, size: int) -> None:
    """Add the next part. If it fails, the caller drops the whole upload, because the part may be half done.

    Args:
        staged: the upload.
        body: the part.
        size: length of the command, bytes.

    Raises:
        SnapshotInvalid: the part contradicts itself or an earlier part, or the upload is too large. Names the place.
    """
    staged.size += size
    if staged.size > MAX_STAGED_BYTES:
        raise SnapshotInvalid(
            f"the snapshot has more than {MAX_STAGED_BYTES} bytes: restore a smaller one"
        )
    if body["schemas"]:
        _stage_schemas(staged, body["schemas"])
    for position, entity in enumerate(body["entities"]):
        try:
            if entity["continued"]:
                _continue(staged, entity, first=position == 0)
            else:
                _begin(staged, entity)
        except SnapshotInvalid:
            raise
        except StoreError as error:
            raise SnapshotInvalid(f"entity {_name(entity)}: {error}") from error
    staged.next_part += 1
    staged.records.digest_some()


def check_complete(staged: Staged | None, body: UseStagedBody) -> Staged:
    """Return the upload if it has all its parts.

    Raises:
        SnapshotInvalid: another upload has replaced it, or a part is missing.
    """
    if staged is None or staged.upload != body["upload"]:
        raise SnapshotInvalid(_replaced(body["upload"]))
    if staged.next_part != body["parts"]:
        raise SnapshotInvalid(
            f"the snapshot {quoted(staged.upload)} has {body['parts']} parts, and {staged.next_part} have arrived: "
            "restore it again"
        )
    return staged


def _replaced(upload: str) -> str:
    return (
        f"the snapshot {quoted(upload)} is not being restored: another restore has taken its place, or a part of it "
        "was invalid; restore it again"
    )


def _stage_schemas(staged: Staged, schemas: list[EntitySchemaJson]) -> None:
    if staged.last is not None:
        raise SnapshotInvalid("a schema of the snapshot comes after an entity")
    known = staged.records.schemas
    seen: dict[str, None] = {}
    for schema in schemas:
        name = schema["entity_type"]
        if name in known.own or name in seen:
            raise SnapshotInvalid(f"schemas: type {quoted(name)} occurs twice")
        seen[name] = None
    try:
        change = known.plan_change([schema_from_json(schema) for schema in schemas], _BEGIN)
    except StoreError as error:
        raise SnapshotInvalid(f"schemas: {error}") from error
    staged.records.adopt(change)


def _begin(staged: Staged, json: StagedEntityJson) -> None:
    records, entity_id = staged.records, id_from_json(json["entity_id"])
    number = entity_id.id
    if entity_id.typ not in records.schemas.own:
        raise SnapshotInvalid(f"entity {_name(json)}: its type has no schema in the snapshot")
    if not 0 < number <= MAX_RESTORED_ID:
        raise SnapshotInvalid(f"entity {_name(json)}: the number must be 1 to {MAX_RESTORED_ID}")
    other = records.entities.get(number)
    if other is not None:
        raise SnapshotInvalid(
            f"entity {_name(json)}: {quoted(str(other.entity_id))} before it has the same number"
        )
    under = optional_id_from_json(json["parent_id"])
    entity = Entity(entity_id, {}, under, staged.began_ns)
    fields = {name: _field(staged, entity, name, f) for name, f in json["fields"].items()}
    records.put(entity._replace(fields=fields), None)
    records.last_id = max(records.last_id, number)
    staged.last = entity_id


def _continue(staged: Staged, json: StagedEntityJson, *, first: bool) -> None:
    records, entity_id = staged.records, id_from_json(json["entity_id"])
    if not first or staged.last != entity_id:
        raise SnapshotInvalid(
            f"entity {_name(json)} continues, but it is not the last of the part before"
        )
    old = records.entities[entity_id.id]
    fields = {name: _field(staged, old, name, field) for name, field in json["fields"].items()}
    records.put(old._replace(fields={**old.fields, **fields}), old, fields)


def _field(staged: Staged, entity: Entity, name: str, json: FieldJson) -> Field:
    where = f"field {quoted(name)} of entity {quoted(str(entity.entity_id))}"
    slot = staged.records.schemas.slots(entity.entity_id.typ).get(name)
    if slot is None:
        raise SnapshotInvalid(f"{where}: its type has no such field in the snapshot")
    if json["field_type"] != name:
        raise SnapshotInvalid(f"{where} calls itself {quoted(json['field_type'])}")
    value = value_from_json(json["value"])
    try:
        slot.schema.accept(value)
    except StoreError as error:
        raise SnapshotInvalid(f"{where}: {error}") from error
    before = entity.fields.get(name)
    if name == CHILDREN:
        value = _children(staged, entity, before, value)
    else:
        if before is not None:
            value = _joined(before.value, value, where)
        if value_bytes(value) > MAX_VALUE_BYTES:
            raise SnapshotInvalid(f"{where} has more than {MAX_VALUE_BYTES} bytes")
    writer_id = optional_id_from_json(json["writer_id"])
    return Field(value, time_from_json(json["write_time"]), writer_id, slot.generation)


def _joined(before: Value, value: Value, where: str) -> Value:
    one, other = before.data, value.data
    if value.kind != "EntityList" or not isinstance(one, tuple) or not isinstance(other, tuple):
        raise SnapshotInvalid(f"{where} occurs twice")
    return measured(Value("EntityList", (*one, *other)))


def _children(staged: Staged, entity: Entity, before: Field | None, value: Value) -> Value:
    """The list of children, with what an earlier part held. Records the positions of the new ones."""
    held = ChildList.of(()) if before is None else before.value.data
    assert isinstance(held, ChildList), "the list was staged in this form"
    more: tuple[EntityId, ...] = value.data  # type: ignore[assignment]  # `accept` has checked the kind
    positions: dict[EntityId, Positions] = staged.records.child_positions.setdefault(
        entity.entity_id.id, {}
    )
    add_positions(positions, enumerate(more, start=held.next_position))
    return Value("EntityList", held.extended(more))


def _name(json: StagedEntityJson) -> str:
    return quoted(str(id_from_json(json["entity_id"])))
