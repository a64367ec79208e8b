"""The requests of the store about schemas."""

from __future__ import annotations

from typing import Final

from qcore.errors import SchemaInvalid
from qcore.machines.entity.operations.create_delete import set_schemas
from qcore.machines.entity.operations.store_operation import OK_NULL, StoreOperation, always, ok
from qcore.machines.entity.permission_checks import (
    check_may_change_schemas,
    check_read,
    check_see,
    visible_schema,
)
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import TypeBody
from qcore.machines.entity.requests.store_requests import FieldSchemaBody, SchemaBody, TypeFieldBody
from qcore.machines.entity.state.entity_schema import (
    field_from_json,
    field_to_json,
    schema_from_json,
    schema_to_json,
)
from qcore.machines.entity.transaction import Transaction


def _set(transaction: Transaction, body: SchemaBody) -> str:
    set_schemas(transaction, [schema_from_json(body["schema"])])
    return OK_NULL


def _get(transaction: Transaction, body: TypeBody) -> str:
    check_see(transaction, body["entity_type"])
    schema = transaction.schemas.own.get(body["entity_type"])
    return ok(None if schema is None else schema_to_json(visible_schema(transaction, schema)))


def _get_complete(transaction: Transaction, body: TypeBody) -> str:
    check_see(transaction, body["entity_type"])
    schema = transaction.schemas.complete(body["entity_type"])
    return ok(schema_to_json(visible_schema(transaction, schema)))


def _set_field(transaction: Transaction, body: FieldSchemaBody) -> str:
    check_may_change_schemas(transaction)
    schema = transaction.schemas.get(body["entity_type"])
    name, field = body["field_type"], field_from_json(body["schema"])
    if field.field_type != name:
        raise SchemaInvalid(
            f"field_type is {quoted(name)}, and the schema is that of {quoted(field.field_type)}: give both the same "
            "name"
        )
    set_schemas(transaction, [schema._replace(fields={**schema.fields, name: field})])
    return OK_NULL


def _get_field(transaction: Transaction, body: TypeFieldBody) -> str:
    check_read(transaction, body["entity_type"], body["field_type"])
    slot = transaction.schemas.slots(body["entity_type"]).get(body["field_type"])
    return ok(None if slot is None else field_to_json(slot.schema))


SCHEMA_OPERATIONS: Final = {
    "StoreSetEntitySchema": StoreOperation(_set),
    "StoreGetEntitySchema": StoreOperation(_get, always),
    "StoreGetCompleteEntitySchema": StoreOperation(_get_complete, always),
    "StoreSetFieldSchema": StoreOperation(_set_field),
    "StoreGetFieldSchema": StoreOperation(_get_field, always),
}
