"""CreateEntity, DeleteEntity, SetSchema and LoadTopology: what comes into being, changes shape and goes."""

from __future__ import annotations

from collections.abc import Mapping

from qcore.errors import StoreError
from qcore.store.errors import AlreadyLoaded, FieldNotFound, SchemaInvalid, quoted
from qcore.store.records import Entity, Field, Transaction
from qcore.store.requests import LoadTopologyBody, TopologyEntityJson
from qcore.store.schema import EntitySchema, schema_from_json
from qcore.store.values import EntityId, Kind, Value, value_from_json


def create_entity(
    transaction: Transaction, entity_type: str, parent_id: EntityId | None, name: str
) -> EntityId:
    """Create an entity with its type's defaults, under a parent or at the top.

    Raises:
        TypeNotFound: the type has no schema.
        EntityNotFound: the parent does not exist.
        FieldNotFound: the parent's type has no `Children`.
    """
    schema = transaction.schemas.complete(entity_type)
    parent = None if parent_id is None else transaction.get(parent_id)
    if parent is not None and "Children" not in parent.fields:
        raise FieldNotFound(
            f"entity {quoted(str(parent_id))} cannot be a parent: its type has no field Children"
        )
    entity_id = transaction.new_id(entity_type)
    transaction.add(_new_entity(transaction, schema, entity_id, parent_id, name))
    if parent is not None:
        children = _targets(parent, "Children")
        _write(transaction, parent, Value("EntityList", (*children, entity_id)))
    return entity_id


def delete_entity(transaction: Transaction, entity_id: EntityId) -> None:
    """Delete an entity and its descendants, and take them off the lists of parents that remain.

    References to them elsewhere stay and dangle; following one is an error of its own.

    Raises:
        EntityNotFound: there is no such entity.
    """
    doomed = _descendants(transaction, transaction.get(entity_id))
    for entity in doomed.values():
        transaction.delete(entity)
    for parent_id in _parents(doomed):
        parent = transaction.find(parent_id)
        children = () if parent is None else _targets(parent, "Children")
        left = tuple(child for child in children if child not in doomed)
        if parent is not None and len(left) < len(children):
            _write(transaction, parent, Value("EntityList", left))


def _descendants(transaction: Transaction, top: Entity) -> dict[EntityId, Entity]:
    """The entity and all below it. Lists that clients wrote may lead round in a circle or nowhere."""
    found = {top.entity_id: top}
    to_visit = [top]
    while to_visit:
        for child_id in _targets(to_visit.pop(), "Children"):
            child = None if child_id in found else transaction.find(child_id)
            if child is not None:
                found[child_id] = child
                to_visit.append(child)
    return found


def _parents(doomed: Mapping[EntityId, Entity]) -> dict[EntityId, None]:
    """Whoever may list one of these as a child, in a fixed order."""
    parents: dict[EntityId, None] = {}
    for entity in doomed.values():
        if entity.created_under is not None:
            parents[entity.created_under] = None
        if "Parent" in entity.fields and isinstance(
            target := entity.fields["Parent"].value.data, EntityId
        ):
            parents[target] = None
    return parents


def set_schemas(transaction: Transaction, changed: list[EntitySchema]) -> None:
    """Add or replace schemas, and give the existing entities their new fields.

    A new field, and one whose kind changed or whose choice no longer exists, gets the default; a removed
    field goes with its value; other values stay, also where the default changed.

    Raises:
        StoreError: what `Schemas.updated` raises.
    """
    before, after = transaction.schemas, transaction.schemas.updated(changed)
    transaction.schemas = after
    for entity_type in after.subtypes(schema.entity_type for schema in changed):
        new = after.complete(entity_type)
        if entity_type in before.own and _shape(before.complete(entity_type)) == _shape(new):
            continue
        for entity in transaction.of_types([entity_type]):
            fields = {name: _migrated(transaction, entity, new, name) for name in new.fields}
            transaction.reshape(entity, fields)


