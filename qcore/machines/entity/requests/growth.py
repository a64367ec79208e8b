"""Which commands may make the entity store larger. A cluster rejects these while its quota of the state is used up.

A write of an empty value makes room only in a field that was written before. Otherwise it makes a record of a field
that had none, and there may be many times more fields than bytes of state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qcore.errors import BadRequest
from qcore.machines.entity.requests.perform_requests import parse_command
from qcore.machines.entity.requests.store_requests import parse_store_request
from qcore.machines.entity.state.entity_records import Records

#: Requests that never add to the store. The last one puts a smaller or larger state into the place of the current one,
#: but what it uses has been counted as it arrived.
_NEVER: Final = frozenset(
    (
        "DeleteEntity",
        "StoreDeleteEntity",
        "GetSchema",
        "GetCompleteSchema",
        "StoreUseStagedSnapshot",
    )
)
#: The values that take least room.
_EMPTY: Final[tuple[Mapping[str, object], ...]] = (
    {"String": ""},
    {"Blob": []},
    {"EntityList": []},
    {"EntityReference": None},
)


def may_grow(command: str, records: Records) -> bool:
    """Whether the command may make the store larger: False for deletes, and for writes that only clear written fields.

    A text that is no command counts as one that may, because no client needs it.
    """
    try:
        # Any: the bodies of all requests have no common type.
        request: Mapping[str, Any] = (
            parse_store_request(command)
            if command.startswith('{"Store')
            else parse_command(command)
        )
    except BadRequest:
        return True
    ((name, body),) = request.items()
    if name in _NEVER:
        return False
    if name == "StoreStageSnapshot":
        return bool(body["part"])  # the first part drops an upload that was never finished
    if name == "UpdateEntity":
        return any(_adds(each, records) for each in body["request"])
    if name in ("StorePerform", "StoreBulk"):
        return any(_adds(each, records) for each in body["requests"])
    return True


def _adds(request: Mapping[str, Any], records: Records) -> bool:
    """Whether one of a list of requests may add."""
    ((name, body),) = request.items()
    if name == "Write":
        return not _only_clears(body, records)
    return name not in ("Read", "DeleteEntity")


def _only_clears(write: Mapping[str, Any], records: Records) -> bool:
    """Whether a write empties a field that was written, or removes ids from it. A write through a path may add."""
    removes = write["adjust_behavior"] == "Subtract" and "EntityList" in (write["value"] or ())
    empties = write["adjust_behavior"] == "Set" and write["value"] in _EMPTY
    number, typ = write["entity_id"].get("id"), write["entity_id"].get("typ")
    entity = records.entities.get(number)
    if not (removes or empties) or entity is None or entity.entity_id.typ != typ:
        return False
    slot = records.schemas.slots(typ).get(write["field_type"])
    held = entity.fields.get(write["field_type"])
    if slot is None or held is None or held.generation != slot.generation:
        return False  # it reads as a default, which takes no room
    writer = write["writer_id"]
    return writer is None or (
        held.writer_id is not None and len(writer["typ"]) <= len(held.writer_id.typ)
    )
