"""The request `StoreBulk`: creates, writes and more in one command, which takes effect as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic_core import to_json

from qcore.errors import BadRequest, ResponseTooLarge, StoreError
from qcore.machines.entity.operations.create_delete import create_entity, delete_entity
from qcore.machines.entity.operations.store_operation import StoreOperation
from qcore.machines.entity.operations.tree import move_entity, rename_entity
from qcore.machines.entity.operations.update_fields import update_entity
from qcore.machines.entity.requests.bulk_requests import BulkBody
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import id_from_json, id_to_json
from qcore.machines.entity.transaction import Transaction
from qcore.machines.limits import MAX_WRITE_RESPONSE_BYTES

#: The entities that the requests of the list have created, by position.
Created = dict[int, EntityId]


def _bulk(transaction: Transaction, body: BulkBody) -> str:
    created: Created = {}
    results: list[str] = []
    room = MAX_WRITE_RESPONSE_BYTES
    for position, request in enumerate(body["requests"]):
        ((kind, fields),) = request.items()
        try:
            transaction.count(1)
            filled = _fill_in(fields, created)
            result = _EXECUTE[kind](transaction, filled, created, position)
        except StoreError as error:
            error.args = (f"requests[{position}].{kind}: {error}",)
            raise
        room -= len(result)
        if room < 0:
            raise ResponseTooLarge(
                f"requests[{position}].{kind}: the results exceed {MAX_WRITE_RESPONSE_BYTES} bytes: send the requests "
                "in several parts"
            )
        results.append(result)
    return f'{{"Ok":[{",".join(results)}]}}'


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


# `Any` in the functions below: a request of the list, validated by its form, with its ids filled in.


def _create(transaction: Transaction, body: Any, created: Created, position: int) -> str:
    parent = body["parent_id"]
    parent_id = None if parent is None else id_from_json(parent)
    made = create_entity(transaction, body["entity_type"], parent_id, body["name"])
    created[position] = made
    return to_json({"CreateEntity": {"entity_id": id_to_json(made)}}).decode()


def _delete(transaction: Transaction, body: Any, _: Created, __: int) -> str:
    delete_entity(transaction, id_from_json(body["entity_id"]))
    return '{"DeleteEntity":null}'


def _rename(transaction: Transaction, body: Any, _: Created, __: int) -> str:
    rename_entity(transaction, id_from_json(body["entity_id"]), body["name"])
    return '{"RenameEntity":null}'


def _move(transaction: Transaction, body: Any, _: Created, __: int) -> str:
    parent = body["parent_id"]
    move_entity(
        transaction,
        id_from_json(body["entity_id"]),
        None if parent is None else id_from_json(parent),
    )
    return '{"MoveEntity":null}'


def _read(transaction: Transaction, body: Any, _: Created, __: int) -> str:
    (text,) = update_entity(transaction, [{"Read": body}])
    return text


def _write(transaction: Transaction, body: Any, _: Created, __: int) -> str:
    (text,) = update_entity(transaction, [{"Write": body}])
    return text


_EXECUTE: Final[dict[str, Callable[[Transaction, Any, Created, int], str]]] = {
    "CreateEntity": _create,
    "DeleteEntity": _delete,
    "RenameEntity": _rename,
    "MoveEntity": _move,
    "Read": _read,
    "Write": _write,
}

BULK_OPERATIONS: Final = {"StoreBulk": StoreOperation(_bulk)}
