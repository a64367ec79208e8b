"""The table of the store's requests: what executes each, and what its response looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from qcore.machines.entity.state.entity_schema import schema_to_json
from qcore.machines.entity.state.field_values import id_from_json
from qcore.machines.entity.transaction import Transaction


@dataclass(slots=True, frozen=True)
class StoreOperation:
    """One request of the store.

    Attributes:
        execute: executes a validated body, and returns the JSON text of the response's `response`, such as
            `{"Ok":null}`. It raises a `StoreError` if the request fails; the transaction is then rolled back.
        reads: whether a request with this body changes nothing.
    """

    #: `Any`: each function takes the body that its name has in `store_requests`.
    execute: Callable[[Transaction, Any], str]
    reads: Callable[[Any], bool]


def always(_: object) -> bool:
    """A request that only reads."""
    return True


def never(_: object) -> bool:
    """A request that changes the state."""
    return False


def ok(value: object) -> str:
    """The text of a result."""
    return f'{{"Ok":{to_json(value).decode()}}}'


def _get_schema(transaction: Transaction, body: Any) -> str:
    schema = transaction.schemas.own.get(body["entity_type"])
    return ok(None if schema is None else schema_to_json(schema))


def _entity_exists(transaction: Transaction, body: Any) -> str:
    return "true" if transaction.find(id_from_json(body["entity_id"])) is not None else "false"


#: Every request by name.
STORE_OPERATIONS: Final[Mapping[str, StoreOperation]] = {
    "StoreGetEntitySchema": StoreOperation(_get_schema, always),
    "StoreEntityExists": StoreOperation(_entity_exists, always),
}
