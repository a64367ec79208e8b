"""`AccessTable`: users, roles and join tokens, as the log has made them.

Access control is off until the first user is made, and on from then on: the last user with the role `admin` cannot be
removed. A command that is invalid, or that its user may not send, changes nothing and gives the same error on every
replica.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from qcore.core.entry import Entry
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.text_size import utf8_length
from qcore.core.version import compact_json
from qcore.errors import AccessRefused, PermissionDenied, QcoreError, Unauthenticated
from qcore.machines.permissions import Action
from qcore.replica.access.access_commands import (
    AddJoinToken,
    DeleteJoinToken,
    DeleteRole,
    DeleteUser,
    RevokeTokens,
    SetPassword,
    SetRole,
    SetUser,
    UseJoinToken,
    parse_command,
)
from qcore.replica.access.access_records import (
    ADMIN,
    MAX_JOIN_TOKENS,
    MAX_ROLES,
    MAX_TABLE_BYTES,
    MAX_USERS,
    JoinToken,
    Role,
    User,
    redacted,
)
from qcore.replica.access.access_text import AccessRow, read_table, row_text, table_text
from qcore.replica.access.grants import Grants, denied

#: The first apply rules with entries of kind `access`.
ACCESS_RULES: Final = 5

ApplyOutcome = tuple[str | None, QcoreError | None]

#: What adding a join token needs: the new member gets the whole state, and its key signs tokens for all users.
_NO_USER: Final = (
    "this cluster has users, and the request came without one: authenticate, then send it again"
)
_TO_JOIN: Final = f"the role `{ADMIN}`, to add a join token"


class AccessTable:
    """All users, roles and join tokens. Part of the replicated state."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._roles: dict[str, Role] = {}
        self._tokens: dict[str, JoinToken] = {}
        #: The size of all rows as text, bytes.
        self._bytes = 0
        #: What each user may do, until the table changes.
        self._grants: dict[str, Grants] = {}
        self._digest: str | None = None
        #: What applies a command, by class. `Any`: each takes the class that it is listed under.
        self._apply_of: dict[type, Callable[[Any, Entry], dict[str, object] | None]] = {
            SetUser: self._set_user,
            SetPassword: self._set_password,
            DeleteUser: self._delete_user,
            RevokeTokens: self._revoke_tokens,
            SetRole: self._set_role,
            DeleteRole: self._delete_role,
            AddJoinToken: self._add_join_token,
            DeleteJoinToken: self._delete_join_token,
            UseJoinToken: self._use_join_token,
        }

    # -- reading ---------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether there are users, so that every request needs one."""
        return bool(self._users)

    def user(self, name: str) -> User | None:
        """The user of this name."""
        held = self._users.get(name)
        return None if held is None else self._current(held)

    def users(self) -> list[User]:
        """All users, in the order of their creation."""
        return [*map(self._current, self._users.values())]

    def roles(self) -> list[Role]:
        """All roles but the built-in `admin`, in the order of their creation."""
        return [*self._roles.values()]

    def join_token(self, token_id: str) -> JoinToken | None:
        """The join token with this id. It may have expired."""
        return self._tokens.get(token_id)

    def join_tokens(self) -> list[JoinToken]:
        """All join tokens, in the order of their creation."""
        return [*self._tokens.values()]

    def permissions_of(self, user: str) -> Grants | None:
        """What a user may do; None while there are no users, so that everything is allowed.

        Args:
            user: the name. A name that no user has, also the empty one, may do nothing.
        """
        if not self._users:
            return None
        grants = self._grants.get(user)
        if grants is None:
            held = self._users.get(user)
            if held is None:
                return Grants(user, ())  # not kept: names come from outside
            grants = self._grants[user] = Grants(
                user,
                [self._roles[name] for name in held.roles if name != ADMIN],
                unrestricted=ADMIN in held.roles,
            )
        return grants

    def created_index(self, user: str) -> int:
        """The log index at which the user was created; 0 if there is no such user."""
        held = self._users.get(user)
        return 0 if held is None else held.created

    def denial(self, user: str, action: Action) -> PermissionDenied | Unauthenticated | None:
        """The error for a request that needs an action which the user may not do; None if it may.

        A request without a user may have come by a node that does not know the users yet. Then its client
        authenticates, and sends it again.
        """
        permissions = self.permissions_of(user)
        if permissions is None or permissions.may(action):
            return None
        if not user:
            return Unauthenticated(_NO_USER)
        return denied(user, f"the action `{action}`")

    @property
    def digest(self) -> str:
        """A digest of the table as hexadecimal text; empty while the table is empty."""
        if self._digest is None:
            rows: tuple[AccessRow, ...] = (
                *self._users.values(),
                *self._roles.values(),
                *self._tokens.values(),
            )
            self._digest = ""
            if rows:
                whole = hashlib.sha256()
                for row in rows:
                    whole.update(redacted(row_text(row)).encode() + b"\n")
                self._digest = whole.hexdigest()
        return self._digest

    # -- snapshots -------------------------------------------------------------------------------

    def dump(self) -> Iterator[str]:
        """The table at the time of this call, as text for a snapshot, in parts; nothing if it is empty."""
        return table_text([*self._users.values()], self.roles(), self.join_tokens())

    def load(self, text: SnapshotText) -> Generator[None, None, int]:
        """Replace the table by the one at the beginning of a snapshot's text; each item is a bounded part of the work.

        Returns:
            the position at which the session table begins.

        Raises:
            ValueError: the table is malformed.
        """
        rows, at = yield from read_table(text)
        self._users.clear()
        self._roles.clear()
        self._tokens.clear()
        self._bytes = 0
        for row in rows:
            self._bytes += _size(row)
            match row:
                case User():
                    self._users[row.name] = row
                case Role():
                    self._roles[row.name] = row
                case JoinToken():
                    self._tokens[row.id] = row
        self._changed()
        return at

    # -- commands --------------------------------------------------------------------------------

    def rejection(self, payload: str, user: str) -> QcoreError | None:
        """Why a request of kind `access` need not be appended, as far as this table shows; None if it may be valid."""
        try:
            command = parse_command(payload)
        except ValueError as error:
            return AccessRefused("bad_command", f"not an access command: {error}")
        if isinstance(command, UseJoinToken):
            return None  # from the leader
        if isinstance(command, SetPassword | RevokeTokens) and command.name == user:
            return None if user in self._users else denied(user, "a user")
        if isinstance(command, AddJoinToken):
            grants = self.permissions_of(user)
            return None if grants is None or grants.unrestricted else denied(user, _TO_JOIN)
        return self.denial(user, "manage" if isinstance(command, DeleteJoinToken) else "users")

    def apply(self, entry: Entry, rules: int = ACCESS_RULES) -> ApplyOutcome:
        """Apply an entry of kind `access`; return its result or its error, the same on every replica."""
        if rules < ACCESS_RULES:
            return None, AccessRefused("rules", f"apply rules {rules} have no users")
        try:
            command = parse_command(entry.data)
        except ValueError as error:
            return None, AccessRefused("bad_command", f"not an access command: {error}")
        try:
            result = self._apply_of[type(command)](command, entry)
        except (AccessRefused, PermissionDenied) as error:
            return None, error
        self._changed()
        return compact_json(result) if result is not None else "null", None

    def _set_user(self, command: SetUser, entry: Entry) -> dict[str, object]:
        before = self._users.get(command.name)
        roles = command.roles
        if roles is None:
            roles = () if before is None else before.roles
        if not self._users and ADMIN not in roles:
            raise AccessRefused(
                "first_admin", f"the first user needs the role `{ADMIN}`, so that it can add others"
            )
        for role in roles:
            if role != ADMIN and role not in self._roles:
                raise AccessRefused("no_such_role", f'there is no role "{role}": add it first')
        grants = self._needs(entry, "users", f'change the user "{command.name}"')
        self._check_covers(grants, (*roles, *(before.roles if before else ())))
        if before is None:
            if len(self._users) >= MAX_USERS:
                raise AccessRefused("too_many", f"there are {MAX_USERS} users")
            after = User(command.name, "", roles, entry.index, entry.index)
        else:
            if ADMIN not in roles:
                self._check_not_last(before)
            # A role that has grown must not end fewer tokens once it is taken away.
            after = replace(before, roles=roles, epoch=self._current(before).epoch)
            if self._gains(before, roles):
                if command.password_hash is None:
                    self._check_password_known(before, roles)
                after = replace(after, epoch=entry.index)
        if command.password_hash is not None:
            after = self._with_password(after, command.password_hash, entry)
        self._put(self._users, command.name, after)
        return _view(after)

    def _gains(self, user: User, roles: Iterable[str]) -> bool:
        """Whether these roles allow something that the user may not do now."""
        grants = self.permissions_of(user.name)
        return grants is not None and any(
            not grants.includes(self._roles.get(name)) for name in roles
        )

    def _with_password(self, user: User, password_hash: str, entry: Entry) -> User:
        grants = self.permissions_of(entry.user)
        if not password_hash or grants is None or grants.unrestricted:
            password_by = ""
        else:
            password_by = user.password_by if entry.user == user.name else entry.user
        return replace(
            user, password_hash=password_hash, epoch=entry.index, password_by=password_by
        )

    def _check_password_known(self, user: User, roles: Iterable[str]) -> None:
        """Check that no user who may do less than these roles allow knows the password of this one."""
        if user.password_by:
            grants = self.permissions_of(user.password_by)
            if grants is not None and not all(
                grants.includes(self._roles.get(name)) for name in roles
            ):
                raise _known_password(user)

    def _set_password(self, command: SetPassword, entry: Entry) -> dict[str, object]:
        before = self._user_for(command.name, entry)
        after = self._with_password(before, command.password_hash, entry)
        self._put(self._users, command.name, after)
        return _view(after)

    def _revoke_tokens(self, command: RevokeTokens, entry: Entry) -> dict[str, object]:
        after = replace(self._user_for(command.name, entry), epoch=entry.index)
        self._put(self._users, command.name, after)
        return _view(after)

    def _delete_user(self, command: DeleteUser, entry: Entry) -> None:
        grants = self._needs(entry, "users", f'delete the user "{command.name}"')
        before = self._known(command.name)
        self._check_covers(grants, before.roles)
        self._check_not_last(before)
        self._put(self._users, command.name, None)

    def _set_role(self, command: SetRole, entry: Entry) -> None:
        role = command.role
        grants = self._needs(entry, "users", f'change the role "{role.name}"')
        self._check_users_exist()
        if role.name == ADMIN:
            raise AccessRefused("built_in", f"the role `{ADMIN}` allows everything: choose a name")
        before = self._roles.get(role.name)
        if before is None and len(self._roles) >= MAX_ROLES:
            raise AccessRefused("too_many", f"there are {MAX_ROLES} roles")
        for content in (role, before or role):
            if grants is not None and not grants.includes(content):
                raise _exceeds(grants, role.name)
        grown = 0 if before is None else before.grown
        if before is not None and not Grants("", [before]).includes(role):
            grown = entry.index
            for user in self._users.values():
                if role.name in user.roles and ADMIN not in user.roles and user.password_by:
                    by = self._users.get(user.password_by)
                    if by is None or (role.name not in by.roles and ADMIN not in by.roles):
                        raise _known_password(user)
        self._put(self._roles, role.name, replace(role, grown=grown))

    def _delete_role(self, command: DeleteRole, entry: Entry) -> None:
        name = command.name
        grants = self._needs(entry, "users", f'delete the role "{name}"')
        before = self._roles.get(name)
        if before is None:
            raise AccessRefused("no_such_role", f'there is no role "{name}"')
        if grants is not None and not grants.includes(before):
            raise _exceeds(grants, name)
        holder = next((user.name for user in self._users.values() if name in user.roles), None)
        if holder is not None:
            raise AccessRefused("role_in_use", f'the user "{holder}" has it: take it away first')
        self._put(self._roles, name, None)

    def _add_join_token(self, command: AddJoinToken, entry: Entry) -> None:
        grants = self.permissions_of(entry.user)
        if grants is not None and not grants.unrestricted:
            raise denied(entry.user, _TO_JOIN)
        expired = [held.id for held in self.join_tokens() if held.expires_us < entry.clock_us]
        if command.id in self._tokens and command.id not in expired:
            raise AccessRefused("exists", f'there is a join token "{command.id}"')
        if len(self._tokens) - len(expired) >= MAX_JOIN_TOKENS:
            raise AccessRefused("too_many", f"there are {MAX_JOIN_TOKENS} join tokens")
        token = JoinToken(command.id, command.key, command.expires_us, entry.index)
        for token_id in expired:
            self._put(self._tokens, token_id, None)
        self._put(self._tokens, token.id, token)

    def _delete_join_token(self, command: DeleteJoinToken, entry: Entry) -> None:
        self._needs(entry, "manage", "delete a join token")
        if command.id not in self._tokens:
            raise AccessRefused("no_such_token", f'there is no join token "{command.id}"')
        self._put(self._tokens, command.id, None)

    def _use_join_token(self, command: UseJoinToken, entry: Entry) -> None:
        if entry.user:
            self._needs(entry, "manage", "use a join token")
        token = self._tokens.get(command.id)
        if token is None or token.expires_us < entry.clock_us:
            raise AccessRefused(
                "no_such_token",
                f'the join token "{command.id}" was used or withdrawn, or it has expired: make a new one, and give it '
                "to the node",
            )
        self._put(self._tokens, command.id, None)

    # -- parts of commands -----------------------------------------------------------------------

    def _needs(self, entry: Entry, action: Action, what: str) -> Grants | None:
        """What the user of an entry may do, if it may do this; None while there are no users."""
        grants = self.permissions_of(entry.user)
        if grants is not None and not grants.may(action):
            raise denied(entry.user, f"the action `{action}`, to {what}")
        return grants

    def _user_for(self, name: str, entry: Entry) -> User:
        """A user that the user of the entry may change: itself, or one that has no more than it has."""
        self._check_users_exist()
        if entry.user == name:
            return self._known(name)
        grants = self._needs(entry, "users", f'change the user "{name}"')
        before = self._known(name)
        self._check_covers(grants, before.roles)
        return before

    def _current(self, user: User) -> User:
        """The user, with the epoch that counts: that of a role of it, if one has grown since."""
        if ADMIN in user.roles:
            return user  # it may do everything, whatever its other roles are
        epoch = max([user.epoch, *(self._roles[name].grown for name in user.roles)])
        return user if epoch == user.epoch else replace(user, epoch=epoch)

    def _known(self, name: str) -> User:
        user = self._users.get(name)
        if user is None:
            raise AccessRefused(
                "no_such_user",
                f'there is no user "{name}": `qcore user list` shows the users, `qcore user add` makes one',
            )
        return user

    def _check_users_exist(self) -> None:
        if not self._users:
            raise AccessRefused(
                "no_users", f"there are no users yet: first add one with the role `{ADMIN}`"
            )

    def _check_covers(self, grants: Grants | None, roles: Iterable[str]) -> None:
        """The user has itself what these roles allow: otherwise it could give itself more."""
        for name in roles:
            if grants is not None and not grants.includes(self._roles.get(name)):
                raise _exceeds(grants, name)

    def _check_not_last(self, user: User) -> None:
        if ADMIN in user.roles and sum(ADMIN in each.roles for each in self._users.values()) == 1:
            raise AccessRefused(
                "last_admin",
                f'"{user.name}" is the last user with the role `{ADMIN}`: give it to another first',
            )

    def _put(self, table: dict[str, Any], name: str, row: AccessRow | None) -> None:
        """Set or delete a row. `Any`: the table holds rows of this class."""
        before = table.get(name)
        size = self._bytes - (0 if before is None else _size(before))
        if row is None:
            del table[name]
        else:
            size += _size(row)
            if size > MAX_TABLE_BYTES:
                raise AccessRefused(
                    "too_many", f"users and roles would have more than {MAX_TABLE_BYTES} bytes"
                )
            table[name] = row
        self._bytes = size

    def _changed(self) -> None:
        self._grants = {}
        self._digest = None


def _exceeds(grants: Grants, role: str) -> PermissionDenied:
    return denied(grants.user, f'everything that the role "{role}" allows, before and after')


def _known_password(user: User) -> AccessRefused:
    return AccessRefused(
        "password_known",
        f'"{user.password_by}", who may do less, knows the password of "{user.name}": first give "{user.name}" a new '
        f"password, as a user with the role `{ADMIN}`",
    )


def _view(user: User) -> dict[str, object]:
    """What the client learns of a user: not the password hash."""
    return {
        "name": user.name,
        "roles": user.roles,
        "epoch": user.epoch,
        "created": user.created,
        "has_password": bool(user.password_hash),
    }


def _size(row: AccessRow) -> int:
    return utf8_length(row_text(row)) + 1
