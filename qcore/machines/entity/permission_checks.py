"""Checks what the user of a request may see, read and write: by the rules of its roles, and by the schema of a field.

A rule for a type counts for the types that inherit it. A field with a `read_permission` or `write_permission` is only
for users that hold it, whatever the rules say. Every function allows everything if the view has no permissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from qcore.errors import PermissionDenied
from qcore.machines.entity.quoted_text import quoted
from qcore.machines.entity.state.complete_type import CompleteType
from qcore.machines.entity.state.entity_id import EntityId
from qcore.machines.entity.state.entity_schema import EntitySchema, FieldSchema
from qcore.machines.entity.transaction import Transaction
from qcore.machines.permissions import ANY, Permissions

Access = Literal["read", "write"]


def allows_everything(permissions: Permissions | None) -> bool:
    """Whether no check can fail for a user with these permissions."""
    return permissions is None or permissions.unrestricted


def check_see(view: Transaction, entity_type: str) -> None:
    """Check that the user may learn of a type and of its entities.

    Raises:
        PermissionDenied: it may not.
    """
    if not may_see(view, entity_type):
        raise _denied(view, f"a rule for the type {quoted(entity_type)}")


def may_see(view: Transaction, entity_type: str) -> bool:
    """Whether the user may learn of a type and of its entities."""
    permissions = view.permissions
    if permissions is None or permissions.unrestricted:
        return True
    known = view.known_checks
    key = (entity_type, "", "see")
    if key not in known:
        seen = any(map(permissions.may_see, _lineage(view, entity_type)))
        known[key] = None if seen else ""
    return known[key] is None


def check_read(view: Transaction, entity_type: str, field: str) -> None:
    """Check that the user may read a field of a type's entities.

    Raises:
        PermissionDenied: it may not.
    """
    _check(view, entity_type, field, "read")


def check_write(view: Transaction, entity_type: str, field: str) -> None:
    """Check that the user may write a field of a type's entities; with `ANY`: create and delete them.

    Raises:
        PermissionDenied: it may not.
    """
    _check(view, entity_type, field, "write")


def may_read(view: Transaction, entity_type: str, field: str) -> bool:
    """Whether the user may read a field of a type's entities."""
    return _lacks(view, entity_type, field, "read") is None


def check_delete(view: Transaction, entity_types: Iterable[str]) -> None:
    """Check that the user may delete entities of these types. That needs write access to each of their fields.

    Raises:
        PermissionDenied: it may not.
    """
    if view.permissions is None:
        return
    for entity_type in dict.fromkeys(entity_types):
        check_write(view, entity_type, ANY)
        for field in view.schemas.slots(entity_type):
            check_write(view, entity_type, field)


def check_everything(view: Transaction, *accesses: Access) -> None:
    """Check that the user may read or write every field of every type, whatever permissions the schemas ask for.

    Raises:
        PermissionDenied: it may not.
    """
    permissions = view.permissions
    if permissions is None or permissions.unrestricted:
        return
    for access in accesses:
        if not _has_rule(permissions, ANY, ANY, access):
            raise _denied(view, f"{access} access to every field of every type")
        for name in view.schemas.own:
            for field in view.schemas.get(name).fields.values():
                _check_held(view, _needed(field, access), f"field {quoted(field.field_type)}")


def check_may_change_schemas(view: Transaction) -> None:
    """Check that the user may read and write everything, because a schema decides what rules and fields mean.

    Check it first: why a change is not valid shows which types and fields there are.

    Raises:
        PermissionDenied: it may not.
    """
    permissions = view.permissions
    if permissions is None or permissions.unrestricted:
        return
    for access in ("read", "write"):
        if not _has_rule(permissions, ANY, ANY, access):
            raise _denied(view, f"{access} access to every field of every type, to change schemas")


def check_schemas(view: Transaction, changed: Mapping[str, CompleteType]) -> None:
    """Check that the user holds the permissions of the fields that a change of schemas changes or removes.

    Args:
        view: with the schemas before the change.
        changed: the complete types after the change.

    Raises:
        PermissionDenied: it may not.
    """
    permissions = view.permissions
    if permissions is None or permissions.unrestricted:
        return
    for name, complete in changed.items():
        if name not in view.schemas.own:
            continue
        for field, slot in view.schemas.slots(name).items():
            after = complete.slots.get(field)
            if after is None or (after.schema is not slot.schema and after.schema != slot.schema):
                for needed in (slot.schema.read_permission, slot.schema.write_permission):
                    _check_held(view, needed, f"field {quoted(field)} of type {quoted(name)}")


def visible_schema(view: Transaction, schema: EntitySchema) -> EntitySchema:
    """A schema without the fields that the user may not read: a default is the value of many entities.

    Raises:
        PermissionDenied: the user may not see the type.
    """
    if view.permissions is None:
        return schema
    name = schema.entity_type
    check_see(view, name)
    fields = {field: found for field, found in schema.fields.items() if may_read(view, name, field)}
    return schema._replace(fields=fields)


def _check(view: Transaction, entity_type: str, field: str, access: Access) -> None:
    lacks = _lacks(view, entity_type, field, access)
    if lacks is not None:
        raise _denied(view, lacks)


def _lacks(view: Transaction, entity_type: str, field: str, access: Access) -> str | None:
    """What the user lacks for access to a field, as a text; None if it lacks nothing.

    A type may have a hundred types above it, each with several rules to look for, so a request that asks again gets the
    same answer.
    """
    permissions = view.permissions
    if permissions is None or permissions.unrestricted:
        return None
    known = view.known_checks
    key = (entity_type, field, access)
    if key not in known:
        known[key] = _find_lacks(view, permissions, entity_type, field, access)
    return known[key]


def _find_lacks(
    view: Transaction, permissions: Permissions, entity_type: str, field: str, access: Access
) -> str | None:
    lineage = _lineage(view, entity_type)
    if not any(_has_rule(permissions, name, field, access) for name in lineage):
        if field == ANY:
            # A rule for the type gives it; see `Permissions`.
            return f"{access} access to every field of type {quoted(entity_type)}"
        return f"{access} access to field {quoted(field)} of type {quoted(entity_type)}"
    if entity_type in view.schemas.own:
        slot = view.schemas.slots(entity_type).get(field)
        needed = None if slot is None else _needed(slot.schema, access)
        if needed is not None and not permissions.holds(str(needed)):
            return f"the permission {quoted(str(needed))} for field {quoted(field)} of type {quoted(entity_type)}"
    return None


def _lineage(view: Transaction, entity_type: str) -> tuple[str, ...]:
    if entity_type in view.schemas.own:
        return view.schemas.lineage(entity_type)
    return (entity_type,)


def _has_rule(permissions: Permissions, entity_type: str, field: str, access: Access) -> bool:
    if access == "read":
        return permissions.may_read(entity_type, field)
    return permissions.may_write(entity_type, field)


def _needed(schema: FieldSchema, access: Access) -> EntityId | None:
    return schema.read_permission if access == "read" else schema.write_permission


def _check_held(view: Transaction, needed: EntityId | None, where: str) -> None:
    permissions = view.permissions
    if needed is not None and permissions is not None and not permissions.holds(str(needed)):
        raise _denied(view, f"the permission {quoted(str(needed))} for {where}")


def _denied(view: Transaction, what: str) -> PermissionDenied:
    user = "" if view.permissions is None else view.permissions.user
    return PermissionDenied(f"the user {quoted(user)} may not do this: it needs {what}")
