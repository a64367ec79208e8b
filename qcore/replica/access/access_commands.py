"""The commands of the access table: the data of entries of kind `access`, one JSON object with one key.

| data | needs | meaning |
|---|---|---|
| `{"set_user": {"name", "password_hash"?, "roles"?}}` | `users` | add a user, or change what is named |
| `{"set_password": {"name", "password_hash"}}` | the user, or `users` | change a password; older tokens end |
| `{"delete_user": {"name"}}` | `users` | delete a user |
| `{"revoke_tokens": {"name"}}` | the user, or `users` | end the user's tokens |
| `{"set_role": {"name", "actions", "rules", "permissions"}}` | `users` | add or replace a role |
| `{"delete_role": {"name"}}` | `users` | delete a role that no user has |
| `{"add_join_token": {"id", "key", "expires_us"}}` | the role `admin` | let one node join with this token |
| `{"delete_join_token": {"id"}}` | `manage` | withdraw it |
| `{"use_join_token": {"id"}}` | – | from the leader itself: the token is used, if it is valid |

A user that is not `admin` gives and takes only what it has itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final, cast

from qcore.compiled_build import register_copies
from qcore.core.version import compact_json, object_in
from qcore.display import HIDDEN
from qcore.machines.permissions import ACTIONS, Action
from qcore.replica.access.access_records import (
    EntityRule,
    Role,
    check_hash,
    check_key,
    check_name,
    check_number,
    check_role,
    check_roles,
)


@dataclass(frozen=True)
class SetUser:
    """Add a user, or change it. None leaves a part as it is; a new user then has none of it."""

    name: str
    password_hash: str | None = field(default=None, repr=False)
    roles: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        if self.password_hash is not None:
            check_hash(self.password_hash)
        if self.roles is not None:
            check_roles(self.roles)


@dataclass(frozen=True)
class SetPassword:
    """Change a password. If the user itself asks for it, the node has checked the old one."""

    name: str
    password_hash: str = field(repr=False)

    def __post_init__(self) -> None:
        check_name(self.name, "name")
        check_hash(self.password_hash)


@dataclass(frozen=True)
class DeleteUser:
    """Delete a user."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name, "name")


@dataclass(frozen=True)
class RevokeTokens:
    """End all tokens of a user."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name, "name")


@dataclass(frozen=True)
class SetRole:
    """Add a role, or replace it."""

    role: Role

    def __post_init__(self) -> None:
        check_role(self.role)


@dataclass(frozen=True)
class DeleteRole:
    """Delete a role that no user has."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name, "name")


@dataclass(frozen=True)
class AddJoinToken:
    """Let one node join with this token."""

    id: str
    key: str
    expires_us: int

    def __post_init__(self) -> None:
        check_name(self.id, "id")
        check_key(self.key)
        check_number(self.expires_us, "expires_us")


@dataclass(frozen=True)
class DeleteJoinToken:
    """Withdraw a join token."""

    id: str

    def __post_init__(self) -> None:
        check_name(self.id, "id")


@dataclass(frozen=True)
class UseJoinToken:
    """A node joins with this token, which ends it. The leader itself appends this."""

    id: str

    def __post_init__(self) -> None:
        check_name(self.id, "id")


AccessCommand = (
    SetUser
    | SetPassword
    | DeleteUser
    | RevokeTokens
    | SetRole
    | DeleteRole
    | AddJoinToken
    | DeleteJoinToken
    | UseJoinToken
)


def command_text(command: AccessCommand) -> str:
    """The data of the entry: the payload of a `ClientRequest` of kind `access`."""
    name = _NAMES[type(command)]
    body: Mapping[str, object]
    if isinstance(command, SetRole):
        body = role_body(command.role)
    else:
        body = {key: value for key, value in asdict(command).items() if value is not None}
    return compact_json({name: body})


def parse_command(text: str) -> AccessCommand:
    """The command in an entry.

    Raises:
        ValueError: there is none. The text never quotes the data, because that may hold a password hash.
    """
    try:
        found = object_in(text)
    except ValueError:
        raise ValueError("not a JSON object") from None
    if len(found) != 1:
        raise ValueError("not an object with one key, the name of a command")
    ((name, body),) = found.items()
    read = _READERS.get(name)
    if read is None or not isinstance(body, dict):
        raise ValueError(f"expected one of {', '.join(_READERS)}, with an object")
    left = dict(body)
    command = read(left)
    if left:
        raise ValueError(f"{name} has a field that is not known")
    return command


