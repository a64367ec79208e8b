"""Executes the request UpdateEntity: reads and writes of fields."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json

from qcore.errors import BadPath, ResponseTooLarge, StoreError
from qcore.machines.entity.indirection import Target, resolve
from qcore.machines.entity.permission_checks import check_read, check_write
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import FieldRequest, ReadBody, WriteBody
from qcore.machines.entity.state.child_list import (
    LEAST_ID_BYTES,
    ChildList,
    equal_ids,
    id_bytes,
    ids_text,
    slice_of,
)
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    Field,
    adjust,
    check_size,
    id_from_json,
    id_to_json,
    ids_of,
    optional_id_from_json,
    same_value,
    size_estimate,
    time_from_json,
    time_to_json,
    value_bytes,
    value_from_json,
    value_to_json,
)
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.transaction import CHILDREN, Transaction
from qcore.machines.limits import (
    BYTES_PER_STEP,
    IDS_PER_STEP,
    IDS_READ_PER_STEP,
    MAX_RESPONSE_BYTES,
    MAX_WRITE_RESPONSE_BYTES,
)

#: The JSON text of a list with more ids than this is built without an object for each id.
_LONG_LIST: Final = 64


def update_entity(
    transaction: Transaction, requests: list[FieldRequest], *, is_part: bool = False
) -> list[str]:
    """Execute reads and writes in order. Later ones see what earlier ones wrote.

    Args:
        requests: the reads and writes.
        is_part: whether they are a part of a command that writes, so that its limits apply.

    Returns:
        the requests, each as JSON text with the value, time and writer that the field then has.

    Raises:
        StoreError: one of them failed; the caller must not commit the transaction.
    """
    fields: list[Field] = []
    writes = is_part or any("Write" in request for request in requests)
    bound = MAX_WRITE_RESPONSE_BYTES if writes and transaction.sparse else MAX_RESPONSE_BYTES
    room = bound
    try:
        for request in requests:
            transaction.count(1)
            if "Read" in request:
                field = _read(transaction, request["Read"], room)
            else:
                field = _write(transaction, request["Write"])
            room = _take(transaction, room, bound, field)
            fields.append(field)
    except StoreError as error:
        if len(requests) > 1 and transaction.store_rules:
            error.args = (f"{_place(len(fields), requests[len(fields)])}: {error}",)
        raise
    # Only now: a request that fails builds no text.
    return [
        _item("Read", request["Read"], field)
        if "Read" in request
        else _item("Write", request["Write"], field)
        for request, field in zip(requests, fields, strict=True)
    ]


def _place(position: int, request: FieldRequest) -> str:
    """Which request of a list failed."""
    kind, body = ("Read", request["Read"]) if "Read" in request else ("Write", request["Write"])
    return f"request {position} of the list (from 0), {kind} of {quoted(body['field_type'])}"


def _take(transaction: Transaction, room: int, bound: int, field: Field) -> int:
    """Return the bytes that are left for the response after this field. Counts them before the JSON is built."""
    if transaction.sparse:
        writer = field.writer_id
        room -= value_bytes(field.value)
        room -= 0 if writer is None else id_bytes(writer)
    else:
        room -= size_estimate(field.value)
    if room < 0:
        raise ResponseTooLarge(
            f"the values read exceed {bound} bytes: read them in several requests (a long list in parts: "
            "`Children->0:10000`)"
        )
    return room


def _item(kind: str, request: ReadBody | WriteBody, field: Field) -> str:
    """Return a request with the content of the field, as JSON text."""
    data = field.value.data
    is_long = isinstance(data, tuple | ChildList) and len(data) > _LONG_LIST
    filled = {
        **request,
        "value": None if is_long else value_to_json(field.value),
        "write_time": time_to_json(field.time_ns),
        "writer_id": id_to_json(field.writer_id),
    }
    text = to_json({kind: filled}).decode()
    if is_long:
        # An object for each id, only to turn it into text, would take many times as long.
        before, after = to_json(request["field_type"]).decode() + ',"value":', "null"
        start = text.index(before + after) + len(before)
        ids = f'{{"EntityList":{ids_text(ids_of(field.value))}}}'
        text = text[:start] + ids + text[start + len(after) :]
    return text


def _read(transaction: Transaction, read: ReadBody, room: int) -> Field:
    target = resolve(transaction, id_from_json(read["entity_id"]), read["field_type"])
    check_read(transaction, target.entity.entity_id.typ, target.field_type)
    field = transaction.field(target.entity, target.field_type)
    if target.part is None:
        return field
    start, stop = target.part
    # Read at most one id more than the response can hold.
    part = slice_of(ids_of(field.value), start, min(stop, start + room // LEAST_ID_BYTES + 1))
    transaction.count(len(part) // IDS_READ_PER_STEP)
    return field._replace(value=Value("EntityList", part))


def _write(transaction: Transaction, write: WriteBody) -> Field:
    target = resolve(transaction, id_from_json(write["entity_id"]), write["field_type"])
    entity, name = target.entity, target.field_type
    check_write(transaction, entity.entity_id.typ, name)
    if (
        write["value"] is None
        or write["adjust_behavior"] != "Set"
        or write["push_condition"] != "Always"
    ):
        # The response holds the default, the sum, or what was there before.
        check_read(transaction, entity.entity_id.typ, name)
    slot = transaction.slot(entity, name)
    if target.part is not None:
        raise BadPath(
            f"path {quoted(write['field_type'])} names a part of a list: parts can be read, and not be written"
        )
    schema = slot.schema
    written = schema.default if write["value"] is None else value_from_json(write["value"])
    schema.accept(written)
    old = entity.field(name, slot)
    if name == CHILDREN and transaction.sparse:
        return _write_children(transaction, write, target, written, old)
    if write["adjust_behavior"] != "Set":
        work = value_bytes(old.value) + value_bytes(written)
        transaction.count(work // BYTES_PER_STEP)
    value = adjust(old.value, written, write["adjust_behavior"])
    if write["push_condition"] == "Changes" and same_value(value, old.value):
        return old
    if transaction.sparse:
        check_size(value, name)
    new = Field(value, *_time_and_writer(transaction, write), slot.generation)
    transaction.write(entity, name, slot, new, old)
    return new


def _write_children(
    transaction: Transaction, write: WriteBody, target: Target, written: Value, old: Field
) -> Field:
    """Write the list of children, whose length is unbounded, so process only the ids in the request."""
    ids, held = tuple(ids_of(written)), ids_of(old.value)
    entity, behavior = target.entity, write["adjust_behavior"]
    transaction.count(len(ids) // IDS_PER_STEP)
    unchanged = write["push_condition"] == "Changes"
    if behavior == "Set":
        if unchanged and equal_ids(held, ids, len(held)):
            return old
        children = transaction.new_children(entity, ids)
    elif behavior == "Add":
        if unchanged and not ids:
            return old
        children = transaction.append_children(entity, ids)
    else:
        children = transaction.without_children(entity, ids)
        if unchanged and len(children) == len(held):
            return old
    return transaction.write_children(entity, children, *_time_and_writer(transaction, write))


def _time_and_writer(transaction: Transaction, write: WriteBody) -> tuple[int, EntityId | None]:
    time, writer = write["write_time"], write["writer_id"]
    return (
        transaction.time_ns if time is None else time_from_json(time),
        optional_id_from_json(writer),
    )
