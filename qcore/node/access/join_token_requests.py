"""`JoinTokenRequestHandler`: executes the messages about join tokens, with which new nodes prove who they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qcore.core.raft import RaftCore
from qcore.errors import ChangeRefused, NotLeader, Overloaded, QcoreError, Refused
from qcore.node.access.audit_log import AuditLog
from qcore.node.access.cluster_time import ClusterTime
from qcore.node.runtime.submit_event import GetPermission
from qcore.replica.access.access_commands import (
    AccessCommand,
    AddJoinToken,
    DeleteJoinToken,
    command_text,
)
from qcore.replica.access.access_table import AccessTable
from qcore.replica.events import ClientRequest, Reply
from qcore.security.keys.node_key import checked_public_key
from qcore.transport.server.server import MessageHandler, ServerConnection, user_of
from qcore.transport.wire import Ok, failure
from qcore.transport.wire import users as users_wire

#: The life of a token whose message names none, and the longest one, seconds.
DEFAULT_JOIN_TTL_S: Final = 3600
MAX_JOIN_TTL_S: Final = 30 * 24 * 3600
_US: Final = 1_000_000

#: A response class with `id`, `response` and `detail`. `Any`: it depends on the message.
_Response = Callable[..., object]


class JoinTokenRequestHandler:
    """Makes, lists and withdraws join tokens. Only the leader does, because it knows the members.

    Args:
        users: holds the tokens.
        core: for the leader and the members' keys.
        time: the cluster clock.
        audit: records changes.
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
        audit: AuditLog,
        get_permission: GetPermission,
        timeout_ms: int,
    ) -> None:
        self._users = users
        self._core = core
        self._time = time
        self._audit = audit
        self._get_permission = get_permission
        self._timeout_ms = timeout_ms
        self.handlers: dict[type, MessageHandler] = {
            users_wire.AddJoinToken: self._add,
            users_wire.DeleteJoinToken: self._delete,
            users_wire.ListJoinTokens: self._list,
        }

    def _add(self, connection: ServerConnection, message: users_wire.AddJoinToken) -> None:
        respond = users_wire.AddJoinTokenResponse
        ttl_s = DEFAULT_JOIN_TTL_S if message.ttl_s is None else message.ttl_s
        membership = self._core.membership
        try:
            self._check_leads()
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
        self._submit(connection, message, respond, command, made)

    def _delete(self, connection: ServerConnection, message: users_wire.DeleteJoinToken) -> None:
        respond = users_wire.DeleteJoinTokenResponse
        try:
            command = DeleteJoinToken(message.token_id)
        except ValueError as error:
            refused = Refused(f"DeleteJoinToken: {error}")
            connection.send(respond(message.id, *failure(refused)))
            return
        self._submit(connection, message, respond, command, None)

    def _list(self, connection: ServerConnection, message: users_wire.ListJoinTokens) -> None:
        respond = users_wire.ListJoinTokensResponse
        try:
            self._check_leads()
        except QcoreError as error:
            connection.send(respond(message.id, *failure(error)))
            return
        now_us = self._time.now_us()
        tokens = [
            users_wire.JoinTokenInfo(held.id, max(0, -(-(held.expires_us - now_us) // _US)))
            for held in self._users.join_tokens()
        ]
        connection.send(respond(message.id, Ok(tokens)))

    def _check_leads(self) -> None:
        core = self._core
        if core.role != "leader":
            leader = core.leader_id
            raise NotLeader(leader, None if leader is None else core.membership.address_of(leader))
        if not core.has_committed_in_term:
            raise Overloaded.because("the leader is not ready yet", 50)

    def _submit(
        self,
        connection: ServerConnection,
        message: Any,  # one with an id and a token_id
        respond: _Response,
        command: AccessCommand,
        value: object,
    ) -> None:
        user, name = user_of(connection), type(message).__name__
        permission = self._get_permission(connection, message)
        rejection = permission.reject_all or permission.reject_writes
        if rejection is not None:
            connection.send(respond(message.id, *failure(rejection)))
            return
        text = command_text(command)

        def done(reply: Reply) -> None:
            self._audit.write(
                connection.remote,
                user,
                name,
                message.token_id,
                index=reply.index or None,
                error=reply.error,
            )
            if reply.error is not None:
                connection.send(respond(message.id, *failure(reply.error)))
            else:
                connection.send(respond(message.id, Ok(value)))

        permission.submit_event(
            lambda number: ClientRequest(number, "access", text, self._timeout_ms, user=user), done
        )
