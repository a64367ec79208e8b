"""`JoinTokenRequestHandler`: executes the messages about join tokens, with which new nodes prove who they are."""

from __future__ import annotations

from typing import Final

from qcore.core.raft import RaftCore
from qcore.errors import ChangeRefused, QcoreError, Refused
from qcore.node.access.cluster_time import ClusterTime
from qcore.node.access.user_requests import AccessChanges, leader_problem
from qcore.node.runtime.submit_event import GetPermission
from qcore.replica.access.access_commands import AddJoinToken, DeleteJoinToken
from qcore.replica.access.access_table import AccessTable
from qcore.security.keys.node_key import checked_public_key
from qcore.transport.server.server import MessageHandler, ServerConnection
from qcore.transport.wire import Ok, failure
from qcore.transport.wire import users as users_wire

#: The life of a token whose message names none, and the longest one, seconds.
DEFAULT_JOIN_TTL_S: Final = 3600
MAX_JOIN_TTL_S: Final = 30 * 24 * 3600
_US: Final = 1_000_000


class JoinTokenRequestHandler:
    """Makes, lists and withdraws join tokens. Only the leader does, because it knows the members.

    Args:
        users: holds the tokens.
        core: for the leader and the members' keys.
        time: the cluster clock.
        get_permission: see `GetPermission`.
        timeout_ms: how long a change may take.

    Attributes:
        handlers: the handlers by class; see `ServerHandler`.
    """

    def __init__(
        self,
        users: AccessTable,
        core: RaftCore,
        time: ClusterTime,
        get_permission: GetPermission,
        timeout_ms: int,
    ) -> None:
        self._users = users
        self._core = core
        self._time = time
        self._changes = AccessChanges(get_permission, timeout_ms)
        self.handlers: dict[type, MessageHandler] = {
            users_wire.AddJoinToken: self._add,
            users_wire.DeleteJoinToken: self._delete,
            users_wire.ListJoinTokens: self._list,
        }

    def _add(self, connection: ServerConnection, message: users_wire.AddJoinToken) -> None:
        respond = users_wire.AddJoinTokenResponse
        ttl_s = DEFAULT_JOIN_TTL_S if message.ttl_s is None else message.ttl_s
        membership = self._core.committed_membership[1]
        try:
            if (problem := leader_problem(self._core)) is not None:
                raise problem
            if not membership.keys:
                raise ChangeRefused(
                    "no_keys",
                    "the members of this cluster have no public keys yet: see the apply rules",
                )
            if ttl_s > MAX_JOIN_TTL_S:
                raise Refused(
                    f"AddJoinToken.ttl_s: a join token is valid for at most {MAX_JOIN_TTL_S} seconds"
                )
            key = checked_public_key(message.public_key, "AddJoinToken.public_key")
            command = AddJoinToken(message.token_id, key, self._time.now_us() + ttl_s * _US)
        except (QcoreError, ValueError) as error:
            known = error if isinstance(error, QcoreError) else Refused(f"AddJoinToken: {error}")
            connection.send(respond(message.id, *failure(known)))
            return
        made = users_wire.JoinTokenGrant(membership.cluster_id or "", [*membership.keys], ttl_s)
        self._changes.submit(connection, message, respond, command, lambda _: made)

    def _delete(self, connection: ServerConnection, message: users_wire.DeleteJoinToken) -> None:
        respond = users_wire.DeleteJoinTokenResponse
        try:
            command = DeleteJoinToken(message.token_id)
        except ValueError as error:
            refused = Refused(f"DeleteJoinToken: {error}")
            connection.send(respond(message.id, *failure(refused)))
            return
        self._changes.submit(connection, message, respond, command, lambda _: None)

    def _list(self, connection: ServerConnection, message: users_wire.ListJoinTokens) -> None:
        respond = users_wire.ListJoinTokensResponse
        if (problem := leader_problem(self._core)) is not None:
            connection.send(respond(message.id, *failure(problem)))
            return
        now_us = self._time.now_us()
        tokens = [
            users_wire.JoinTokenInfo(held.id, max(0, -(-(held.expires_us - now_us) // _US)))
            for held in self._users.join_tokens()
        ]
        connection.send(respond(message.id, Ok(tokens)))
