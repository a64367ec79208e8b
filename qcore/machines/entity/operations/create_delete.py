"""Executes the requests CreateEntity, DeleteEntity, SetSchema and LoadTopology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qcore.errors import AlreadyLoaded, FieldNotFound, SchemaInvalid
from qcore.machines.entity.permission_checks import (
    check_delete,
    check_everything,
    check_may_change_schemas,
    check_schemas,
    check_write,
)
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.perform_requests import LoadTopologyBody, TopologyEntityJson
from qcore.machines.entity.state.complete_type import Slot
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import EntitySchema, schema_from_json
from qcore.machines.entity.state.field_values import (
    Field,
    check_size,
    id_from_json,
    measured,
    value_from_json,
)
from qcore.machines.entity.state.value import Kind, Value
from qcore.machines.entity.topology.renamed_references import renamed, renamed_in_schema
from qcore.machines.entity.transaction import CHILDREN, NAME, PARENT, Transaction
from qcore.machines.limits import FIELDS_PER_STEP, MAX_OPERATIONS, STEPS_PER_ENTITY
from qcore.machines.permissions import ANY


def create_entity(
    transaction: Transaction, entity_type: str, parent_id: EntityId | None, name: str
) -> EntityId:
    """Create an entity with its type's defaults, under a parent or at the top level.

    Raises:
        PermissionDenied: the user may not create it, or not there.
        TypeNotFound: the type has no schema.
        EntityNotFound: the parent does not exist.
        FieldNotFound: the parent's type has no `Children`.
        ValueTooLarge: the name is too long for a field.
        TooManyOperations: the request takes too many steps.
    """
    if transaction.store_rules:
        transaction.count(STEPS_PER_ENTITY)
    check_write(transaction, entity_type, ANY)
    slots = transaction.schemas.slots(entity_type)
    for field in (NAME, PARENT):
        if field in slots:
            check_write(transaction, entity_type, field)
    if parent_id is not None:
        check_write(transaction, parent_id.typ, CHILDREN)
    parent = None if parent_id is None else transaction.get(parent_id)
    if parent is not None and CHILDREN not in transaction.schemas.slots(parent.entity_id.typ):
        raise FieldNotFound(
            f"entity {quoted(str(parent_id))} cannot be a parent: its type has no field Children"
        )
    entity_id = transaction.new_id(entity_type)
    transaction.add(_new_entity(transaction, slots, entity_id, parent_id, name))
    if parent is not None:
        transaction.add_child(parent, entity_id)
    return entity_id


def delete_entity(transaction: Transaction, entity_id: EntityId) -> None:
    """Delete an entity and its descendants, and remove them from the lists of parents that remain.

    Other references to them stay. Following one is an error (`DanglingReference`).

    Raises:
        PermissionDenied: the user may not delete one of them, or may not write the list of a parent.
        EntityNotFound: there is no such entity.
        TooManyOperations: it has too many descendants to delete in one step.
    """
    check_write(transaction, entity_id.typ, ANY)
    doomed = _descendants(transaction, transaction.get(entity_id))
    check_delete(transaction, (each.typ for each in doomed))
    lists = _parents(transaction, doomed)
    for parent_id in lists:
        if parent_id not in doomed and transaction.find(parent_id) is not None:
            check_write(transaction, parent_id.typ, CHILDREN)
    for entity in doomed.values():
        transaction.delete(entity)
    for parent_id, children in lists.items():
        parent = transaction.find(parent_id)
        if parent is not None:
            transaction.drop_children(parent, children if transaction.sparse else doomed)


def _descendants(transaction: Transaction, top: Entity) -> dict[EntityId, Entity]:
    """The entity and all entities below it. Lists written by clients may contain cycles or missing entities."""
    found = {top.entity_id: top}
    to_visit = [top]
    while to_visit:
        entity = to_visit.pop()
        transaction.count(1 + len(entity.fields) // FIELDS_PER_STEP)
        for child_id in transaction.targets(entity, CHILDREN):
            child = None if child_id in found else transaction.find(child_id)
            if child is None:
                transaction.count(1)
            else:
                found[child_id] = child
                to_visit.append(child)
                if len(to_visit) > MAX_OPERATIONS:
                    transaction.count(len(to_visit))  # each of them would count later
    return found


def _parents(
    transaction: Transaction, doomed: Mapping[EntityId, Entity]
) -> dict[EntityId, dict[EntityId, None]]:
    """The entities that may list some of `doomed` as children, in a fixed order, each with those children."""
    parents: dict[EntityId, dict[EntityId, None]] = {}
    for entity in doomed.values():
        for parent in (entity.created_under, transaction.reference(entity, "Parent")):
            if parent is not None:
                parents.setdefault(parent, {})[entity.entity_id] = None
    return parents


def set_schemas(transaction: Transaction, changed: list[EntitySchema]) -> None:
    """Add or replace schemas, and give existing entities their new fields.

    A new field, or one whose kind changed, reads as the default. A removed field disappears with its value. Other
    values stay, even if the default changed. A choice that no longer exists reads as the default: under apply rules 1
    and 2 for ever, from rules 3 on until the choice exists again.

    Raises:
        PermissionDenied: the user may not change these schemas.
        StoreError: see `Schemas.plan_change`.
    """
    check_may_change_schemas(transaction)
    before = transaction.schemas

    def note_work(operations: int) -> None:
        transaction.operations += operations  # `plan_change` has limited them

    change = before.plan_change(changed, transaction.moment, transaction.oldest, note_work)
    check_schemas(transaction, change.complete)
    transaction.change_schemas(change)
    if transaction.sparse:
        return
    after = before.after(change)
    for entity_type in after.own:  # the order of types decides the order of the changes
        complete = change.complete.get(entity_type)
        if complete is None:
            continue
        known = entity_type in before.own
        if known and _shape(before.slots(entity_type)) == _shape(complete.slots):
            continue
        for entity in transaction.of_types([entity_type]):
            fields = {
                name: _migrated(transaction, entity, slot) for name, slot in complete.slots.items()
            }
            transaction.reshape(entity, fields)


def _shape(slots: Mapping[str, Slot]) -> dict[str, tuple[Kind, int]]:
    """The kinds and the numbers of choices, which decide whether an entity's values still fit."""
    return {name: (slot.schema.kind, len(slot.schema.choices)) for name, slot in slots.items()}


