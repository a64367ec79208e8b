"""The parts of `Client.update` and `Client.bulk`, which take effect together.

await client.update([WriteField(ada, "Balance", 70), WriteField(grace, "Balance", 30)])
await client.bulk([CreateEntity("Folder", "Users"), CreateEntity("User", "ada", parent=Created(0))])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from pydantic import JsonValue

from qcore.client.entity_values import (
    EntityLike,
    Timestamp,
    WritableValue,
    encode_id,
    encode_optional_id,
    encode_value,
)
from qcore.display import truncate
from qcore.errors import ConfigError
from qcore.machines.entity.state.field_values import AdjustBehavior

PushCondition: TypeAlias = Literal["Always", "Changes"]


@dataclass(frozen=True, slots=True)
class Created:
    """The entity that request `position` of a bulk creates, counted from 0. Only later requests can name it."""

    position: int


@dataclass(frozen=True, slots=True)
class ReadField:
    """Read a field, or the field that a path such as `Parent->Name` leads to."""

    entity: EntityLike | Created
    field_type: str

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        return {
            "Read": {
                "entity_id": _target(self.entity),
                "field_type": self.field_type,
                "value": None,
                "write_time": None,
                "writer_id": None,
            }
        }


@dataclass(frozen=True, slots=True)
class WriteField:
    """Write a field, or the field that a path leads to.

    Attributes:
        entity: the entity.
        field_type: the field's name, or a path.
        value: the value, or `DEFAULT`. In a bulk also `Created`, alone or in a list: an entity that the bulk creates.
        push_condition: with `Changes`, an equal value writes nothing.
        adjust_behavior: `Add` and `Subtract` change the value instead of replacing it.
        write_time: the time to record; None for the time of the write.
        writer_id: the entity to record as the writer.
    """

    entity: EntityLike | Created
    field_type: str
    value: WritableValue | Created | Sequence[EntityLike | Created]
    push_condition: PushCondition = "Always"
    adjust_behavior: AdjustBehavior = "Set"
    write_time: Timestamp | None = None
    writer_id: EntityLike | None = None

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        return encode_write(
            self.entity,
            self.field_type,
            self.value,
            self.push_condition,
            self.adjust_behavior,
            self.write_time,
            self.writer_id,
        )


def encode_write(
    entity: EntityLike | Created,
    field_type: str,
    value: WritableValue | Created | Sequence[EntityLike | Created],
    push_condition: PushCondition,
    adjust_behavior: AdjustBehavior,
    write_time: Timestamp | None = None,
    writer_id: EntityLike | None = None,
) -> dict[str, JsonValue]:
    """The wire form of a `WriteField` with these attributes."""
    time = None if write_time is None else encode_value(write_time)
    return {
        "Write": {
            "entity_id": _target(entity),
            "field_type": field_type,
            "value": cast("JsonValue", _value(value)),
            "push_condition": push_condition,
            "adjust_behavior": adjust_behavior,
            "write_time": None if time is None else time["Timestamp"],
            "writer_id": cast("JsonValue", encode_optional_id(writer_id)),
        }
    }


@dataclass(frozen=True, slots=True)
class CreateEntity:
    """Create an entity. A `WriteField` with `Created` sets its fields."""

    entity_type: str
    name: str
    parent: EntityLike | Created | None = None

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        parent = None if self.parent is None else _target(self.parent)
        body: dict[str, JsonValue] = {
            "entity_type": self.entity_type,
            "parent_id": parent,
            "name": self.name,
        }
        return {"CreateEntity": body}


@dataclass(frozen=True, slots=True)
class DeleteEntity:
    """Delete an entity and all below it."""

    entity: EntityLike | Created

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        return {"DeleteEntity": {"entity_id": _target(self.entity)}}


@dataclass(frozen=True, slots=True)
class RenameEntity:
    """Write an entity's `Name`."""

    entity: EntityLike | Created
    name: str

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        return {"RenameEntity": {"entity_id": _target(self.entity), "name": self.name}}


@dataclass(frozen=True, slots=True)
class MoveEntity:
    """Move an entity to the end of another parent's children, or with None to the top level."""

    entity: EntityLike | Created
    parent: EntityLike | Created | None

    def encode(self) -> dict[str, JsonValue]:
        """The wire form."""
        parent = None if self.parent is None else _target(self.parent)
        return {"MoveEntity": {"entity_id": _target(self.entity), "parent_id": parent}}


#: A request of `Client.update`.
FieldRequest: TypeAlias = ReadField | WriteField
#: A request of `Client.bulk`.
BulkRequest: TypeAlias = (
    CreateEntity | DeleteEntity | RenameEntity | MoveEntity | ReadField | WriteField
)


def encode_requests(
    requests: Sequence[BulkRequest], *, only_fields: bool = False
) -> list[dict[str, JsonValue]]:
    """The wire form of requests; with `only_fields`, only reads and writes are allowed.

    Raises:
        ConfigError: an item is no request, or an entity or value is not valid.
    """
    allowed = FieldRequest if only_fields else BulkRequest
    encoded: list[dict[str, JsonValue]] = []
    for request in requests:
        if not isinstance(request, allowed):
            names = ", ".join(each.__name__ for each in get_args(allowed))
            raise ConfigError(f"{truncate(repr(request))} is not a request: give one of {names}")
        encoded.append(request.encode())
    return encoded


def _target(entity: EntityLike | Created) -> dict[str, JsonValue]:
    return {"created": entity.position} if isinstance(entity, Created) else encode_id(entity)


def _value(
    value: WritableValue | Created | Sequence[EntityLike | Created],
) -> Mapping[str, JsonValue] | None:
    if isinstance(value, Created):
        return {"EntityReference": {"created": value.position}}
    if isinstance(value, list) and any(isinstance(each, Created) for each in value):
        return {"EntityList": [_target(each) for each in value]}
    return encode_value(cast("WritableValue", value))
