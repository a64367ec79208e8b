"""The messages of the entity store that only qcore has: names, moves, children, bulk commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.machines.entity.requests.bulk_requests import BulkRequest
from qcore.machines.entity.requests.store_requests import PageOptions
from qcore.machines.entity.state.wire.value_json import EntityIdJson
from qcore.transport.perform_options import Consistency, SessionUse
from qcore.transport.wire import MessageId


@dataclass(slots=True)
class StoreRenameEntity:
    """Write an entity's `Name`.

    Attributes:
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    entity_id: EntityIdJson
    name: str
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreMoveEntity:
    """Move an entity, with all below it, to the end of another parent's children.

    Attributes:
        parent_id: the new parent; null for the top level.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    entity_id: EntityIdJson
    parent_id: EntityIdJson | None
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreBulk:
    """Execute creates, writes and more, all or none of them.

    Later requests can refer to entities that earlier ones create.

    Attributes:
        requests: an id in them may be `{"created": N}`: the entity that request N of the list creates, counted from
            0.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    requests: list[BulkRequest]
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreFindByPath:
    """Find an entity by the names from the top level down to it.

    Attributes:
        path: `Root/Users/Admin`, or a list of names, which may contain `/`.
        consistency: how the read is served.
    """

    id: MessageId
    path: str | list[str]
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreGetChildren:
    """Get an entity's children in their order.

    Attributes:
        entity_id: the parent; null for the entities at the top level.
        page_opts: which page; null for the first 100.
        consistency: how the read is served.
    """

    id: MessageId
    entity_id: EntityIdJson | None
    page_opts: PageOptions | None
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None
