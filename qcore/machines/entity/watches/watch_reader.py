"""`WatchReader`: what the user of a watch may receive, at each change again, because roles and schemas change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.machines.entity.permission_checks import check_read, may_read
from qcore.machines.entity.transaction import Transaction
from qcore.machines.entity.watches.field_changes import EntityChange, FieldChanged
from qcore.machines.permissions import Permissions

#: Makes a view of the current state for a user with these permissions.
MakeView = Callable[[Permissions | None], Transaction]
_UNCHECKED: Final = object()


class WatchReader:
    """The permissions of the user of one watch.

    Args:
        view: makes a view of the current state.
        permissions: what the user may do at the moment of the call; None: everything.
        entity_type: the type that the watch names, or that of its entity.
        field_type: the field that it names.

    Raises:
        PermissionDenied: the user may not read the field.
    """

    def __init__(
        self,
        view: MakeView,
        permissions: Callable[[], Permissions | None],
        entity_type: str,
        field_type: str,
    ) -> None:
        self._view = view
        self._permissions = permissions
        self._entity_type = entity_type
        self._field_type = field_type
        self._checked: object = _UNCHECKED
        self.current()

    def current(self) -> Permissions | None:
        """What the user may do now.

        Raises:
            PermissionDenied: it may no longer read the field: the watch ends.
        """
        permissions = self._permissions()
        if permissions is not self._checked:
            check_read(self._view(permissions), self._entity_type, self._field_type)
            self._checked = permissions
        return permissions

    def may_receive(self, change: EntityChange, permissions: Permissions | None) -> bool:
        """Whether the user may receive a change: the type of its entity, or an earlier schema, may ask for more."""
        if permissions is None or permissions.unrestricted:
            return True
        view, name = self._view(permissions), self._field_type
        entity_type = change.entity_id.typ
        if entity_type not in view.schemas.own:
            return False
        slot = view.schemas.slots(entity_type).get(name)
        held = change.new if isinstance(change, FieldChanged) else change.slots[name]
        generation = held.generation
        # A field that was removed since, and perhaps added again, may have asked for a permission.
        if slot is None or slot.generation != generation:
            return False
        return may_read(view, entity_type, name)
