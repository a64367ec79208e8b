"""`audited`: the connection of a request that the audit log records, which notes how the request ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, cast

from qcore.errors import QcoreError
from qcore.errors.error_registry import from_wire
from qcore.node.access.audit.audit_log import AuditLog
from qcore.node.access.message_needs import MESSAGE_NEEDS
from qcore.transport.server.server import ServerConnection, user_of
from qcore.transport.wire import (
    AddLearner,
    ChangeMembership,
    Err,
    Error,
    Init,
    MoveMember,
    ReadSnapshot,
    ReinstallMember,
    SaveSnapshot,
    TransferLeader,
    UpgradeMachine,
)
from qcore.transport.wire import users as users_wire

_CHANGES_OF_USERS: Final = (
    "SetUser",
    "DeleteUser",
    "RevokeTokens",
    "SetRole",
    "DeleteRole",
    "CreateToken",
)
#: The messages whose every request is recorded. Of the others only refusals are.
AUDITED_MESSAGES: Final = frozenset(
    (
        *_CHANGES_OF_USERS,
        *(
            name
            for name, need in MESSAGE_NEEDS.items()
            if need in ("manage", "everything", "users")
        ),
    )
)
#: How many items of a list a line names at most. The text of a line is truncated in any case.
_SHOWN: Final = 20

#: Returns the log index of what a message of this name did just now; None if it does not go through the log.
IndexOf = Callable[[str], int | None]


class AuditedRequest:
    """A connection, as the handler of one request sees it. The first response ends the request.

    Args:
        connection: the real one, which has every other attribute.
        audit: gets the line.
        index_of: see `IndexOf`.
        message: the request.

    Attributes:
        index: the log index of the command, once the handler knows it.
    """

    def __init__(
        self, connection: ServerConnection, audit: AuditLog, index_of: IndexOf, message: object
    ) -> None:
        self._connection = connection
        self._audit = audit
        self._index_of = index_of
        # Now, because a connection can get another user before the request ends.
        self._user = user_of(connection)
        self._name, self._what = type(message).__name__, what_of(message)
        self._is_open = True
        self.index: int | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def send(self, message: object) -> None:
        """Send the response, and record how the request has ended."""
        if self._is_open:
            self._is_open = False
            error = error_of(message)
            index = self.index or (self._index_of(self._name) if error is None else None)
            self._audit.ended(
                self._connection.remote, self._user, self._name, self._what, index, error
            )
        self._connection.send(message)


def audited(
    connection: ServerConnection, audit: AuditLog, index_of: IndexOf, message: object
) -> ServerConnection:
    """The connection to give to the handler of a request that is recorded; see `AuditedRequest`."""
    return cast("ServerConnection", AuditedRequest(connection, audit, index_of, message))


def note_index(connection: ServerConnection, index: int) -> None:
    """The command of a request was applied at this log index. Nothing happens if the request is not recorded."""
    request: object = connection
    if isinstance(request, AuditedRequest):
        request.index = index or None


def error_of(response: object) -> QcoreError | None:
    """The error that a response reports; None for a success."""
    if isinstance(response, Error):
        return from_wire(response.error, response.detail)
    outcome: object = getattr(response, "response", None)
    if isinstance(outcome, Err):
        return from_wire(outcome.text, getattr(response, "detail", None))
    return None


def what_of(message: object) -> str:
    """What a request is about. It names no secret: of a password only that there is one."""
    match message:
        case users_wire.SetUser():
            roles = None if message.roles is None else f"roles {_list(message.roles)}"
            password = None if message.password is None else "password"
            return "; ".join(filter(None, (message.name, roles, password)))
        case users_wire.SetRole():
            rules = [f"{rule.access} {rule.type}.{rule.field}" for rule in message.rules[:_SHOWN]]
            return (
                f"{message.name}; actions {_list(message.actions)}; "
                f"rules {_list(rules, len(message.rules))}; permissions {_list(message.permissions)}"
            )
        case users_wire.CreateToken():
            return "own token" if message.user is None else message.user
        case users_wire.DeleteUser() | users_wire.RevokeTokens() | users_wire.DeleteRole():
            return message.name
        case users_wire.AddJoinToken() | users_wire.DeleteJoinToken():
            return message.token_id
        case Init():
            nodes = [f"{node}={address}" for node, address in message.nodes[:_SHOWN]]
            return f"nodes {_list(nodes, len(message.nodes))}"
        case AddLearner() | MoveMember():
            return f"node {message.node_id}={message.node_addr}"
        case ChangeMembership():
            learners = (
                ""
                if message.learners is None
                else f"; learners {_list(map(str, message.learners))}"
            )
            return f"voters {_list(map(str, message.members))}{learners}"
        case TransferLeader():
            return "to any voter" if message.to is None else f"to node {message.to}"
        case ReinstallMember():
            return f"node {message.node_id}"
        case UpgradeMachine():
            return "newest version" if message.version is None else f"version {message.version}"
        case SaveSnapshot():
            return "the whole state"
        case ReadSnapshot():
            return f"snapshot {message.last_included_index}"
    return ""


def _list(items: Iterable[str], number: int | None = None) -> str:
    shown = [*islice(items, _SHOWN + 1)]
    return "[" + ", ".join(shown[:_SHOWN]) + (", ...]" if (number or len(shown)) > _SHOWN else "]")
