"""The response to `Perform` of the entity store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NotRequired

from pydantic import AfterValidator, with_config
from typing_extensions import TypedDict

from qcore.machines.entity.requests.perform_requests import FieldRequest
from qcore.machines.entity.state.entity_schema import EntitySchemaJson
from qcore.machines.entity.state.wire.value_json import STRICT, EntityIdJson, exactly_one_key
from qcore.transport.wire import Detail, Err, MessageId, Ok


@with_config(STRICT)
class DoneOutcome(TypedDict):
    """The outcome of a request without a result."""

    error: str | None
    detail: NotRequired[Detail]


@with_config(STRICT)
class CreateEntityOutcome(TypedDict):
    """The new entity's id; null with an error."""

    response: EntityIdJson | None
    error: str | None
    detail: NotRequired[Detail]


@with_config(STRICT)
class SchemaOutcome(TypedDict):
    """The schema; null with an error."""

    response: EntitySchemaJson | None
    error: str | None
    detail: NotRequired[Detail]


@with_config(STRICT)
class UpdateEntityOutcome(TypedDict):
    """The requests with the values, times and writers that their fields then have. With an error they are as sent."""

    response: list[FieldRequest]
    error: str | None
    detail: NotRequired[Detail]


@with_config(STRICT)
class _PerformOutcome(TypedDict, total=False):
    CreateEntity: CreateEntityOutcome
    DeleteEntity: DoneOutcome
    SetSchema: DoneOutcome
    GetSchema: SchemaOutcome
    GetCompleteSchema: SchemaOutcome
    UpdateEntity: UpdateEntityOutcome


#: The outcome of `Perform.request`, under the name of the request.
PerformOutcome = Annotated[_PerformOutcome, AfterValidator(exactly_one_key)]


@dataclass(slots=True)
class PerformResponse:
    """The response to `Perform`: with `request` its outcome, with `requests` that of `StorePerform`."""

    id: MessageId
    response: PerformOutcome | Ok[list[FieldRequest]] | Err
    detail: Detail | None = None
