"""`ConcurrencyLimit`: bounds the requests of one client that are in progress, and is the clock for their timeouts.

The other requests wait here, in order, instead of at a node. The limit is halved when nodes reject requests, and rises
with each request that succeeds. So a client does not repeat thousands of requests while no node accepts them, and sends
them soon after a node does.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from qcore.transport.connection.running_time import RunningTime

#: The most requests in progress, and the most while no node accepts any. A node accepts 8,192 by default.
MAX_IN_FLIGHT: Final = 4096
MIN_IN_FLIGHT: Final = 64

#: How often the clock is read, seconds.
_POLL_INTERVAL_S: Final = 0.02


class ConcurrencyLimit:
    """Limits the requests in progress, and is their common clock. The clock stands still while this process does.

    It belongs to the event loop in which it is first used.
    """

    def __init__(self) -> None:
        self._time = RunningTime()
        self._operations = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._size = MAX_IN_FLIGHT
        self._in_flight = 0
        #: How often the limit was halved.
        self.generation = 0
        #: The waiting requests, with their deadlines. If a future is done, its request waits no more.
        self._queue: deque[tuple[asyncio.Future[bool], float]] = deque()
        self._next_end = math.inf

    # -- the clock -----------------------------------------------------------------------------------

    def begin(self) -> float:
        """Begin an operation; returns the time, seconds. Call `end` when the operation is over."""
        loop = self._loop
        if loop is None:
            self._loop = loop = asyncio.get_running_loop()
        now = loop.time()
        if self._operations == 0:
            self._time.begin(now)
            if self._timer is None:
                self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll)
        self._operations += 1
        return self._time.at(now)

    def end(self) -> None:
        """End an operation."""
        self._operations -= 1
        if self._operations == 0 and self._loop is not None:
            # Not the running loop: there is none where the task of an operation is dropped, not finished.
            self._time.look(self._loop.time())
            # The timer goes on until it fires, because setting one for each operation would cost more.

    def now(self) -> float:
        """The time, seconds, while an operation is in progress."""
        loop = self._loop
        assert loop is not None, "an operation has begun"
        return self._time.at(loop.time())

    def _poll(self) -> None:
        self._timer = None
        if self._operations == 0:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll)
        now = self._time.look(loop.time())
        if now < self._next_end:
            return
        for waiter, end in self._queue:
            if end <= now and not waiter.done():
                waiter.set_result(False)
        self._queue = deque(each for each in self._queue if not each[0].done())
        self._next_end = min((end for _, end in self._queue), default=math.inf)

    # -- the limit -----------------------------------------------------------------------------------

    def is_over_limit(self) -> bool:
        """Whether more requests are in progress than allowed, because the limit was halved."""
        return self._in_flight > self._size

    async def acquire(self, deadline: float, *, again: bool = False) -> bool:
        """Wait until the request may be sent; returns False if it may not be sent before the deadline.

        Args:
            deadline: by the clock of this object.
            again: whether the request was sent before. If so, it goes first.
        """
        if not self._queue and self._in_flight < self._size:
            self._in_flight += 1
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        (self._queue.appendleft if again else self._queue.append)((waiter, deadline))
        self._next_end = min(self._next_end, deadline)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result():
                self.release()  # it was admitted in this turn, too
            raise

    def release(self) -> None:
        """End a request. The next one may be sent."""
        self._in_flight -= 1
        while self._queue and self._in_flight < self._size:
            waiter, _ = self._queue.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(True)

    def succeeded(self) -> None:
        """Note that a node accepted a request: raise the limit by one."""
        self._size = min(MAX_IN_FLIGHT, self._size + 1)

    def failed(self, generation: int) -> None:
        """Note that no node accepted a request of this generation. Each generation halves the limit at most once."""
        if generation == self.generation:
            self.generation += 1
            self._size = max(MIN_IN_FLIGHT, min(self._size, self._in_flight) // 2)
