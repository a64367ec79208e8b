"""Reads the most frequent messages of clients without pydantic: `StorePerform`, and `Perform` with two requests.

It accepts what the classes of these messages accept, with all keys, and only plain values. The keys of a read or a
write may have any order; all others have the order in which the client library sends them. It leaves everything else to
the validators: `qcore.transport.codec.quick_readers`.
"""

from __future__ import annotations

import math
from typing import Any, Final, Protocol

from qcore.machines.entity.state.wire.value_json import INT_MAX, INT_MIN
from qcore.store_api.store_messages import StorePerform
from qcore.transport.codec.quick_readers import are_counts
from qcore.transport.perform_options import Consistency, SessionUse
from qcore.transport.wire import MAX_ID_LENGTH

_SESSION: Final = ("id", "sequence", "acknowledged")
_ENTITY: Final = ("typ", "id")
_READ: Final = ("entity_id", "field_type", "value", "write_time", "writer_id")
_WRITE: Final = (
    *("entity_id", "field_type", "value", "push_condition", "adjust_behavior"),
    *("write_time", "writer_id"),
)
_CREATE: Final = ("entity_type", "parent_id", "name")
_CONDITIONS: Final = ("Always", "Changes")
_BEHAVIORS: Final = ("Set", "Add", "Subtract")
_CONSISTENCIES: Final[dict[str, Consistency]] = {
    "linearizable": "linearizable",
    "lease": "lease",
    "follower": "follower",
}
_MOST_ID: Final = 2**64

#: The texts in an id of an entity, and in a read and a write, without those in the value and the writer.
_ENTITY_TEXTS: Final = 3
_READ_TEXTS: Final = 1 + len(_READ) + _ENTITY_TEXTS + 1
_WRITE_TEXTS: Final = 1 + len(_WRITE) + _ENTITY_TEXTS + 3
#: In a request that creates an entity, without those in the parent.
_CREATE_TEXTS: Final = 1 + len(_CREATE) + 2


class MakePerform(Protocol):
    """Makes the message of its fields, of which the request is a valid `PerformRequest`."""

    def __call__(
        self,
        message_id: str,
        request: Any,
        requests: None,
        consistency: Consistency,
        session: SessionUse | None,
        /,
    ) -> object:
        """Make the message."""
        ...


def read_perform(make: MakePerform, content: Any) -> tuple[object, int] | None:
    """See `qcore.transport.codec.quick_readers.Reader`."""
    if type(content) is not dict:
        return None
    message_id, request = content.get("id"), content.get("request")
    if type(message_id) is not str or len(message_id) > MAX_ID_LENGTH:
        return None
    if type(request) is not dict or len(request) != 1:
        return None
    update = request.get("UpdateEntity")
    texts = _texts_of_create(request) if update is None else _texts_of_update(update)
    options = _options(content, "request")
    if texts == 0 or options is None:
        return None
    consistency, session, more = options
    return make(message_id, request, None, consistency, session), texts + more


def read_store_perform(content: Any) -> tuple[object, int] | None:
    """See `qcore.transport.codec.quick_readers.Reader`. It reads `StorePerform`, as the client library writes it."""
    if type(content) is not dict:
        return None
    message_id = content.get("id")
    requests: Any = content.get("requests")
    if type(message_id) is not str or len(message_id) > MAX_ID_LENGTH:
        return None
    texts = _texts_of_items(requests)
    options = _options(content, "requests")
    if texts < 0 or options is None:
        return None
    consistency, session, more = options
    return StorePerform(message_id, requests, consistency, session), texts + more


