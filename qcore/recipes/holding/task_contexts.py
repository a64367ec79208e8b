"""`TaskContexts`: the part of a lock, a semaphore and the like that `async with` uses."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias

from qcore.recipes.open_blocks import OpenBlocks

if TYPE_CHECKING:
    from qcore.recipes.holding.held import Held

#: The blocks that tasks have entered.
TaskBlocks: TypeAlias = "OpenBlocks[asyncio.Task[object] | None, Held]"

_ADVICE: Final = "in a generator or a fixture, write `async with await ....acquire()`"


def task_blocks() -> TaskBlocks:
    """No blocks."""
    return OpenBlocks("task", _ADVICE)


class TaskContexts(ABC):
    """The base class of what many tasks may enter, each for itself.

    The task that enters it must leave it. Where another one may do that, as asyncio does with generators that are not
    read to their end, enter what `acquire` returns.

    Args:
        title: names it in errors, such as `lock jobs/nightly`.
        no_nesting: what to do in place of entering it twice in one task, which would wait forever; None if a task may
            do that.
        blocks: shared by all objects of which a task may enter one at a time; None if this is the only one.
    """

    def __init__(
        self, title: str, *, no_nesting: str | None = None, blocks: TaskBlocks | None = None
    ) -> None:
        self._title = title
        self._no_nesting = no_nesting
        self._blocks = task_blocks() if blocks is None else blocks

    @abstractmethod
    async def acquire(self) -> Held:
        """Acquire what the context holds, and wait for it as long as it takes."""

    async def __aenter__(self) -> Held:
        """Acquire it, and guard the current task.

        Raises:
            ConfigError: this task has entered it already, and may not do that again.
        """
        task = asyncio.current_task()
        self._blocks.check_new(self._title, task, self._no_nesting)
        held = await (await self.acquire()).__aenter__()
        self._blocks.enter(task, held)
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        held = self._blocks.leave(self._title, asyncio.current_task())
        await held.__aexit__(kind, error, trace)
