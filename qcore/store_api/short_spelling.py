"""The messages of the entity store without `Store`, as the store proxy of the followed system spells them."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.store_api.store_messages import (
    StoreCreateEntity,
    StoreDeleteEntity,
    StoreEntityExists,
    StoreFieldExists,
    StoreFindEntities,
    StoreFindEntitiesExact,
    StoreGetCompleteEntitySchema,
    StoreGetEntitySchema,
    StoreGetEntityTypes,
    StoreGetFieldSchema,
    StoreRestoreSnapshot,
    StoreSetEntitySchema,
    StoreSetFieldSchema,
    StoreTakeSnapshot,
)
from qcore.store_api.store_responses import (
    StoreCreateEntityResponse,
    StoreDeleteEntityResponse,
    StoreEntityExistsResponse,
    StoreFieldExistsResponse,
    StoreFindEntitiesExactResponse,
    StoreFindEntitiesResponse,
    StoreGetCompleteEntitySchemaResponse,
    StoreGetEntitySchemaResponse,
    StoreGetEntityTypesResponse,
    StoreGetFieldSchemaResponse,
    StoreRestoreSnapshotResponse,
    StoreSetEntitySchemaResponse,
    StoreSetFieldSchemaResponse,
    StoreTakeSnapshotResponse,
)


@dataclass(slots=True)
class CreateEntity(StoreCreateEntity):
    pass


@dataclass(slots=True)
class CreateEntityResponse(StoreCreateEntityResponse):
    pass


@dataclass(slots=True)
class DeleteEntity(StoreDeleteEntity):
    pass


@dataclass(slots=True)
class DeleteEntityResponse(StoreDeleteEntityResponse):
    pass


@dataclass(slots=True)
class SetEntitySchema(StoreSetEntitySchema):
    pass


@dataclass(slots=True)
class SetEntitySchemaResponse(StoreSetEntitySchemaResponse):
    pass


@dataclass(slots=True)
class GetEntitySchema(StoreGetEntitySchema):
    pass


@dataclass(slots=True)
class GetEntitySchemaResponse(StoreGetEntitySchemaResponse):
    pass


@dataclass(slots=True)
class GetCompleteEntitySchema(StoreGetCompleteEntitySchema):
    pass


@dataclass(slots=True)
class GetCompleteEntitySchemaResponse(StoreGetCompleteEntitySchemaResponse):
    pass


@dataclass(slots=True)
class SetFieldSchema(StoreSetFieldSchema):
    pass


@dataclass(slots=True)
class SetFieldSchemaResponse(StoreSetFieldSchemaResponse):
    pass


@dataclass(slots=True)
class GetFieldSchema(StoreGetFieldSchema):
    pass


@dataclass(slots=True)
class GetFieldSchemaResponse(StoreGetFieldSchemaResponse):
    pass


@dataclass(slots=True)
class EntityExists(StoreEntityExists):
    pass


@dataclass(slots=True)
class EntityExistsResponse(StoreEntityExistsResponse):
    pass


@dataclass(slots=True)
class FieldExists(StoreFieldExists):
    pass


@dataclass(slots=True)
class FieldExistsResponse(StoreFieldExistsResponse):
    pass


@dataclass(slots=True)
class FindEntities(StoreFindEntities):
    pass


@dataclass(slots=True)
class FindEntitiesResponse(StoreFindEntitiesResponse):
    pass


@dataclass(slots=True)
class FindEntitiesExact(StoreFindEntitiesExact):
    pass


@dataclass(slots=True)
class FindEntitiesExactResponse(StoreFindEntitiesExactResponse):
    pass


@dataclass(slots=True)
class GetEntityTypes(StoreGetEntityTypes):
    pass


@dataclass(slots=True)
class GetEntityTypesResponse(StoreGetEntityTypesResponse):
    pass


@dataclass(slots=True)
class TakeSnapshot(StoreTakeSnapshot):
    pass


@dataclass(slots=True)
class TakeSnapshotResponse(StoreTakeSnapshotResponse):
    pass


@dataclass(slots=True)
class RestoreSnapshot(StoreRestoreSnapshot):
    pass


@dataclass(slots=True)
class RestoreSnapshotResponse(StoreRestoreSnapshotResponse):
    pass
