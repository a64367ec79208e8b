"""`RequestSender`: sends a request to one node, or to one node after the other until one answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from qcore.client.concurrency_limit import ConcurrencyLimit
from qcore.client.endpoints import Connect, Endpoints
from qcore.client.errors import READ_ERRORS, ClientClosed, retry_delay, unreadable
from qcore.client.event_loop import EventLoopUse
from qcore.client.tracing.traced_request import traced_request
from qcore.errors import (
    ChangeRefused,
    ErrorReply,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QcoreError,
    QuotaExceeded,
    RequestNotReceived,
    TlsFailed,
    TransportError,
    Unauthenticated,
)
from qcore.runtime.interface import Runtime
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.trace_context import RequestTracer

#: JSON from the wire; its shape depends on the message.
Json: TypeAlias = Any
#: Sends one message to one node, once: endpoint, name, fields, timeout in seconds; returns the content
#: of the response.
SendOnce: TypeAlias = Callable[
    [Address, str, Mapping[str, Json], float], Awaitable[dict[str, Json]]
]

_BACKOFF_FIRST_S: Final = 0.02
_BACKOFF_LAST_S: Final = 0.5

#: The least time that an attempt gets, even if less is left, seconds.
MIN_ATTEMPT_S: Final = 0.05

#: The most times that a message is sent to a node that closes every connection as idle, or knows no user.
_ATTEMPTS_WHEN_IDLE: Final = 2

#: The retry hint for a request that was never sent, ms.
_NEVER_SENT_HINT_MS: Final = 1000

#: The rejections of a change whose reason soon passes by itself.
_TRANSIENT: Final = ("not_ready", "transferring", "pending")

_T = TypeVar("_T")


class RequestSender:
    """Sends requests, and decides whether and where to repeat them.

    Args:
        endpoints: `host:port` of some nodes.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt may take.
        silent_after_s, admin: see `Endpoints`.
        runtime: the world that the client runs in.
        connect: opens a connection.
        renew: authenticates again on a connection; None for a client without a user.
        tracer: makes a span of each request; None for no spans.

    Attributes:
        endpoints: the nodes, and the choice among them.
        event_loop: the event loop in which the client is used.
        runtime, renew: the arguments.
        rng: for pauses and the choice of nodes.

    Raises:
        ConfigError: an endpoint is not `host:port`, or there is none.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        timeout_s: float,
        attempt_timeout_s: float,
        silent_after_s: float,
        *,
        admin: bool = False,
        runtime: Runtime,
        connect: Connect = ClientConnection.connect,
        renew: Callable[[ClientConnection], Awaitable[None]] | None = None,
        tracer: RequestTracer | None = None,
    ) -> None:
        self.runtime = runtime
        self.renew = renew
        self._tracer = tracer
        self.rng = runtime.new_rng()
        self.endpoints = Endpoints(
            endpoints, self.rng, silent_after_s, admin=admin, runtime=runtime, connect=connect
        )
        self.event_loop = EventLoopUse(self.endpoints.close)
        self.event_loop.when_new(self.endpoints.new_loop)
        self.event_loop.when_new(self._new_loop)
        self._limit = ConcurrencyLimit()
        self._any_node_limit = ConcurrencyLimit()
        #: The class and text of the last failed attempt of any request; None once one succeeds.
        self._last_failure: tuple[type[QcoreError], str] | None = None
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._closed = False

    async def close(self) -> None:
        """Close every connection. Requests in progress fail, and no others are accepted."""
        self._closed = True
        await self.endpoints.close()

    def check_open(self) -> None:
        """Reject a request after `close`.

        Raises:
            ConfigError: the client is closed.
        """
        if self._closed:
            raise ClientClosed("this client is closed: make another one")

    def _new_loop(self) -> None:
        self._limit = ConcurrencyLimit()
        self._any_node_limit = ConcurrencyLimit()

    async def send_with_retries(
        self,
        ask: Callable[[Address, float], Awaitable[_T]],
        *,
        repeatable: bool = False,
        any_node: bool = False,
        timeout_s: float | None = None,
        began: float | None = None,
    ) -> _T:
        """Send to one node after the other, until one answers or rejects the request for a reason that does not pass.

        Args:
            ask: sends the request to a node; takes the endpoint and the seconds left.
            any_node: whether any node can answer. If so, the request does not wait behind those that need the leader.
            repeatable: whether to continue after an unknown outcome, because a repetition cannot apply the request
                twice.
            timeout_s: how long the request may take, with all its retries; None for the sender's timeout.
            began: when the operation began, by `now`; None if it begins here.
        """
        self.event_loop.enter()
        limit = self._any_node_limit if any_node else self._limit
        now = limit.begin()
        began = now if began is None else began
        deadline = now + (self._timeout_s if timeout_s is None else timeout_s)
        pause = _BACKOFF_FIRST_S
        unknown: OutcomeUnknown | None = None  # an earlier attempt may have taken effect
        answered: QcoreError | None = None
        last: QcoreError | None = None
        #: The nodes with which TLS failed: a retry changes nothing there.
        without_tls: dict[Address, None] = {}
        has_slot = False
        try:
            while True:
                if self._closed and unknown is not None:
                    raise unknown
                self.check_open()
                if not has_slot:
                    has_slot = await limit.acquire(deadline, again=last is not None)
                    if not has_slot:
                        final = unknown or answered or last or self.not_sent()
                        raise _tried(final, last, limit.now() - began)
                endpoint, generation = self.endpoints.choose(), limit.generation
                try:
                    left_s = max(MIN_ATTEMPT_S, deadline - limit.now())
                    result = await ask(endpoint, min(left_s, self._attempt_timeout_s))
                    limit.succeeded()
                    self._last_failure = None
                    return result
                except QcoreError as error:
                    transient = isinstance(error, ChangeRefused) and error.name in _TRANSIENT
                    is_unknown = isinstance(error, OutcomeUnknown)
                    if not transient and (error.retryable or is_unknown):
                        self.endpoints.prefer_another(
                            endpoint, error
                        )  # the next request prefers it, too
                        self._last_failure = (type(error), str(error))
                    if isinstance(error, NotLeader | Overloaded | QuotaExceeded | TransportError):
                        limit.failed(generation)  # it failed quickly: do not retry in a tight loop
                    if isinstance(error, QuotaExceeded) and error.retry_after_ms is None:
                        raise (unknown or error) from None  # time alone makes no room
                    if repeatable and isinstance(error, OutcomeUnknown):
                        unknown = error
                    elif isinstance(error, TlsFailed):
                        without_tls[endpoint] = None
                        if self.endpoints.are_all_in(without_tls):
                            raise (unknown or answered or error) from None
                        self.endpoints.prefer_another(endpoint, error)
                    elif not (error.retryable or transient):
                        raise
                    last, answered = error, _answer(error, answered)
                    pause = min(pause * 2, _BACKOFF_LAST_S)
                    delay = retry_delay(error, pause, self.rng)
                    if limit.now() + delay >= deadline:
                        # The rejection of the last attempt does not settle the outcome of earlier ones.
                        final = unknown or answered or error
                        raise _tried(final, error, limit.now() - began) from None
                except READ_ERRORS as error:
                    raise unreadable(endpoint, error) from error
                if limit.is_over_limit():
                    # Too many to repeat all together: this request waits until others succeed.
                    limit.release()
                    has_slot = False
                else:
                    await asyncio.sleep(delay)
        finally:
            if has_slot:
                limit.release()
            limit.end()

    # -- the clock of the timeouts (`Clock` of the session pool) -------------------------------------

    def begin(self) -> float:
        """See `ConcurrencyLimit.begin`."""
        return self._limit.begin()

    def now(self) -> float:
        """See `ConcurrencyLimit.now`."""
        return self._limit.now()

    def end(self) -> None:
        """See `ConcurrencyLimit.end`."""
        self._limit.end()

    def not_sent(self) -> QcoreError:
        """The error of a request that was never sent."""
        why = "too many requests of this client are in progress: this one was never sent"
        if self._last_failure is None:
            return Overloaded.because(why, _NEVER_SENT_HINT_MS)
        kind, reason = self._last_failure
        text = f"{why}; the last attempt of another: {reason}"
        if issubclass(kind, TransportError):
            return TransportError(text)
        return Overloaded(text, _NEVER_SENT_HINT_MS)

    async def send(
        self,
        endpoint: Address,
        name: str,
        fields: Mapping[str, Json],
        left_s: float,
        *,
        patience_s: float | None = None,
    ) -> dict[str, Json]:
        """Send one message to one node, and wait for the response at most for `left_s`.

        The message is sent again only if the node closed the idle connection before the message reached it.

        `patience_s`: see `Endpoints.connect`.

        Raises:
            TransportError: the node cannot be reached.
            OutcomeUnknown: the node did not answer.
            RemoteProtocolError: the node rejected the message as malformed.
        """
        self.check_open()
        self.event_loop.enter()
        limit, endpoints = self._limit, self.endpoints
        deadline = limit.begin() + left_s
        try:
            for attempt in itertools.count(1):
                connection = endpoints.connected(endpoint)
                if connection is None:
                    connection = await endpoints.connect(endpoint, left_s, patience_s)
                    left_s = max(MIN_ATTEMPT_S, deadline - limit.now())
                try:
                    if self._tracer is None:
                        reply = await connection.request(name, fields, timeout_s=left_s)
                    else:
                        reply = await traced_request(self._tracer, connection, name, fields, left_s)
                    lacks_user = self.renew is not None and _lacks_user(reply)
                    if lacks_user and attempt < _ATTEMPTS_WHEN_IDLE:
                        raise Unauthenticated("the leader knows the users before this node does")
                    return reply
                except RequestNotReceived:
                    if attempt == _ATTEMPTS_WHEN_IDLE:
                        raise
                except Unauthenticated:
                    if self.renew is None or attempt == _ATTEMPTS_WHEN_IDLE:
                        raise
                    await self.renew(connection)  # the request had no effect: send it again
        except ErrorReply as error:
            if str(error) != f"{name}: unknown message type":
                raise
            text = f"{error}: the node at {endpoint} runs an older qcore, which has no such request: upgrade it first"
            raise ErrorReply(text, error.detail()) from None
        finally:
            limit.end()
        raise AssertionError("the loop ends by itself")


def _lacks_user(reply: Mapping[str, Json]) -> bool:
    """Whether the leader rejected the request because it came without a user."""
    detail = reply.get("detail")
    return isinstance(detail, dict) and detail.get("code") == "Unauthenticated"


def _answer(error: QcoreError, before: QcoreError | None) -> QcoreError | None:
    """The last error that a node answered. It is more useful than the error that another node cannot be reached."""
    return before if isinstance(error, TransportError) else error


def _tried(error: QcoreError, last: QcoreError | None, tried_s: float) -> QcoreError:
    """The error, with the reason of the last attempt and the time spent on all attempts in its text."""
    reason = "" if last is None or str(last) == str(error) else f"; the last attempt: {last}"
    error.args = (f"{error}{reason} (tried for {tried_s:.3g} s)",)
    return error
