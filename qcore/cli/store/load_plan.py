"""Compares a topology with a cluster: which types and entities are missing, and which fields differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from qcore.cli.store.access.entity_names import Types, join_path, read_column, read_present
from qcore.client import Client, EntityId, ReadField
from qcore.client.entity_values import encode_value
from qcore.errors import Refused
from qcore.machines.entity.requests.perform_requests import NamedTopologyEntityJson
from qcore.machines.entity.state.entity_schema import EntitySchema, schema_from_json
from qcore.machines.entity.state.field_values import value_to_json
from qcore.machines.entity.topology.schema_file import parents_first
from qcore.machines.entity.topology.topology_file import Topology

#: The ids of the file -> the entities of the cluster.
Names = Mapping[EntityId, EntityId]


@dataclass(frozen=True)
class FieldToWrite:
    """A field that the file names.

    Attributes:
        position: the place of its entity in the file.
        field_type: its name.
        value: the tagged value of the wire, with the ids of the file.
    """

    position: int
    field_type: str
    value: Mapping[str, Any]


def schemas_to_set(
    topology: Topology, present: Mapping[str, EntitySchema], names: Names
) -> list[EntitySchema]:
    """The schemas of the file that the cluster does not have, in an order in which each comes after its parent.

    Args:
        topology: the file.
        present: the own schemas of the cluster's types.
        names: the entities of the file that exist. References to the others become null for now.
    """
    known = ids_in_file(topology.entities)
    wanted = [schema_from_json(with_names(schema, names, known)) for schema in topology.schemas]
    return [schema for schema in parents_first(wanted) if present.get(schema.entity_type) != schema]


def id_in_file(entity: NamedTopologyEntityJson) -> EntityId | None:
    """The id by which the file refers to one of its entities."""
    given = entity.get("id")
    return None if given is None else EntityId(given["typ"], given["id"])


def ids_in_file(entities: Iterable[NamedTopologyEntityJson]) -> set[EntityId]:
    """The ids by which the file refers to its entities."""
    return {one for one in map(id_in_file, entities) if one is not None}


def with_names(json: Any, names: Names, known: set[EntityId]) -> Any:
    """JSON of the wire with the cluster's ids in the place of the file's.

    Args:
        json: a schema or a value.
        names: the new ids.
        known: all ids of the file. One without a new id becomes null, and leaves a list.
    """
    match json:
        case {"typ": str(typ), "id": int(number), **more} if not more:
            old = EntityId(typ, number)
            if old in names:
                return {"typ": names[old].typ, "id": names[old].id}
            return None if old in known else json
        case dict():
            return {key: with_names(value, names, known) for key, value in json.items()}
        case list():
            items = [with_names(item, names, known) for item in json]
            return [
                item
                for item, old in zip(items, json, strict=True)
                if item is not None or old is None
            ]
        case _:
            return json


async def match_entities(
    client: Client, types: Types, entities: Sequence[NamedTopologyEntityJson]
) -> list[EntityId | None]:
    """The entity of the cluster at the path of each entity of the file; None where there is none.

    The second entity of the file with the same path and type is the second one in the cluster, and so on.

    Raises:
        Refused: the only entity at a path has another type.
    """
    found: list[EntityId | None] = [None] * len(entities)
    for level in _levels(entities):
        parents = dict.fromkeys(
            found[parent] if parent is not None else None
            for parent in (entities[position]["parent"] for position in level)
        )
        lists = await _children_by_name(client, types, [one for one in parents if one is not None])
        if None in parents and entities[level[0]]["parent"] is None:
            top = [entity async for entity in client.children(None)]
            lists[None] = _by_name(top, await _names(client, types, top))
        for position in level:
            entity = entities[position]
            parent = entity["parent"]
            above = None if parent is None else found[parent]
            if parent is not None and above is None:
                continue  # its parent is new
            same_name = lists.get(above, {}).get(entity["name"], [])
            taken = next((one for one in same_name if one.typ == entity["entity_type"]), None)
            if taken is not None:
                same_name.remove(taken)
                found[position] = taken
            elif same_name:
                raise Refused(
                    f"{path_in_file(entities, position)} is {same_name[0]} in the cluster, and the file says that its "
                    f"type is {entity['entity_type']}: rename or delete one of them"
                )
    return found


def path_in_file(entities: Sequence[NamedTopologyEntityJson], position: int) -> str:
    """The path of an entity of the file."""
    names: list[str] = []
    current: int | None = position
    while current is not None:
        names.append(entities[current]["name"])
        current = entities[current]["parent"]
    return join_path(reversed(names))


async def fields_to_write(
    client: Client,
    types: Types,
    entities: Sequence[NamedTopologyEntityJson],
    found: Sequence[EntityId | None],
    names: Names,
    defaults: Sequence[FieldToWrite],
) -> list[FieldToWrite]:
    """The fields of the file, and these defaults, that differ from the cluster; of new entities all."""
    known = ids_in_file(entities)
    named = [*_named_fields(entities), *defaults]
    present: list[FieldToWrite] = []
    reads: list[ReadField] = []
    for field in named:
        entity = found[field.position]
        # Without the types of the file, a dry run may lack the field.
        if entity is not None and await types.has(entity, field.field_type):
            present.append(field)
            reads.append(ReadField(entity, field.field_type))
    values = await read_present(client, reads)
    same = {
        (field.position, field.field_type)
        for field, read in zip(present, values, strict=True)
        if read is not None
        and encode_value(read.value) == with_names(field.value, names, known)
        and _is_complete(field.value, names, known)
    }
    return [field for field in named if (field.position, field.field_type) not in same]


def defaults_in_file(
    topology: Topology, present: Mapping[str, EntitySchema], positions: Iterable[int]
) -> list[FieldToWrite]:
    """The fields of new entities whose default names an entity of the file.

    When the entities are created, the schemas cannot refer to them yet. An entity keeps the default of its creation.
    """
    entities = topology.entities
    known = ids_in_file(entities)
    schemas = {
        **present,
        **{each["entity_type"]: schema_from_json(each) for each in topology.schemas},
    }
    by_type: dict[str, list[tuple[str, Any]]] = {}
    for name in dict.fromkeys(entity["entity_type"] for entity in entities):
        fields: dict[str, Any] = {}
        current: str | None = name
        while current is not None and current in schemas:
            own = schemas[current].fields.values()
            fields = {each.field_type: value_to_json(each.default) for each in own} | fields
            current = schemas[current].inherit
        by_type[name] = [one for one in fields.items() if not _is_complete(one[1], {}, known)]
    return [
        FieldToWrite(position, name, value)
        for position in positions
        for name, value in by_type[entities[position]["entity_type"]]
        if name not in entities[position]["attributes"]
    ]


def _is_complete(value: Any, names: Names, known: set[EntityId]) -> bool:
    """Whether all entities of the file that a value names exist."""
    match value:
        case {"typ": str(typ), "id": int(number), **more} if not more:
            return EntityId(typ, number) in names or EntityId(typ, number) not in known
        case dict():
            return all(_is_complete(each, names, known) for each in value.values())
        case list():
            return all(_is_complete(each, names, known) for each in value)
        case _:
            return True


def _named_fields(entities: Sequence[NamedTopologyEntityJson]) -> Iterator[FieldToWrite]:
    for position, entity in enumerate(entities):
        for name, value in entity["attributes"].items():
            yield FieldToWrite(position, name, cast("Mapping[str, Any]", value))


def _levels(entities: Sequence[NamedTopologyEntityJson]) -> list[list[int]]:
    """The places of the entities by their depth, the top level first."""
    depths: list[int] = []
    levels: list[list[int]] = []
    for position, entity in enumerate(entities):
        parent = entity["parent"]
        depths.append(0 if parent is None else depths[parent] + 1)
        if depths[-1] == len(levels):
            levels.append([])
        levels[depths[-1]].append(position)
    return levels


async def _children_by_name(
    client: Client, types: Types, parents: Sequence[EntityId]
) -> dict[EntityId | None, dict[str, list[EntityId]]]:
    children: dict[EntityId, list[EntityId]] = {}
    for parent, field in (await read_column(client, types, parents, "Children")).items():
        assert isinstance(field.value, list), "Children is a list of entities"
        children[parent] = field.value
    names = await _names(client, types, [child for each in children.values() for child in each])
    return {parent: _by_name(each, names) for parent, each in children.items()}


def _by_name(
    entities: Sequence[EntityId], names: Mapping[EntityId, str]
) -> dict[str, list[EntityId]]:
    found: dict[str, list[EntityId]] = {}
    for entity in entities:
        if entity in names:
            found.setdefault(names[entity], []).append(entity)
    return found


async def _names(client: Client, types: Types, entities: Sequence[EntityId]) -> dict[EntityId, str]:
    """The names of entities; empty if the type has none. Deleted entities are left out."""
    fields = await read_column(client, types, entities, "Name")
    names: dict[EntityId, str] = {}
    for entity in entities:
        if entity in fields:
            names[entity] = str(fields[entity].value)
        elif not await types.has(entity, "Name"):
            names[entity] = ""
    return names
