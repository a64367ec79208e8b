"""The changes that a watch receives, and their conversion from the JSON of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from qcore.client.entity_values import Value, decode_id, decode_value
from qcore.machines.entity.state.entity_id import EntityId


@dataclass(frozen=True, slots=True, order=True)
class WatchPosition:
    """A place among all changes, to resume a watch after it.

    Attributes:
        index: the index of the command in the log.
        sequence: the position of the change among all changes of that command, from 0; -1 for the place before them.
    """

    index: int
    sequence: int


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A change of a field of an entity.

    Attributes:
        entity_id: the entity.
        field_type: the field.
        current_value: its value after the change; None also if the entity was deleted.
        previous_value: its value before the change; None also if the entity was created.
        context: the values of the paths of the watch just after the command, None for a path that leads nowhere. The
            whole is None if the node sent the change from its history, such as after a lost connection.
        omitted: which of `current_value` and `previous_value` are None because they are too large to be sent.
        context_omitted: the paths whose values are missing in `context` because they are too large.
        position: its place among all changes.
    """

    entity_id: EntityId
    field_type: str
    current_value: Value
    previous_value: Value
    context: Mapping[str, Value] | None
    omitted: tuple[str, ...]
    context_omitted: tuple[str, ...]
    position: WatchPosition


@dataclass(frozen=True, slots=True)
class MachineChange:
    """A change that a state machine other than the entity store reported.

    Attributes:
        change: what the state machine reported, as JSON.
        position: its place among all changes.
    """

    change: JsonValue
    position: WatchPosition


#: The content of a notification, as decoded from JSON.
Notification = Mapping[str, JsonValue]


def decode_position(json: Notification) -> WatchPosition:
    """The place of a notification. Raises `ValueError` if it has none."""
    match json:
        case {"index": int(index), "sequence": int(sequence)}:
            return WatchPosition(index, sequence)
    raise ValueError("the notification has no index and sequence")


def decode_after(json: JsonValue) -> WatchPosition:
    """The `after` in the response to a registration. Raises `ValueError` if it is not a position."""
    match json:
        case [int(index), int(sequence)]:
            return WatchPosition(index, sequence)
    raise ValueError("expected [index, sequence]")


def decode_field_change(json: Notification) -> FieldChange:
    """The change in a `StoreNotification`. Raises `ValueError`, `TypeError` or `KeyError` if it is not one."""
    context = json["context"]
    return FieldChange(
        decode_id(json["entity_id"]),
        str(json["field_type"]),
        _value(json["current_value"]),
        _value(json["previous_value"]),
        {path: _value(value) for path, value in context.items()}
        if isinstance(context, dict)
        else None,
        _texts(json.get("omitted")),
        _texts(json.get("context_omitted")),
        decode_position(json),
    )


def decode_machine_change(json: Notification) -> MachineChange:
    """The change in a `ChangeNotification`. Raises `ValueError` or `KeyError` if it is not one."""
    return MachineChange(json["change"], decode_position(json))


def _value(json: JsonValue) -> Value:
    return None if json is None else decode_value(json)


def _texts(json: JsonValue) -> tuple[str, ...]:
    if json is None:
        return ()
    return (json,) if isinstance(json, str) else tuple(cast("list[str]", json))
