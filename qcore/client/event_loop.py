"""`EventLoopUse`: notices that a client is used in another event loop than before, and connects again there.

Connections and timers belong to one event loop. A program may call `asyncio.run` several times with one client: each
call has a new event loop, and the objects of the previous one are of no use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from qcore.errors import ConfigError


class EventLoopUse:
    """The event loop in which a client is used.

    Args:
        at_end: closes what belongs to the event loop. It runs when `asyncio.run` ends.
    """

    def __init__(self, at_end: Callable[[], Awaitable[None]]) -> None:
        self._at_end = at_end
        self._changes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: AsyncGenerator[None, None] | None = None
        self._when_new: list[Callable[[], None]] = []

    def when_new(self, renew: Callable[[], None]) -> None:
        """Call `renew` whenever the event loop is another one than before."""
        self._when_new.append(renew)

    def enter(self) -> None:
        """Note that the client is used in the running event loop.

        Raises:
            ConfigError: the client is in use in another event loop, which still runs.
        """
        loop = asyncio.get_running_loop()
        before = self._loop
        if loop is before:
            return
        if before is not None:
            if before.is_running():
                raise ConfigError(
                    "this client is in use in another event loop, which still runs: make a client for each event loop"
                )
            for renew in self._when_new:
                renew()
        self._loop = loop
        self._changes += 1
        # `asyncio.run` closes the generators that are still open before it closes the event loop. That is the only
        # notice of its end that an event loop gives.
        self._end = self._until_the_end(self._changes)
        with contextlib.suppress(StopIteration):
            self._end.asend(None).send(None)

    async def _until_the_end(self, changes: int) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if changes == self._changes:  # else the client is used in another event loop by now
                await self._at_end()
