"""The commands and queries of the `Store...` messages: `{"StoreEntityExists": {"entity_id": {...}}}`.

The name is that of the message, and the body has the message's fields without `id`, `consistency` and `session`. The
log has such commands from apply rules 4 on (`qcore.machines.limits.STORE_RULES`).
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, TypeAdapter, with_config
from pydantic_core import ValidationError
from typing_extensions import TypedDict

from qcore.errors import BadRequest
from qcore.machines.entity.requests.perform_requests import TypeBody, explain
from qcore.machines.entity.state.field_values import STRICT, EntityIdJson, exactly_one_key


@with_config(STRICT)
class EntityBody(TypedDict):
    """Names an entity."""

    entity_id: EntityIdJson


@with_config(STRICT)
class _StoreRequest(TypedDict, total=False):
    StoreGetEntitySchema: TypeBody
    StoreEntityExists: EntityBody


#: One request: exactly one key, the name of the message.
StoreRequest = Annotated[_StoreRequest, AfterValidator(exactly_one_key)]

#: The names of all requests.
STORE_REQUESTS: Final = frozenset(_StoreRequest.__annotations__)

_adapter: TypeAdapter[_StoreRequest] = TypeAdapter(StoreRequest)


def parse_store_request(text: str) -> _StoreRequest:
    """Parse a command from the log, or a query.

    Raises:
        BadRequest: the text is not a request of the store.
    """
    try:
        return _adapter.validate_json(text)
    except ValidationError as error:
        raise BadRequest(explain(error, "request")) from error
