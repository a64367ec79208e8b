"""The requests of `Perform` (docs/reference/wire.md), and how a node turns one into a log command.

A node passes a client's request to `parse_request` and gets `("write" | "read", payload)` for its replica.
`PerformRequest` is the same check in the form of a type, for validating whole envelopes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NotRequired, cast

from pydantic import AfterValidator, FailFast, Field, TypeAdapter, with_config
from pydantic_core import ErrorDetails, PydanticSerializationError, ValidationError, to_json
from typing_extensions import TypedDict

from qcore.errors import BadRequest
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.name_bounds import check_names
from qcore.machines.entity.requests.plain_text import plain_text
from qcore.machines.entity.state.entity_schema import EntitySchemaJson
from qcore.machines.entity.state.field_values import AdjustBehavior
from qcore.machines.entity.state.wire.value_json import (
    STRICT,
    EntityIdJson,
    TimestampJson,
    ValueJson,
    exactly_one_key,
)
from qcore.machines.limits import STORE_RULES


@with_config(STRICT)
class ReadBody(TypedDict):
    """Read a field. The last three fields are null in a request. The response fills them in."""

    entity_id: EntityIdJson
    field_type: str
    value: ValueJson | None
    write_time: TimestampJson | None
    writer_id: EntityIdJson | None


@with_config(STRICT)
class WriteBody(TypedDict):
    """Write a field. A null value writes the schema's default; a null time means now."""

    entity_id: EntityIdJson
    field_type: str
    value: ValueJson | None
    push_condition: Literal["Always", "Changes"]
    adjust_behavior: AdjustBehavior
    write_time: TimestampJson | None
    writer_id: EntityIdJson | None


@with_config(STRICT)
class _FieldRequest(TypedDict, total=False):
    Read: ReadBody
    Write: WriteBody


FieldRequest = Annotated[_FieldRequest, AfterValidator(exactly_one_key)]


@with_config(STRICT)
class UpdateEntityBody(TypedDict):
    """Reads and writes, executed in order, all or none of them."""

    request: Annotated[list[FieldRequest], FailFast()]


@with_config(STRICT)
class CreateEntityBody(TypedDict):
    """A new entity with the defaults of its type."""

    entity_type: str
    parent_id: EntityIdJson | None
    name: str


@with_config(STRICT)
class DeleteEntityBody(TypedDict):
    """Delete an entity and all its descendants."""

    entity_id: EntityIdJson


@with_config(STRICT)
class SetSchemaBody(TypedDict):
    """Add or replace a type's schema."""

    entity_schema: EntitySchemaJson


@with_config(STRICT)
class TypeBody(TypedDict):
    """Get a type's schema: its own fields, or the complete schema."""

    entity_type: str


@with_config(STRICT)
class _PerformRequest(TypedDict, total=False):
    UpdateEntity: UpdateEntityBody
    CreateEntity: CreateEntityBody
    DeleteEntity: DeleteEntityBody
    SetSchema: SetSchemaBody
    GetSchema: TypeBody
    GetCompleteSchema: TypeBody


#: The requests that a client may put into `Perform.request`.
PerformRequest = Annotated[_PerformRequest, AfterValidator(exactly_one_key)]


@with_config(STRICT)
class TopologyEntityJson(TypedDict):
    """An entity of a topology. `parent` is the list position of its parent, which comes before the entity."""

    entity_type: str
    name: str
    parent: Annotated[int, Field(ge=0)] | None
    attributes: dict[str, ValueJson]


@with_config(STRICT)
class NamedTopologyEntityJson(TopologyEntityJson):
    """An entity of a topology from apply rules 4 on. In the topology, references to `id` mean the new entity."""

    id: NotRequired[EntityIdJson]


@with_config(STRICT)
class _OldTopologyBody(TypedDict):
    schemas: list[EntitySchemaJson]
    entities: list[TopologyEntityJson]


@with_config(STRICT)
class LoadTopologyBody(TypedDict):
    """Schemas and a tree of entities, flattened so that the depth of the tree does not matter."""

    schemas: list[EntitySchemaJson]
    entities: list[NamedTopologyEntityJson]


@with_config(STRICT)
class _OldCommand(_PerformRequest, total=False):
    LoadTopology: _OldTopologyBody


