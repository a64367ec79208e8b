"""`StoreOperation`: what executes one request of the store, and the forms of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from qcore.machines.entity.transaction import Transaction


def always(_: object) -> bool:
    """For a request that only reads."""
    return True


def never(_: object) -> bool:
    """For a request that changes the state."""
    return False


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
    reads: Callable[[Any], bool] = never


#: The result of a request that has no other.
OK_NULL = '{"Ok":null}'


def ok(value: object) -> str:
    """The text of a result."""
    return f'{{"Ok":{to_json(value).decode()}}}'
