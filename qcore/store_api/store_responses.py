"""The responses to the messages of the entity store."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue, with_config
from typing_extensions import TypedDict

from qcore.machines.entity.requests.perform_requests import FieldRequest
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, FieldSchemaJson
from qcore.machines.entity.state.snapshot.store_snapshot import FieldJson, StoreSnapshot
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson
from qcore.transport.wire import Detail, Err, MessageId, Ok


@with_config(STRICT)
class EntityJson(TypedDict):
    """An entity with all its fields."""

    entity_id: EntityIdJson
    fields: dict[str, FieldJson]


@with_config(STRICT)
class EntityPage(TypedDict):
    """A page of entity ids. `total` is null with a filter, and for the top level. It may hold fewer than `limit` items.

    `next_cursor` is for the next page, and null in the last page.
    """

    items: list[EntityIdJson]
    total: int | None
    next_cursor: str | None


@with_config(STRICT)
class TypePage(TypedDict):
    """A page of names of types."""

    items: list[str]
    total: int | None
    next_cursor: str | None


@dataclass(slots=True)
class StoreCreateEntityResponse:
    id: MessageId
    response: Ok[EntityJson] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreDeleteEntityResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreSetEntitySchemaResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreGetEntitySchemaResponse:
    id: MessageId
    response: Ok[EntitySchemaJson | None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreGetCompleteEntitySchemaResponse:
    id: MessageId
    response: Ok[EntitySchemaJson] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreSetFieldSchemaResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreGetFieldSchemaResponse:
    id: MessageId
    response: Ok[FieldSchemaJson | None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreEntityExistsResponse:
    id: MessageId
    response: bool
    detail: Detail | None = None


@dataclass(slots=True)
class StoreTakeSnapshotResponse:
    id: MessageId
    response: StoreSnapshot
    detail: Detail | None = None


@dataclass(slots=True)
class StoreRestoreSnapshotResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreFieldExistsResponse:
    id: MessageId
    response: bool
    detail: Detail | None = None


@dataclass(slots=True)
class StoreFindEntitiesResponse:
    id: MessageId
    response: Ok[EntityPage] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreFindEntitiesExactResponse:
    id: MessageId
    response: Ok[EntityPage] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreGetEntityTypesResponse:
    id: MessageId
    response: Ok[TypePage] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StorePerformResponse:
    id: MessageId
    response: Ok[list[FieldRequest]] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreRenameEntityResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreMoveEntityResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreBulkResponse:
    id: MessageId
    response: Ok[list[JsonValue]] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreFindByPathResponse:
    id: MessageId
    response: Ok[EntityIdJson] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class StoreGetChildrenResponse:
    id: MessageId
    response: Ok[EntityPage] | Err
    detail: Detail | None = None
