"""`UserMethods`: users, roles and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TypeVar

from qcore.client.attempts import try_admin_request, try_session_request
from qcore.client.methods.method_base import ClientMethods, decode_result, nothing
from qcore.client.request_sender import Json
from qcore.security.keys.join_token import HeldJoinToken
from qcore.security.keys.node_key import SEED_BYTES, NodeKey
from qcore.transport.address import Address
from qcore.transport.wire.users import (
    ActionName,
    Identified,
    IssuedToken,
    JoinTokenGrant,
    JoinTokenInfo,
    RoleInfo,
    RuleInfo,
    UserInfo,
)

_T = TypeVar("_T")


class UserMethods(ClientMethods):
    """The methods about users. There are none until the first is added; from then on every request needs one."""

    async def set_user(
        self,
        name: str,
        *,
        password: str | None = None,
        roles: Sequence[str] | None = None,
        old_password: str | None = None,
    ) -> UserInfo:
        """Add a user, or change the parts that are given.

        Args:
            name: the user.
            password: a new one ends the user's tokens. None leaves it; a new user then has none, and needs a token.
            roles: all its roles. The first user needs `admin`. A new user needs this list, which may be empty. With
                None, the user must exist: a mistyped name adds no user.
            old_password: for a user that changes its own password and may not change users.

        Raises:
            AccessRefused: the change was rejected; `name` gives the reason, such as `no_such_user`.
            PermissionDenied: this client's user may not do it.
            OutcomeUnknown: the change may still be made: list the users.
        """
        fields: dict[str, Json] = {"name": name, "password": password, "old_password": old_password}
        fields["roles"] = None if roles is None else list(roles)
        given = {key: value for key, value in fields.items() if value is not None}
        return await self._change("SetUser", given, _user)

    async def delete_user(self, name: str) -> None:
        """Delete a user. Its tokens and the rights of its connections end. Raises: as `set_user`."""
        await self._change("DeleteUser", {"name": name}, nothing)

    async def revoke_tokens(self, name: str) -> UserInfo:
        """End all tokens of a user, and the rights of its connections. Raises: as `set_user`."""
        return await self._change("RevokeTokens", {"name": name}, _user)

    async def set_role(
        self,
        name: str,
        *,
        actions: Sequence[ActionName] = (),
        rules: Sequence[RuleInfo] = (),
        permissions: Sequence[str] = (),
    ) -> None:
        """Add a role, or replace it.

        Args:
            name: the role.
            actions: `observe`, `read`, `write`, `manage`, `users`.
            rules: for the entity store: which fields of which types.
            permissions: what `read_permission` and `write_permission` of fields ask for.

        Raises:
            Refused: a part is not valid. Otherwise as `set_user`.
        """
        fields: dict[str, Json] = {
            "name": name,
            "actions": list(actions),
            "rules": [asdict(rule) for rule in rules],
            "permissions": list(permissions),
        }
        await self._change("SetRole", fields, nothing)

    async def delete_role(self, name: str) -> None:
        """Delete a role that no user has. Raises: as `set_user`."""
        await self._change("DeleteRole", {"name": name}, nothing)

    async def list_users(self) -> list[UserInfo]:
        """All users, in the order of their creation."""
        return await self._ask_leader(
            "ListUsers", {}, lambda found: [_user(each) for each in found]
        )

    async def list_roles(self) -> list[RoleInfo]:
        """All roles but the built-in `admin`."""
        return await self._ask_leader(
            "ListRoles", {}, lambda found: [_role(each) for each in found]
        )

    async def create_token(
        self, user: str | None = None, *, ttl_s: int | None = None
    ) -> IssuedToken:
        """Make a token.

        Args:
            user: whose token; None for this client's user.
            ttl_s: how long it is valid, seconds; None for a day. A token for the same user lasts no longer than that
                of this client, unless the user may change users.
        """
        fields: dict[str, Json] = {"user": user, "ttl_s": ttl_s}
        return await self._ask_leader("CreateToken", fields, lambda found: IssuedToken(**found))

    async def create_join_token(self, *, ttl_s: int | None = None) -> HeldJoinToken:
        """Make a join token, for one new node. `text()` of it is what the node needs.

        Its secret is made here: the cluster learns only a public key.

        Args:
            ttl_s: how long it is valid, seconds; None for an hour.

        Raises:
            ChangeRefused: the members have no public keys (apply rules below 5).
            AccessRefused: there are too many join tokens.
            PermissionDenied: this client's user has not the role `admin`.
            OutcomeUnknown: the token may have been added; it is useless then.
        """
        random_bytes = self._sender.runtime.random_bytes
        seed, token_id = random_bytes(SEED_BYTES), random_bytes(8).hex()
        fields: dict[str, Json] = {"token_id": token_id, "public_key": NodeKey(seed).public}
        if ttl_s is not None:
            fields["ttl_s"] = ttl_s
        granted = await self._change("AddJoinToken", fields, _grant)
        return HeldJoinToken(granted.cluster_id, token_id, tuple(granted.members), seed)

    async def list_join_tokens(self) -> list[JoinTokenInfo]:
        """The join tokens that were not used."""
        return await self._ask_leader(
            "ListJoinTokens", {}, lambda found: [JoinTokenInfo(**each) for each in found]
        )

    async def delete_join_token(self, token_id: str) -> None:
        """Withdraw a join token. Raises: as `set_user`."""
        await self._change("DeleteJoinToken", {"token_id": token_id}, nothing)

    async def who_am_i(self) -> Identified:
        """Who a node takes this client's user for."""

        async def ask(endpoint: Address, left_s: float) -> Json:
            return await try_session_request(self._sender.send, endpoint, "WhoAmI", {}, left_s)

        found = await self._sender.send_with_retries(ask, repeatable=True, any_node=True)
        return decode_result("WhoAmI", found, lambda result: Identified(**result))

    async def _change(
        self, name: str, fields: Mapping[str, Json], decode: Callable[[Json], _T]
    ) -> _T:
        """Send a change, which any node forwards to the leader."""
        return await self._sent(name, fields, decode)

    async def _ask_leader(
        self, name: str, fields: Mapping[str, Json], decode: Callable[[Json], _T]
    ) -> _T:
        """Ask the leader, which has applied every change that was acknowledged."""
        return await self._sent(name, fields, decode, repeatable=True)

    async def _sent(
        self,
        name: str,
        fields: Mapping[str, Json],
        decode: Callable[[Json], _T],
        *,
        repeatable: bool = False,
    ) -> _T:
        async def ask(endpoint: Address, left_s: float) -> Json:
            return await try_admin_request(self._sender.send, endpoint, name, fields, left_s)

        reply = await self._sender.send_with_retries(ask, repeatable=repeatable)
        return decode_result(name, reply["response"]["Ok"], decode)


def _user(found: Mapping[str, Json]) -> UserInfo:
    return UserInfo(**found)


def _role(found: Mapping[str, Json]) -> RoleInfo:
    rules = [RuleInfo(**rule) for rule in found["rules"]]
    return RoleInfo(found["name"], found["actions"], rules, found["permissions"])


def _grant(found: Json) -> JoinTokenGrant:
    made = JoinTokenGrant(**found)
    return replace(made, members=[(node, key) for node, key in made.members])
