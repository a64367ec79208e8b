"""`outlive`: work for a lease that goes on when the task that began it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from qcore.recipes.recipe_errors import LeaseLost

if TYPE_CHECKING:
    from qcore.recipes.lease import Lease


async def outlive(lease: Lease, coroutine: Coroutine[object, object, None]) -> None:
    """Run a coroutine to its end, also if the caller is cancelled. `Lease.close` waits for it.

    After a cancellation no caller learns of its errors. A `LeaseLost` is then dropped, because the end of the lease
    ends whatever the coroutine had to end. The event loop reports any other error.
    """
    task = lease.run(coroutine)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_report)
        raise


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, LeaseLost):
        task.get_loop().call_exception_handler(
            {"message": "work for a lease has failed", "exception": error, "task": task}
        )