def _shape(schema: EntitySchema) -> dict[str, tuple[Kind, int]]:
    """What decides whether an entity's values fit: kinds, and how many choices there are."""
    return {name: (field.kind, len(field.choices)) for name, field in schema.fields.items()}


def _migrated(transaction: Transaction, entity: Entity, schema: EntitySchema, name: str) -> Field:
    field = entity.fields.get(name)
    if field is not None:
        try:
            schema.fields[name].accept(field.value)
        except StoreError:
            field = None  # the value does not fit the new schema
    return field or Field(schema.fields[name].default, transaction.time_ns, None)


def load_topology(transaction: Transaction, body: LoadTopologyBody) -> list[EntityId]:
    """Set the schemas and create the tree, once in the life of a cluster.

    Returns:
        the new ids, in the order of the topology's entities.

    Raises:
        AlreadyLoaded: a topology was loaded before.
        StoreError: the topology is wrong; `topology.parse_topology` finds that earlier, with the line.
    """
    if transaction.loaded:
        raise AlreadyLoaded("a topology was loaded before: it is loaded once, by the first node")
    set_schemas(transaction, [schema_from_json(schema) for schema in body["schemas"]])
    ids = [transaction.new_id(entity["entity_type"]) for entity in body["entities"]]
    children = _children_by_parent(body["entities"], ids)
    for position, json in enumerate(body["entities"]):
        entity = _loaded_entity(transaction, json, ids, position)
        if position in children:
            entity = _with_children(transaction, entity, tuple(children[position]))
        transaction.add(entity)
    transaction.loaded = True
    return ids


def _children_by_parent(
    entities: list[TopologyEntityJson], ids: list[EntityId]
) -> dict[int, list[EntityId]]:
    children: dict[int, list[EntityId]] = {}
    for position, entity in enumerate(entities):
        parent = entity["parent"]
        if parent is not None:
            if parent >= position:
                raise SchemaInvalid(f"entity {position} of the topology comes before its parent")
            children.setdefault(parent, []).append(ids[position])
    return children


def _loaded_entity(
    transaction: Transaction, json: TopologyEntityJson, ids: list[EntityId], position: int
) -> Entity:
    schema = transaction.schemas.complete(json["entity_type"])
    parent = None if json["parent"] is None else ids[json["parent"]]
    entity = _new_entity(transaction, schema, ids[position], parent, json["name"])
    for name, value_json in json["attributes"].items():
        entity.field(name)  # refuses an unknown one
        value = value_from_json(value_json)
        schema.fields[name].accept(value)
        entity.fields[name] = Field(value, transaction.time_ns, None)
    return entity


def _with_children(
    transaction: Transaction, entity: Entity, children: tuple[EntityId, ...]
) -> Entity:
    if "Children" not in entity.fields:
        raise FieldNotFound(
            f"entity type {quoted(entity.entity_id.typ)} cannot have children: it has no field Children"
        )
    field = Field(Value("EntityList", children), transaction.time_ns, None)
    return entity._replace(fields={**entity.fields, "Children": field})


def _new_entity(
    transaction: Transaction,
    schema: EntitySchema,
    entity_id: EntityId,
    parent_id: EntityId | None,
    name: str,
) -> Entity:
    """A record with defaults, `Name` and `Parent`. Not yet published: its fields may still be set."""
    now = transaction.time_ns
    fields = {key: Field(field.default, now, None) for key, field in schema.fields.items()}
    if "Name" in fields:
        fields["Name"] = Field(Value("String", name), now, None)
    if "Parent" in fields:
        fields["Parent"] = Field(Value("EntityReference", parent_id), now, None)
    return Entity(entity_id, fields, parent_id)


def _targets(entity: Entity, field_type: str) -> tuple[EntityId, ...]:
    field = entity.fields.get(field_type)
    data = None if field is None else field.value.data
    # An EntityId is a tuple too.
    return data if isinstance(data, tuple) and not isinstance(data, EntityId) else ()


def _write(transaction: Transaction, parent: Entity, children: Value) -> None:
    transaction.write(parent, "Children", Field(children, transaction.time_ns, None))
