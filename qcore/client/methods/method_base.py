"""`ClientMethods`: what the groups of methods of a client share: how they read, and how they write once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from qcore.client.attempts import try_perform, try_session_request, try_store
from qcore.client.errors import READ_ERRORS, decode_error, reason
from qcore.client.methods.call_options import (
    Consistency,
    ReadOptions,
    WriteOptions,
    check_options,
    check_timeout,
    encode_consistency,
    is_stale,
)
from qcore.client.request_sender import Json, RequestSender
from qcore.client.sessions.session import ClientSession
from qcore.client.sessions.session_pool import LIFETIME_S, SessionPool
from qcore.display import truncate
from qcore.errors import OutcomeUnknown, RemoteProtocolError, SessionExpired
from qcore.transport.address import Address

_T = TypeVar("_T")


class ClientMethods:
    """Sends requests of the state machine, and those about sessions.

    Args:
        sender: chooses the node, and repeats.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt waits for its response.
        exactly_once: whether a write without a `session` uses one that the client opened.
    """

    def __init__(
        self,
        sender: RequestSender,
        timeout_s: float,
        attempt_timeout_s: float,
        *,
        exactly_once: bool,
    ) -> None:
        self._sender = sender
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._pool = (
            SessionPool(self._open_session, sender.not_sent, sender, sender.runtime.monotonic_us)
            if exactly_once
            else None
        )
        if self._pool is not None:
            sender.event_loop.when_new(self._pool.new_loop)

    async def perform(
        self,
        request: Mapping[str, Json],
        *,
        consistency: Consistency | None = None,
        session: Mapping[str, int] | None = None,
        timeout_s: float | None = None,
    ) -> Json:
        """Send any `Perform` request and return `PerformResponse.response`, which may hold a store error.

        This is the message below the other methods, for requests that have none. It uses no session by itself.

        Args:
            request: one command by name.
            consistency: for a read: how it is served.
            session: for a write: `id`, `sequence`, `acknowledged`; see `qcore.client.ClientSession.command`.
            timeout_s: how long the request may take, with all its retries; by default the client's `timeout_s`.

        Raises:
            OutcomeUnknown: a write may or may not take effect.
            ProposalError: every attempt was rejected until the timeout; the request had no effect.
            RemoteProtocolError: the request is malformed; the text names the field.
            TransportError: no node could be reached.
        """
        repeatable = session is not None or is_read(request)
        fields: dict[str, Json] = {"request": dict(request)}
        if consistency is not None:
            fields["consistency"] = encode_consistency(consistency)
        if session is not None:
            fields["session"] = dict(session)

        def ask(endpoint: Address, left_s: float) -> Awaitable[Json]:
            return try_perform(self._sender.send, endpoint, fields, left_s, repeatable=repeatable)

        return await self._sender.send_with_retries(
            ask,
            repeatable=repeatable,
            any_node=is_stale(consistency),
            timeout_s=self._timeout(timeout_s),
        )

    async def open_session(self, *, lifetime_s: float = 60.0) -> ClientSession:
        """Open a session, for writes that take effect once. The client opens such sessions by itself, too.

        Args:
            lifetime_s: the session expires when it is not used for so long.

        Raises:
            QcoreError: the cluster did not open it in time.
        """
        return await ClientSession.open(self, lifetime_s=lifetime_s)

    async def session_request(
        self, name: str, fields: Mapping[str, Json], *, timeout_s: float | None = None
    ) -> Json:
        """Send `OpenSession`, `KeepSession` or `CloseSession`, and repeat it until a node answers.

        An `OpenSession` whose response was lost leaves a session that no client uses and that expires.

        Raises:
            SessionExpired: the session is gone. If a `CloseSession` was repeated, its first attempt may have closed it.
            QcoreError: every attempt was rejected until the timeout.
        """

        def ask(endpoint: Address, left_s: float) -> Awaitable[Json]:
            return try_session_request(self._sender.send, endpoint, name, fields, left_s)

        return await self._sender.send_with_retries(ask, timeout_s=timeout_s)

    async def _open_session(self, left_s: float) -> ClientSession:
        return await ClientSession.open(self, lifetime_s=LIFETIME_S, timeout_s=left_s)

    async def _read(
        self,
        name: str,
        fields: Mapping[str, Json],
        decode: Callable[[Json], _T],
        options: ReadOptions,
    ) -> _T:
        """Send a message that reads, and decode its result."""
        check_options(options, ReadOptions)
        consistency = options.get("consistency")
        sent = dict(fields)
        if consistency is not None:
            sent["consistency"] = encode_consistency(consistency)

        def ask(endpoint: Address, left_s: float) -> Awaitable[Json]:
            return self._ask(name, endpoint, sent, left_s, repeatable=True)

        result = await self._sender.send_with_retries(
            ask,
            repeatable=True,
            any_node=is_stale(consistency),
            timeout_s=self._timeout(options.get("timeout_s")),
        )
        return decode_result(name, result, decode)

    async def _write(
        self,
        name: str,
        fields: Mapping[str, Json],
        decode: Callable[[Json], _T],
        options: WriteOptions,
    ) -> _T:
        """Send a message that writes, and decode its result."""
        check_options(options, WriteOptions)
        timeout_s, session = self._timeout(options.get("timeout_s")), options.get("session")
        if session is not None:
            with session.command() as use:
                result = await self._send_write(name, fields, use, timeout_s)
        elif self._pool is None:
            result = await self._send_write(name, fields, None, timeout_s)
        else:

            def send(use: Mapping[str, int], left_s: float, began: float) -> Awaitable[Json]:
                return self._send_write(name, fields, use, left_s, began)

            self._sender.event_loop.enter()
            result = await self._pool.run(send, timeout_s)
        return decode_result(name, result, decode)

    async def _send_write(
        self,
        name: str,
        fields: Mapping[str, Json],
        session: Mapping[str, int] | None,
        timeout_s: float,
        began: float | None = None,
    ) -> Json:
        """Send a write; in a session, repeat it until its outcome is known.

        `began`: see `RequestSender.send_with_retries`.

        Raises:
            OutcomeUnknown: it is not known in time, or the session expired after the write was sent.
            SessionExpired: the session had expired; the write had no effect.
        """
        repeatable = session is not None
        sent = {**fields, "session": session} if repeatable else fields
        may_have_arrived = False

        async def ask(endpoint: Address, left_s: float) -> Json:
            nonlocal may_have_arrived
            try:
                return await self._ask(name, endpoint, sent, left_s, repeatable=repeatable)
            except OutcomeUnknown:
                may_have_arrived = True
                raise

        try:
            return await self._sender.send_with_retries(
                ask, repeatable=repeatable, timeout_s=timeout_s, began=began
            )
        except SessionExpired as error:
            if not may_have_arrived:
                raise
            raise OutcomeUnknown(
                f"{error}: it expired while the write was repeated, so it is unknown whether the write took effect: "
                "read before you write again"
            ) from None

    def _ask(
        self,
        name: str,
        endpoint: Address,
        fields: Mapping[str, Json],
        left_s: float,
        *,
        repeatable: bool,
    ) -> Awaitable[Json]:
        """Send a message once; returns its result.

        A `Perform` holds one request in `request`; its result is in an object with the name of the request.
        """
        send = self._sender.send
        if name != "Perform":
            return try_store(send, endpoint, name, fields, left_s, repeatable=repeatable)
        return _performed(try_perform(send, endpoint, fields, left_s, repeatable=repeatable))

    def _timeout(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)


def is_read(request: Mapping[str, Json]) -> bool:
    """Whether a `Perform` request only reads, and so may be repeated."""
    if "UpdateEntity" in request:
        return all("Read" in item for item in request["UpdateEntity"]["request"])
    return "GetSchema" in request or "GetCompleteSchema" in request or "Read" in request


async def _performed(response: Awaitable[Json]) -> Json:
    return performed(await response)


def performed(response: Json) -> Json:
    """The result in `PerformResponse.response`; raises its error."""
    ((_, body),) = response.items()
    if body["error"] is not None:
        raise decode_error(body["error"], body.get("detail"))
    return body.get("response")


def decode_result(name: str, result: Json, decode: Callable[[Json], _T]) -> _T:
    """Decode a result.

    Raises:
        RemoteProtocolError: it does not have the form of this message's result.
    """
    try:
        return decode(result)
    except READ_ERRORS as error:
        raise RemoteProtocolError(
            f"the response to {name} cannot be read ({reason(error)}): {truncate(repr(result))}"
        ) from error


def nothing(result: Json) -> None:
    """Decode the result of a message that has none."""
    if result is not None:
        raise ValueError("expected null")
