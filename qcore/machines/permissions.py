"""What one user may do, as a state machine asks for it."""

from __future__ import annotations

from typing import Final, Literal, Protocol

#: What a role may allow:
#:
#: - `observe`: read status, metrics and health.
#: - `read`, `write`: queries and commands. A state machine may ask for more (`Permissions.may_read`).
#: - `manage`: membership, transfers, upgrades, join tokens.
#: - `users`: users and roles, as far as the own permissions go.
Action = Literal["observe", "read", "write", "manage", "users"]
ACTIONS: Final[tuple[Action, ...]] = ("observe", "read", "write", "manage", "users")
#: In a rule: any type, or any field. As an argument of `Permissions`: what only such a rule allows, because it concerns
#: every field (the creation of an entity, for example) or the whole state.
ANY: Final = "*"


class Permissions(Protocol):
    """What one user may do at one moment. It does not change: a later moment has another object.

    Attributes:
        user: the name; empty for a client that is not authenticated, which may do nothing once there are users.
        unrestricted: whether the user has the role `admin`, which allows everything.
    """

    @property
    def user(self) -> str: ...

    @property
    def unrestricted(self) -> bool: ...

    def may(self, action: Action) -> bool:
        """Whether a role of the user allows the action."""
        ...

    def may_read(self, entity_type: str, field: str) -> bool:
        """Whether a rule that names this type (or any) allows to read the field."""
        ...

    def may_write(self, entity_type: str, field: str) -> bool:
        """Whether a rule that names this type (or any) allows to write the field. It need not be readable."""
        ...

    def may_see(self, entity_type: str) -> bool:
        """Whether there is any rule for this type: the user may learn that it and its entities exist."""
        ...

    def holds(self, permission: str) -> bool:
        """Whether a role of the user names this permission."""
        ...
