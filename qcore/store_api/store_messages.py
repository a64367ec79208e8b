"""The messages of the entity store that clients send, spelled with `Store`.

`qcore.store_api.short_spelling` has the same messages without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qcore.machines.entity.requests.perform_requests import FieldRequest
from qcore.machines.entity.requests.restore_commands import RestoredSnapshot
from qcore.machines.entity.requests.store_requests import PageOptions
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, FieldSchemaJson
from qcore.machines.entity.state.wire.value_json import EntityIdJson
from qcore.transport.perform_options import Consistency, SessionUse
from qcore.transport.wire import MessageId


@dataclass(slots=True)
class StoreCreateEntity:
    """Create an entity with the defaults of its type, and set its `Name` and `Parent`.

    Attributes:
        parent_id: the parent; null for the top level.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    entity_type: str
    parent_id: EntityIdJson | None
    name: str
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreDeleteEntity:
    """Delete an entity and all below it.

    Attributes:
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    entity_id: EntityIdJson
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreSetEntitySchema:
    """Add a type, or replace its schema.

    Attributes:
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    schema: EntitySchemaJson
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreGetEntitySchema:
    """Get a type's own schema; null if there is none.

    Attributes:
        consistency: how the read is served.
    """

    id: MessageId
    entity_type: str
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreGetCompleteEntitySchema:
    """Get a type's schema with the fields that it inherits.

    Attributes:
        consistency: how the read is served.
    """

    id: MessageId
    entity_type: str
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreSetFieldSchema:
    """Add a field to a type, or replace the field's schema.

    Attributes:
        field_type: the field's name, as in `schema`.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    entity_type: str
    field_type: str
    schema: FieldSchemaJson
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreGetFieldSchema:
    """Get the schema of a field of a type, inherited or not; null if there is none.

    Attributes:
        consistency: how the read is served.
    """

    id: MessageId
    entity_type: str
    field_type: str
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreEntityExists:
    """Whether an entity exists.

    Attributes:
        consistency: how the read is served.
    """

    id: MessageId
    entity_id: EntityIdJson
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreTakeSnapshot:
    """Get the whole state, if it is small. `SaveSnapshot` copies a state of any size.

    Attributes:
        consistency: how the read is served.
    """

    id: MessageId
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreRestoreSnapshot:
    """Replace the whole state by a snapshot of `StoreTakeSnapshot`. All watches end.

    Attributes:
        snapshot: its `version` and `checksum` are optional, and checked if they are present.
        session: apply it once, however often it is sent.
    """

    id: MessageId
    snapshot: RestoredSnapshot
    session: SessionUse | None = None
    consistency: ClassVar[Consistency] = "linearizable"


@dataclass(slots=True)
class StoreFieldExists:
    """Whether an entity has a field. A path leads to another entity's field.

    Attributes:
        field_type: the field's name, or a path to one.
        consistency: how the read is served.
    """

    id: MessageId
    entity_id: EntityIdJson
    field_type: str
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreFindEntities:
    """Find the entities of a type and of all types that inherit it.

    Attributes:
        page_opts: which page; null for the first 100.
        filter: only entities for which this is true, in CEL. `Parent->Name` is a path.
        consistency: how the read is served.
    """

    id: MessageId
    entity_type: str
    page_opts: PageOptions | None
    filter: str | None = None
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreFindEntitiesExact:
    """Find the entities of exactly this type.

    Attributes:
        page_opts: which page; null for the first 100.
        filter: only entities for which this is true, in CEL. `Parent->Name` is a path.
        consistency: how the read is served.
    """

    id: MessageId
    entity_type: str
    page_opts: PageOptions | None
    filter: str | None = None
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StoreGetEntityTypes:
    """Get the names of all types.

    Attributes:
        page_opts: which page; null for the first 100.
        consistency: how the read is served.
    """

    id: MessageId
    page_opts: PageOptions | None
    consistency: Consistency = "linearizable"
    session: ClassVar[None] = None


@dataclass(slots=True)
class StorePerform:
    """Execute reads and writes in order, all or none of them.

    Attributes:
        consistency: how the request is served if it only reads.
        session: apply the command once, however often it is sent.
    """

    id: MessageId
    requests: list[FieldRequest]
    consistency: Consistency = "linearizable"
    session: SessionUse | None = None
