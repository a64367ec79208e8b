"""`UserRequestHandler`: executes the messages about users, roles and tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from qcore.core.raft import RaftCore
from qcore.errors import (
    AccessRefused,
    NotLeader,
    Overloaded,
    PermissionDenied,
    QcoreError,
    Refused,
    Unauthenticated,
)
from qcore.node.access.access_gate import AccessGate
from qcore.node.access.audit.audited_request import note_index
from qcore.node.access.audit.logins import Logins, Proof
from qcore.node.access.passwords import Passwords, Place
from qcore.node.access.proofs import Proofs
from qcore.node.runtime.submit_event import GetPermission
from qcore.replica.access.access_commands import (
    AccessCommand,
    DeleteRole,
    DeleteUser,
    RevokeTokens,
    SetPassword,
    SetRole,
    SetUser,
    command_text,
    role_from_body,
)
from qcore.replica.access.access_records import Role, User
from qcore.replica.access.access_table import AccessTable
from qcore.replica.access.awaited_users import AwaitedUsers
from qcore.replica.events import ClientRequest, Reply
from qcore.security.users.password import check_new_password
from qcore.security.users.token import MAX_TTL_S
from qcore.transport.server.server import MessageHandler, ServerConnection, user_of
from qcore.transport.wire import Ok, failure
from qcore.transport.wire import users as users_wire

#: The life of a token whose `CreateToken` names none, seconds.
DEFAULT_TTL_S: Final = 24 * 3600

#: Makes the value of `Ok` from the result of a command, a JSON value.
_Value = Callable[[Any], object]
#: A response class with `id`, `response` and `detail`. `Any`: it depends on the message.
_Response = Callable[..., object]


def leader_problem(core: RaftCore) -> NotLeader | Overloaded | None:
    """Why this node does not know every change that was acknowledged; None if it leads and does."""
    if core.role != "leader":
        leader = core.leader_id
        address = None if leader is None else core.membership.address_of(leader)
        return NotLeader(leader, address)
    if not core.has_committed_in_term:
        return Overloaded.because("the leader is not ready yet", 50)
    return None


class AccessChanges:
    """Puts changes of users, roles and join tokens into the log, and responds.

    Args:
        get_permission: see `GetPermission`.
        timeout_ms: how long a change may take.
    """

    def __init__(self, get_permission: GetPermission, timeout_ms: int) -> None:
        self._get_permission = get_permission
        self._timeout_ms = timeout_ms

    def submit(
        self,
        connection: ServerConnection,
        message: Any,
        respond: _Response,
        command: AccessCommand,
        value: _Value,
    ) -> None:
        """Make a change that a message asks for.

        Args:
            connection, message: who asks, and the message.
            respond: the class of the response.
            command: the change.
            value: makes the value of the response from the result.
        """
        user = user_of(connection)
        permission = self._get_permission(connection, message)
        rejection = permission.reject_all or permission.reject_writes
        if rejection is not None:
            connection.send(respond(message.id, *failure(rejection)))
            return
        text = command_text(command)

        def done(reply: Reply) -> None:
            note_index(connection, reply.index)
            if reply.error is not None:
                connection.send(respond(message.id, *failure(reply.error)))
            else:
                connection.send(respond(message.id, Ok(value(json.loads(reply.result or "null")))))

        permission.submit_event(
            lambda number: ClientRequest(number, "access", text, self._timeout_ms, user=user), done
        )


class UserRequestHandler:
    """Executes the messages of `qcore.transport.wire.users`.

    Args:
        users: the replicated users.
        awaited: users that this node may not have applied yet.
        core: for the leader.
        gate: sets the user of a connection.
        proofs: makes tokens.
        passwords: hashes and checks passwords.
        logins: records logins.
        get_permission: see `GetPermission`.
        timeout_ms: how long a change may take.

    Attributes:
        handlers: the handlers by class; see `ServerHandler`.
    """

    def __init__(
        self,
        users: AccessTable,
        awaited: AwaitedUsers,
        core: RaftCore,
        gate: AccessGate,
        proofs: Proofs,
        passwords: Passwords,
        logins: Logins,
        get_permission: GetPermission,
        timeout_ms: int,
    ) -> None:
        self._users = users
        self._awaited = awaited
        self._core = core
        self._gate = gate
        self._proofs = proofs
        self._passwords = passwords
        self._logins = logins
        self._changes = AccessChanges(get_permission, timeout_ms)
        self.handlers: dict[type, MessageHandler] = {
            users_wire.Authenticate: self._authenticate,
            users_wire.WhoAmI: self._who_am_i,
            users_wire.SetUser: self._set_user,
            users_wire.DeleteUser: self._delete_user,
            users_wire.RevokeTokens: self._revoke_tokens,
            users_wire.SetRole: self._set_role,
            users_wire.DeleteRole: self._delete_role,
            users_wire.ListUsers: self._list_users,
            users_wire.ListRoles: self._list_roles,
            users_wire.CreateToken: self._create_token,
        }

    # -- who the client is -----------------------------------------------------------------------

    def _authenticate(self, connection: ServerConnection, message: users_wire.Authenticate) -> None:
        token, user, password = message.token, message.user, message.password
        respond = users_wire.AuthenticateResponse
        by_password = user is not None and password is not None
        if (token is not None) == by_password or (token is not None and user is not None):
            error = Refused("Authenticate: give either `token`, or `user` and `password`")
            connection.send(respond(message.id, *failure(error)))
        elif not self._users.active:
            unknown = self._awaited.problem() or AccessRefused(
                "no_users", "this cluster has no users: no request needs one"
            )
            connection.send(respond(message.id, *failure(unknown)))
        elif token is not None:
            # Here and not in a task, so that the turn of the client pays for it.
            try:
                proof = self._gate.use_token(connection, token)
            except QcoreError as error:
                self._login_failed(connection, message.id, "token", "", error)
            else:
                self._logged_in(connection, message.id, proof, token)
        elif user is not None and password is not None:
            self._by_password(connection, message.id, user, password)

    def _by_password(
        self, connection: ServerConnection, message_id: str, user: str, password: str
    ) -> None:
        async def login() -> None:
            try:
                token = await self._gate.use_password(connection, place, user, password)
            except QcoreError as error:
                self._login_failed(connection, message_id, "password", user, error)
            else:
                self._logged_in(connection, message_id, "password", token)

        try:
            place = self._passwords.place(connection.remote, user)
        except Overloaded as error:
            self._login_failed(connection, message_id, "password", user, error)
        else:
            self._gate.run(login())

    def _login_failed(
        self,
        connection: ServerConnection,
        message_id: str,
        proof: Proof,
        user: str,
        error: QcoreError,
    ) -> None:
        self._logins.failed(connection.remote, user, proof, error)
        connection.send(users_wire.AuthenticateResponse(message_id, *failure(error)))
        if isinstance(error, Unauthenticated):
            self._gate.failed(connection)

    def _logged_in(
        self, connection: ServerConnection, message_id: str, proof: Proof, token: str
    ) -> None:
        principal = connection.principal
        assert principal is not None, "it was set just now"
        self._logins.succeeded(connection.remote, principal.user, proof)
        issued = users_wire.IssuedToken(principal.user, token, self._proofs.seconds_left(principal))
        connection.send(users_wire.AuthenticateResponse(message_id, Ok(issued)))

    def _who_am_i(self, connection: ServerConnection, message: users_wire.WhoAmI) -> None:
        principal = connection.principal
        if principal is not None and (
            not self._users.active or self._proofs.problem(principal) is not None
        ):
            principal = None
        user = None if principal is None else self._users.user(principal.user)
        found = users_wire.Identified(
            None if user is None else user.name,
            [] if user is None else [*user.roles],
            None if principal is None else self._proofs.seconds_left(principal),
            self._gate.is_active,
        )
        connection.send(users_wire.WhoAmIResponse(message.id, Ok(found)))

    # -- changes ---------------------------------------------------------------------------------

    def _set_user(self, connection: ServerConnection, message: users_wire.SetUser) -> None:
        """Do immediately what needs no password to be hashed or checked. The rest needs a place."""
        password = message.password
        try:
            old_password = self._check_set_user(connection, message)
            place = (
                None
                if password is None
                else self._passwords.place(
                    connection.remote, None if old_password is None else message.name
                )
            )
        except (QcoreError, ValueError) as error:
            self._user_not_set(connection, message, error)
            return
        if place is None or password is None:
            self._submit_user(connection, message, None)
        else:
            self._gate.run(self._set_password(connection, message, place, old_password, password))

    async def _set_password(
        self,
        connection: ServerConnection,
        message: users_wire.SetUser,
        place: Place,
        old_password: str | None,
        password: str,
    ) -> None:
        try:
            with place:
                if old_password is not None:
                    await self._passwords.check(place, message.name, old_password)
                password_hash = await self._passwords.hash(password)
        except QcoreError as error:
            if old_password is not None:
                self._logins.note_failure(connection.remote, message.name, "password", error)
            self._user_not_set(connection, message, error)
        else:
            self._submit_user(connection, message, password_hash)

    def _user_not_set(
        self,
        connection: ServerConnection,
        message: users_wire.SetUser,
        error: QcoreError | ValueError,
    ) -> None:
        known = error if isinstance(error, QcoreError) else Refused(f"SetUser: {error}")
        connection.send(users_wire.SetUserResponse(message.id, *failure(known)))

    def _check_set_user(
        self, connection: ServerConnection, message: users_wire.SetUser
    ) -> str | None:
        """Check all but the passwords themselves.

        Returns:
            the old password, if it has to be checked.

        Raises:
            QcoreError: it is refused.
            ValueError: a part is not valid.
        """
        user, name, password = user_of(connection), message.name, message.password
        SetUser(name, None, None if message.roles is None else tuple(message.roles))
        old_password = None
        if self._users.denial(user, "users") is not None:
            if name != user or password is None or message.roles is not None:
                raise PermissionDenied(
                    f'the user "{user}" may only change its own password: other changes need the action `users`'
                )
            if message.old_password is None:
                raise Unauthenticated(
                    "a user without the action `users` changes its password only with the old password: give it, too"
                )
            old_password = message.old_password
        if password is None and message.roles is None:
            raise Refused("SetUser: give `password`, `roles`, or both: a new user needs `roles`")
        if password is not None:
            check_new_password(password)
        return old_password

    def _submit_user(
        self, connection: ServerConnection, message: users_wire.SetUser, password_hash: str | None
    ) -> None:
        name, roles = message.name, message.roles
        command: AccessCommand
        if password_hash is not None and roles is None:
            # Refused where it is applied if there is no such user: this node may not know the newest ones.
            command = SetPassword(name, password_hash)
        else:
            listed = None if roles is None else tuple(sorted(dict.fromkeys(roles)))
            command = SetUser(name, password_hash, listed)
        self._changes.submit(
            connection,
            message,
            users_wire.SetUserResponse,
            command,
            _user_info,
        )

    def _delete_user(self, connection: ServerConnection, message: users_wire.DeleteUser) -> None:
        self._make(connection, message, users_wire.DeleteUserResponse, DeleteUser, _nothing)

    def _revoke_tokens(
        self, connection: ServerConnection, message: users_wire.RevokeTokens
    ) -> None:
        self._make(connection, message, users_wire.RevokeTokensResponse, RevokeTokens, _user_info)

    def _delete_role(self, connection: ServerConnection, message: users_wire.DeleteRole) -> None:
        self._make(connection, message, users_wire.DeleteRoleResponse, DeleteRole, _nothing)

    def _set_role(self, connection: ServerConnection, message: users_wire.SetRole) -> None:
        def command(name: str) -> AccessCommand:
            rules = [
                {"type": rule.type, "field": rule.field, "access": rule.access}
                for rule in message.rules
            ]
            body: dict[str, object] = {
                "name": name,
                "actions": [*message.actions],
                "rules": rules,
                "permissions": [*message.permissions],
            }
            return SetRole(role_from_body(body))

        self._make(connection, message, users_wire.SetRoleResponse, command, _nothing)

    def _make(
        self,
        connection: ServerConnection,
        message: Any,
        respond: _Response,
        command: Callable[[str], AccessCommand],
        value: _Value,
    ) -> None:
        try:
            made = command(message.name)
        except ValueError as error:
            refused = Refused(f"{type(message).__name__}: {error}")
            connection.send(respond(message.id, *failure(refused)))
            return
        self._changes.submit(connection, message, respond, made, value)

    # -- what there is ---------------------------------------------------------------------------

    def _list_users(self, connection: ServerConnection, message: users_wire.ListUsers) -> None:
        respond = users_wire.ListUsersResponse
        error = leader_problem(self._core)
        if error is not None:
            connection.send(respond(message.id, *failure(error)))
        else:
            connection.send(respond(message.id, Ok([_info(each) for each in self._users.users()])))

    def _list_roles(self, connection: ServerConnection, message: users_wire.ListRoles) -> None:
        respond = users_wire.ListRolesResponse
        error = leader_problem(self._core)
        if error is not None:
            connection.send(respond(message.id, *failure(error)))
        else:
            roles = [_role_info(each) for each in self._users.roles()]
            connection.send(respond(message.id, Ok(roles)))

    def _create_token(self, connection: ServerConnection, message: users_wire.CreateToken) -> None:
        respond, asked_by = users_wire.CreateTokenResponse, user_of(connection)
        name = asked_by if message.user is None else message.user
        try:
            user, ttl_s = self._token_for(connection, name, message.ttl_s or DEFAULT_TTL_S)
            token, principal = self._proofs.issue(user, ttl_s)
        except QcoreError as error:
            connection.send(respond(message.id, *failure(error)))
            return
        issued = users_wire.IssuedToken(name, token, self._proofs.seconds_left(principal))
        connection.send(respond(message.id, Ok(issued)))

    def _token_for(self, connection: ServerConnection, name: str, ttl_s: int) -> tuple[User, int]:
        """The user of a new token, and how long the token is valid.

        Raises:
            QcoreError: the connection's user may not make it.
        """
        error = leader_problem(self._core)
        if error is not None:
            raise error
        if not self._users.active:
            raise AccessRefused(
                "no_users", "there are no users yet: first add one with the role `admin`"
            )
        asked_by, user = user_of(connection), self._users.user(name)
        grants = self._users.permissions_of(asked_by)
        if ttl_s > MAX_TTL_S:
            raise Refused(f"CreateToken.ttl_s: a token is valid for at most {MAX_TTL_S} seconds")
        if name != asked_by:
            denial = self._users.denial(asked_by, "users")
            if denial is not None:
                raise denial
        if user is None:
            raise AccessRefused("no_such_user", f'there is no user "{name}"')
        if name == asked_by:
            principal = connection.principal
            assert principal is not None, "a connection with a user"
            if grants is not None and not grants.may("users"):
                # Otherwise a stolen token could be made to last.
                ttl_s = min(ttl_s, self._proofs.seconds_left(principal))
        elif grants is not None:
            held = {role.name: role for role in self._users.roles()}
            for role in user.roles:
                if not grants.includes(held.get(role)):
                    raise PermissionDenied(
                        f'the user "{asked_by}" may not do this: the role "{role}" of "{name}" allows more'
                    )
        return user, ttl_s


def _nothing(_result: object) -> None:
    return None


def _user_info(result: dict[str, Any]) -> users_wire.UserInfo:
    return users_wire.UserInfo(**result)


def _info(user: User) -> users_wire.UserInfo:
    return users_wire.UserInfo(
        user.name, [*user.roles], user.epoch, user.created, bool(user.password_hash)
    )


def _role_info(role: Role) -> users_wire.RoleInfo:
    rules = [users_wire.RuleInfo(rule.type, rule.field, rule.access) for rule in role.rules]
    return users_wire.RoleInfo(role.name, [*role.actions], rules, [*role.permissions])