def _options(
    content: dict[str, Any], request: str
) -> tuple[Consistency, SessionUse | None, int] | None:
    """The options of a message, and the number of texts outside its request; None if it cannot read them.

    Args:
        content: has a valid `id`.
        request: the name of the field after the `id`.
    """
    keys = tuple(content)
    texts = 1 + len(keys)
    if keys[:2] != ("id", request):
        return None
    if len(keys) == 2:
        return "linearizable", None, texts
    if len(keys) > 3:
        return None
    if keys[2] == "session":
        session = _session(content["session"])
        return None if session is None else ("linearizable", session, texts + len(_SESSION))
    text = content.get("consistency")
    consistency = _CONSISTENCIES.get(text) if type(text) is str else None
    return None if consistency is None else (consistency, None, texts + 1)


def _session(body: Any) -> SessionUse | None:
    if type(body) is not dict or tuple(body) != _SESSION or not are_counts(body.values()):
        return None
    number, sequence, acknowledged = body.values()
    return SessionUse(number, sequence, acknowledged) if number and sequence else None


def _texts_of_create(request: dict[str, Any]) -> int:
    """The number of texts in a valid `{"CreateEntity": ...}`; 0 for anything else."""
    body = request.get("CreateEntity")
    if type(body) is not dict or tuple(body) != _CREATE:
        return 0
    entity_type, parent, name = body.values()
    if type(entity_type) is not str or type(name) is not str:
        return 0
    if parent is None:
        return _CREATE_TEXTS
    return _CREATE_TEXTS + _ENTITY_TEXTS if _is_entity(parent) else 0


def _texts_of_update(body: Any) -> int:
    """The number of texts in a request with this valid `UpdateEntity`; 0 for anything else."""
    if type(body) is not dict or len(body) != 1:
        return 0
    texts = _texts_of_items(body.get("request"))
    return 0 if texts < 0 else 2 + texts


def _texts_of_items(items: Any) -> int:
    """The number of texts in a valid list of reads and writes; negative for anything else."""
    if type(items) is not list:
        return -1
    texts = 0
    for item in items:
        if type(item) is not dict or len(item) != 1:
            return -1
        write = item.get("Write")
        if write is None:
            read = _in_order(item.get("Read"), _READ)
            if read is None:
                return -1
            item["Read"] = read
            found = _texts_of_read(read)
        else:
            write = _in_order(write, _WRITE)
            if write is None:
                return -1
            item["Write"] = write
            found = _texts_of_write(write)
        if found == 0:
            return -1
        texts += found
    return texts


def _in_order(body: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    """An object with these keys in this order, as the validators make it; None if it does not have exactly these."""
    if type(body) is not dict or len(body) != len(names):
        return None
    if tuple(body) == names:
        return body
    for name in names:
        if name not in body:
            return None
    return {name: body[name] for name in names}


def _texts_of_write(body: dict[str, Any]) -> int:
    entity, field, value, condition, behavior, time, writer = body.values()
    if not _is_entity(entity) or type(field) is not str or time is not None:
        return 0
    if condition not in _CONDITIONS or behavior not in _BEHAVIORS:
        return 0
    texts = _WRITE_TEXTS
    if writer is not None:
        if not _is_entity(writer):
            return 0
        texts += _ENTITY_TEXTS
    if value is None:
        return texts
    if type(value) is not dict or len(value) != 1:
        return 0
    ((kind, data),) = value.items()
    if kind == "String":
        return texts + 2 if type(data) is str else 0
    if kind == "Int":
        valid = type(data) is int and INT_MIN <= data <= INT_MAX
    elif kind == "Bool":
        valid = type(data) is bool
    else:
        valid = kind == "Float" and type(data) is float and math.isfinite(data)
    return texts + 1 if valid else 0


def _texts_of_read(body: dict[str, Any]) -> int:
    entity, field, value, time, writer = body.values()
    if not _is_entity(entity) or type(field) is not str:
        return 0
    return _READ_TEXTS if value is None and time is None and writer is None else 0


def _is_entity(value: Any) -> bool:
    if type(value) is not dict or tuple(value) != _ENTITY:
        return False
    typ, number = value.values()
    return type(typ) is str and type(number) is int and 0 <= number < _MOST_ID
