"""The table of the messages of the entity store: which request of the store each stands for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from pydantic_core import to_json

from qcore.machines.entity.operations.operation_table import STORE_OPERATIONS
from qcore.machines.entity.requests.plain_text import plain_text
from qcore.replica.messages import RequestKind
from qcore.store_api import added_messages, short_spelling, store_messages, store_responses

#: The fields of a message that are not the request's.
_OPTIONS: Final = frozenset({"id", "consistency", "session"})


@dataclass(slots=True, frozen=True)
class StoreMessage:
    """A message of the entity store.

    Attributes:
        name: its name on the wire.
        cls: its class.
        request: the request of the store that it stands for.
        response: the class of its response.
        bare: whether the response holds a value without `Ok`. If so, an error is sent as an `Error` envelope.
        body: the names of the request's fields.
    """

    name: str
    cls: type
    request: str
    response: type
    bare: bool
    body: tuple[str, ...]

    def payload(self, message: Any) -> tuple[RequestKind, str]:
        """Return whether a message reads or writes, and the command or query for the store."""
        if self.request == "StorePerform":
            plain = plain_text(message.requests)
            if plain is not None:
                return plain[0], f'{{"StorePerform":{{"requests":[{plain[1]}]}}}}'
        body = {name: getattr(message, name) for name in self.body}
        kind: RequestKind = "read" if STORE_OPERATIONS[self.request].reads(body) else "write"
        return kind, to_json({self.request: body}).decode()


#: The request that becomes several commands; see `qcore.node.api.store.restore_requests`.
RESTORE: Final = "StoreRestoreSnapshot"
#: The requests whose response is a bare value.
_BARE: Final = frozenset({"StoreEntityExists", "StoreFieldExists", "StoreTakeSnapshot"})


def _entry(cls: type, request: str, response: type) -> StoreMessage:
    body = tuple(each.name for each in fields(cls) if each.name not in _OPTIONS)
    return StoreMessage(cls.__name__, cls, request, response, request in _BARE, body)


def _table() -> dict[str, StoreMessage]:
    table: dict[str, StoreMessage] = {}
    for module in (store_messages, added_messages):
        for name, cls in vars(module).items():
            if name in STORE_OPERATIONS or name == RESTORE:
                response = getattr(store_responses, f"{name}Response")
                table[name] = _entry(cls, name, response)
                short = name.removeprefix("Store")
                if hasattr(short_spelling, short):
                    table[short] = _entry(
                        getattr(short_spelling, short),
                        name,
                        getattr(short_spelling, f"{short}Response"),
                    )
    return table


#: Every message by its name on the wire. `Perform` is not among them, because it is a message of every state machine.
STORE_MESSAGES: Final = _table()
