"""The form of `StoreBulk`: requests whose entity ids may be those of entities that earlier requests of it create."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, FailFast, Field, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from qcore.machines.entity.state.field_values import AdjustBehavior
from qcore.machines.entity.state.wire.value_json import (
    STRICT,
    Byte,
    FiniteFloat,
    Int64,
    TimestampJson,
    exactly_one_key,
)


def _id_or_position(value: Mapping[str, object]) -> Mapping[str, object]:
    if value.keys() not in ({"typ", "id"}, {"created"}):
        raise PydanticCustomError(
            "id_or_created",
            'expected an entity id, or {"created": N} with the position of an earlier CreateEntity',
        )
    return value


@with_config(STRICT)
class _IdOrCreated(TypedDict, total=False):
    typ: str
    id: Annotated[int, Field(ge=0, lt=2**64)]
    created: Annotated[int, Field(ge=0, lt=2**31)]


#: An entity id, or `{"created": N}`: the entity that request N of the list creates, counted from 0.
IdOrCreated = Annotated[_IdOrCreated, AfterValidator(_id_or_position)]


@with_config(STRICT)
class _BulkValueTags(TypedDict, total=False):
    Blob: Annotated[list[Byte], FailFast()]
    Bool: bool
    Choice: Int64
    EntityList: Annotated[list[IdOrCreated], FailFast()]
    EntityReference: IdOrCreated | None
    Float: FiniteFloat
    Int: Int64
    String: str
    Timestamp: TimestampJson


_BulkValue = Annotated[_BulkValueTags, AfterValidator(exactly_one_key)]


@with_config(STRICT)
class _BulkRead(TypedDict):
    entity_id: IdOrCreated
    field_type: str
    value: None
    write_time: None
    writer_id: None


@with_config(STRICT)
class _BulkWrite(TypedDict):
    entity_id: IdOrCreated
    field_type: str
    value: _BulkValue | None
    push_condition: Literal["Always", "Changes"]
    adjust_behavior: AdjustBehavior
    write_time: TimestampJson | None
    writer_id: IdOrCreated | None


@with_config(STRICT)
class _BulkCreate(TypedDict):
    entity_type: str
    parent_id: IdOrCreated | None
    name: str


@with_config(STRICT)
class _BulkEntity(TypedDict):
    entity_id: IdOrCreated


@with_config(STRICT)
class _BulkRename(TypedDict):
    entity_id: IdOrCreated
    name: str


@with_config(STRICT)
class _BulkMove(TypedDict):
    entity_id: IdOrCreated
    parent_id: IdOrCreated | None


@with_config(STRICT)
class _BulkRequest(TypedDict, total=False):
    CreateEntity: _BulkCreate
    DeleteEntity: _BulkEntity
    Read: _BulkRead
    RenameEntity: _BulkRename
    MoveEntity: _BulkMove
    Write: _BulkWrite


BulkRequest = Annotated[_BulkRequest, AfterValidator(exactly_one_key)]


@with_config(STRICT)
class BulkBody(TypedDict):
    """Requests, executed in order, all or none of them."""

    requests: Annotated[list[BulkRequest], FailFast()]
