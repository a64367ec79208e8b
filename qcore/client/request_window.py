"""How many requests of one client are under way at a time, and how long each may take.

The others wait here, in order, and not at a node. The number is halved when nodes do not take requests, and rises with
each that succeeds: so thousands of requests are not all repeated while nobody takes them, and go on soon after.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from qcore.transport.connection.running_time import RunningTime

#: Requests under way, at most; and when no node takes any. A node takes 8,192 by default.
MAX_IN_FLIGHT: Final = 4096
MIN_IN_FLIGHT: Final = 64

#: How often the time is looked at.
_POLL_INTERVAL_S: Final = 0.02


class ConcurrencyLimit:
    """Places of requests under way, and their common clock, which stands still when this process does."""

    def __init__(self) -> None:
        self._time = RunningTime()
        self._operations = 0
        self._timer: asyncio.TimerHandle | None = None
        self._size = MAX_IN_FLIGHT
        self._in_flight = 0
        #: Counts the times that it was halved.
        self.generation = 0
        #: Who waits for a place, and when the time of each is over. One that has left is done.
        self._queue: deque[tuple[asyncio.Future[bool], float]] = deque()
        self._next_end = math.inf

    # -- the clock -----------------------------------------------------------------------------------

    def begin(self) -> float:
        """An operation begins; the time, seconds. Call `end` when it is over."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._operations == 0:
            self._time.begin(now)
            self._timer = loop.call_later(_POLL_INTERVAL_S, self._poll)
        self._operations += 1
        return self._time.at(now)

    def end(self) -> None:
        """An operation is over."""
        self._operations -= 1
        if self._operations == 0 and self._timer is not None:
            self._timer.cancel()
            self._time.look(asyncio.get_running_loop().time())

    def now(self) -> float:
        """The time, seconds, while an operation is in progress."""
        return self._time.at(asyncio.get_running_loop().time())

    def _poll(self) -> None:
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

    # -- the places ----------------------------------------------------------------------------------

    def is_over_limit(self) -> bool:
        """Whether more requests are under way than should be, since it was halved."""
        return self._in_flight > self._size

    async def acquire(self, deadline: float, *, again: bool = False) -> bool:
        """Take a place once there is one; False if there was none before the deadline.

        Args:
            deadline: by the clock of the window.
            again: it had a place before, and goes before those that had none.
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
                self.release()  # it had got a place in the same turn
            raise

    def release(self) -> None:
        """Give the place back."""
        self._in_flight -= 1
        while self._queue and self._in_flight < self._size:
            waiter, _ = self._queue.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(True)

    def succeeded(self) -> None:
        """A request was taken: another one may be."""
        self._size = min(MAX_IN_FLIGHT, self._size + 1)

    def failed(self, generation: int) -> None:
        """A request that began in this generation was not taken. What began together halves the window once."""
        if generation == self.generation:
            self.generation += 1
            self._size = max(MIN_IN_FLIGHT, min(self._size, self._in_flight) // 2)
