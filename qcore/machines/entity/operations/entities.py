"""The requests of the store about single entities and their fields."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

from qcore.errors import PermissionDenied, ResponseTooLarge, StoreError, TooManyOperations
from qcore.machines.entity.indirection import resolve
from qcore.machines.entity.operations.create_delete import create_entity, delete_entity
from qcore.machines.entity.operations.store_operation import OK_NULL, StoreOperation, always
from qcore.machines.entity.operations.update_fields import update_entity
from qcore.machines.entity.permission_checks import check_see, may_read
from qcore.machines.entity.requests.perform_requests import (
    CreateEntityBody,
    DeleteEntityBody,
    FieldRequest,
)
from qcore.machines.entity.requests.store_requests import (
    EntityBody,
    EntityFieldBody,
    FieldRequestsBody,
)
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    id_from_json,
    id_to_json,
    optional_id_from_json,
    value_bytes,
)
from qcore.machines.entity.state.snapshot.store_snapshot import field_json
from qcore.machines.entity.transaction import Transaction
from qcore.machines.limits import FIELDS_PER_STEP, MAX_WRITE_RESPONSE_BYTES


def _create(transaction: Transaction, body: CreateEntityBody) -> str:
    parent_id = optional_id_from_json(body["parent_id"])
    created = create_entity(transaction, body["entity_type"], parent_id, body["name"])
    return f'{{"Ok":{_entity_text(transaction, created)}}}'


def _entity_text(transaction: Transaction, entity_id: EntityId) -> str:
    """Return an entity with all its fields that the user may read as JSON text."""
    entity = transaction.get(entity_id)
    slots = transaction.schemas.slots(entity_id.typ)
    transaction.count(len(slots) // FIELDS_PER_STEP)
    fields = {
        name: entity.field(name, slot)
        for name, slot in slots.items()
        if may_read(transaction, entity_id.typ, name)
    }
    size = sum(value_bytes(field.value) for field in fields.values())
    if size > MAX_WRITE_RESPONSE_BYTES:
        raise ResponseTooLarge(
            f"the fields of the new entity have {size} bytes, the limit is {MAX_WRITE_RESPONSE_BYTES}: create it "
            "with StoreBulk, whose response has only its id"
        )
    shown = {name: field_json(name, field) for name, field in fields.items()}
    return to_json({"entity_id": id_to_json(entity_id), "fields": shown}).decode()


def _delete(transaction: Transaction, body: DeleteEntityBody) -> str:
    delete_entity(transaction, id_from_json(body["entity_id"]))
    return OK_NULL


def _entity_exists(transaction: Transaction, body: EntityBody) -> str:
    entity_id = id_from_json(body["entity_id"])
    check_see(transaction, entity_id.typ)
    return _bool(transaction.find(entity_id) is not None)


def _field_exists(transaction: Transaction, body: EntityFieldBody) -> str:
    try:
        target = resolve(transaction, id_from_json(body["entity_id"]), body["field_type"])
        typ = target.entity.entity_id.typ
        check_see(transaction, typ)
        transaction.slot(target.entity, target.field_type)
        if not may_read(transaction, typ, target.field_type):
            return _bool(False)  # as in the schema that the user sees
    except (TooManyOperations, PermissionDenied):
        raise
    except StoreError:  # the path leads nowhere
        return _bool(False)
    return _bool(True)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _perform(transaction: Transaction, body: FieldRequestsBody) -> str:
    return f'{{"Ok":[{",".join(update_entity(transaction, body["requests"]))}]}}'


def only_reads(requests: list[FieldRequest]) -> bool:
    """Whether none of the requests writes."""
    return all("Read" in request for request in requests)


ENTITY_OPERATIONS: Final = {
    "StoreCreateEntity": StoreOperation(_create),
    "StoreDeleteEntity": StoreOperation(_delete),
    "StoreEntityExists": StoreOperation(_entity_exists, always),
    "StoreFieldExists": StoreOperation(_field_exists, always),
    "StorePerform": StoreOperation(_perform, lambda body: only_reads(body["requests"])),
}
