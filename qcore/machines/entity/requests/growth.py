"""Which commands may make the entity store larger. A cluster rejects these while its quota of the state is used up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qcore.errors import BadRequest
from qcore.machines.entity.requests.perform_requests import parse_command
from qcore.machines.entity.requests.store_requests import parse_store_request

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


def may_grow(command: str) -> bool:
    """Whether the command may make some store larger: False for deletes, and for writes that only clear fields.

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
        return any(map(_adds, body["request"]))
    if name in ("StorePerform", "StoreBulk"):
        return any(map(_adds, body["requests"]))
    return True


def _adds(request: Mapping[str, Any]) -> bool:
    """Whether one of a list of requests may add."""
    ((name, body),) = request.items()
    if name == "Write":
        return body["value"] not in _EMPTY and not _removes_ids(body)
    return name not in ("Read", "DeleteEntity")


def _removes_ids(write: Mapping[str, Any]) -> bool:
    return write["adjust_behavior"] == "Subtract" and "EntityList" in (write["value"] or ())
