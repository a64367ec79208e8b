"""`TaskContexts`: the part of a lock, a semaphore and the like that `async with` uses."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.recipes.holding.held import Held

#: The contexts that each task has entered, the innermost last.
Entered: TypeAlias = "dict[asyncio.Task[object] | None, list[Held]]"


class TaskContexts(ABC):
    """The base class of what many tasks may enter, each for itself.

    The task that enters it must leave it. Where another one may do that, as asyncio does with generators that are not
    read to their end, enter what `acquire` returns.

    Args:
        title: names it in errors, such as `lock jobs/nightly`.
        no_nesting: what to do in place of entering it twice in one task, which would wait forever; None if a task may
            do that.
        entered: shared by all objects of which a task may enter one at a time; None if this is the only one.
    """

    def __init__(
        self, title: str, *, no_nesting: str | None = None, entered: Entered | None = None
    ) -> None:
        self._title = title
        self._no_nesting = no_nesting
        self._entered: Entered = {} if entered is None else entered

    @abstractmethod
    async def acquire(self) -> Held:
        """Acquire what the context holds, and wait for it as long as it takes."""

    async def __aenter__(self) -> Held:
        """Acquire it, and guard the current task.

        Raises:
            ConfigError: this task has entered it already, and may not do that again.
        """
        task = asyncio.current_task()
        if task in self._entered and self._no_nesting is not None:
            raise ConfigError(
                f"{self._title}: this task has entered it already: {self._no_nesting}"
            )
        held = await (await self.acquire()).__aenter__()
        self._entered.setdefault(task, []).append(held)
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        if task not in self._entered:
            task = self._only_task()
        held = self._entered[task].pop()
        if not self._entered[task]:
            del self._entered[task]
        await held.__aexit__(kind, error, trace)

    def _only_task(self) -> asyncio.Task[object] | None:
        """The task that has entered it, if another one leaves it."""
        if sum(map(len, self._entered.values())) != 1:
            raise ConfigError(
                f"{self._title}: a task leaves what another one has entered, and several have: in a generator or a "
                "fixture, write `async with await ....acquire()`"
            )
        return next(iter(self._entered))
