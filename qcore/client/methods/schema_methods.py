"""`SchemaMethods`: the messages about entity types, and those that hold the whole state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Unpack, cast

from qcore.client.methods.call_options import ReadOptions, WriteOptions
from qcore.client.methods.item_pages import all_items, page_options
from qcore.client.methods.method_base import ClientMethods, nothing
from qcore.client.request_sender import Json
from qcore.display import truncate
from qcore.errors import ConfigError
from qcore.machines.entity.state.entity_schema import EntitySchemaJson, FieldSchemaJson
from qcore.machines.entity.state.snapshot.store_snapshot import StoreSnapshot


@dataclass(frozen=True, slots=True)
class TypePage:
    """A page of the names of entity types.

    Attributes:
        items: the names, sorted.
        total: how many types there are on all pages.
        next_cursor: the `cursor` for the next page; None on the last page.
    """

    items: list[str]
    total: int | None
    next_cursor: str | None


class SchemaMethods(ClientMethods):
    """The methods about entity types. Schemas have the form of the wire: docs/reference/messages.md."""

    async def set_schema(
        self, schema: EntitySchemaJson | Mapping[str, Json], **options: Unpack[WriteOptions]
    ) -> None:
        """Add an entity type, or replace its schema.

        Raises:
            StoreError: the schema is invalid, or gives a field of existing entities another kind.
        """
        await self._write("StoreSetEntitySchema", {"schema": _mapping(schema)}, nothing, options)

    async def get_schema(
        self, entity_type: str, *, complete: bool = False, **options: Unpack[ReadOptions]
    ) -> EntitySchemaJson | None:
        """A type's own schema, or None if there is no such type.

        Args:
            entity_type: the type.
            complete: include the fields that it inherits. Then an unknown type is a `StoreError`.
            options: see `ReadOptions`.
        """
        name = "StoreGetCompleteEntitySchema" if complete else "StoreGetEntitySchema"
        return await self._read(name, {"entity_type": entity_type}, _entity_schema, options)

    async def set_field_schema(
        self,
        entity_type: str,
        field_type: str,
        schema: FieldSchemaJson | Mapping[str, Json],
        **options: Unpack[WriteOptions],
    ) -> None:
        """Add a field to a type, or replace the field's schema."""
        fields = {"entity_type": entity_type, "field_type": field_type, "schema": _mapping(schema)}
        await self._write("StoreSetFieldSchema", fields, nothing, options)

    async def get_field_schema(
        self, entity_type: str, field_type: str, **options: Unpack[ReadOptions]
    ) -> FieldSchemaJson | None:
        """The schema of a field of a type, inherited or not; None if there is none."""
        fields = {"entity_type": entity_type, "field_type": field_type}
        return await self._read("StoreGetFieldSchema", fields, _field_schema, options)

    async def get_entity_types(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **options: Unpack[ReadOptions],
    ) -> TypePage:
        """A page of the names of all types; `limit` None means 100."""
        fields = {"page_opts": page_options(limit, cursor)}
        return await self._read("StoreGetEntityTypes", fields, _type_page, options)

    def entity_types(self, **options: Unpack[ReadOptions]) -> AsyncIterator[str]:
        """The names of all types, fetched page by page."""
        return all_items(
            lambda limit, cursor: self.get_entity_types(limit=limit, cursor=cursor, **options)
        )

    async def take_snapshot(self, **options: Unpack[ReadOptions]) -> StoreSnapshot:
        """The whole state in one message, if it is small; `save_snapshot` copies a state of any size.

        Raises:
            QcoreError: the state is too large (`TooLarge`); the text names the way for any size.
        """
        return await self._read("StoreTakeSnapshot", {}, _snapshot, options)

    async def restore_snapshot(
        self, snapshot: StoreSnapshot | Mapping[str, Json], **options: Unpack[WriteOptions]
    ) -> None:
        """Replace the whole state by a snapshot of `take_snapshot`. All watches end.

        Raises:
            StoreError: the snapshot is invalid, and the state is as before.
        """
        await self._write(
            "StoreRestoreSnapshot", {"snapshot": _mapping(snapshot)}, nothing, options
        )


def _mapping(value: Mapping[str, Json]) -> dict[str, Json]:
    """A copy of a mapping.

    Raises:
        ConfigError: it is not one.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{truncate(repr(value))} is not a mapping: give the form of the wire")
    return dict(value)


def _entity_schema(result: Json) -> EntitySchemaJson | None:
    if result is not None and not isinstance(result["fields"], dict):
        raise ValueError("expected the fields of a schema")
    return cast("EntitySchemaJson | None", result)


def _field_schema(result: Json) -> FieldSchemaJson | None:
    if result is not None and len(dict(result)) != 1:
        raise ValueError("expected an object with one key")
    return cast("FieldSchemaJson | None", result)


def _type_page(result: Json) -> TypePage:
    return TypePage(list(result["items"]), result["total"], result["next_cursor"])


def _snapshot(result: Json) -> StoreSnapshot:
    if not isinstance(result["checksum"], str):
        raise ValueError("expected a checksum")
    return cast("StoreSnapshot", result)
