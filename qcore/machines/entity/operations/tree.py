"""The requests of the store that rename an entity, and that move it to another parent."""

from __future__ import annotations

from typing import Final

from qcore.errors import FieldNotFound, ParentCycle
from qcore.machines.entity.operations.store_operation import OK_NULL, StoreOperation
from qcore.machines.entity.permission_checks import check_write
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.requests.store_requests import MoveBody, RenameBody
from qcore.machines.entity.state.entity import Entity
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.field_values import (
    Field,
    check_size,
    id_from_json,
    measured,
    optional_id_from_json,
)
from qcore.machines.entity.state.value import Value
from qcore.machines.entity.transaction import CHILDREN, NAME, PARENT, Transaction


def rename_entity(transaction: Transaction, entity_id: EntityId, name: str) -> None:
    """Write an entity's `Name`.

    Raises:
        EntityNotFound: there is no such entity.
        FieldNotFound: its type has no `Name`.
        ValueTooLarge: the name is too long for a field.
        TooManyOperations: the request takes too many steps.
    """
    transaction.count(1)
    check_write(transaction, entity_id.typ, NAME)
    _write(transaction, transaction.get(entity_id), NAME, Value("String", name))


def move_entity(transaction: Transaction, entity_id: EntityId, parent_id: EntityId | None) -> None:
    """Move an entity, with all below it, to the end of a parent's children; None: to the top level.

    Raises:
        EntityNotFound: the entity or the parent does not exist.
        FieldNotFound: the parent's type has no `Children`.
        ParentCycle: the parent is the entity itself, or below it.
        TooManyOperations: the parent is too deep in the tree.
    """
    check_write(transaction, entity_id.typ, PARENT)
    entity = transaction.get(entity_id)
    if parent_id is not None:
        check_write(transaction, parent_id.typ, CHILDREN)
        parent = transaction.get(parent_id)
        if CHILDREN not in transaction.schemas.slots(parent.entity_id.typ):
            raise FieldNotFound(
                f"entity {quoted(str(parent_id))} cannot be a parent: its type has no field Children"
            )
        _check_cycle(transaction, entity_id, parent)
    # A client may also have written it into the new parent's list.
    listings = (entity.created_under, transaction.reference(entity, PARENT), parent_id)
    for listing in dict.fromkeys(listings):
        before = None if listing is None else transaction.find(listing)
        if before is not None:
            check_write(transaction, before.entity_id.typ, CHILDREN)
            transaction.drop_children(before, [entity_id])
    entity = transaction.set_parent(transaction.get(entity_id), parent_id)
    if PARENT in transaction.schemas.slots(entity_id.typ):
        _write(transaction, entity, PARENT, Value("EntityReference", parent_id))
    if parent_id is not None:
        transaction.add_child(transaction.get(parent_id), entity_id)


def _check_cycle(transaction: Transaction, moved: EntityId, parent: Entity) -> None:
    """Walk from the new parent to the top level. References that clients wrote may already form a cycle."""
    seen: dict[EntityId, None] = {}
    above: Entity | None = parent
    while above is not None and above.entity_id not in seen:
        if above.entity_id == moved:
            raise ParentCycle(
                f"entity {quoted(str(moved))} cannot move below {quoted(str(parent.entity_id))}, which is the same "
                "entity or below it: choose another parent"
            )
        transaction.count(1)
        seen[above.entity_id] = None
        next_id = parent_of(transaction, above)
        above = None if next_id is None else transaction.find(next_id)


def parent_of(transaction: Transaction, entity: Entity) -> EntityId | None:
    """The parent in the tree: the written field `Parent`, or else the parent of its creation or last move."""
    slot = transaction.schemas.slots(entity.entity_id.typ).get(PARENT)
    written = entity.fields.get(PARENT)
    if slot is None or written is None or written.generation != slot.generation:
        return entity.created_under
    data = written.value.data
    return data if isinstance(data, EntityId) else None


def _write(transaction: Transaction, entity: Entity, name: str, value: Value) -> None:
    slot = transaction.slot(entity, name)
    value = measured(value)
    check_size(value, name)
    field = Field(value, transaction.time_ns, None, slot.generation)
    transaction.write(entity, name, slot, field, entity.field(name, slot))


def _rename(transaction: Transaction, body: RenameBody) -> str:
    rename_entity(transaction, id_from_json(body["entity_id"]), body["name"])
    return OK_NULL


def _move(transaction: Transaction, body: MoveBody) -> str:
    parent_id = optional_id_from_json(body["parent_id"])
    move_entity(transaction, id_from_json(body["entity_id"]), parent_id)
    return OK_NULL


TREE_OPERATIONS: Final = {
    "StoreRenameEntity": StoreOperation(_rename),
    "StoreMoveEntity": StoreOperation(_move),
}
