"""`AccessGate`: lets a message or a page of a client pass if its user may send it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from qcore.errors import Overloaded, PermissionDenied, QcoreError, Unauthenticated
from qcore.node.access.audit.audit_log import AuditLog
from qcore.node.access.audit.audited_request import AUDITED_MESSAGES, IndexOf, audited
from qcore.node.access.audit.logins import EndedToken, Logins, Proof
from qcore.node.access.message_needs import MESSAGE_NEEDS, OPEN_PAGES, Need
from qcore.node.access.passwords import Passwords, Place
from qcore.node.access.proofs import LOGIN_TTL_S, Proofs
from qcore.replica.access.access_table import AccessTable
from qcore.replica.access.awaited_users import AwaitedUsers
from qcore.transport.server.server import (
    HttpResponse,
    MessageHandler,
    ServerConnection,
    user_of,
)
from qcore.transport.wire import error_envelope

#: For a request without a user.
_WHO: Final = (
    "this cluster has users: authenticate with a token or a password (header Authorization, or the message "
    "Authenticate)"
)
_CHALLENGE: Final = {
    "WWW-Authenticate": 'Basic realm="qcore", charset="UTF-8", Bearer realm="qcore"'
}
#: The retry hint of a leader that has not applied the log yet, ms.
_LAG_MS: Final = 50
#: What only a node passes that has recently been in contact with a majority: a revocation must count here immediately.
_NEED_RECENT_STATE: Final[tuple[Need, ...]] = ("everything", "manage", "users")
#: The longest header `Authorization`, in characters.
_MAX_HEADER: Final = 8192
#: A connection ends after so many tokens and passwords that were wrong.
MAX_FAILURES: Final = 10
_POLICY_VIOLATION: Final = 1008

#: Sends the answer to an HTTP request: a refusal, or None.
Answer = Callable[[HttpResponse | None], None]


class AccessGate:
    """Decides which requests of clients pass.

    Args:
        users: the replicated users.
        awaited: users that this node may not have applied yet.
        proofs: checks tokens.
        passwords: checks passwords.
        audit: records refusals and admin requests.
        index_of: see `IndexOf`.
        logins: records logins.
    """

    def __init__(
        self,
        users: AccessTable,
        awaited: AwaitedUsers,
        proofs: Proofs,
        passwords: Passwords,
        audit: AuditLog,
        index_of: IndexOf,
        logins: Logins,
    ) -> None:
        self._users = users
        self._awaited = awaited
        self._proofs = proofs
        self._passwords = passwords
        self._audit = audit
        self._index_of = index_of
        self._logins = logins
        #: What runs beside the event loop's other work, as an ordered set.
        self._tasks: dict[asyncio.Task[None], None] = {}

    @property
    def is_active(self) -> bool:
        """Whether there are users, or may be."""
        return self._users.active or self._awaited.problem() is not None

    @property
    def is_recorded(self) -> bool:
        """Whether there is an audit log."""
        return self._audit.is_on

    def close(self) -> None:
        """Cancel the password checks in progress."""
        for task in [*self._tasks]:
            task.cancel()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that waits, until it ends or the gate is closed.

        It runs outside the turns of the clients. So the work of a client needs a place first (`Passwords.place`).
        """
        task = asyncio.get_running_loop().create_task(work, name="qcore access")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    # -- messages --------------------------------------------------------------------------------

    def guarded(
        self, handlers: Mapping[type, MessageHandler], perform_type: type
    ) -> dict[type, MessageHandler]:
        """The handlers by the class of the message, each behind this gate. `perform_type` is that of `Perform`."""
        return {
            cls: self._guarded("Perform" if cls is perform_type else cls.__name__, handle)
            for cls, handle in handlers.items()
        }

    def _guarded(self, name: str, handle: MessageHandler) -> MessageHandler:
        users, need = self._users, MESSAGE_NEEDS.get(name)
        changes_members = need == "manage" or name in ("AddLearner", "AddJoinToken")
        # Such a request has one line, whatever its outcome. Of the others, those that are refused have one.
        is_recorded = self._audit.is_on and name in AUDITED_MESSAGES

        def guarded(connection: ServerConnection, message: Any) -> None:
            if is_recorded:
                connection = audited(connection, self._audit, self._index_of, message)
            if users.active:
                refusal = self.refusal(connection, need, name)
                if refusal is not None:
                    if not is_recorded:
                        self.denied(connection, name, refusal)
                    connection.send(error_envelope(message.id, refusal))
                    return
            elif need != "nothing" and (awaited := self._awaited.problem()) is not None:
                connection.send(error_envelope(message.id, awaited))
                return
            elif changes_members and self._proofs.may_lag():
                lags = Overloaded.because(
                    "the leader does not know yet whether there are users", _LAG_MS
                )
                connection.send(error_envelope(message.id, lags))
                return
            handle(connection, message)

        return guarded

    def refusal(
        self, connection: ServerConnection, need: Need | None, name: str
    ) -> QcoreError | None:
        """Why a message or page is refused; None if it passes. There are users.

        Args:
            connection: where it arrived.
            need: what it needs; None if the table does not list it.
            name: names it.
        """
        if need == "nothing":
            return None
        error = self._problem(connection)
        user = user_of(connection)
        if error is None:
            error = self._missing(user, need, name)
        if error is None and need in _NEED_RECENT_STATE and connection.principal is not None:
            error = self._proofs.outdated(connection.principal)
        return error

    def denied(self, connection: ServerConnection, action: str, error: QcoreError) -> None:
        """Record that a user may not do something. The audit log has nothing else of requests for data."""
        if isinstance(error, Unauthenticated | PermissionDenied):
            self._audit.refused(connection.remote, user_of(connection), action, error)

    def _problem(self, connection: ServerConnection) -> QcoreError | None:
        principal = connection.principal
        return Unauthenticated(_WHO) if principal is None else self._proofs.problem(principal)

    def _missing(self, user: str, need: Need | None, name: str) -> QcoreError | None:
        if need is None:
            return PermissionDenied(f"{name}: a cluster with users accepts this from no client")
        if need == "user" or need == "nothing":
            return None
        if need == "everything":
            permissions = self._users.permissions_of(user)
            if permissions is None or permissions.unrestricted:
                return None
            return PermissionDenied(
                f'the user "{user}" may not do this: it needs the role `admin`, because it gives access to everything'
            )
        return self._users.denial(user, need)

    def current_user(self, connection: ServerConnection) -> str:
        """The user whose rights the connection has now; empty if it has none, or none any more.

        Otherwise one with a token that was revoked could use up the rates of the user.
        """
        if connection.principal is None or self._problem(connection) is not None:
            return ""
        return user_of(connection)

    def watch_problem(self, connection: ServerConnection) -> QcoreError | None:
        """Why the watches of a connection end; None if they go on."""
        problem = self._problem(connection) if self._users.active else None
        return None if isinstance(problem, Overloaded) else problem

    # -- HTTP ------------------------------------------------------------------------------------

    def page_refusal(self, connection: ServerConnection, path: str) -> HttpResponse | None:
        """The response instead of a page; None if the page may be shown."""
        if path in OPEN_PAGES:
            return None
        if not self._users.active:
            awaited = self._awaited.problem()
            return None if awaited is None else _refused(awaited, HTTPStatus.SERVICE_UNAVAILABLE)
        error = self.refusal(connection, "observe", "GET")
        if error is None:
            return None
        self.denied(connection, "GET", error)
        return _refused(error)

    def on_request(
        self, connection: ServerConnection, authorization: Sequence[str], answer: Answer
    ) -> None:
        """See `ServerHandler`. A request without the header passes: its messages and pages are checked later."""
        if not authorization:
            answer(None)
            return
        try:
            self._take_header(connection, authorization, answer)
        except Unauthenticated as error:
            if self._users.active:
                self._logins.failed(connection.remote, "", _proof_in(authorization), error)
                answer(_refused(error))
            else:
                answer(None)  # no request needs one

    def _take_header(
        self, connection: ServerConnection, authorization: Sequence[str], answer: Answer
    ) -> None:
        scheme, _, value = authorization[0].partition(" ")
        value = value.strip()
        if len(authorization) > 1 or len(value) > _MAX_HEADER:
            raise Unauthenticated("send one header Authorization")
        match scheme.lower():
            case "bearer":
                proof = self.use_token(connection, value)
                if self._users.active:
                    self._logins.succeeded(connection.remote, user_of(connection), proof)
                answer(None)
            case "basic" if self._users.active:
                user, password = _basic(value)
                try:
                    place = self._passwords.place(connection.remote, user)
                except Overloaded as error:
                    self._logins.failed(connection.remote, user, "password", error)
                    answer(_refused(error))
                else:
                    self.run(self._use_password(connection, place, user, password, answer))
            case "basic":
                answer(None)
            case _:
                raise Unauthenticated("the header Authorization is Bearer or Basic")

    def use_token(self, connection: ServerConnection, token: str) -> Proof:
        """Take the user of a token as that of the connection; returns the kind of the token.

        Raises:
            Unauthenticated: the token is not valid; `EndedToken` if it was.
        """
        principal = self._proofs.read(token)
        if self._users.active:
            problem = self._proofs.problem(principal)
            if problem is not None and not isinstance(problem, Overloaded):
                raise EndedToken(str(problem))
        connection.principal = principal
        return "recovery token" if principal.is_recovery else "token"

    async def use_password(
        self, connection: ServerConnection, place: Place, user: str, password: str
    ) -> str:
        """Take the user of a password as that of the connection; returns a token.

        Raises:
            Unauthenticated, Overloaded: see `Passwords.check`.
        """
        with place:
            found = await self._passwords.check(place, user, password)
        token, connection.principal = self._proofs.issue(found, LOGIN_TTL_S)
        return token

    def failed(self, connection: ServerConnection) -> None:
        """Note a wrong token or password, after it was answered. Too many end the connection.

        Tokens do not count in `FailedLogins`: a signature cannot be guessed, and programs that share an address with a
        stranger would have to wait.
        """
        connection.failed_logins += 1
        if connection.failed_logins == MAX_FAILURES:
            connection.close(
                _POLICY_VIOLATION, "too many wrong tokens or passwords on one connection"
            )

    async def _use_password(
        self,
        connection: ServerConnection,
        place: Place,
        user: str,
        password: str,
        answer: Answer,
    ) -> None:
        try:
            await self.use_password(connection, place, user, password)
        except (Unauthenticated, Overloaded) as error:
            self._logins.failed(connection.remote, user, "password", error)
            answer(_refused(error))
        else:
            self._logins.succeeded(connection.remote, user, "password")
            answer(None)


def _proof_in(authorization: Sequence[str]) -> Proof:
    """What headers `Authorization` hold that prove nothing."""
    is_token = len(authorization) == 1 and authorization[0][:7].lower() == "bearer "
    return "token" if is_token else "header"


def _basic(value: str) -> tuple[str, str]:
    """User and password of a header `Authorization: Basic` (RFC 7617)."""
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated(
            "the header Authorization: Basic is not base64 of user:password"
        ) from None
    user, colon, password = text.partition(":")
    if not colon:
        raise Unauthenticated("the header Authorization: Basic is not base64 of user:password")
    return user, password


def _refused(
    error: QcoreError, overloaded: HTTPStatus = HTTPStatus.TOO_MANY_REQUESTS
) -> HttpResponse:
    match error:
        case Unauthenticated():
            return HttpResponse(HTTPStatus.UNAUTHORIZED, f"{error}\n", headers=_CHALLENGE)
        case Overloaded():
            seconds = str(-(-error.retry_after_ms // 1000))
            return HttpResponse(overloaded, f"{error}\n", headers={"Retry-After": seconds})
        case _:
            return HttpResponse(HTTPStatus.FORBIDDEN, f"{error}\n")
