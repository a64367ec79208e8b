"""UpdateEntity: reads and writes of fields."""

from __future__ import annotations

from qcore.store.errors import ResponseTooLarge
from qcore.store.paths import resolve
from qcore.store.records import Field, Transaction
from qcore.store.requests import FieldRequest, ReadBody, WriteBody
from qcore.store.values import (
    adjust,
    id_from_json,
    id_to_json,
    size_estimate,
    time_from_json,
    time_to_json,
    value_from_json,
    value_to_json,
)

#: Bytes of field values in one response, about. Without it a request of many reads of one long
#: list would have a response thousands of times its own size, for which the leader stops long enough to be
#: deposed. Well below a frame (16 MiB): a value that was written can be read.
MAX_RESPONSE_BYTES = 8 * 1024 * 1024


def update_entity(transaction: Transaction, requests: list[FieldRequest]) -> list[object]:
    """Carry out reads and writes in order; later ones see what earlier ones wrote.

    Returns:
        the requests, with value, time and writer as the fields have them then.

    Raises:
        StoreError: one of them is refused; the caller must not commit the transaction.
    """
    filled: list[object] = []
    room = MAX_RESPONSE_BYTES
    for request in requests:
        if "Read" in request:
            read = request["Read"]
            field = _read(transaction, read)
            filled.append({"Read": {**read, **_field_to_json(field)}})
        else:
            write = request["Write"]
            field = _write(transaction, write)
            filled.append({"Write": {**write, **_field_to_json(field)}})
        room -= size_estimate(field.value)
        if room < 0:
            raise ResponseTooLarge(
                f"the values read exceed {MAX_RESPONSE_BYTES} bytes: read them in several requests"
            )
    return filled


def _field_to_json(field: Field) -> dict[str, object]:
    return {
        "value": value_to_json(field.value),
        "write_time": time_to_json(field.time_ns),
        "writer_id": id_to_json(field.writer_id),
    }


def _read(transaction: Transaction, read: ReadBody) -> Field:
    target = resolve(transaction, id_from_json(read["entity_id"]), read["field_type"])
    return target.entity.field(target.field_type)


def _write(transaction: Transaction, write: WriteBody) -> Field:
    entity, name = resolve(transaction, id_from_json(write["entity_id"]), write["field_type"])
    old = entity.field(name)
    schema = transaction.schemas.complete(entity.entity_id.typ).fields[name]
    written = schema.default if write["value"] is None else value_from_json(write["value"])
    schema.accept(written)
    value = adjust(old.value, written, write["adjust_behavior"])
    if write["push_condition"] == "Changes" and value == old.value:
        return old
    time, writer = write["write_time"], write["writer_id"]
    new = Field(
        value,
        transaction.time_ns if time is None else time_from_json(time),
        None if writer is None else id_from_json(writer),
    )
    transaction.write(entity, name, new)
    return new
