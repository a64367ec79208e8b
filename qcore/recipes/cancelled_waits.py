"""`to_its_end`: waiting for what gives something back, also as a task that is cancelled."""

from __future__ import annotations

import asyncio
from typing import TypeVar

_R = TypeVar("_R")


async def to_its_end(task: asyncio.Task[_R]) -> _R:
    """The result of a task that gives something back. If the caller is cancelled, it waits nevertheless.

    So a caller that is cancelled again leaves nothing behind. The task must end within a time that is known.

    Raises:
        CancelledError: the caller was cancelled meanwhile; or the task was.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
