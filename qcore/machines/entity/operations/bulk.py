"""The request `StoreBulk`: creates, writes and more in one command, which takes effect as a whole or not at all."""

from __future__ import annotations

from typing import Any, Final

from pydantic_core import to_json

from qcore.errors import BadRequest, ResponseTooLarge, StoreError, TooManyOperations
from qcore.machines.entity.operations.create_delete import create_entity
from qcore.machines.entity.operations.entities import ENTITY_OPERATIONS
from qcore.machines.entity.operations.store_operation import StoreOperation
from qcore.machines.entity.operations.tree import TREE_OPERATIONS
from qcore.machines.entity.operations.update_fields import update_entity
from qcore.machines.entity.requests.bulk_requests import BulkBody
from qcore.machines.entity.requests.perform_requests import FieldRequest
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import id_to_json, optional_id_from_json
from qcore.machines.entity.transaction import Transaction
from qcore.machines.limits import MAX_OPERATIONS, MAX_WRITE_RESPONSE_BYTES

#: The entities that the requests of the list have created, by position.
Created = dict[int, EntityId]


def _bulk(transaction: Transaction, body: BulkBody) -> str:
    created: Created = {}
    results: list[str] = []
    room = MAX_WRITE_RESPONSE_BYTES
    for position, request in enumerate(body["requests"]):
        ((kind, fields),) = request.items()
        before = transaction.operations
        try:
            transaction.count(1)
            filled = _fill_in(fields, created)
            result = _execute(transaction, kind, filled, created, position)
        except StoreError as error:
            if isinstance(error, TooManyOperations) and before > 0:
                raise _too_many(position, kind, before) from error
            error.args = (f"{_place(position, kind)}: {error}",)
            raise
        room -= len(result)
        if room < 0:
            raise ResponseTooLarge(
                f"{_place(position, kind)}: the results exceed {MAX_WRITE_RESPONSE_BYTES} bytes: split the list into "
                "several StoreBulk"
            )
        results.append(result)
    return f'{{"Ok":[{",".join(results)}]}}'


def _place(position: int, kind: str) -> str:
    """The path of a request, as in the node's errors for an invalid message."""
    return f"StoreBulk.requests.{position}.{kind}"


def _too_many(position: int, kind: str, before: int) -> TooManyOperations:
    return TooManyOperations(
        f"{_place(position, kind)}: the requests before it take {before} steps, and with it the list would take more "
        f"than {MAX_OPERATIONS}, the limit for one command: split the list into several StoreBulk"
    )


def _fill_in(value: Any, created: Created) -> Any:
    """Return a part of a request with the ids of created entities in place of `{"created": N}`."""
    if isinstance(value, dict):
        if "created" in value:
            return _created_id(value["created"], created)
        return {key: _fill_in(part, created) for key, part in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_fill_in(part, created) for part in value]
    return value


def _created_id(position: int, created: Created) -> object:
    found = created.get(position)
    if found is None:
        raise BadRequest(
            f'{{"created":{position}}}: request {position} is not an earlier CreateEntity of this list (the first '
            "request is number 0)"
        )
    return id_to_json(found)


# `Any`: a request of the list, validated by its form, with its ids filled in.
def _execute(
    transaction: Transaction, kind: str, body: Any, created: Created, position: int
) -> str:
    """Execute one request. Returns its result as JSON text."""
    if kind == "CreateEntity":
        parent_id = optional_id_from_json(body["parent_id"])
        made = create_entity(transaction, body["entity_type"], parent_id, body["name"])
        created[position] = made
        return to_json({"CreateEntity": {"entity_id": id_to_json(made)}}).decode()
    operation = _AS_MESSAGES.get(kind)
    if operation is not None:
        operation.execute(transaction, body)
        return f'{{"{kind}":null}}'
    field_request: FieldRequest = {"Read": body} if kind == "Read" else {"Write": body}
    (text,) = update_entity(transaction, [field_request], is_part=True)
    return text


#: The requests that do what the messages of these names do.
_AS_MESSAGES: Final = {
    "DeleteEntity": ENTITY_OPERATIONS["StoreDeleteEntity"],
    "RenameEntity": TREE_OPERATIONS["StoreRenameEntity"],
    "MoveEntity": TREE_OPERATIONS["StoreMoveEntity"],
}

BULK_OPERATIONS: Final = {"StoreBulk": StoreOperation(_bulk)}
