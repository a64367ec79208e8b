"""The messages about users: who a client is, and what users, roles, tokens and join tokens there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from qcore.transport.wire.common import Detail, Err, KeyText, MessageId, NodeId, Ok, PositiveInt

#: The longest texts of these messages, in characters.
NameText = Annotated[str, Field(max_length=256)]
SecretText = Annotated[str, Field(max_length=4096)]
ActionName = Literal["observe", "read", "write", "manage", "users"]


@dataclass(slots=True)
class Authenticate:
    """Name the user of this connection to the node: give a `token`, or `user` and `password`.

    Every request of the connection that follows the response is one of this user. A failure changes nothing.
    """

    id: MessageId
    token: SecretText | None = field(default=None, repr=False)
    user: NameText | None = None
    password: SecretText | None = field(default=None, repr=False)


@dataclass(slots=True)
class IssuedToken:
    """A token, and the seconds after which it expires."""

    user: str
    token: str = field(repr=False)
    expires_s: int


@dataclass(slots=True)
class AuthenticateResponse:
    id: MessageId
    response: Ok[IssuedToken] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class WhoAmI:
    """Ask who the node takes this connection's user for."""

    id: MessageId


@dataclass(slots=True)
class Identified:
    """The user of a connection.

    Attributes:
        user: its name; null for none.
        roles: its roles.
        expires_s: the seconds after which it has to authenticate again; null for never.
        users_exist: whether there are users. If not, no request needs one.
    """

    user: str | None
    roles: list[str]
    expires_s: int | None
    users_exist: bool


@dataclass(slots=True)
class WhoAmIResponse:
    id: MessageId
    response: Ok[Identified] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class SetUser:
    """Add a user, or change the parts that are given.

    Attributes:
        password: a new one ends all tokens of the user. Without a password, a user can only use tokens.
        roles: all roles of the user. A new user needs them; the list may be empty. Without them, the message gives an
            existing user a new password.
        old_password: needed by a user that changes its own password and may not change users.
    """

    id: MessageId
    name: NameText
    password: SecretText | None = field(default=None, repr=False)
    roles: list[NameText] | None = None
    old_password: SecretText | None = field(default=None, repr=False)


@dataclass(slots=True)
class UserInfo:
    """A user, without its password hash.

    Attributes:
        epoch: the log index of its creation, newest password, newest revocation or newest gain of rights: older tokens
            are invalid.
        created: the log index of its creation.
    """

    name: str
    roles: list[str]
    epoch: int
    created: int
    has_password: bool


@dataclass(slots=True)
class SetUserResponse:
    id: MessageId
    response: Ok[UserInfo] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class DeleteUser:
    """Delete a user. The last one with the role `admin` cannot be deleted."""

    id: MessageId
    name: NameText


@dataclass(slots=True)
class DeleteUserResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RevokeTokens:
    """End all tokens of a user, and the rights of its connections."""

    id: MessageId
    name: NameText


@dataclass(slots=True)
class RevokeTokensResponse:
    id: MessageId
    response: Ok[UserInfo] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class RuleInfo:
    """Allows one kind of access to a field of a type; `*` stands for all."""

    type: str
    field: str
    access: Literal["read", "write"]


@dataclass(slots=True)
class SetRole:
    """Add a role, or replace it.

    Attributes:
        actions: `observe`, `read`, `write`, `manage`, `users`.
        rules: for the entity store.
        permissions: what `read_permission` and `write_permission` of fields ask for.
    """

    id: MessageId
    name: NameText
    actions: list[ActionName] = field(default_factory=list)
    rules: list[RuleInfo] = field(default_factory=list)
    permissions: list[NameText] = field(default_factory=list)


@dataclass(slots=True)
class SetRoleResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class DeleteRole:
    """Delete a role that no user has."""

    id: MessageId
    name: NameText


@dataclass(slots=True)
class DeleteRoleResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ListUsers:
    """List the users. The leader answers."""

    id: MessageId


@dataclass(slots=True)
class ListUsersResponse:
    id: MessageId
    response: Ok[list[UserInfo]] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ListRoles:
    """List the roles, without the built-in `admin`. The leader answers."""

    id: MessageId


@dataclass(slots=True)
class RoleInfo:
    """A role; see `SetRole`."""

    name: str
    actions: list[ActionName]
    rules: list[RuleInfo]
    permissions: list[str]


@dataclass(slots=True)
class ListRolesResponse:
    id: MessageId
    response: Ok[list[RoleInfo]] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class CreateToken:
    """Make a token. The leader answers.

    Attributes:
        user: whose token; null for the connection's own user. For another user the action `users` is needed, and
            everything that this user may do.
        ttl_s: how long the token is valid, seconds.
    """

    id: MessageId
    user: NameText | None = None
    ttl_s: PositiveInt | None = None


@dataclass(slots=True)
class CreateTokenResponse:
    id: MessageId
    response: Ok[IssuedToken] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class AddJoinToken:
    """Let one new node join with a join token. The leader answers. The client makes the key pair and keeps the seed.

    Attributes:
        token_id: names the token.
        public_key: of the token.
        ttl_s: how long the token is valid, seconds; null for an hour.
    """

    id: MessageId
    token_id: NameText
    public_key: KeyText
    ttl_s: PositiveInt | None = None


@dataclass(slots=True)
class JoinTokenGrant:
    """What the new node must know, besides the seed.

    Attributes:
        cluster_id: the cluster.
        members: id and public key of each member.
        expires_s: the seconds after which the token expires.
    """

    cluster_id: str
    members: list[tuple[NodeId, KeyText]]
    expires_s: int


@dataclass(slots=True)
class AddJoinTokenResponse:
    id: MessageId
    response: Ok[JoinTokenGrant] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ListJoinTokens:
    """List the join tokens that were not used. The leader answers."""

    id: MessageId


@dataclass(slots=True)
class JoinTokenInfo:
    """A join token, and the seconds after which it expires; 0 if it has expired."""

    token_id: str
    expires_s: int


@dataclass(slots=True)
class ListJoinTokensResponse:
    id: MessageId
    response: Ok[list[JoinTokenInfo]] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class DeleteJoinToken:
    """Withdraw a join token."""

    id: MessageId
    token_id: NameText


@dataclass(slots=True)
class DeleteJoinTokenResponse:
    id: MessageId
    response: Ok[None] | Err
    detail: Detail | None = None


#: The requests and responses of this module.
USER_REQUESTS = (
    Authenticate,
    WhoAmI,
    SetUser,
    DeleteUser,
    RevokeTokens,
    SetRole,
    DeleteRole,
    ListUsers,
    ListRoles,
    CreateToken,
    AddJoinToken,
    ListJoinTokens,
    DeleteJoinToken,
)
USER_RESPONSES = (
    AuthenticateResponse,
    WhoAmIResponse,
    SetUserResponse,
    DeleteUserResponse,
    RevokeTokensResponse,
    SetRoleResponse,
    DeleteRoleResponse,
    ListUsersResponse,
    ListRolesResponse,
    CreateTokenResponse,
    AddJoinTokenResponse,
    ListJoinTokensResponse,
    DeleteJoinTokenResponse,
)