def shown_text(text: str) -> str:
    """The data of an entry for humans: without a password hash."""
    try:
        command = parse_command(text)
    except ValueError:
        return "(not a command)"
    if isinstance(command, SetUser | SetPassword) and command.password_hash:
        body = {**asdict(command), "password_hash": HIDDEN}
        shown = {key: value for key, value in body.items() if value is not None}
        return compact_json({_NAMES[type(command)]: shown})
    return command_text(command)


def role_body(role: Role) -> dict[str, object]:
    """A role as JSON."""
    return {
        "name": role.name,
        "actions": role.actions,
        "rules": [asdict(rule) for rule in role.rules],
        "permissions": role.permissions,
    }


def role_from_body(body: dict[str, object]) -> Role:
    """Inverse of `role_body`; takes what it reads out of `body`. Parts come in a canonical order, without duplicates.

    Raises:
        ValueError: a part is missing or invalid.
    """
    actions = _texts(body, "actions")
    role = Role(
        _text(body, "name"),
        cast("tuple[Action, ...]", actions),
        tuple(dict.fromkeys(map(_rule, _list(body, "rules")))),
        tuple(dict.fromkeys(_texts(body, "permissions"))),
    )
    check_role(role)
    return replace(role, actions=tuple(action for action in ACTIONS if action in role.actions))


def _rule(value: object) -> EntityRule:
    match value:
        case {
            "type": str() as type_,
            "field": str() as name,
            "access": "read" | "write" as access,
            **others,
        } if not others:
            return EntityRule(type_, name, "read" if access == "read" else "write")
    raise ValueError("a rule is an object with type, field, and access: read or write")


def _text(body: dict[str, object], key: str) -> str:
    value = body.pop(key, None)
    if type(value) is not str:
        raise ValueError(f"{key} is a text")
    return value


def _number(body: dict[str, object], key: str) -> int:
    value = body.pop(key, None)
    if type(value) is not int:
        raise ValueError(f"{key} is a number")
    return value


def _list(body: dict[str, object], key: str) -> list[object]:
    value = body.pop(key, None)
    if not isinstance(value, list):
        raise ValueError(f"{key} is a list")
    return value


def _texts(body: dict[str, object], key: str) -> tuple[str, ...]:
    values = _list(body, key)
    if not all(type(value) is str for value in values):
        raise ValueError(f"{key} is a list of texts")
    return cast("tuple[str, ...]", tuple(values))


def _sorted_roles(body: dict[str, object]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(_texts(body, "roles"))))


def _set_user(body: dict[str, object]) -> SetUser:
    return SetUser(
        _text(body, "name"),
        _text(body, "password_hash") if "password_hash" in body else None,
        _sorted_roles(body) if "roles" in body else None,
    )


#: How to read the body of each command. A reader takes what it reads out of the body.
_READERS: Final[dict[str, Callable[[dict[str, object]], AccessCommand]]] = {
    "set_user": _set_user,
    "set_password": lambda body: SetPassword(_text(body, "name"), _text(body, "password_hash")),
    "delete_user": lambda body: DeleteUser(_text(body, "name")),
    "revoke_tokens": lambda body: RevokeTokens(_text(body, "name")),
    "set_role": lambda body: SetRole(role_from_body(body)),
    "delete_role": lambda body: DeleteRole(_text(body, "name")),
    "add_join_token": lambda body: AddJoinToken(
        _text(body, "id"), _text(body, "key"), _number(body, "expires_us")
    ),
    "delete_join_token": lambda body: DeleteJoinToken(_text(body, "id")),
    "use_join_token": lambda body: UseJoinToken(_text(body, "id")),
}
_NAMES: Final[dict[type[AccessCommand], str]] = {
    SetUser: "set_user",
    SetPassword: "set_password",
    DeleteUser: "delete_user",
    RevokeTokens: "revoke_tokens",
    SetRole: "set_role",
    DeleteRole: "delete_role",
    AddJoinToken: "add_join_token",
    DeleteJoinToken: "delete_join_token",
    UseJoinToken: "use_join_token",
}


register_copies(globals())
