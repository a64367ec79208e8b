"""`SyncContexts`: the part of a synchronous lock, semaphore and the like that `with` uses."""

from __future__ import annotations

import threading
from abc import abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from qcore.client.synchronous.sync_facade import SyncFacade
from qcore.errors import ConfigError

if TYPE_CHECKING:
    from qcore.client.synchronous.sync_facade import RunsCoroutines
    from qcore.recipes.synchronous.sync_held import SyncHeld

_A_co = TypeVar("_A_co", covariant=True)


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
        #: The contexts that each thread has entered, the innermost last.
        self._entered: dict[threading.Thread, list[SyncHeld]] = {}

    @abstractmethod
    def acquire(self) -> SyncHeld:
        """Acquire what the context holds, and wait for it as long as it takes."""

    def __enter__(self) -> SyncHeld:
        """Acquire it.

        Raises:
            ConfigError: this thread has entered it already, and may not do that again.
        """
        thread = threading.current_thread()
        if thread in self._entered and self._no_nesting is not None:
            raise ConfigError(
                f"{self._title}: this thread has entered it already: {self._no_nesting}"
            )
        held = self.acquire().__enter__()
        self._entered.setdefault(thread, []).append(held)
        return held

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        thread = threading.current_thread()
        if thread not in self._entered:
            thread = self._only_thread()
        held = self._entered[thread].pop()
        if not self._entered[thread]:
            del self._entered[thread]
        held.__exit__(kind, error, trace)

    def _only_thread(self) -> threading.Thread:
        """The thread that has entered it, if another one leaves it."""
        if sum(map(len, self._entered.values())) != 1:
            raise ConfigError(
                f"{self._title}: a thread leaves what another one has entered, and several have: write "
                "`with ....acquire()` there"
            )
        return next(iter(self._entered))
