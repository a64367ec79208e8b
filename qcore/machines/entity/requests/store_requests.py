"""The commands and queries of the `Store...` messages: `{"StoreEntityExists": {"entity_id": {...}}}`.

The name is that of the message, and the body has the message's fields without `id`, `consistency` and `session`. The
log has such commands from apply rules 4 on (`qcore.machines.limits.STORE_RULES`).
"""

from __future__ import annotations

from typing import Annotated, Required

from pydantic import AfterValidator, FailFast, Field, TypeAdapter, with_config
from pydantic_core import ValidationError
from typing_extensions import TypedDict

from qcore.errors import BadRequest
from qcore.machines.entity.requests.bulk_requests import BulkBody
from qcore.machines.entity.requests.perform_requests import (
    CreateEntityBody,
    DeleteEntityBody,
    FieldRequest,
    TypeBody,
    explain,
)
from qcore.machines.entity.requests.staging_requests import StageBody, UseStagedBody
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, FieldSchemaJson
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson, exactly_one_key


@with_config(STRICT)
class EntityBody(TypedDict):
    """Names an entity."""

    entity_id: EntityIdJson


@with_config(STRICT)
class EntityFieldBody(TypedDict):
    """Names a field of an entity, or a path to one."""

    entity_id: EntityIdJson
    field_type: str


@with_config(STRICT)
class SchemaBody(TypedDict):
    """The schema to add, or to put in the place of the type's schema."""

    schema: EntitySchemaJson


@with_config(STRICT)
class TypeFieldBody(TypedDict):
    """Names a field of a type."""

    entity_type: str
    field_type: str


@with_config(STRICT)
class FieldSchemaBody(TypedDict):
    """The schema of one field to add to a type, or to put in the place of the field's schema."""

    entity_type: str
    field_type: str
    schema: FieldSchemaJson


@with_config(STRICT)
class FieldRequestsBody(TypedDict):
    """Reads and writes, executed in order, all or none of them."""

    requests: Annotated[list[FieldRequest], FailFast()]


@with_config(STRICT)
class RenameBody(TypedDict):
    """The new name of an entity."""

    entity_id: EntityIdJson
    name: str


@with_config(STRICT)
class MoveBody(TypedDict):
    """The new parent of an entity; None for the top level."""

    entity_id: EntityIdJson
    parent_id: EntityIdJson | None


@with_config(STRICT)
class PageOptions(TypedDict):
    """Which page: how many items at most, and the `next_cursor` of the page before; None for the first page."""

    limit: Annotated[int, Field(ge=1, lt=2**31)]
    cursor: str | None


@with_config(STRICT)
class FindBody(TypedDict, total=False):
    """The type whose entities to find, and a filter in CEL."""

    entity_type: Required[str]
    page_opts: Required[PageOptions | None]
    filter: str | None


@with_config(STRICT)
class PageBody(TypedDict):
    """Which page."""

    page_opts: PageOptions | None


@with_config(STRICT)
class PathBody(TypedDict):
    """A path of names from the top level: a text with `/` between the names, or a list of them."""

    path: str | list[str]


@with_config(STRICT)
class ChildrenBody(TypedDict):
    """The parent; None for the top level."""

    entity_id: EntityIdJson | None
    page_opts: PageOptions | None


@with_config(STRICT)
class NoBody(TypedDict):
    """A request without fields."""


@with_config(STRICT)
class _StoreRequest(TypedDict, total=False):
    StoreCreateEntity: CreateEntityBody
    StoreDeleteEntity: DeleteEntityBody
    StoreSetEntitySchema: SchemaBody
    StoreGetEntitySchema: TypeBody
    StoreGetCompleteEntitySchema: TypeBody
    StoreSetFieldSchema: FieldSchemaBody
    StoreGetFieldSchema: TypeFieldBody
    StoreEntityExists: EntityBody
    StoreFieldExists: EntityFieldBody
    StorePerform: FieldRequestsBody
    StoreRenameEntity: RenameBody
    StoreMoveEntity: MoveBody
    StoreBulk: BulkBody
    StoreFindEntities: FindBody
    StoreFindEntitiesExact: FindBody
    StoreGetEntityTypes: PageBody
    StoreFindByPath: PathBody
    StoreGetChildren: ChildrenBody
    StoreTakeSnapshot: NoBody
    StoreStageSnapshot: StageBody
    StoreUseStagedSnapshot: UseStagedBody


#: One request: exactly one key, the name of the message.
StoreRequest = Annotated[_StoreRequest, AfterValidator(exactly_one_key)]

_adapter: TypeAdapter[_StoreRequest] = TypeAdapter(StoreRequest)


def parse_store_request(text: str) -> _StoreRequest:
    """Parse a command from the log, or a query.

    Raises:
        BadRequest: the text is not a request of the store.
    """
    try:
        return _adapter.validate_json(text)
    except ValidationError as error:
        known = tuple(_StoreRequest.__annotations__)
        raise BadRequest(explain(error, "", known)) from error