@with_config(STRICT)
class _Command(_PerformRequest, total=False):
    LoadTopology: LoadTopologyBody


#: The commands that the log may contain: these requests and the topology, which no client can send.
Command = Annotated[_Command, AfterValidator(exactly_one_key)]

RequestKind = Literal["write", "read"]

_ERRORS_SHOWN = 3

_request_adapter: TypeAdapter[_PerformRequest] = TypeAdapter(PerformRequest)
_command_adapter: TypeAdapter[_Command] = TypeAdapter(Command)
#: Before apply rules 4, an entity of a topology had no `id`.
_old_command_adapter: TypeAdapter[_OldCommand] = TypeAdapter(
    Annotated[_OldCommand, AfterValidator(exactly_one_key)]
)


def parse_request(request: str | bytes | Mapping[str, object]) -> tuple[RequestKind, str]:
    """Check a client's request and decide where it goes.

    Args:
        request: the value of `Perform.request`, as JSON text or already parsed.

    Returns:
        `write` with the command for the log, or `read` with the query for the state machine. Both are
        canonical JSON text (known fields in fixed order, no spaces).

    Raises:
        BadRequest: the request does not have the right shape; the text names the field.
        NameTooLong: the name of a type or field in it is too long.
    """
    try:
        if isinstance(request, str | bytes):
            valid = _request_adapter.validate_json(request)
        else:
            valid = _request_adapter.validate_python(request)
    except ValidationError as error:
        raise BadRequest(explain(error, "request")) from error
    return encode_request(valid)


def encode_request(request: PerformRequest) -> tuple[RequestKind, str]:
    """Like `parse_request`, for a request that is already validated as a `PerformRequest`."""
    if "UpdateEntity" in request:
        plain = plain_text(request["UpdateEntity"]["request"])
        if plain is not None:
            return plain[0], f'{{"UpdateEntity":{{"request":[{plain[1]}]}}}}'
    kind: RequestKind = "read" if is_read_only(request) else "write"
    try:
        text = to_json(request).decode()
    except PydanticSerializationError as error:  # parsed by a lenient parser: json.loads
        raise BadRequest("request: a text contains a lone surrogate, half a character") from error
    check_names(request, text)
    return kind, text


def parse_command(text: str, *, rules: int = STORE_RULES) -> Command:
    """Parse a command from the log, or a query, that is applied under these rules.

    Raises:
        BadRequest: the text is not a command.
    """
    try:
        if rules >= STORE_RULES:
            return _command_adapter.validate_json(text)
        # Every old command is a command, which a type checker cannot see: their lists have different items.
        return cast("Command", _old_command_adapter.validate_json(text))
    except ValidationError as error:
        raise BadRequest(explain(error, "command")) from error


def encode_topology(body: LoadTopologyBody) -> str:
    """Return the log command that loads a topology."""
    return to_json({"LoadTopology": body}).decode()


def is_read_only(request: PerformRequest | Command) -> bool:
    """Whether the request changes nothing and so need not go through the log."""
    if "UpdateEntity" in request:
        return all("Read" in item for item in request["UpdateEntity"]["request"])
    return "GetSchema" in request or "GetCompleteSchema" in request


def explain(
    error: ValidationError, root: str, known: Sequence[str] = tuple(_PerformRequest.__annotations__)
) -> str:
    """Format the first few errors, as in `request.CreateEntity.name: missing field`.

    Args:
        root: what was validated; empty if the path of a field begins with the request's name.
        known: the names of the requests.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(_explain_one(detail, root, known) for detail in details[:_ERRORS_SHOWN])


def _explain_one(detail: ErrorDetails, root: str, known: Sequence[str]) -> str:
    segments = [_segment(part) for part in detail["loc"]]
    where = ".".join([root, *segments] if root else segments) or "request"
    if detail["type"] == "missing":
        return f"{where}: missing field"
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        return f"{where}: unknown request; it must be one of {', '.join(known)}"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown field"
    return f"{where}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _segment(part: str | int) -> str:
    if isinstance(part, int) or part.isidentifier():
        return str(part) if len(str(part)) <= 80 else quoted(str(part))
    return quoted(part)
