"""How a command names an entity: by its id, or by the names from the top level down to it.

| text | meaning |
|---|---|
| `User$7` | the entity with this id |
| `Root/Users/ada`, `/Root/Users/ada` | the path from the top level |
| `/Root/User$7` | a path: a text that begins with `/` is never an id |
| `/Root/a\\/b` | a backslash before `/` or a backslash makes it part of a name |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from qcore.client import Client, EntityId, Field, ReadField, parse_id
from qcore.display import printable
from qcore.errors import ConfigError, EntityNotFound
from qcore.machines.entity.state.entity_schema import EntitySchema, schema_from_json

#: How many fields one request reads.
_BATCH: Final = 500
_ID: Final = re.compile(r"[^/$][^$]*\$[0-9]+", re.ASCII)
_NAME: Final = re.compile(r"(?:[^/\\]|\\.)*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


class _Current:
    """The entity of the shell's `cd`, as the names from the top level."""

    names: tuple[str, ...] = ()


def current_names() -> tuple[str, ...]:
    """The names that lead to the current entity; none for the top level."""
    return _Current.names


def set_current(names: Iterable[str]) -> None:
    """Make another entity the current one: paths without a leading `/` begin there."""
    _Current.names = tuple(names)


def is_id(text: str) -> bool:
    """Whether a text is an entity's id. Any other text is a path."""
    return _ID.fullmatch(text) is not None


def split_path(path: str) -> list[str]:
    """The names from the top level that a path means; none for the top level.

    A path without a leading `/` begins at the current entity: at the top level, except in the shell. It may begin with
    `.` and `..`. A `/` at the end means nothing.

    Raises:
        ConfigError: the path ends with a single backslash, or goes above the top level.
    """
    names = [] if path.startswith("/") else list(_Current.names)
    parts = split_names(path.removeprefix("/"))
    while not path.startswith("/") and parts and parts[0] in (".", ".."):
        if parts.pop(0) == "..":
            if not names:
                raise ConfigError(f"'{printable(path)}' goes above the top level: / is the highest")
            names.pop()
    return names + parts


def split_names(path: str) -> list[str]:
    """The names between the slashes of a path.

    Raises:
        ConfigError: the path ends with a single backslash.
    """
    names: list[str] = []
    while path:
        found = _NAME.match(path)
        assert found is not None, "it matches the empty text"
        rest = path[found.end() :]
        if rest and rest[0] != "/":
            raise ConfigError(
                f"the path '{printable(path)}' ends with a backslash: write two for one in a name"
            )
        names.append(_ESCAPED.sub(r"\1", found[0]))
        path = rest[1:]
    return names


def join_path(names: Iterable[str]) -> str:
    """The path of these names, which `split_path` splits into them again. It begins with `/`."""
    parts = [name.replace("\\", "\\\\").replace("/", "\\/") for name in names]
    # A path may end with `/`, so the last name needs another one if it is empty.
    return "/" + "/".join(parts) + ("/" if parts and not parts[-1] else "")


async def find_entity(client: Client, text: str) -> EntityId:
    """The entity that a text names.

    Raises:
        ConfigError: the text names the top level, which is no entity.
        EntityNotFound: there is no such path.
    """
    found = await find_entity_or_top(client, text)
    if found is None:
        raise ConfigError(
            "/ is the top level and no entity: name an entity, such as /Root or User$7"
        )
    return found


async def find_entity_or_top(client: Client, text: str) -> EntityId | None:
    """Like `find_entity`; None for the top level, `/`."""
    if not text:
        raise ConfigError("the name of the entity is empty: give an id such as User$7, or a path")
    if is_id(text):
        return parse_id(text)
    names = split_path(text)
    if "" in names:
        raise ConfigError(
            f"the path '{printable(text)}' has an empty name: write it like /Root/Users/ada, or give the entity's id"
        )
    return await client.find_by_path(names) if names else None


# -- reading many entities ---------------------------------------------------------------------------


async def read_present(client: Client, requests: Sequence[ReadField]) -> list[Field | None]:
    """Read many fields, in batches. None for a field of an entity that does not exist any more."""
    found: list[Field | None] = []
    for start in range(0, len(requests), _BATCH):
        found += await _read_batch(client, requests[start : start + _BATCH])
    return found


async def _read_batch(client: Client, requests: Sequence[ReadField]) -> list[Field | None]:
    try:
        return list(await client.read_fields(requests))
    except EntityNotFound:
        if len(requests) == 1:
            return [None]
    middle = len(requests) // 2  # one of them is gone: find out which
    return [
        *await _read_batch(client, requests[:middle]),
        *await _read_batch(client, requests[middle:]),
    ]


class Types:
    """The complete schemas of the types that a command meets, fetched once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, EntitySchema] = {}

    async def get(self, entity_type: str) -> EntitySchema:
        """The complete schema of a type.

        Raises:
            TypeNotFound: there is none.
        """
        if entity_type not in self._known:
            json = await self._client.get_schema(entity_type, complete=True)
            if json is None:
                raise TypeError("a complete schema that is missing is an error")
            self._known[entity_type] = schema_from_json(json)
        return self._known[entity_type]

    async def has(self, entity: EntityId, field_type: str) -> bool:
        """Whether an entity has a field."""
        return field_type in (await self.get(entity.typ)).fields


async def read_column(
    client: Client, types: Types, entities: Sequence[EntityId], field_type: str
) -> dict[EntityId, Field]:
    """One field of many entities. Entities that lack it, or do not exist any more, are left out."""
    asked = [entity for entity in entities if await types.has(entity, field_type)]
    found = await read_present(client, [ReadField(entity, field_type) for entity in asked])
    return {entity: field for entity, field in zip(asked, found, strict=True) if field is not None}


async def paths_of(
    client: Client, types: Types, entities: Sequence[EntityId]
) -> dict[EntityId, str]:
    """The paths of entities. An entity below one that has no name field has an empty name in its path."""
    names: dict[EntityId, str] = {}
    parents: dict[EntityId, EntityId | None] = {}
    wanted = list(dict.fromkeys(entities))
    while wanted:
        named = await read_column(client, types, wanted, "Name")
        above = await read_column(client, types, wanted, "Parent")
        for entity in wanted:
            name = named[entity].value if entity in named else ""
            parent = above[entity].value if entity in above else None
            names[entity] = name if isinstance(name, str) else ""
            parents[entity] = parent if isinstance(parent, EntityId) else None
        wanted = [
            one for one in dict.fromkeys(parents.values()) if one is not None and one not in parents
        ]
    return {entity: join_path(_names_to(entity, names, parents)) for entity in entities}


def _names_to(
    entity: EntityId, names: dict[EntityId, str], parents: dict[EntityId, EntityId | None]
) -> list[str]:
    found: list[str] = []
    current: EntityId | None = entity
    while current is not None and len(found) <= len(parents):  # a move meanwhile may close a cycle
        found.append(names[current])
        current = parents[current]
    return found[::-1]
