"""How a client asks: one node once, or one node after the other until one answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from qcore.errors import ChangeRefused, OutcomeUnknown, QcoreError, TransportError
from qcore.node.endpoints import Endpoints, no_answer
from qcore.node.remote import pause_after
from qcore.transport.client import ClientConnection, ErrorReply, NotTaken

#: JSON as it comes off the wire; its shape depends on the message.
Json: TypeAlias = Any

_BACKOFF_FIRST_S: Final = 0.02
_BACKOFF_LAST_S: Final = 0.5

#: However little time is left, an attempt gets this.
LEAST_ATTEMPT_S: Final = 0.05

#: How often a message is sent to a node that closes each connection as idle.
_ATTEMPTS_WHEN_IDLE: Final = 2

#: Refusals of a change that pass by themselves in a moment.
_PASSING: Final = ("not_ready", "transferring", "pending")

_T = TypeVar("_T")


class Asking:
    """The nodes, and the rules of asking them again.

    Args:
        endpoints: `host:port` of some nodes.
        timeout_s: how long one operation may take, with all its retries.
        attempt_timeout_s: how long one attempt may take.
        silent_after_s, admin: see `Endpoints`.

    Attributes:
        endpoints: which node to ask next.

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
    ) -> None:
        self._rng = Random()
        self.endpoints = Endpoints(endpoints, self._rng, silent_after_s, admin=admin)
        self._timeout_s = timeout_s
        self._attempt_timeout_s = attempt_timeout_s

    async def retried(
        self, ask: Callable[[str, float], Awaitable[_T]], *, repeatable: bool = False
    ) -> _T:
        """Ask one node after the other until one answers, or refuses for a reason that will not pass.

        Args:
            ask: sends the request to a node that has so many seconds left.
            repeatable: an unknown outcome is no reason to stop: to ask again cannot apply it twice.
        """
        deadline = time.monotonic() + self._timeout_s
        pause = _BACKOFF_FIRST_S
        unknown: OutcomeUnknown | None = None  # an earlier attempt may have taken effect
        answered: QcoreError | None = None
        while True:
            endpoint = self.endpoints.choose()
            try:
                left_s = max(LEAST_ATTEMPT_S, deadline - time.monotonic())
                return await ask(endpoint, min(left_s, self._attempt_timeout_s))
            except QcoreError as error:
                passing = isinstance(error, ChangeRefused) and error.name in _PASSING
                is_unknown = isinstance(error, OutcomeUnknown)
                if not passing and (error.retryable or is_unknown):
                    self.endpoints.look_elsewhere(endpoint, error)  # also for the next request
                if repeatable and isinstance(error, OutcomeUnknown):
                    unknown = error
                elif not (error.retryable or passing):
                    raise
                answered = _answer(error, answered)
                pause = min(pause * 2, _BACKOFF_LAST_S)
                delay = pause_after(error, pause, self._rng)
                if time.monotonic() + delay >= deadline:
                    # That the last attempt was refused says nothing of the ones before.
                    raise unknown or answered or error from None
            await asyncio.sleep(delay)

    async def send(
        self,
        endpoint: str,
        name: str,
        fields: Mapping[str, Json],
        left_s: float,
        *,
        patience_s: float | None = None,
    ) -> dict[str, Json]:
        """Send one message to one node, and wait for the reply no longer than `left_s`.

        It is sent again only if the node closed the idle connection before it took the message.

        `patience_s`: see `Endpoints.connect`.

        Raises:
            TransportError: the node cannot be reached.
            OutcomeUnknown: it did not answer.
            RemoteProtocolError: it did not understand.
        """
        deadline = time.monotonic() + left_s
        try:
            for attempt in itertools.count(1):
                connection = await self._connect(endpoint, left_s, patience_s)
                left_s = max(LEAST_ATTEMPT_S, deadline - time.monotonic())
                try:
                    return await connection.request(name, fields, timeout_s=left_s)
                except NotTaken:
                    if attempt == _ATTEMPTS_WHEN_IDLE:
                        raise
        except ErrorReply as error:
            if str(error) != f"{name}: unknown message type":
                raise
            text = f"{error}: the node at {endpoint} runs an older qcore, which has no such request: upgrade it first"
            raise ErrorReply(text, error.detail()) from None
        raise AssertionError("the loop ends by itself")

    async def _connect(
        self, endpoint: str, left_s: float, patience_s: float | None
    ) -> ClientConnection:
        try:
            async with asyncio.timeout(left_s):
                return await self.endpoints.connect(endpoint, patience_s)
        except TimeoutError:
            raise TransportError(no_answer(endpoint, left_s)) from None


def _answer(error: QcoreError, before: QcoreError | None) -> QcoreError | None:
    """What a node said last: that says more than that yet another node cannot be reached."""
    return before if isinstance(error, TransportError) else error
