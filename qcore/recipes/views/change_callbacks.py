"""What a view reports to the program: changes to its callbacks, and its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from qcore.client.errors import ClientClosed

_T = TypeVar("_T")


class Callbacks(Generic[_T]):
    """Functions that want to know of changes.

    Args:
        what: names what changes, for the exception handler of the event loop.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._callbacks: dict[object, Callable[[_T], object]] = {}

    def add(self, callback: Callable[[_T], object]) -> Callable[[], None]:
        """Call this from now on. Returns a function that ends this."""
        registration = object()
        self._callbacks[registration] = callback

        def end() -> None:
            self._callbacks.pop(registration, None)

        return end

    def call(self, change: _T) -> None:
        """Call all. What one raises goes to the exception handler of the event loop, as of a `call_soon`."""
        for registration, callback in [*self._callbacks.items()]:
            if registration not in self._callbacks:
                continue  # one before it has ended it
            try:
                callback(change)
            except Exception as error:  # noqa: BLE001 - code of the program; the next one must be called, too
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"{self._what}: a callback has failed", "exception": error}
                )

    def clear(self) -> None:
        """End all."""
        self._callbacks.clear()


def reported_failure(
    task: asyncio.Task[None], what: str, *, is_closed: bool, is_awaited: bool
) -> BaseException | None:
    """Why a background task has ended by itself; None if the program has closed what it works for.

    The exception handler of the event loop gets it, too: the program may not look before the view is of use again.
    It does not if a caller waits, to whom the failure is raised, or if the program has closed the client.

    Args:
        task: the task, which has ended.
        what: names it.
        is_closed: whether the program has closed what it works for, which cancels it.
        is_awaited: whether a caller waits, to whom the failure is raised.
    """
    failure: BaseException | None
    if not task.cancelled():
        failure = task.exception()
    elif is_closed:
        failure = None
    else:
        # A request that waits when the client is closed may be cancelled, and with it the task.
        failure = ClientClosed(f"{what} was cancelled: the client is closed")
    if failure is not None and not (is_awaited or isinstance(failure, ClientClosed)):
        task.get_loop().call_exception_handler(
            {"message": f"{what} has failed", "exception": failure, "task": task}
        )
    return failure
