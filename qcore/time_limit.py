"""`time_limit`: `asyncio.timeout` for tasks that were cancelled before, and went on.

A task that has caught a cancellation, or in which a `TaskGroup` has failed, keeps a count of that. In such a task, the
`asyncio.timeout` of early versions of Python 3.11 raises `CancelledError` in place of `TimeoutError`.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from qcore.errors import ConfigError


class TimeLimit:
    """See `time_limit`."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._is_over = False

    def expired(self) -> bool:
        """Whether the time was over before the block ended."""
        return self._is_over

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:  # as `asyncio.timeout`: Python closes a coroutine outside its task
            raise RuntimeError("a time limit is for code that runs in a task")
        self._task, self._cancelling = task, task.cancelling()
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None, "entered"
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_over:
            return
        if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def end(self) -> None:
        """End the block now, as if the time were over."""
        if self._task is not None:
            self._is_over = True
            self._task.cancel()


def time_limit(seconds: float | None) -> TimeLimit:
    """An asynchronous context whose block may take so many seconds; None for any time.

    Raises:
        ConfigError: it is no number of seconds from 0 on.
        TimeoutError: from the end of the context: the time was over, and the block was cancelled.
    """
    given: object = seconds
    if given is not None and not (isinstance(given, int | float) and given >= 0):
        raise ConfigError(f"{seconds!r} is no number of seconds from 0 on")
    return TimeLimit(seconds)
