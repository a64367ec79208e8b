"""`PeriodicTask`: calls a function at intervals on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class PeriodicTask:
    """Calls `work` immediately and then at intervals, from `start` to `stop`.

    Args:
        interval_s: the time from the end of one call to the next, seconds.
        work: called on the event loop; must be quick.
    """

    def __init__(self, interval_s: float, work: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._work = work
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start calling, on the running event loop."""
        self._work()
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self.start)

    def stop(self) -> None:
        """Stop calling."""
        if self._timer is not None:
            self._timer.cancel()
