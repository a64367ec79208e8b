"""The names that the shell completes, from the cluster: types, fields, and the names below an entity."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from qcore.cli.clients.connection_options import tls_files
from qcore.cli.clients.shared_clients import ClientKind, SharedClients
from qcore.cli.options import DEFAULT_ENDPOINT, split_endpoints
from qcore.cli.store.access.entity_names import Types, find_entity, read_column
from qcore.client import Client, EntityId
from qcore.errors import QcoreError
from qcore.machines.entity.state.entity_schema import FieldSchema

#: A key press waits so long for the cluster.
_TIMEOUT_S: Final = 1.0
#: How long fetched names are good.
_KEPT_S: Final = 5.0
#: The most names that are offered of one entity's children.
_MOST: Final = 500

_T = TypeVar("_T")


class ClusterNames:
    """Fetches names and keeps them for a moment. A cluster that does not answer in time gives no names.

    Args:
        clients: the clients of the shell.
        endpoints: returns the text of `--endpoints`.
    """

    def __init__(self, clients: SharedClients, endpoints: Callable[[], str | None]) -> None:
        self._clients = clients
        self._endpoints = endpoints
        self._kept: dict[tuple[str, ...], tuple[float, Any]] = {}  # each fetch has its type

    def types(self) -> list[str]:
        """The names of all types."""

        async def work(client: Client) -> list[str]:
            return (await client.get_entity_types(limit=_MOST)).items

        return self._fetch(("types",), work) or []

    def fields(self, entity_type: str) -> dict[str, FieldSchema]:
        """The fields of a type."""

        async def work(client: Client) -> dict[str, FieldSchema]:
            return (await Types(client).get(entity_type)).fields

        return self._fetch(("fields", entity_type), work) or {}

    def type_of(self, entity: str) -> str | None:
        """The type of the entity that a text names."""

        async def work(client: Client) -> str:
            return (await find_entity(client, entity)).typ

        return self._fetch(("type", entity), work)

    def type_behind(self, entity: str, path: str) -> str | None:
        """The type of the entity that a reference of another one refers to, such as `Parent` or `Parent->Parent`."""

        async def work(client: Client) -> str | None:
            value = await client.read(await find_entity(client, entity), path)
            return value.typ if isinstance(value, EntityId) else None

        return self._fetch(("behind", entity, path), work)

    def below(self, names: tuple[str, ...]) -> list[str]:
        """The names of the entities directly below a path."""

        async def work(client: Client) -> list[str]:
            above: EntityId | None = await client.find_by_path(names) if names else None
            children = (await client.get_children(above, limit=_MOST)).items
            found = await read_column(client, Types(client), children, "Name")
            return [str(field.value) for field in found.values()]

        return self._fetch(("below", *names), work) or []

    def _fetch(self, key: tuple[str, ...], work: Callable[[Client], Awaitable[_T]]) -> _T | None:
        """The result of `work`, or None. Completion only helps: an error here must not disturb the line."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < _KEPT_S:
            result: _T | None = kept[1]
            return result
        try:
            endpoints = tuple(split_endpoints(self._endpoints() or DEFAULT_ENDPOINT))
            kind = ClientKind(endpoints, _TIMEOUT_S, _TIMEOUT_S, False, tls_files())
            result = self._clients.run(kind, work)
        except QcoreError:
            result = None
        self._kept[key] = (time.monotonic(), result)
        return result

    def forget(self) -> None:
        """Fetch everything again: a command may have changed the names."""
        self._kept.clear()