def _migrated(transaction: Transaction, entity: Entity, slot: Slot) -> Field:
    field = entity.fields.get(slot.schema.field_type)
    if field is not None and slot.schema.fits(field.value):
        return field
    return Field(slot.schema.default, transaction.time_ns, None)


def load_topology(transaction: Transaction, body: LoadTopologyBody) -> list[EntityId]:
    """Set the schemas and create the tree, once in the life of a cluster.

    Returns:
        the new ids, in the order of the topology's entities.

    Raises:
        AlreadyLoaded: a topology was loaded before.
        StoreError: the topology is invalid; `topology_file.parse_topology` finds that earlier, with the line.
    """
    check_everything(transaction, "read", "write")
    if transaction.loaded:
        raise AlreadyLoaded("a topology was loaded before: it is loaded once, by the first node")
    entities = body["entities"]
    new_ids = transaction.next_ids(entity["entity_type"] for entity in entities)
    names = {
        id_from_json(entity["id"]): new_id
        for entity, new_id in zip(entities, new_ids, strict=True)
        if "id" in entity
    }
    schemas = [schema_from_json(schema) for schema in body["schemas"]]
    set_schemas(transaction, [renamed_in_schema(schema, names) for schema in schemas])
    transaction.use_new_schemas()
    ids = [transaction.new_id(entity["entity_type"]) for entity in body["entities"]]
    children = _children_by_parent(body["entities"], ids)
    for position, json in enumerate(body["entities"]):
        entity = _loaded_entity(transaction, json, ids, position, names)
        if position in children:
            entity = _with_children(transaction, entity, tuple(children[position]))
        transaction.add(entity)
    transaction.loaded = True
    return ids


def _children_by_parent(
    entities: Sequence[TopologyEntityJson], ids: list[EntityId]
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
    transaction: Transaction,
    json: TopologyEntityJson,
    ids: list[EntityId],
    position: int,
    names: Mapping[EntityId, EntityId],
) -> Entity:
    slots = transaction.schemas.slots(json["entity_type"])
    parent = None if json["parent"] is None else ids[json["parent"]]
    entity = _new_entity(transaction, slots, ids[position], parent, json["name"])
    fields = {**entity.fields}
    for name, value_json in json["attributes"].items():
        slot = transaction.slot(entity, name)  # raises for an unknown field
        value = renamed(value_from_json(value_json), names)
        slot.schema.accept(value)
        if transaction.store_rules:
            check_size(value, name)
        fields[name] = Field(value, transaction.time_ns, None, slot.generation)
    return entity._replace(fields=fields)


def _with_children(
    transaction: Transaction, entity: Entity, children: tuple[EntityId, ...]
) -> Entity:
    slot = transaction.schemas.slots(entity.entity_id.typ).get(CHILDREN)
    if slot is None:
        raise FieldNotFound(
            f"entity type {quoted(entity.entity_id.typ)} cannot have children: it has no field Children"
        )
    value = Value("EntityList", children)
    if transaction.sparse:
        value = Value("EntityList", transaction.new_children(entity, children))
    field = Field(value, transaction.time_ns, None, slot.generation)
    return entity._replace(fields={**entity.fields, CHILDREN: field})


def _new_entity(
    transaction: Transaction,
    slots: Mapping[str, Slot],
    entity_id: EntityId,
    parent_id: EntityId | None,
    name: str,
) -> Entity:
    """A record with `Name` and `Parent`; a full one also has all defaults. The caller may still set its fields."""
    now = transaction.time_ns
    fields: dict[str, Field] = {}
    if not transaction.sparse:
        fields = {key: Field(slot.schema.default, now, None) for key, slot in slots.items()}
    slot = slots.get(NAME)
    if slot is not None:
        text = measured(Value("String", name))
        if transaction.store_rules:
            check_size(text, NAME)
        fields[NAME] = Field(text, now, None, slot.generation)
    slot = slots.get("Parent")
    if slot is not None:
        parent = measured(Value("EntityReference", parent_id))
        fields["Parent"] = Field(parent, now, None, slot.generation)
    return Entity(entity_id, fields, parent_id, now if transaction.sparse else None)
