"""`SyncContexts`: the part of a synchronous lock, semaphore and the like that `with` uses."""

from __future__ import annotations

import threading
from abc import abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from qcore.client.synchronous.sync_facade import SyncFacade
from qcore.recipes.open_blocks import OpenBlocks

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_facade import RunsCoroutines
    from qcore.recipes.synchronous.sync_held import SyncHeld

_A_co = TypeVar("_A_co", covariant=True)

_ADVICE: Final = "write `with ....acquire()` there"


class SyncContexts(SyncFacade[_A_co]):
    """The base class of what many threads may enter, each for itself. See `TaskContexts`.

    Args:
        wrapped, runner: see `SyncFacade`.
        title, no_nesting: see `TaskContexts`. Here a thread takes the place of a task.
    """

    def __init__(
        self, wrapped: _A_co, runner: RunsCoroutines, *, title: str, no_nesting: str | None
    ) -> None:
        super().__init__(wrapped, runner)
        self._title = title
        self._no_nesting = no_nesting
        self._blocks: OpenBlocks[threading.Thread, SyncHeld] = OpenBlocks("thread", _ADVICE)

    @abstractmethod
    def acquire(self) -> SyncHeld:
        """Acquire what the context holds, and wait for it as long as it takes."""

    def __enter__(self) -> SyncHeld:
        """Acquire it.

        Raises:
            ConfigError: this thread has entered it already, and may not do that again.
        """
        thread = threading.current_thread()
        self._blocks.check_new(self._title, thread, self._no_nesting)
        held = self.acquire().__enter__()
        self._blocks.enter(thread, held)
        return held

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        held = self._blocks.leave(self._title, threading.current_thread())
        held.__exit__(kind, error, trace)
