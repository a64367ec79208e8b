"""`LeaderCallbacks`: calls the program's functions when its node begins and ends to lead, one after the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from qcore.node.observability.logs import NodeLog

#: A function of the program, without its argument. An async function returns an awaitable.
Callback = Callable[[], Awaitable[object] | object]

#: After this time a warning names a callback that does not end, seconds.
_WARN_AFTER_S: Final = 5.0


class LeaderCallbacks:
    """Calls `on_leader` when a leadership begins, and `on_follower` when it ends.

    One task makes all calls, so they happen outside the steps of the replica, and never two together. An async
    `on_leader` runs in a separate task. When the leadership ends, that task is cancelled, and `on_follower` is called
    after it has ended. A leadership that ends before its call is skipped, with both its calls.

    An exception of a callback is logged, and changes nothing else.

    Args:
        on_leader, on_follower: the callbacks, or None.
        log: gets the exceptions.
    """

    def __init__(
        self, on_leader: Callback | None, on_follower: Callback | None, log: NodeLog
    ) -> None:
        self._on_leader = on_leader
        self._on_follower = on_follower
        self._log = log
        self._wanted: int | None = None  # the term of the leadership now
        self._called: int | None = None  # the term for which `on_leader` was called
        self._changed = asyncio.Event()
        self._stopping = False
        self._worker: asyncio.Task[None] | None = None
        self._running: asyncio.Future[object] | None = None  # the async callback that runs now

    def start(self) -> None:
        """Begin to call, on the running event loop."""
        self._worker = asyncio.get_running_loop().create_task(self._run(), name="qcore callbacks")

    def report(self, term: int | None) -> None:
        """This node leads in this term and knows what is committed, or (None) it does not lead."""
        if not self._stopping:
            self._wanted = term
            self._changed.set()

    async def stop(self) -> None:
        """End the leadership, as far as the callbacks are concerned, and wait for them. Idempotent."""
        self._stopping = True
        self._wanted = None
        self._changed.set()
        if self._worker is not None:
            await asyncio.wait([self._worker])

    def is_called_here(self) -> bool:
        """Whether the current task runs a callback."""
        task = asyncio.current_task()
        return task is not None and task in (self._worker, self._running)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._called is not None and self._called != self._wanted:
                await self._end()
            if self._wanted is not None and self._called is None:
                self._begin(self._wanted)
            if self._stopping:
                return

    def _begin(self, term: int) -> None:
        self._called = term
        self._call("on_leader", self._on_leader)

    async def _end(self) -> None:
        self._called = None
        if self._running is not None:
            self._running.cancel()
            await self._wait("on_leader")
        self._call("on_follower", self._on_follower)
        await self._wait("on_follower")

    def _call(self, name: str, callback: Callback | None) -> None:
        """Call it. If it is async, it then runs in a task, so that only its own task is cancelled."""
        if callback is None:
            return
        try:
            outcome = callback()
        except Exception as error:  # noqa: BLE001 - the boundary to the user's code
            self._log.bug(f"{name} raised", error)
            return
        if inspect.isawaitable(outcome):
            self._running = asyncio.ensure_future(outcome)
            self._running.add_done_callback(partial(self._log_exception, name))

    def _log_exception(self, name: str, ended: asyncio.Future[object]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if isinstance(error, Exception):  # the event loop raises the others, such as SystemExit
            self._log.bug(f"{name} raised", error)

    async def _wait(self, name: str) -> None:
        """Wait for the end of the async callback. If it takes long, a warning says so."""
        if self._running is None:
            return
        if not (await asyncio.wait([self._running], timeout=_WARN_AFTER_S))[0]:
            self._log.warning(
                "a callback does not end: the next one, and the end of this node, wait for it",
                callback=name,
                waited_s=_WARN_AFTER_S,
            )
            await asyncio.wait([self._running])
        self._running = None
