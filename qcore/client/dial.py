"""`Dial`: one attempt to connect to a node, which all requests that wait for the connection share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from qcore.errors import TlsFailed, TransportError
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection
from qcore.transport.connection.running_time import RunningTime

#: How often the waiting requests are checked, and the most time that one check counts, seconds. A dial needs several
#: turns of the event loop. If this process is busy and makes them slow, that must not count against the node.
_POLL_INTERVAL_S: Final = 0.02
_COUNTED_S: Final = 0.05

#: How long an attempt may take, seconds.
_CONNECT_TIMEOUT_S: Final = 5.0


class Dial:
    """A connection that is being opened.

    A request's patience is how long the attempt may take. It counts from the beginning of the attempt, and only while
    this process runs. One timer serves all requests.

    Args:
        endpoint: the node.
        connect: opens the connection; takes the endpoint and a timeout in seconds.
        on_silent: called when a request's patience ends.
        ended: called when the attempt ends, whatever its outcome.
        is_resolving: whether a look-up of a host is in progress.
    """

    def __init__(
        self,
        endpoint: Address,
        connect: Callable[[Address, float], Awaitable[ClientConnection]],
        on_silent: Callable[[Address], None],
        ended: Callable[[Address], None],
        is_resolving: Callable[[str], bool],
    ) -> None:
        self._endpoint = endpoint
        self._connect = connect
        self._on_silent = on_silent
        self._ended = ended
        self._is_resolving = is_resolving
        self._loop = asyncio.get_running_loop()
        self._time = RunningTime(_COUNTED_S)
        self._counted_s = 0.0
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        #: The waiting requests: the patience of each, and the counted time at which its timeout ends.
        self._waiting: dict[asyncio.Future[ClientConnection], tuple[float, float]] = {}
        # A separate task, because it continues even if no request waits.
        self._task = asyncio.ensure_future(self._run())
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Cancel the attempt and the requests that wait for it."""
        self._task.cancel()

    async def wait(self, patience_s: float, left_s: float) -> ClientConnection:
        """Wait for the connection.

        Args:
            patience_s: how long the attempt may take, from its beginning.
            left_s: how long the caller may wait.

        Raises:
            TransportError: the node cannot be reached, or has not answered in this time.
        """
        # Not `asyncio.shield`: leaving it costs a search among all waiters.
        waiter: asyncio.Future[ClientConnection] = self._loop.create_future()
        self._waiting[waiter] = (patience_s, self._counted_s + left_s)
        try:
            return await waiter
        finally:
            self._waiting.pop(waiter, None)

    async def _run(self) -> ClientConnection:
        self._began = began = self._loop.time()
        self._time.begin(began)
        self._timer = self._loop.call_later(_POLL_INTERVAL_S, self._poll)
        while True:
            try:
                return await self._connect(self._endpoint, _CONNECT_TIMEOUT_S)
            except TransportError:
                now = self._loop.time()
                stood_still_s = now - began - self._time.at(now)
                if stood_still_s < _CONNECT_TIMEOUT_S / 2:
                    raise
                began += stood_still_s  # this process was paused, not the node: try again

    def _poll(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(_POLL_INTERVAL_S, self._poll)
        counted_s = self._counted_s = self._time.look(now)
        over = [
            (waiter, counted_s >= patience_s)
            for waiter, (patience_s, until) in self._waiting.items()
            if counted_s >= patience_s or counted_s >= until
        ]
        if not over:
            return
        if any(is_silent for _, is_silent in over):
            self._on_silent(self._endpoint)
        text = self._no_answer(now - self._began)
        for waiter, _ in over:
            if not waiter.done():
                waiter.set_exception(TransportError(text))

    def _no_answer(self, waited_s: float) -> str:
        text = f"no answer from {self._endpoint} within {waited_s:.3g} s"
        if self._is_resolving(self._endpoint.host):
            return f"{text}: the name service has not answered yet"
        return text

    def _done(self, task: asyncio.Task[ClientConnection]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._ended(self._endpoint)
        error = None if task.cancelled() else task.exception()
        for waiter in self._waiting:
            if waiter.done():
                continue
            if task.cancelled():
                waiter.cancel()
            elif isinstance(error, TransportError):
                # A separate error for each request, because callers extend it.
                kind = TlsFailed if isinstance(error, TlsFailed) else TransportError
                waiter.set_exception(kind(str(error)))
            elif error is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(task.result())
