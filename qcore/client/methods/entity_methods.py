"""`EntityMethods`: the messages about entities and their fields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Unpack

from qcore.client.entity_values import (
    Entity,
    EntityLike,
    Field,
    Value,
    WritableValue,
    advise,
    decode_field,
    decode_id,
    encode_id,
    encode_optional_id,
)
from qcore.client.methods.call_options import ReadOptions, WriteOptions
from qcore.client.methods.field_requests import (
    BulkRequest,
    FieldRequest,
    PushCondition,
    ReadField,
    encode_requests,
    encode_write,
)
from qcore.client.methods.item_pages import all_items, page_options
from qcore.client.methods.method_base import ClientMethods, nothing
from qcore.client.request_sender import Json
from qcore.display import truncate
from qcore.errors import ConfigError, KindMismatch
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import AdjustBehavior

#: The result of one request of a bulk: the id of `CreateEntity`, the field of `ReadField` and `WriteField`, else None.
BulkResult: TypeAlias = EntityId | Field | None


@dataclass(frozen=True, slots=True)
class EntityPage:
    """A page of entity ids.

    Attributes:
        items: the ids; there may be fewer than the limit, even if more pages follow.
        total: how many entities there are on all pages; None if the node does not count them.
        next_cursor: the `cursor` for the next page; None on the last page.
    """

    items: list[EntityId]
    total: int | None
    next_cursor: str | None


class EntityMethods(ClientMethods):
    """The methods about entities."""

    async def create_entity(
        self,
        entity_type: str,
        name: str,
        parent: EntityLike | None = None,
        **options: Unpack[WriteOptions],
    ) -> Entity:
        """Create an entity with the defaults of its type; returns it with all its fields.

        Raises:
            StoreError: there is no such type or parent.
        """
        fields = {
            "entity_type": entity_type,
            "parent_id": encode_optional_id(parent),
            "name": name,
        }
        return await self._write("StoreCreateEntity", fields, _entity, options)

    async def delete_entity(self, entity: EntityLike, **options: Unpack[WriteOptions]) -> None:
        """Delete an entity and all below it."""
        fields = {"entity_id": encode_id(entity)}
        await self._write("StoreDeleteEntity", fields, nothing, options)

    async def entity_exists(self, entity: EntityLike, **options: Unpack[ReadOptions]) -> bool:
        """Whether an entity exists."""
        fields = {"entity_id": encode_id(entity)}
        return await self._read("StoreEntityExists", fields, truth, options)

    async def field_exists(
        self, entity: EntityLike, field_type: str, **options: Unpack[ReadOptions]
    ) -> bool:
        """Whether an entity has a field; a path leads to another entity's field."""
        fields = {"entity_id": encode_id(entity), "field_type": field_type}
        return await self._read("StoreFieldExists", fields, truth, options)

    async def read(
        self, entity: EntityLike, field_type: str, **options: Unpack[ReadOptions]
    ) -> Value:
        """Read the value of a field; a path such as `Parent->Name` leads to another entity's field.

        The read is linearizable, so it reflects every write acknowledged before, unless `consistency` says otherwise.
        """
        return (await self.read_field(entity, field_type, **options)).value

    async def read_field(
        self, entity: EntityLike, field_type: str, **options: Unpack[ReadOptions]
    ) -> Field:
        """Read a field with its value, write time and writer."""
        return (await self._read_together([ReadField(entity, field_type)], options))[0]

    async def get_entity(
        self,
        entity: EntityLike,
        field_types: Sequence[str] | None = None,
        **options: Unpack[ReadOptions],
    ) -> Entity:
        """Read several fields of an entity together, by default all fields of its type.

        Raises:
            StoreError: there is no such entity or field.
        """
        entity_id = decode_id(encode_id(entity))
        names = field_types
        if names is None:
            body = {"entity_type": entity_id.typ}
            names = await self._read("StoreGetCompleteEntitySchema", body, _field_names, options)
        requests = [ReadField(entity_id, name) for name in names]
        found = await self._read_together(requests, options)
        return Entity(entity_id, {field.field_type: field for field in found})

    async def write(
        self,
        entity: EntityLike,
        field_type: str,
        value: WritableValue,
        *,
        push_condition: PushCondition = "Always",
        adjust_behavior: AdjustBehavior = "Set",
        **options: Unpack[WriteOptions],
    ) -> Field:
        """Write a field; returns the field with its new value.

        Args:
            entity: the entity.
            field_type: the field's name; a path such as `Parent->Name` leads to another entity's field.
            value: the value; `qcore.client.DEFAULT` writes the default of the schema.
            push_condition: with `Changes`, an equal value writes nothing.
            adjust_behavior: `Add` and `Subtract` change the value instead of replacing it.
            options: see `WriteOptions`.
        """
        write = encode_write(entity, field_type, value, push_condition, adjust_behavior)
        try:
            return await self._write("StorePerform", {"requests": [write]}, _field, options)
        except KindMismatch as error:
            raise advise(error) from None

    async def update(
        self, requests: Sequence[FieldRequest], **options: Unpack[WriteOptions]
    ) -> list[Field]:
        """Execute writes and reads in order, all or none of them; returns the field of each.

        Raises:
            StoreError: a request failed, and nothing took effect.
        """
        if all(isinstance(request, ReadField) for request in requests):
            return await self._read_together(requests, {"timeout_s": options.get("timeout_s")})
        fields = {"requests": encode_requests(requests, only_fields=True)}
        try:
            return await self._write("StorePerform", fields, _fields, options)
        except KindMismatch as error:
            raise advise(error) from None

    async def read_fields(
        self, requests: Sequence[ReadField], **options: Unpack[ReadOptions]
    ) -> list[Field]:
        """Read several fields, also of different entities, at one moment."""
        return await self._read_together(requests, options)

    async def _read_together(
        self, requests: Sequence[FieldRequest], options: ReadOptions
    ) -> list[Field]:
        fields = {"requests": encode_requests(requests, only_fields=True)}
        return await self._read("StorePerform", fields, _fields, options)

    async def bulk(
        self, requests: Sequence[BulkRequest], **options: Unpack[WriteOptions]
    ) -> list[BulkResult]:
        """Execute creates, writes and more in order, all or none of them; `Created(n)` names what request n creates.

        Returns:
            For each request: the id of a `CreateEntity`, the field of a `ReadField` or `WriteField`, else None.

        Raises:
            StoreError: a request failed, and nothing took effect; the text names its place. Or the list is too long:
                it holds up to 4,000 creates.
        """
        fields = {"requests": encode_requests(requests)}
        try:
            return await self._write("StoreBulk", fields, _bulk_results, options)
        except KindMismatch as error:
            raise advise(error) from None

    async def rename_entity(
        self, entity: EntityLike, name: str, **options: Unpack[WriteOptions]
    ) -> None:
        """Write an entity's `Name`."""
        fields = {"entity_id": encode_id(entity), "name": name}
        await self._write("StoreRenameEntity", fields, nothing, options)

    async def move_entity(
        self, entity: EntityLike, parent: EntityLike | None, **options: Unpack[WriteOptions]
    ) -> None:
        """Move an entity, with all below it, to the end of another parent's children; None is the top level."""
        fields = {"entity_id": encode_id(entity), "parent_id": encode_optional_id(parent)}
        await self._write("StoreMoveEntity", fields, nothing, options)

    async def find_by_path(
        self, path: str | Sequence[str], **options: Unpack[ReadOptions]
    ) -> EntityId:
        """Find an entity by the names from the top level down to it.

        Args:
            path: `Root/Users/ada`, or a list of names, which may contain `/`.
            options: see `ReadOptions`.

        Raises:
            StoreError: no entity has this path.
        """
        if not isinstance(path, Sequence):
            raise ConfigError(
                f"path: {truncate(repr(path))} is not a path: give a text such as Root/Users, or a list of names"
            )
        fields = {"path": path if isinstance(path, str) else list(path)}
        return await self._read("StoreFindByPath", fields, decode_id, options)

    async def get_children(
        self,
        entity: EntityLike | None,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **options: Unpack[ReadOptions],
    ) -> EntityPage:
        """A page of an entity's children in their order; with None, of the entities at the top level.

        Args:
            entity: the parent.
            limit: the most ids of the page; None for 100.
            cursor: the `next_cursor` of the page before.
            options: see `ReadOptions`.
        """
        fields = {"entity_id": encode_optional_id(entity), "page_opts": page_options(limit, cursor)}
        return await self._read("StoreGetChildren", fields, _entity_page, options)

    def children(
        self, entity: EntityLike | None = None, **options: Unpack[ReadOptions]
    ) -> AsyncIterator[EntityId]:
        """All children of an entity, fetched page by page; without an argument, the entities at the top level."""
        return all_items(
            lambda limit, cursor: self.get_children(entity, limit=limit, cursor=cursor, **options)
        )

    async def find_entities(
        self,
        entity_type: str,
        filter: str | None = None,  # noqa: A002 - the name of the field on the wire
        *,
        exact: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        **options: Unpack[ReadOptions],
    ) -> EntityPage:
        """A page of the entities of a type.

        Args:
            entity_type: the type.
            filter: only entities for which this is true, in CEL, such as `Size > 3 && Parent->Name == "Root"`.
            exact: leave out the types that inherit this one.
            limit: the most ids of the page; None for 100.
            cursor: the `next_cursor` of the page before.
            options: see `ReadOptions`.

        Raises:
            StoreError: there is no such type, or the filter is wrong.
        """
        fields = {
            "entity_type": entity_type,
            "page_opts": page_options(limit, cursor),
            "filter": filter,
        }
        name = "StoreFindEntitiesExact" if exact else "StoreFindEntities"
        return await self._read(name, fields, _entity_page, options)

    def entities(
        self,
        entity_type: str,
        filter: str | None = None,  # noqa: A002 - the name of the field on the wire
        *,
        exact: bool = False,
        **options: Unpack[ReadOptions],
    ) -> AsyncIterator[EntityId]:
        """All entities of a type, fetched page by page. See `find_entities`."""
        return all_items(
            lambda limit, cursor: self.find_entities(
                entity_type, filter, exact=exact, limit=limit, cursor=cursor, **options
            )
        )


# -- the forms of the wire ---------------------------------------------------------------------------


def truth(result: Json) -> bool:
    """Decode true or false."""
    if not isinstance(result, bool):
        raise ValueError("expected true or false")
    return result


def _entity(result: Json) -> Entity:
    fields = {name: decode_field(field) for name, field in result["fields"].items()}
    return Entity(decode_id(result["entity_id"]), fields)


def _field_names(result: Json) -> list[str]:
    return list(result["fields"])


def _field(result: Json) -> Field:
    ((body,),) = [item.values() for item in result]
    return decode_field(body)


def _fields(result: Json) -> list[Field]:
    return [decode_field(next(iter(item.values()))) for item in result]


def _entity_page(result: Json) -> EntityPage:
    items = [decode_id(item) for item in result["items"]]
    return EntityPage(items, result["total"], result["next_cursor"])


def _bulk_results(result: Json) -> list[BulkResult]:
    return [_bulk_result(*next(iter(item.items()))) for item in result]


def _bulk_result(name: str, body: Json) -> BulkResult:
    if name == "CreateEntity":
        return decode_id(body["entity_id"])
    return decode_field(body) if name in ("Read", "Write") else None
