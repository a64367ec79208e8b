"""`Grants`: what a user may do, from its roles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from qcore.errors import PermissionDenied
from qcore.machines.permissions import ANY, Action
from qcore.replica.access.access_records import Role


class Grants:
    """The permissions that roles give. Implements `Permissions`.

    Args:
        user: the name; empty for a client without a user.
        roles: its roles from the table.
        unrestricted: whether it has the built-in role `admin`.
    """

    def __init__(self, user: str, roles: Iterable[Role], *, unrestricted: bool = False) -> None:
        self.user = user
        self.unrestricted = unrestricted
        held = tuple(roles)
        self._actions = frozenset(action for role in held for action in role.actions)
        self._permissions = frozenset(text for role in held for text in role.permissions)
        rules = [rule for role in held for rule in role.rules]
        self._types = frozenset(rule.type for rule in rules)
        self._rules = frozenset((rule.type, rule.field, rule.access) for rule in rules)

    def may(self, action: Action) -> bool:
        """See `Permissions`."""
        return self.unrestricted or action in self._actions

    def may_read(self, entity_type: str, field: str) -> bool:
        """See `Permissions`."""
        return self.unrestricted or self._has_rule(entity_type, field, "read")

    def may_write(self, entity_type: str, field: str) -> bool:
        """See `Permissions`."""
        return self.unrestricted or self._has_rule(entity_type, field, "write")

    def may_see(self, entity_type: str) -> bool:
        """See `Permissions`."""
        return self.unrestricted or entity_type in self._types or ANY in self._types

    def holds(self, permission: str) -> bool:
        """See `Permissions`."""
        return self.unrestricted or permission in self._permissions

    def includes(self, role: Role | None) -> bool:
        """Whether this user may give a role with this content to others, or take it: it has all of that itself.

        None stands for `admin`. A rule for one type is included in the same rule, or in one for any type or field.
        Inheritance does not count, because schemas change.
        """
        if self.unrestricted:
            return True
        return (
            role is not None
            and self._actions.issuperset(role.actions)
            and self._permissions.issuperset(role.permissions)
            and all(self._has_rule(rule.type, rule.field, rule.access) for rule in role.rules)
        )

    def _has_rule(self, entity_type: str, field: str, access: Literal["read", "write"]) -> bool:
        rules = self._rules
        return (
            (entity_type, field, access) in rules
            or (entity_type, ANY, access) in rules
            or (ANY, field, access) in rules
            or (ANY, ANY, access) in rules
        )


def denied(user: str, what: str) -> PermissionDenied:
    """The error for a user without a permission.

    Args:
        user: its name; empty for a client without a user.
        what: what the user lacks.
    """
    who = f'the user "{user}"' if user else "a client without a user"
    return PermissionDenied(f"{who} may not do this: it needs {what}")
